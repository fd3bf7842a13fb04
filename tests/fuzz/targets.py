"""Every target by its name."""

from tests.fuzz import memcached, redis, redis_maps
from tests.fuzz.stored import CLAIM, ENTRY, ROW, VALUE
from tests.fuzz.target import Target
from tests.fuzz.whole_path import PATH

_ALL = (ENTRY, ROW, VALUE, CLAIM, PATH, redis.REPLIES, redis_maps.MAPS, memcached.REPLIES, memcached.ITEM)
TARGETS: dict[str, Target] = {target.name: target for target in _ALL}
