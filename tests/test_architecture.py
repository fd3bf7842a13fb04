"""The directions of dependency: core <- backends, core <- integrations, and nothing the other way.

Imports are read from the sources, those of .pyx files included, wherever in a module they stand: an import inside a
function or under TYPE_CHECKING is a dependency too. Core finds backends by dotted name at run time, which is no import.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"cachecore": "cachecore", "cachecore.backends": "backends", "cachecore.integrations": "integrations"}
SUFFIXES = (".py", ".pyi", ".pyx")

TEST_LIBRARIES = {"hypothesis", "pytest", "trustme"}
CONTRACT = {"cachecore.backend", "cachecore.compiled", "cachecore.entries", "cachecore.errors"}
# A library, and the part of the package that may import it: the name of the backend's or integration's module or
# folder must start with this.
CLIENTS = {"redis": "redis", "hiredis": "redis", "pymemcache": "memcached"}
FRAMEWORKS = {"django": "django", "asgiref": "django", "sqlalchemy": "sqlalchemy", "greenlet": "sqlalchemy"}
# What a .pyx file may cimport.
CYTHON = {"cython", "cpython", "libc"}


def modules() -> dict[str, Path]:
    """Every module's dotted name and source; a stub and a .pyx of one name count separately."""
    found: dict[str, Path] = {}
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*")):
            inside = path.relative_to(ROOT / folder)
            # The links cachecore/backends and cachecore/integrations lead to folders that are listed themselves.
            if path.suffix in SUFFIXES and not (package == "cachecore" and inside.parts[0] in FOLDERS.values()):
                found[str(path.relative_to(ROOT))] = path
    return found


