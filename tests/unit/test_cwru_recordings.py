"""The university's .mat files: only the pinned samples become a recording, whatever the file around them looks like."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fl.data import cwru as source
from node.data_sets import cwru
from node.data_sets.cwru import RECORDINGS, Recording, convert
from node.data_sets.remote import WrongBytes
from tests.support.cwru_recordings import write_mat

SAMPLES = 1600


def steps(number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    return {channel: rng.integers(-16_000, 16_000, SAMPLES).astype("<i2") for channel in cwru.CHANNELS}


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Recording, ...]:
    """All of them, short, with the sums of these signals; their files lie in the folder."""
    made = []
    for each in RECORDINGS:
        signals = steps(each.number)
        sha256 = hashlib.sha256(b"".join(signals[channel].tobytes() for channel in cwru.CHANNELS)).hexdigest()
        made.append(replace(each, samples=SAMPLES, sha256=sha256))
        write_mat(tmp_path / each.file, made[-1], signals)
    monkeypatch.setattr(cwru, "RECORDINGS", tuple(made))
    return tuple(made)


def test_the_files_become_what_the_source_reads(recordings: tuple[Recording, ...], tmp_path: Path):
    made = tmp_path / "made"
    made.mkdir()
    assert convert(made, tmp_path) == tuple(f"cwru_12k_load{load}hp.npz" for load in range(4))
    split = source.load(source.CwruSettings(load="all", window=64), made)
    assert split.train.class_counts().tolist() == [16, 204, 204, 204]
    with np.load(made / "cwru_12k_load2hp.npz") as file:
        assert np.array_equal(file["inner_014__FE"], steps(171)["FE"])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda path, each, good: path.write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200)),
            "cannot be read as a .mat file",
        ),
        (lambda path, each, good: path.write_bytes(path.read_bytes()[:300]), r"\[1600, 1\]; want|cannot be read"),
        (lambda path, each, good: write_mat(path, each, {"DE": good["DE"]}), "want X105_FE_time with 1600 samples"),
        (
            lambda path, each, good: write_mat(path, each, {"DE": good["DE"], "FE": good["FE"][1:]}),
            r"FE_time \[1599, 1\]",
        ),
        (
            lambda path, each, good: write_mat(path, each, {**good, "FE": good["FE"][::-1]}),
            "its samples have the SHA-256",
        ),
        (
            lambda path, each, good: write_mat(path, each, {**good, "DE": good["DE"] + 0.3}),
            "DE holds samples that are no",
        ),
        (
            lambda path, each, good: write_mat(path, each, {**good, "DE": good["DE"] * 9.0}),
            "DE holds samples that are no",
        ),
    ],
)
def test_a_recording_that_is_another_is_refused_and_thrown_away(recordings, tmp_path: Path, damage, said: str):
    each = next(recording for recording in recordings if recording.number == 105)
    path = tmp_path / each.file
    damage(path, each, steps(105))
    with pytest.raises(WrongBytes, match=said) as refused:
        convert(tmp_path, tmp_path)
    assert "105.mat is not the recording inner_007 at 0 hp" in str(refused.value)
    assert not path.exists()
    assert not list(tmp_path.glob("*0hp.npz"))


def test_other_variables_in_a_file_do_not_matter(recordings: tuple[Recording, ...], tmp_path: Path):
    each = recordings[0]
    write_mat(tmp_path / each.file, each, steps(97), X098_DE_time=np.ones((9, 1)), X097RPM=np.array([[1796.0]]))
    assert len(convert(tmp_path, tmp_path)) == 4


def test_every_state_of_the_source_has_its_recording():
    assert (
        len(RECORDINGS) == len({each.number for each in RECORDINGS}) == len({each.sha256 for each in RECORDINGS}) == 37
    )
    held = {(each.load, each.state) for each in RECORDINGS}
    faults = {(load, f"{fault}_{size}") for load in range(4) for fault in source.FAULTS for size in source.DIAMETERS}
    assert held == faults | {(0, "normal")}
