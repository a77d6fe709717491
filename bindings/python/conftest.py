from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _names_of_the_readme(doctest_namespace: dict[str, object], tmp_path: Path) -> None:
    """README.md says what path, backup and restored are; here they are new ones."""
    doctest_namespace["path"] = tmp_path / "store"
    doctest_namespace["backup"] = tmp_path / "backup"
    doctest_namespace["restored"] = tmp_path / "restored"
