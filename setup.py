"""What pyproject.toml cannot say: the two mapped folders and the compiled extension modules.

``CACHECORE_EXTENSION`` steers the extension modules: ``auto`` (the default) compiles them where a C
compiler works and otherwise installs the pure Python twins and says so, ``require`` fails the build
without a compiler, ``no`` skips them.
"""

import os
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CHOICE = os.environ.get("CACHECORE_EXTENSION", "auto")
if CHOICE not in ("auto", "require", "no"):
    sys.exit(f"CACHECORE_EXTENSION must be auto, require or no, not {CHOICE!r}")

# The module's dotted name -> its source, relative to this file.
SOURCES = {
    "cachecore._keys_c": "cachecore/_keys_c.pyx",
    "cachecore.backends._store_c": "backends/_store_c.pyx",
    "cachecore.integrations.django._rows_c": "integrations/django/_rows_c.pyx",
}


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


# Never -march=native: gcc 12 makes BLAKE2 three times slower with it.
EXTENSIONS = [
    Extension(name, [path], extra_compile_args=["-O3"], optional=CHOICE == "auto") for name, path in SOURCES.items()
]

setup(
    ext_modules=EXTENSIONS if CHOICE != "no" else [],
    cmdclass={"build_ext": build_extension_modules},
)
