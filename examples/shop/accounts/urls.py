"""What belongs to a user."""

from django.urls import path

from accounts import views

urlpatterns = [path("", views.account), path("options/", views.options)]
