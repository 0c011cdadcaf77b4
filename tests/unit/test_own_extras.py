"""What only an extra brings is asked for by its name when it is not installed."""

import sys
from pathlib import Path

import pytest

from fl.data.errors import DataError
from fl.data.own.block import parse_block
from node.data_sets import cwru
from node.data_sets.remote import FetchError

TABLE = {"label": "y", "classes": ["a"], "features": [{"column": "x", "low": 0, "high": 1}]}
PICTURES = {"kind": "images", "path": "parts", "classes": ["a"], "size": [2, 2], "colour": "grey"}


@pytest.mark.parametrize(
    ("module", "block", "said"),
    [
        ("PIL", PICTURES, r"0\.png: is a picture, want pillow to read it: pip install 'hanse\[data\]'"),
        ("pyarrow", {"kind": "parquet", "path": "t", **TABLE}, r"want pyarrow to read it: pip install 'hanse\[data\]'"),
        (
            "sqlalchemy",
            {"kind": "sql", "url_env": "PLANT", "query": "SELECT 1", "key": "id", **TABLE},
            r"the database of \$PLANT wants sqlalchemy to be read: pip install 'hanse\[sql\]'",
        ),
    ],
)
def test_a_kind_says_what_it_is_read_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, block: dict[str, object], said: str
):
    (tmp_path / "parts" / "a").mkdir(parents=True)
    (tmp_path / "parts" / "a" / "0.png").touch()
    (tmp_path / "t").touch()
    monkeypatch.setenv("PLANT", "postgresql://host/plant")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=said):
        parse_block(block, tmp_path, "block").load()


def test_the_recordings_say_what_they_are_read_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(
        FetchError, match=r"97\.mat is a \.mat file, want scipy to read it: pip install 'hanse\[data\]'"
    ):
        cwru.convert(tmp_path, tmp_path)
