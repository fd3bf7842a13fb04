"""The scripts that run on the server: one for each row of the table in `cachecore.entries`, for one key each.

Each begins with what stands under the key, and changes it as the function of the same name in `cachecore.entries` does.

* ``ARGV[1]`` is the head of everything that this connection stores: magic, format, incarnation (11 bytes). The kind
  follows as byte 12, then the body; a hold's is pairs of token and deadline, 16 bytes each.
* A Hold counts whatever incarnation wrote it, so that one survives a failover and the move of a slot. But COMPLETE
  leaves a value only in place of a hold of this incarnation: in the life of another it may have been shared.
* Time is the server's (TIME), in seconds; a hold expires as a key when its last deadline passes.
* Where somebody keeps another type under our key, GET fails: that reads as the empty string, which is no entry.
* PREPARE, COMPLETE and release may use memory beyond the limit (``allow-oom``, Redis 7.0): a full server must still
  be told what is outdated. What they write is tiny, and gone in seconds. COMPLETE with a value may not.
"""

import hashlib
from typing import Final

_READ = """
local raw = redis.pcall('GET', KEYS[1])
if type(raw) == 'table' then raw = '' end
"""

# others: the live tokens of other writers, as stored, and until: the last of their deadlines. mine: whether our token
# is in it. shared, foreign: what the hold says of itself.
_HOLD = (
    _READ
    + """
local head, token = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local others, last, mine, shared, foreign = '', 0, false, false, false
if raw and #raw > 12 and #raw % 16 == 12 and raw:sub(1, 3) == head:sub(1, 3) then
  local kind = raw:sub(12, 12)
  if kind == 'h' or kind == 's' then
    shared, foreign = kind == 's', raw:sub(1, 11) ~= head
    local live = false
    for at = 13, #raw, 16 do
      local deadline = struct.unpack('>d', raw, at + 8)
      if deadline > now then live = true end
      if raw:sub(at, at + 7) == token then
        mine = true
      elseif deadline > now then
        others = others .. raw:sub(at, at + 15)
        if deadline > last then last = deadline end
      end
    end
    mine = mine and live
  end
end
local function keep(kind, holders, deadline)
  redis.call('SET', KEYS[1], head .. kind .. holders, 'PXAT', string.format('%.0f', math.ceil(deadline * 1000)))
end
"""
)


class Script:
    """One script: its text, and how a command names it by its hash or in full."""

    def __init__(self, text: str, *, may_exceed_memory: bool = False) -> None:
        self.text: Final = ("#!lua flags=allow-oom\n" if may_exceed_memory else "") + text
        body = self.text.encode()
        self.sha1: Final = hashlib.sha1(body, usedforsecurity=False).hexdigest()
        self.by_hash: Final = b"$7\r\nEVALSHA\r\n$40\r\n%b\r\n" % self.sha1.encode()
        self.in_full: Final = b"$4\r\nEVAL\r\n$%d\r\n%b\r\n" % (len(body), body)


FILL: Final = Script(
    # ARGV: the lease; the value; milliseconds to live, if it is to expire.
    _READ
    + """
if raw ~= ARGV[1] then return 0 end
if ARGV[3] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) else redis.call('SET', KEYS[1], ARGV[2]) end
return 1
"""
)

ABANDON: Final = Script(
    # ARGV: the lease.
    _READ
    + """
if raw ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""
)

DISPLACE: Final = Script(
    # ARGV: head; the lease; its milliseconds to live; what was seen, if a lease may replace it.
    _READ
    + """
if raw and raw ~= ARGV[4] then
  local kind = raw:sub(12, 12)
  local another = #raw >= 12 and raw:sub(1, 3) == ARGV[1]:sub(1, 3) and raw:sub(1, 11) ~= ARGV[1]
  if not another or kind == 'h' or kind == 's' then return raw end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return false
"""
)

HELD: Final = 7101
"""What HOLD replies, and nothing else does: without it nobody sends COMMIT."""

HOLD: Final = Script(
    # ARGV: head; token; milliseconds to live.
    _HOLD
    + """
local deadline = now + ARGV[3] / 1000
local kind = (others ~= '' or mine and (shared or foreign)) and 's' or 'h'
keep(kind, others .. token .. struct.pack('>d', deadline), math.max(last, deadline))
"""
    + f"return {HELD}\n",
    may_exceed_memory=True,
)

_COMPLETE = (
    # ARGV: head; token; then, to leave a value, the value and its milliseconds to live, if it is to expire.
    _HOLD
    + """
if others ~= '' then
  keep('s', others, last)
elseif ARGV[3] and mine and not shared and not foreign then
  if ARGV[4] then redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4]) else redis.call('SET', KEYS[1], ARGV[3]) end
elseif raw then
  redis.call('DEL', KEYS[1])
end
return 1
"""
)

COMPLETE: Final = Script(_COMPLETE, may_exceed_memory=True)
COMPLETE_WITH_VALUE: Final = Script(_COMPLETE)

RELEASE: Final = Script(
    # ARGV: head; token.
    _HOLD
    + """
if others ~= '' and mine then
  keep('s', others, last)
elseif mine then
  redis.call('DEL', KEYS[1])
end
return 1
""",
    may_exceed_memory=True,
)

SWAP: Final = Script(
    # ARGV: how the value that is to be replaced begins: head, kind and stamp; the new value; milliseconds to live.
    _READ
    + """
if not raw or raw:sub(1, #ARGV[1]) ~= ARGV[1] then return 0 end
if ARGV[3] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) else redis.call('SET', KEYS[1], ARGV[2]) end
return 1
"""
)

_SCRIPTS: Final = (FILL, ABANDON, DISPLACE, HOLD, COMPLETE, COMPLETE_WITH_VALUE, RELEASE, SWAP)


def in_full(command: bytes) -> bytes:
    """The beginning of a command that named its script by the hash, with the script in full instead."""
    for script in _SCRIPTS:
        if script.by_hash in command:
            return command.replace(script.by_hash, script.in_full, 1)
    raise AssertionError(command)
