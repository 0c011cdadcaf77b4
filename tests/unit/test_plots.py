"""Pictures: the figures that are drawn are those that were given, and the same figures give the same files."""

import math
import re
from statistics import mean, stdev

import numpy as np
import pytest

from node.federations.pictures import draw_runs, runs_under
from node.federations.result_files import RunFolderError
from node.plots.bars import Bar, draw_bars, draw_stacks
from node.plots.drawing import COLOURS, TEN_COLOURS, picture, shades
from node.plots.lines import Line, draw_lines
from tests.support.run_folders import written_run

PNG = b"\x89PNG\r\n\x1a\n"


def drawn(folder, draw, name="it"):
    """The axes of a picture after it is written."""
    with picture(folder, name) as axes:
        draw(axes)
    return axes


class TestLines:
    def test_a_line_is_the_mean_of_its_runs_and_a_band_of_one_deviation(self, tmp_path):
        runs = [{1: 0.5, 2: 0.7, 3: 0.9}, {1: 0.6, 2: 0.8}, {1: 0.1, 2: math.nan}]
        axes = drawn(tmp_path, lambda axes: draw_lines(axes, [Line("three seeds", runs)], "Accuracy", "share"))
        (line,) = axes.get_lines()
        middles = [mean([0.5, 0.6, 0.1]), mean([0.7, 0.8]), 0.9]
        assert np.allclose(line.get_xydata(), [[1, middles[0]], [2, middles[1]], [3, middles[2]]])
        (band,) = axes.collections
        corners = {(round(x, 9), round(y, 9)) for x, y in band.get_paths()[0].vertices}
        low, high = middles[0] - stdev([0.5, 0.6, 0.1]), middles[0] + stdev([0.5, 0.6, 0.1])
        assert {(1.0, round(low, 9)), (1.0, round(high, 9))} <= corners
        assert (axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()) == ("Accuracy", "round", "share")

    def test_one_run_has_no_band_and_many_lines_differ_in_more_than_colour(self, tmp_path):
        lines = [Line(f"run {at}", [{1: 0.1 * at, 2: 0.2}]) for at in range(len(COLOURS) + 2)]
        axes = drawn(tmp_path, lambda axes: draw_lines(axes, lines, "t", "u"))
        assert not axes.collections
        looks = {(line.get_color(), line.get_linestyle()) for line in axes.get_lines()}
        assert len(looks) == len(lines)
        assert [text.get_text() for text in axes.get_legend().get_texts()] == [line.label for line in lines]

    def test_lines_that_belong_together_share_a_colour(self, tmp_path):
        lines = [Line("global", [{1: 0.1}], 3, 0), Line("own", [{1: 0.2}], 3, 1)]
        axes = drawn(tmp_path, lambda axes: draw_lines(axes, lines, "t", "u"))
        looks = [(line.get_color(), line.get_linestyle()) for line in axes.get_lines()]
        assert looks == [(COLOURS[3], "-"), (COLOURS[3], "--")]

    def test_a_line_without_figures_is_left_out(self, tmp_path):
        lines = [Line("empty", [{}]), Line("there", [{1: 1.0}])]
        axes = drawn(tmp_path, lambda axes: draw_lines(axes, lines, "t", "u"))
        assert [line.get_label() for line in axes.get_lines()] == ["there"]


class TestBars:
    def test_a_stack_is_as_high_as_the_client_has_records(self, tmp_path):
        counts = np.array([[3, 0, 5], [1, 2, 0]], np.int64)
        axes = drawn(tmp_path, lambda axes: draw_stacks(axes, counts, ("good", "bad", "ugly"), "Classes"))
        tops: dict[float, float] = {}
        for bar in axes.patches:
            place = bar.get_x() + bar.get_width() / 2
            tops[place] = max(tops.get(place, 0), bar.get_y() + bar.get_height())
        assert tops == {0.0: 8.0, 1.0: 3.0}
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["ugly", "bad", "good"]

    def test_of_very_many_clients_every_kth_is_shown_under_its_own_place(self, tmp_path):
        counts = np.arange(1000, dtype=np.int64).reshape(-1, 1)
        axes = drawn(tmp_path, lambda axes: draw_stacks(axes, counts, ("all",), "Classes"))
        assert [bar.get_height() for bar in axes.patches] == list(range(0, 1000, 10))
        assert [tick.get_text() for tick in axes.get_xticklabels()] == [str(at) for at in range(0, 1000, 50)]
        assert axes.get_xlabel() == "client: one in 10 of 1000"

    def test_many_classes_are_a_scale_and_few_have_a_colour_each(self, tmp_path):
        assert len(set(shades(8))) == 8
        assert tuple(shades(10)) == TEN_COLOURS
        assert len(set(shades(65))) == 65
        counts = np.ones((3, 65), np.int64)
        axes = drawn(tmp_path, lambda axes: draw_stacks(axes, counts, [str(at) for at in range(65)], "Characters"))
        assert axes.get_legend() is None
        assert "65 classes" in axes.texts[0].get_text()

    def test_bars_show_their_spread(self, tmp_path):
        axes = drawn(tmp_path, lambda axes: draw_bars(axes, [Bar("a", 0.5, 0.1), Bar("b", 0.7)], "t", "u"))
        assert [bar.get_height() for bar in axes.patches] == [0.5, 0.7]
        (caps, *_) = (line for line in axes.get_lines() if len(line.get_ydata()) == 2)
        assert np.allclose(caps.get_ydata(), [0.4, 0.7])


