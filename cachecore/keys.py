"""Cache keys: short, safe, and the same for the same question in every process and release.

Two questions share a key only if their prefix, entity, field names and values are the same, types included: `None`,
`"None"`, `1`, `"1"`, `True`, `1.0` and `b"1"` are seven keys, and no value can imitate a second field. A key is
ASCII without spaces or control characters and has at most 200 bytes. `cachecore/_keys_py.py` defines the bytes.

Values (`KeyValue`): None, bool, int of any size, str, bytes, float, Decimal, UUID, date, aware datetime, naive time,
timedelta, and tuples of these. Equal values of one type are one key: -0.0 and 0.0, Decimal("1.0") and
Decimal("1.00"), the same instant in two time zones. A subclass counts as its base value (a StrEnum member as its str).
Everything else is refused with InvalidKey: NaN, which equals nothing; a naive datetime and an aware time,
which name no instant; a str with a lone surrogate; any other type.

Common arguments:

prefix: 1 to 64 ASCII letters, digits or any of `. _ - / @`; namespaces the keys of one application.
entity: the kind of record, not empty; what is not such a character stands percent-encoded in the key.
secret: 1 to 32 bytes that key the hash, so that nobody without it can find or aim at another's key. None: no secret.

Errors: InvalidKey for what cannot be part of a key (it names the field, prefix or entity), ConfigurationError for a
secret of another type or length.

`CACHECORE_IMPLEMENTATION` in the environment forces `cython` or `python`, and importing this module raises
ConfigurationError if that cannot be had. Unset or empty: the compiled one if it can be imported. The keys are
the same; `implementation` says which it is.
"""

from typing import TYPE_CHECKING

from cachecore._keys_py import KeyValue
from cachecore.compiled import Implementation, choose

__all__ = ["IdentityMaker", "KeyMaker", "KeyValue", "implementation", "make_key", "make_keys"]

implementation: Implementation

if TYPE_CHECKING:
    from cachecore._keys_py import IdentityMaker, KeyMaker, make_key, make_keys
else:
    _module, implementation = choose("cachecore._keys_c", "cachecore._keys_py")
    IdentityMaker = _module.IdentityMaker
    KeyMaker = _module.KeyMaker
    make_key = _module.make_key
    make_keys = _module.make_keys
