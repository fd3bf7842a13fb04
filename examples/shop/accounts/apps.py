"""The customers."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Installed as "accounts"."""

    name = "accounts"
