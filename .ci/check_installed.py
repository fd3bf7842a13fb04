"""Is cachecore, as installed, whole? Run by a virtual environment's Python, outside the checkout.

Usage: python check_installed.py cython|python    (the implementation that must be in use)
"""

import sys
from importlib import metadata, util

import cachecore
from cachecore import Cache, keys, make_key

expected = sys.argv[1]
files = [str(path) for path in metadata.files("cachecore") or []]
compiled = sorted(path for path in files if path.endswith((".so", ".pyd")))
sources = sorted(path for path in files if path.endswith(".pyx"))

assert cachecore.__file__.startswith(sys.prefix), f"imported from {cachecore.__file__}, not from {sys.prefix}"
for folder in ("backends", "integrations"):
    assert util.find_spec(folder) is None, f"{folder} is installed as a top-level package"
for module in ("backends.memory", "integrations.django", "testing"):
    assert f"cachecore/{module.replace('.', '/')}" in " ".join(files), f"cachecore.{module} is not installed"
assert "cachecore/py.typed" in files, "py.typed is not installed"
assert keys.implementation == expected, f"keys.implementation is {keys.implementation}, expected {expected}"
assert len(compiled) == (len(sources) if expected == "cython" else 0), f"compiled: {compiled}, sources: {sources}"

assert make_key("shop", "City", {"slug": "oslo-no"}).startswith("shop:City:")
with Cache("memory://", namespace="shop", ttl=300) as cache:
    cache.set("greeting", {"en": "hello"})
    assert cache.get("greeting") == {"en": "hello"}

python = ".".join(map(str, sys.version_info[:3]))
print(f"cachecore {metadata.version('cachecore')} on Python {python}: {keys.implementation}, {len(compiled)} compiled")
