"""The pages of the catalogue."""

from django.urls import path

from catalogue import views

urlpatterns = [
    path("", views.home),
    path("categories/<slug:slug>/", views.category),
    path("products/<slug:slug>/", views.product),
    path("numbers/<str:maker>/<str:number>/", views.by_number),
    path("api/products/", views.api_products),
    path("api/products/<slug:slug>/", views.api_product),
]
