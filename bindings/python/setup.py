"""What pyproject.toml cannot say: the wheel holds libkvwal.so, and declarations made from kvwal.h.

Both lie beside this file in the copy of this directory that `make wheel` builds from.
"""

import re
import shutil
from pathlib import Path

from cffi import FFI
from setuptools import setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:
    from wheel.bdist_wheel import bdist_wheel

HERE = Path(__file__).resolve().parent
HEADER = HERE / "kvwal.h"
LIBRARY = HERE / "libkvwal.so"


def declarations(header: str) -> str:
    """What cffi understands of the header: types, functions and whole numbers."""
    header = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    header = re.sub(r"#ifdef __cplusplus.*?#endif[^\n]*", "", header, flags=re.DOTALL)
    header = re.sub(r"^#define (\w+) \(?(-?\d+)\)?$", r"@define \1 \2", header, flags=re.MULTILINE)
    header = re.sub(r"^#.*$", "", header, flags=re.MULTILINE)
    return header.replace("@define", "#define")


class BuildWithLibrary(build_py):
    """Puts the library and the module that declares it into the package."""

    def run(self) -> None:
        super().run()
        package = Path(self.build_lib) / "kvwal"
        ffi = FFI()
        ffi.cdef(declarations(HEADER.read_text(encoding="utf-8")))
        ffi.set_source("kvwal._ffi", None)
        ffi.emit_python_code(str(package / "_ffi.py"))
        shutil.copyfile(LIBRARY, package / "libkvwal.so")


class PlatformWheel(bdist_wheel):
    """The wheel is for one platform, but for any Python: nothing in it is compiled against one."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> "tuple[str, str, str]":
        return ("py3", "none", super().get_tag()[2])


for needed in (HEADER, LIBRARY):
    if not needed.exists():
        raise SystemExit(f"kvwal: {needed.name} is not beside setup.py; build the wheel with 'make wheel'")

setup(
    version=re.search(r'KVWAL_VERSION_STRING "(.+)"', HEADER.read_text(encoding="utf-8")).group(1),
    cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": PlatformWheel},
)
