"""Orders."""

from django.urls import path

from orders import views

urlpatterns = [
    path("", views.orders),
    path("new/", views.new),
    path("sold/<slug:slug>/<str:day>/", views.sold),
    path("<slug:number>/", views.one),
    path("<slug:number>/cancel/", views.cancel),
]
