"""The app of the whole-path benchmarks."""

from django.apps import AppConfig


class BenchmarksConfig(AppConfig):
    """Its label is that of the folder above, so that tables are called benchmarks_..."""

    name = "benchmarks.app"
    label = "benchmarks"
