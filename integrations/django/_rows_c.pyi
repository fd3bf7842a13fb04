"""What _rows_c offers; _rows_py says what it means."""

from collections.abc import Sequence

from django.db.models import Model

from cachecore.codec import Load
from cachecore.integrations.django._rows_py import MakeInstance

def instance_maker(model: type[Model], attnames: Sequence[str], loads: Sequence[tuple[int, Load]]) -> MakeInstance: ...
