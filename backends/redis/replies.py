"""What replies mean: entries, the identity of a server, and which error of `cachecore.errors` a refusal is."""

import re
from collections.abc import Callable, Mapping
from hashlib import blake2s
from typing import Any, Final

import msgspec

from cachecore.backends.redis.resp import ErrorReply, Garbled
from cachecore.backends.redis.straight import plain_value
from cachecore.entries import FORMAT, INCARNATION_BYTES, MAGIC, Entry, Unusable, decode_entry
from cachecore.errors import BackendError, BackendMisconfigured, BackendUnavailable

# What a command expects; a number from 0 on is an array of that many entries.
ENTRY: Final = -1
NUMBER: Final = -2
STATUS: Final = -3
TEXT: Final = -4
RAW: Final = -5


class _Foreign:
    def __repr__(self) -> str:
        return "FOREIGN"


FOREIGN: Final = _Foreign()
"""The reply where a Value or Lease of another incarnation is: nothing stands, but something is in the way."""

_KIND = 3 + INCARNATION_BYTES


class Decoder:
    """Turns the replies of a server of one incarnation into what their commands expect. Raises Garbled."""

    def __init__(self, incarnation: bytes) -> None:
        self.incarnation = incarnation
        self.head = MAGIC + bytes([FORMAT]) + incarnation
        """How every entry of this incarnation begins."""
        self.by_kind: Mapping[int, Callable[[Any], Any]] = {
            ENTRY: self.entry,
            NUMBER: self._number,
            STATUS: self._status,
            TEXT: self._text,
            RAW: lambda reply: reply,
        }

    def entry(self, reply: Any) -> Entry | _Foreign | ErrorReply | None:
        """A stored entry; None where there is none."""
        if type(reply) is bytes:
            value = plain_value(reply, self.head)
            if value is not None:
                return value
            # A hold counts whoever wrote it (see scripts).
            written_by = reply[3:_KIND] if reply[_KIND : _KIND + 1] in (b"h", b"s") else self.incarnation
            found = decode_entry(reply, written_by)
            return FOREIGN if found is None else found
        if reply is None:
            return None
        if type(reply) is ErrorReply:
            # Somebody keeps a list or a hash under our key.
            return Unusable("corrupt", b"") if reply.text.startswith("WRONGTYPE") else reply
        raise Garbled(f"{_shown(reply)} instead of an entry")

    def entries(self, reply: Any, count: int) -> Any:
        """An array of ``count`` entries."""
        items: Any = reply
        # A refusal of one item is not what MGET replies, and no answer about its key.
        if isinstance(items, list) and len(reply) == count and ErrorReply not in map(type, reply):
            return [self.entry(item) for item in reply]
        if type(reply) is ErrorReply:
            return reply
        raise Garbled(f"{_shown(reply)} instead of {count} entries")

    def _number(self, reply: Any) -> Any:
        if type(reply) is int or type(reply) is ErrorReply:
            return reply
        raise Garbled(f"{_shown(reply)} instead of a number")

    def _status(self, reply: Any) -> Any:
        if type(reply) is ErrorReply:
            return reply
        if reply == b"OK":
            return True
        raise Garbled(f"{_shown(reply)} instead of OK")

    def _text(self, reply: Any) -> Any:
        if type(reply) is bytes:
            return reply.decode("utf-8", "replace")
        if type(reply) is ErrorReply:
            return reply
        raise Garbled(f"{_shown(reply)} instead of a text")


def _shown(reply: Any) -> str:
    text = repr(reply)
    return text if len(text) <= 60 else f"{text[:60]}..."


# -- refusals -----------------------------------------------------------------------------------------

_NOT_NOW = ("LOADING", "BUSY", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "OOM", "NOREPLICAS")
_NOT_FOR_US = ("NOAUTH", "WRONGPASS", "NOPERM", "DENIED", "NOPROTO")


def is_full(reply: ErrorReply) -> bool:
    """Whether the server refused for want of memory."""
    return reply.text.startswith("OOM")


def is_unknown_script(reply: ErrorReply) -> bool:
    """Whether the server has forgotten a script, as after a restart or SCRIPT FLUSH."""
    return reply.text.startswith("NOSCRIPT")


def failure(reply: ErrorReply) -> BackendError:
    """What a refusal means. "It is a replica" counts as unavailable: the primary is elsewhere for the moment."""
    word = reply.text.partition(" ")[0]
    message = f"{reply.server}: {reply.text}"
    if word.endswith(_NOT_FOR_US):
        return BackendMisconfigured(message)
    if word in _NOT_NOW:
        return BackendUnavailable(message)
    return BackendError(message)


# -- who the server is --------------------------------------------------------------------------------

OLDEST: Final = (7, 0)


class Identity(msgspec.Struct, frozen=True):
    """What INFO says of a server."""

    run_id: str
    """Random, new with every start."""
    history: str
    """Names the stream of its writes (master_replid): new with every start, and when a replica becomes the primary."""
    role: str
    version: str
    policy: str
    """maxmemory_policy."""
    max_memory: int

    @property
    def incarnation(self) -> bytes:
        """What differs after a restart and after a failover (rule R8).

        Not the run id alone: a primary that was demoted, took over an older state and became primary again is the same
        process, and would believe values of its first reign whose outdating it lost meanwhile.
        """
        return blake2s(f"{self.run_id} {self.history}".encode(), digest_size=INCARNATION_BYTES).digest()

    def is_same_reign(self, info: str) -> bool:
        """Whether ``info``, the reply to INFO replication, is still that of the same primary."""
        now = _fields(info)
        return now.get("role") == "master" and now.get("master_replid", "") == self.history

    def warnings(self, server: str) -> list[str]:
        """Sentences on what weakens the promise on this server."""
        found: list[str] = []
        if self.max_memory and self.policy != "noeviction":
            first = ", and this one evicts them first" if self.policy == "volatile-ttl" else ""
            found.append(
                f"{server} may evict the holds of writers when its memory is full (maxmemory-policy {self.policy}"
                f"{first}): a reader may then cache a row that is just being written, and if the writer is also killed "
                "before it has finished, that row is outdated until its TTL ends; give it memory enough, or choose "
                "noeviction."
            )
        if self.role != "master":
            found.append(
                f"{server} is a {self.role} and refuses writes: name the primary, its sentinels or the cluster."
            )
        return found


def _fields(info: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in info.splitlines() if ":" in line)


def read_identity(info: str, server: str) -> Identity:
    """Who a server is by its reply to INFO. Raises BackendMisconfigured if that does not say, or it is too old."""
    found = _fields(info)
    version = found.get("redis_version", "")
    try:
        numbers = tuple(int(part) for part in version.split(".")[:2])
    except ValueError:
        numbers = ()
    if not numbers:
        raise BackendMisconfigured(f"{server} does not say in INFO which version of Redis it is")
    if numbers < OLDEST:
        raise BackendMisconfigured(f"{server} is Redis {version}; 7.0 is the oldest that can be used")
    if not found.get("run_id"):
        raise BackendMisconfigured(
            f"{server} does not say in INFO what its run_id is: values that come back after a restart could not be told"
        )
    max_memory = found.get("maxmemory", "0")
    return Identity(
        run_id=found["run_id"],
        history=found.get("master_replid", ""),
        role=found.get("role", "master"),
        version=version,
        policy=found.get("maxmemory_policy", "noeviction"),
        max_memory=int(max_memory) if re.fullmatch("[0-9]{1,20}", max_memory) else 0,
    )
