"""What counts as a number in a cell of text, held beside Python's float(), which takes more."""

import math
import random

import numpy as np
import pytest

from fl.data.cells import NotANumber, is_not_finite, numbers_in


@pytest.mark.parametrize("cell", ["1000", "-0.5", "+.5", "5.", "1e3", "1E-3", " 12 ", "\t12\n", "1e-999", "-0", "007"])
def test_a_plain_number_is_what_float_says(cell: str):
    assert numbers_in(["1", cell]).tolist() == [1.0, float(cell)]


@pytest.mark.parametrize("cell", ["nan", "NaN", "-nan", "inf", "-Inf", " Infinity ", "+INFINITY"])
def test_what_is_no_finite_number_in_words_comes_as_it_is(cell: str):
    assert not np.isfinite(numbers_in(["1", cell])[1])
    assert is_not_finite(cell)


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        ("1_000", "a number without _"),
        ("1e1_0", "a number without _"),
        ("\uff11\uff12", "a number in plain digits: this has FULLWIDTH DIGIT ONE"),
        ("\u0663", "a number in plain digits: this has ARABIC-INDIC DIGIT THREE"),
        ("12\u00a0", "a number in plain digits: this has NO-BREAK SPACE"),
        ("\u22125", "a number in plain digits: this has MINUS SIGN"),
        ("1e999", "a number of at most 1.8e+308"),
        ("-" + "9" * 400, "a number of at most 1.8e+308"),
        ("1,5", "a number without a comma: 1234.5"),
        ("1,234.5", "a number without a comma: 1234.5"),
        ("1 000", "a number"),
        ("0x10", "a number"),
        ("1\x00", "a number"),
        ("\x1c5", "a number"),
        ("", "a number"),
        (",", "a number"),
        ("NA", "a number"),
        ("press_1", "a number"),
        ("gro\u00df", "a number"),
    ],
)
def test_anything_else_is_refused_with_its_reason(cell: str, wanted: str):
    with pytest.raises(NotANumber) as refused:
        numbers_in(["1", "nan", cell, "\uff13"])
    assert (refused.value.row, refused.value.wanted) == (2, wanted)


def test_of_any_text_it_is_the_same_number_as_floats_or_none():
    letters, rng = "0123456789..eE+-_ ,nafiNIty\x1f\uff15\u00a0", random.Random(5)
    taken = 0
    for _ in range(20_000):
        cell = "".join(rng.choices(letters, k=rng.randint(1, 5)))
        try:
            (number,) = numbers_in([cell])
        except NotANumber:
            continue
        taken += 1
        assert cell.isascii()
        assert "_" not in cell
        assert number == float(cell) or (math.isnan(number) and math.isnan(float(cell)))
    assert taken > 1000
