"""The products."""

from django.apps import AppConfig


class CatalogueConfig(AppConfig):
    """Installed as "catalogue"."""

    name = "catalogue"

    def ready(self) -> None:
        """Listen to what the cache and bulk updates tell."""
        from cachecore.integrations.django import signals

        from catalogue import metrics

        signals.cache_invalidated.connect(metrics.on_invalidated)
        signals.post_update.connect(metrics.on_post_update)
