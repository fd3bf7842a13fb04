"""The URLs of the test project."""

from django.urls import path

from tests.geo_app.views import grow

urlpatterns = [path("grow/<int:pk>/", grow)]
