"""Make the table of the journal."""

from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    """Safe to run at any time: it makes a new table and touches no other."""

    initial = True

    dependencies = ()

    operations = (
        migrations.CreateModel(
            name="Journal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("cache", models.CharField(max_length=255)),
                ("entries", models.TextField()),
                ("created", models.DateTimeField(db_default=Now())),
                ("keep_until", models.DateTimeField(null=True)),
            ],
            options={"db_table": "cachecore_journal"},
        ),
    )
