"""What was installed: the declarations agree with the library, and the library is the right one."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, Type

import pytest

import kvwal
from kvwal import _errors, _ffi, _native
from kvwal._native import ffi, lib

PACKAGE = Path(kvwal.__file__).parent


def constants(prefix: str) -> Dict[str, int]:
    return {name[len(prefix) :]: getattr(lib, name) for name in dir(lib) if name.startswith(prefix)}


def test_installed_package_is_meant() -> None:
    assert (PACKAGE / "libkvwal.so").is_file() and (PACKAGE / "py.typed").is_file()
    assert Path(sys.prefix) in PACKAGE.parents
    assert re.fullmatch(r"\d+\.\d+\.\d+", kvwal.__version__)


def test_version_of_the_wheel() -> None:
    from importlib.metadata import version

    assert version("kvwal") == kvwal.__version__


@pytest.mark.parametrize(
    "plain, struct",
    [
        (kvwal.Stats, "kv_stats"),
        (kvwal.Recovery, "kv_recovery"),
        (kvwal.Verified, "kv_verified"),
        (kvwal.Restored, "kv_restored"),
    ],
)
def test_fields(plain: Type[object], struct: str) -> None:
    declared = [name for name, _ in ffi.typeof(struct).fields]
    assert [field.name for field in dataclasses.fields(plain)] == declared[1:]  # type: ignore[arg-type]


def test_struct_sizes() -> None:
    options = ffi.new("kv_options *")
    lib.kv_options_init(options)
    assert options.struct_size == ffi.sizeof("kv_options")


def test_every_error_has_its_exception() -> None:
    errors = {name: code for name, code in constants("KV_").items() if code < 0}
    assert sorted(_errors.BY_CODE) == sorted(errors.values())
    for name, code in errors.items():
        expected = {"BUFFER": "BufferTooSmall"}.get(name, name.title().replace("_", "")) + "Error"
        assert _errors.BY_CODE[code].__name__ == expected
        assert getattr(kvwal, expected) is _errors.BY_CODE[code]
    assert _errors.error_of(-99, "from the future").__class__ is kvwal.KvError


@pytest.mark.parametrize(
    "plain, prefix",
    [(kvwal.SyncMode, "KV_SYNC_"), (kvwal.RecoveryMode, "KV_RECOVER_"), (kvwal.Verdict, "KV_TAIL_")],
)
def test_modes(plain: Type[object], prefix: str) -> None:
    assert {member.name: member.value for member in plain} == constants(prefix)  # type: ignore[attr-defined]


def test_answers_and_operations() -> None:
    assert kvwal.LaggedError.code == lib.KV_LAGGED
    assert (kvwal.Op.PUT, kvwal.Op.DELETE) == (lib.WAL_OP_PUT, lib.WAL_OP_DELETE)


def test_everything_is_exported() -> None:
    assert all(hasattr(kvwal, name) for name in kvwal.__all__)
    assert kvwal.__all__ == sorted(kvwal.__all__, key=lambda name: (not name.isupper(), name))


def test_every_function_is_in_the_library() -> None:
    functions = [name for name in dir(lib) if name.startswith(("kv_", "wal_"))]
    assert len(functions) > 20 and all(getattr(lib, name) for name in functions)
    assert _ffi.ffi is ffi


def test_nothing_is_left_out_but_what_the_readme_says(request: pytest.FixtureRequest) -> None:
    functions = {name for name in dir(lib) if name.startswith(("kv_", "wal_"))}
    sources = "".join(source.read_text() for source in PACKAGE.glob("_[a-z]*.py") if source.name != "_ffi.py")
    used = set(re.findall(r"\blib\.((?:kv|wal)_\w+)", sources))
    readme = (request.config.rootpath / "README.md").read_text()
    left_out = set(re.findall(r"`((?:kv|wal)_\w+)`", readme.split("**Left out on purpose**")[1].split("\n- ")[0]))
    assert functions - used == left_out


def import_a_copy(tmp_path: Path, library: str) -> "subprocess.CompletedProcess[str]":
    """Imports a copy of the package that has no library inside."""
    shutil.copytree(PACKAGE, tmp_path / "kvwal", ignore=shutil.ignore_patterns("libkvwal.so"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "KVWAL_LIBRARY": library}
    program = "import kvwal; print(kvwal.__file__, kvwal.__version__)"
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)


def test_library_of_the_environment(tmp_path: Path) -> None:
    done = import_a_copy(tmp_path, str(PACKAGE / "libkvwal.so"))
    assert done.stdout == f"{tmp_path}/kvwal/__init__.py {kvwal.__version__}\n", done.stderr


def test_library_is_missing(tmp_path: Path) -> None:
    done = import_a_copy(tmp_path, "/nowhere/libkvwal.so")
    assert "ImportError: kvwal finds no library" in done.stderr and "/nowhere/libkvwal.so" in done.stderr


def test_soname_is_that_of_the_library() -> None:
    assert _native.SONAME.encode() in (PACKAGE / "libkvwal.so").read_bytes()
