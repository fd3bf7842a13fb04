"""Where everything is."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

from project import operations

urlpatterns = [
    path("admin/", admin.site.urls),
    path("login/", LoginView.as_view(template_name="login.html")),
    path("logout/", LogoutView.as_view(next_page="/")),
    path("account/", include("accounts.urls")),
    path("orders/", include("orders.urls")),
    path("operations/cache/", operations.cache),
    path("", include("catalogue.urls")),
]
