"""What pyproject.toml cannot say: the two mapped folders and the compiled extension modules.

``CACHECORE_EXTENSION`` steers the extension modules: ``auto`` (the default) compiles them where a C
compiler works and otherwise installs the pure Python twins and says so, ``require`` fails the build
without a compiler, ``no`` skips them.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CHOICE = os.environ.get("CACHECORE_EXTENSION", "auto")
if CHOICE not in ("auto", "require", "no"):
    sys.exit(f"CACHECORE_EXTENSION must be auto, require or no, not {CHOICE!r}")

# A folder at the top -> the package that it is installed as (the same mapping as in pyproject.toml).
PACKAGES = {"cachecore": "cachecore", "backends": "cachecore.backends", "integrations": "cachecore.integrations"}


def extension_of(source: Path) -> Extension:
    """The extension module of a .pyx file: backends/_store_c.pyx is cachecore.backends._store_c."""
    top, *inside = source.with_suffix("").parts
    # Never -march=native: gcc 12 makes BLAKE2 three times slower with it.
    return Extension(
        ".".join((PACKAGES[top], *inside)), [str(source)], extra_compile_args=["-O3"], optional=CHOICE == "auto"
    )


class build_extension_modules(build_ext):  # noqa: N801 - setuptools names its commands so
    """Cython's build_ext that, under ``auto``, survives a missing compiler and says what that costs."""

    def initialize_options(self) -> None:
        super().initialize_options()
        self.cython_c_in_temp = True  # the C files are nobody's source: never beside the .pyx, never in an sdist
        self.force = True  # a stale module would be used silently; translating again takes seconds

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception as error:
            if CHOICE == "require":
                sys.exit(f"CACHECORE_EXTENSION is 'require', and {ext.name} could not be compiled: {error}")
            print(
                f"cachecore: {ext.name} was not compiled ({error}). Its pure Python twin is used: the same "
                "results, several times slower. CACHECORE_EXTENSION=require makes this an error.",
                file=sys.stderr,
            )


sources = [source for top in PACKAGES for source in sorted(Path(top).rglob("*.pyx"))]
setup(
    ext_modules=[extension_of(source) for source in sources] if CHOICE != "no" else [],
    cmdclass={"build_ext": build_extension_modules},
)
