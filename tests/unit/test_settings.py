"""Settings as text: what is parsed, and that what is refused names itself and says what is wanted."""

from dataclasses import dataclass
from typing import Annotated

import pytest

from fl.settings import Choice, Number, Text, Whole, Wholes, parse_settings, setting_notes


class Refused(ValueError):
    pass


@dataclass(frozen=True, slots=True)
class Oven:
    trays: Annotated[int, Whole(1, 9, "trays in it")]
    heat: Annotated[float, Number(50, 300, "degrees")] = 180.0
    mode: Annotated[str, Choice(("bake", "grill"), "how")] = "bake"
    size: Annotated[tuple[int, ...], Wholes(1, 99, 2, 3, "width and depth", separator="x")] = (60, 40)
    note: Annotated[str, Text(5, "for the baker")] = ""


def parse(**given: str) -> Oven:
    return parse_settings(Oven, "oven", given, Refused)


def test_texts_become_typed_values_and_defaults_stay():
    assert parse(trays=" 3 ", size="50x45x40", note=" a ") == Oven(3, 180.0, "bake", (50, 45, 40), " a ")


@pytest.mark.parametrize("heat", ["100", "+100.", "1e2", "1.0E+02", "0100", "1000e-1", ".1e3"])
def test_a_number_is_written_in_any_plain_way(heat):
    assert parse(trays="1", heat=heat).heat == 100.0


def test_a_note_gives_back_text_that_parses_to_the_default():
    notes = {note.name: note for note in setting_notes(Oven)}
    assert notes["trays"].default is None
    defaults = {name: note.default for name, note in notes.items() if note.default is not None}
    assert parse(trays="1", **defaults) == Oven(1)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "needs trays"),
        ({"trays": "0"}, "trays is '0', want a whole number in 1..9"),
        ({"trays": "1.0"}, "trays"),
        ({"trays": "٣"}, "trays"),
        ({"trays": "9" * 5000}, "trays"),
        ({"trays": "1", "heat": "nan"}, "heat"),
        ({"trays": "1", "heat": "inf"}, "heat"),
        ({"trays": "1", "heat": "1e400"}, "heat"),
        ({"trays": "1", "heat": "1_00"}, "heat is '1_00', want a number in 50..300"),
        ({"trays": "1", "heat": "1\u0660\u0660"}, "heat"),
        ({"trays": "1", "heat": "100,5"}, "heat"),
        ({"trays": "1", "heat": "."}, "heat"),
        ({"trays": "1", "mode": "Bake"}, "one of bake, grill"),
        ({"trays": "1", "size": "60"}, "2 to 3 whole numbers"),
        ({"trays": "1", "size": "60x0"}, "size"),
        ({"trays": "1", "size": "1x2x3x4"}, "size"),
        ({"trays": "1", "note": "sixsix"}, "at most 5 characters"),
        ({"trays": "1", "haet": "200"}, "oven has no setting haet"),
    ],
)
def test_what_is_not_wanted_is_refused_by_name(given, named):
    with pytest.raises(Refused, match="oven") as refused:
        parse(**given)
    assert named in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_value_that_is_no_text_is_refused():
    with pytest.raises(Refused, match="written as text"):
        parse_settings(Oven, "oven", {"trays": 3}, Refused)  # type: ignore[dict-item]
