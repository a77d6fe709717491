"""A look at a store without opening it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Dict

from ._errors import BY_CODE, KvError
from ._native import PathLike, check, given_path, lib, sized, text
from ._types import Verdict, Verified

# For a size.
NO_FILE = 2**64 - 1


def verify(path: PathLike) -> Verified:
    """Reads all files of the store in the directory path, and says what opening would find.

    Changes nothing, and may run beside an open store. Damage is no exception: verdict, refused and reason tell.
    """
    out = sized("kv_verified")
    check(lib.kv_verify(given_path(path), out))
    found: Dict[str, Any] = {field.name: getattr(out, field.name) for field in fields(Verified)}
    found["verdict"] = Verdict(out.verdict)
    found["refused"] = BY_CODE.get(out.refused, KvError) if out.refused else None
    found["is_open"] = bool(out.is_open)
    for name in ("log_size", "next_size", "checkpoint_size"):
        found[name] = None if found[name] == NO_FILE else found[name]
    for name in ("bad_file", "reason"):
        found[name] = text(found[name]) or None
    return Verified(**found)