def dotted_name(file: str) -> str:
    """The module that a source file, named from the root, is: "backends/memory.py" is cachecore.backends.memory."""
    parts = Path(file).with_suffix("").parts
    if parts[0] != "cachecore":
        parts = ("cachecore", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def python_of(source: str) -> str:
    """The import statements of Cython source, as Python."""
    code = re.sub(r'(?s)""".*?"""|#[^\n]*', "", source)
    names = r"\([^)]*\)|[^(\n;]+"
    statement = re.compile(rf"^\s*(?:from\s+([\w.]+)\s+c?import\s*({names})|c?import\s+([\w. ,]+))", re.MULTILINE)
    return "\n".join(
        f"from {origin} import {imported.strip()}" if origin else f"import {plain.strip()}"
        for origin, imported, plain in statement.findall(code)
    )


def imports(file: str, source: str) -> Iterator[str]:
    """The dotted names that a source imports; a relative import comes with its leading dots."""
    for node in ast.walk(ast.parse(python_of(source) if file.endswith(".pyx") else source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            for alias in node.names:
                # "from cachecore import keys" imports a module, "from cachecore.keys import make_key" does not.
                is_module = origin in FOLDERS and (is_a_module(f"{origin}.{alias.name}") or alias.name.startswith("_"))
                yield f"{origin}.{alias.name}" if is_module else origin


def is_a_module(name: str) -> bool:
    return any(dotted_name(file) == name for file in modules())


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def owner(name: str, package: str) -> str:
    """The backend or integration that a module belongs to: "redis" for cachecore.backends.redis.scripts."""
    return name.removeprefix(package).lstrip(".").split(".")[0].lstrip("_")


def may_import(module: str, imported: str) -> bool:
    """Does the architecture allow this module to import that one?"""
    top = imported.split(".")[0]
    if top in sys.stdlib_module_names:
        return True
    if is_within(module, "cachecore.backends"):
        library = CLIENTS.get(top)
        return (
            any(is_within(imported, allowed) for allowed in (*CONTRACT, "cachecore.backends"))
            or top == "msgspec"
            or (library is not None and owner(module, "cachecore.backends").startswith(library))
        )
    if is_within(module, "cachecore.integrations"):
        mine = owner(module, "cachecore.integrations")
        if is_within(imported, "cachecore.integrations"):
            return mine == owner(imported, "cachecore.integrations")
        if is_within(imported, "cachecore.backends"):
            return False
        if is_within(imported, "cachecore"):
            return not any(part.startswith("_") for part in imported.split("."))
        # typing_extensions only for type checkers, which bring it: the names that are not yet in typing.
        return top in ("msgspec", "typing_extensions") or (top in FRAMEWORKS and FRAMEWORKS[top] == mine)
    if any(is_within(imported, package) for package in ("cachecore.backends", "cachecore.integrations")):
        return False
    return (
        is_within(imported, "cachecore")
        or top == "msgspec"
        or (top in TEST_LIBRARIES and is_within(module, "cachecore.testing"))
    )


def violations(file: str, source: str) -> list[str]:
    """The imports in this source that the architecture forbids."""
    module = dotted_name(file)
    allowed_always = CYTHON if file.endswith(".pyx") else set[str]()
    return [
        f"{file} imports {name}"
        for name in imports(file, source)
        if name.startswith(".") or (name.split(".")[0] not in allowed_always and not may_import(module, name))
    ]


def test_every_import_goes_in_an_allowed_direction() -> None:
    """Core needs only itself and msgspec; backends its contract; integrations its public API and their framework."""
    files = modules()
    assert {"cachecore/errors.py", "backends/__init__.py", "integrations/django/__init__.py"} <= set(files)
    assert [line for file, path in files.items() for line in violations(file, path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("cachecore/cache.py", "import django"),
        ("cachecore/cache.py", "import os, redis.asyncio"),
        ("cachecore/cache.py", "def build():\n    from cachecore.backends.memory import MemoryBackend"),
        ("cachecore/cache.py", "from cachecore import backends"),
        (
            "cachecore/__init__.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import cachecore.integrations",
        ),
        ("cachecore/cache.py", "from . import keys"),
        ("cachecore/cache.py", "import pytest"),
        ("cachecore/testing/suite.py", "import django"),
        ("cachecore/_keys_c.pyx", "from libc.string cimport memcpy\nfrom cachecore.backends import store"),
        ("backends/memory.py", "from cachecore.cache import Cache"),
        ("backends/memory.py", "from cachecore import keys"),
        ("backends/memory.py", "from cachecore.integrations.django import CacheManager"),
        ("backends/memory.py", "import redis"),
        ("backends/redis/scripts.py", "import pymemcache"),
        ("backends/redis/scripts.py", "from ..memory import MemoryBackend"),
        ("backends/_store_c.pyx", "cimport numpy"),
        ("integrations/django/manager.py", "from cachecore._keys_py import make_key"),
        ("integrations/django/manager.py", "from cachecore import _keys_c"),
        ("integrations/django/manager.py", "from cachecore.backends.memory import MemoryBackend"),
        ("integrations/django/manager.py", "import sqlalchemy"),
        ("integrations/django/manager.py", "from cachecore.integrations.sqlalchemy import rows"),
        ("integrations/sqlalchemy/__init__.py", "from cachecore.integrations import django"),
    ],
)
def test_an_import_in_a_forbidden_direction_is_found(file: str, source: str) -> None:
    """The check above can fail: each of these sources breaks exactly one rule."""
    assert len(violations(file, source)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        (
            "cachecore/cache.py",
            "import msgspec\nfrom cachecore import _keys_c, keys\nfrom cachecore.keys import make_key",
        ),
        ("cachecore/registry.py", "import importlib\nimportlib.import_module('cachecore.backends.memory')"),
        ("cachecore/testing/suite.py", "import pytest\nfrom hypothesis import strategies"),
        ("backends/redis/scripts.py", "import redis.asyncio\nfrom cachecore.backends.memory import MemoryBackend"),
        (
            "backends/_store_c.pyx",
            "cimport cython\nfrom libc.stdint cimport (\n    uint32_t,\n)\nfrom cachecore.errors import InvalidKey",
        ),
        (
            "integrations/django/rows.py",
            "from django.db import models\nfrom cachecore.integrations.django import _rows_c",
        ),
        ("integrations/django/manager.py", "from cachecore import Cache\nfrom cachecore.entity import Entity"),
    ],
)
def test_imports_in_allowed_directions_are_not_reported(file: str, source: str) -> None:
    """The check does not cry wolf over what the architecture allows."""
    assert violations(file, source) == []


@pytest.mark.parametrize("folder", FOLDERS.values())
def test_every_folder_with_sources_is_a_package(folder: str) -> None:
    """A folder without __init__.py would be a namespace package, which packaging and the type checkers overlook."""
    holding = {path.parent for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES}
    assert [str(path) for path in holding if not (path / "__init__.py").is_file()] == []


@pytest.mark.parametrize("folder", ["backends", "integrations"])
def test_the_mapped_folders_are_linked_into_the_package(folder: str) -> None:
    """Type checkers, editors and pytest see cachecore.backends and cachecore.integrations through these two links."""
    link = ROOT / "cachecore" / folder
    assert link.is_symlink()
    assert link.resolve() == ROOT / folder


def test_importing_cachecore_imports_no_framework_and_no_client() -> None:
    """Who uses one backend and one framework does not pay for, or need, the others."""
    code = "import cachecore, sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "cachecore" in loaded
    assert not loaded & {*CLIENTS, *FRAMEWORKS, *TEST_LIBRARIES}
