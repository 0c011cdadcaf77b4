"""Where real data sets are. A machine without them skips the tests that need them; the continuous build must not."""

import os
from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def shared_data(name: str) -> Path:
    """The folder or file of a shared data set."""
    path = SHARED_DATA / name
    if path.exists():
        return path
    if os.environ.get("CI"):
        pytest.fail(f"{path} is missing, and CI is set: the build needs the data sets")
    pytest.skip(f"the data set {name} is not at {path}")
