"""The app of the scaling curves."""

from django.apps import AppConfig


class ScalingConfig(AppConfig):
    """Its tables are called scaling_..."""

    name = "benchmarks.scaling"
    label = "scaling"