def test_the_same_picture_is_the_same_bytes_whatever_was_drawn_before(tmp_path, monkeypatch):
    import matplotlib as mpl

    def draw(axes):
        draw_lines(axes, [Line("one", [{1: 0.1, 2: 0.4}])], "t", "u")

    drawn(tmp_path, draw, "first")
    drawn(tmp_path, lambda axes: draw_bars(axes, [Bar("a", 1.0)], "t", "u"), "between")
    # A taste of the user's own, as a matplotlibrc would set it.
    with mpl.rc_context({"lines.linewidth": 9.0, "font.size": 30}):
        drawn(tmp_path, draw, "second")
        assert mpl.rcParams["font.size"] == 30
    for kind in ("png", "svg"):
        assert (tmp_path / f"first.{kind}").read_bytes() == (tmp_path / f"second.{kind}").read_bytes()
    assert (tmp_path / "first.png").read_bytes().startswith(PNG)
    assert not re.search(rb"<dc:date>", (tmp_path / "first.svg").read_bytes())


def test_nothing_is_written_of_a_picture_that_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), picture(tmp_path, "half"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


class TestRuns:
    def test_a_run_has_its_pictures_and_those_with_nothing_to_see_are_left_out(self, tmp_path):
        written_run(tmp_path / "run")
        files = draw_runs(runs_under([tmp_path / "run"]), tmp_path)
        names = {path.stem for path in files}
        assert names == {"accuracy", "loss", "divergence", "beta", "bytes", "classes"}
        assert {path.suffix for path in files} == {".png", ".svg"}
        assert all(path.stat().st_size > 2000 for path in files)
        written_run(tmp_path / "plain", beta=0.0, epsilon=2.5)
        names = {path.stem for path in draw_runs(runs_under([tmp_path / "plain"]), tmp_path / "two")}
        assert names == {"accuracy", "loss", "divergence", "bytes", "epsilon", "classes"}

    def test_runs_that_differ_by_their_seed_are_one_line(self, tmp_path):
        for seed in (1, 2, 3):
            written_run(tmp_path / "dlmu" / f"seed-{seed}", seed=seed)
        written_run(tmp_path / "fedavg", strategy="fedavg", beta=0.0)
        groups = runs_under([tmp_path / "dlmu", tmp_path / "fedavg"])
        assert [(group.label, len(group.folders)) for group in groups] == [("dlmu", 3), ("fedavg", 1)]
        assert {path.stem for path in draw_runs(groups, tmp_path / "out")} >= {"accuracy", "classes"}

    def test_runs_of_one_folder_are_named_by_what_they_differ_in(self, tmp_path):
        for rule in ("mean", "median"):
            for attack in ("", "noise"):
                written_run(tmp_path / "all" / f"{rule}-{attack}", rule=rule, attack=attack)
        labels = {group.label for group in runs_under([tmp_path / "all"])}
        assert labels == {
            "mean, unchecked, honest",
            "mean, unchecked, noise",
            "median, unchecked, honest",
            "median, unchecked, noise",
        }

    def test_folders_without_a_run_and_too_many_runs_are_refused(self, tmp_path):
        with pytest.raises(RunFolderError, match="holds no simulated run"):
            runs_under([tmp_path])
        for at in range(9):
            written_run(tmp_path / f"run-{at}", strategy=f"s{at}")
        with pytest.raises(RunFolderError, match="9 kinds of runs to compare, want at most 8"):
            runs_under([tmp_path])
