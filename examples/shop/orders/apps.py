"""The orders."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    """Installed as "orders"."""

    name = "orders"
