"""What _hit_c offers; _hit_py says what it means."""

from cachecore.integrations.django._hit_py import HitPath as HitPath
from cachecore.integrations.django._hit_py import SharedPath as SharedPath
