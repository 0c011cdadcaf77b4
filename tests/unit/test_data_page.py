"""docs/data.md and configs/data: every block that people copy is one, and says no less than its kind can."""

import re
import tomllib
from pathlib import Path

import pytest

from fl.data.own.block import KINDS, parse_block, read_block
from node.config import parse_config
from node.data_sets.catalogue import DATA_SETS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "data.md").read_text()
BLOCKS = [each for each in re.findall(r"```toml\n(.*?)```", PAGE, re.S) if each.startswith("kind")]
EXAMPLES = sorted((ROOT / "configs" / "data").glob("*.toml"))


@pytest.mark.parametrize("text", BLOCKS, ids=lambda text: text.split('"')[1])
def test_a_block_of_the_page_is_one(text: str):
    assert parse_block(tomllib.loads(text), ROOT, "block").kind in KINDS


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_one_too(path: Path):
    assert read_block(path).kind == path.stem


def test_page_and_examples_show_every_kind_and_the_page_every_entry():
    assert {path.stem for path in EXAMPLES} == {"arrays", "csv", "images", "sql"}
    shown = {tomllib.loads(text)["kind"] for text in BLOCKS}
    assert shown | {"npz", "parquet"} == KINDS.keys() | {"csv"}
    entries = {key for kind in KINDS.values() for key in kind.keys}
    assert sorted(entry for entry in entries if not re.search(rf"\b{entry}\b", PAGE)) == []


def test_the_page_shows_a_block_in_a_configuration():
    (text,) = [each for each in re.findall(r"```toml\n(.*?)```", PAGE, re.S) if "[data.block]" in each]
    assert parse_config(f'[node]\nname = "A"\n{text}', ROOT / "config.toml").data.source == "own"


def test_the_page_says_of_every_data_set_how_its_sums_are_known():
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", PAGE.split("how its sums are known")[1], re.M)
    assert rows == list(DATA_SETS)
