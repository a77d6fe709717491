from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _names_of_the_readme(doctest_namespace: dict[str, object], tmp_path: Path) -> None:
    """README.md says what path is; here it is a new one."""
    doctest_namespace["path"] = tmp_path / "store"
