"""``python -m tests.print_write_paths``: print docs/django-writes.md."""

import os

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.django_settings")
    django.setup()
    from tests.write_paths import document

    print(document(), end="")
