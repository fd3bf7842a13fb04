"""Every error cachecore raises: one root, and leaves that say whose fault it is."""


class CachecoreError(Exception):
    """The root of all errors of this package."""


class ConfigurationError(CachecoreError, ValueError):
    """A setting, a URL or a declaration is wrong; the message names it and its value. Raised when it is read."""


class InvalidKey(CachecoreError, ValueError):
    """A value, field, prefix or entity that cannot be part of a key; the message names it. Nothing was looked up."""


class UncacheableLookup(CachecoreError, ValueError):
    """The caller asked for a row in a way no key stands for; the message names the lookups that exist."""


class UnsupportedValue(CachecoreError, ValueError):
    """A value or row that has no faithful stored form. Nothing was stored."""


class ClosedError(CachecoreError, RuntimeError):
    """The cache, its backend or its unit of work was used after it ended."""


class BackendError(CachecoreError):
    """The backend failed. A read then answers from the database; what a write does is the entity's policy."""


class BackendUnavailable(BackendError):
    """The backend could not be reached, or its circuit breaker is open."""


class BackendTimeout(BackendError):
    """The backend did not answer in time; whether it carried out the request is unknown."""


class BackendMisconfigured(BackendError):
    """The server answers and will not serve us: password, TLS, version or role; the message says which."""


class WriteRefused(BackendError):
    """PREPARE was not acknowledged and the policy is "refuse": raised before COMMIT, so nothing was written."""


class CorruptEntry(CachecoreError, ValueError):
    """Stored bytes that are not an entry of this format. Inside the package this becomes a counted miss."""
