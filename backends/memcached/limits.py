"""What servers, sockets and patience allow: numbers that several modules must agree on."""

MAX_KEY = 250
"""Bytes of a key."""

LONGEST_LINE = 300
"""Bytes; the line before a value is shorter."""

WINDOW = 1 << 16
"""Bytes of commands that are sent before replies are read. They fit into the buffers of sockets, so that the two ends
never both wait for the other to read."""

CHUNK = 1 << 16
"""Bytes received at a time."""

LOOK_EVERY = 1.0
"""Seconds for which a connection is used without a look at it."""

ITEM_OVERHEAD = 512
"""More than what an item needs beside its key and data. A value that does not fit is so known before it is sent: a
server that refuses one for its size drops what stands there, be it a hold."""

MAX_RELATIVE = 30 * 24 * 3600
"""Seconds; the server takes a longer time to live for a point in time."""
