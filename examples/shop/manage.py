"""Django's command line for the shop: ``python examples/shop/manage.py fill``."""

import os
import sys


def main() -> None:
    """Run one command."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
