"""Sources by name, and the readers of recorded data, on small files made here: whole ones and damaged ones."""

import gzip
import lzma
import struct
from dataclasses import replace

import numpy as np
import pytest

from fl.data import cifar_mosaics, cwru, ims, text
from fl.data.errors import DataError
from fl.data.idx_images import CLOTHES, read_idx
from fl.data.images import shrink
from fl.data.registry import describe, load, names, pooled_test
from tests.support.plug_ins import install_plug_in

SIMULATED = {"train_records": "60", "test_records": "30", "length": "256"}


def idx(values: np.ndarray) -> bytes:
    return bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_pictures(folder, count=20, side=4):
    rng = np.random.default_rng(0)
    for prefix in ("train", "t10k"):
        pictures = rng.integers(0, 256, (count, side, side), dtype=np.uint8)
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pictures)))
        labels = (np.arange(count) % 10).astype(np.uint8)
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))
    return pictures


def test_every_source_describes_itself_and_refuses_what_it_does_not_know(tmp_path):
    for name in names():
        assert describe(name).summary
        with pytest.raises(DataError, match="has no setting colour"):
            load(name, {"colour": "red"}, tmp_path if describe(name).path else None)
    with pytest.raises(DataError, match="no source is called 'mnits'; known: bearing-simulator"):
        load("mnits", {}, None)


def test_a_path_is_given_where_it_is_needed_and_only_there(tmp_path):
    with pytest.raises(DataError, match="source 'mnist' needs a path: the folder"):
        load("mnist", {}, None)
    with pytest.raises(DataError, match="reads no file"):
        load("bearing-simulator", {}, tmp_path)
    with pytest.raises(DataError, match="nowhere: does not exist"):
        load("cwru", {}, tmp_path / "nowhere")


def test_stretches_and_parts_are_cut_out_of_any_source():
    whole = load("bearing-simulator", SIMULATED, None)
    part = load("bearing-simulator", {**SIMULATED, "offset": "10", "limit": "20", "test_limit": "5"}, None)
    assert np.array_equal(part.train.features, whole.train.features[10:30])
    assert np.array_equal(part.test.features, whole.test.features[:5])
    shares = [
        load("bearing-simulator", {**SIMULATED, "partition": "class(1)", "parts": "3", "part": str(i)}, None)
        for i in range(3)
    ]
    assert [np.count_nonzero(share.train.class_counts()) for share in shares] == [1, 1, 1]
    assert all(np.array_equal(share.test.features, whole.test.features) for share in shares)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"offset": "60"}, "the training records are 60"),
        ({"test_offset": "99"}, "the test records are 30"),
        ({"partition": "iid", "parts": "2", "part": "2"}, r"part is 2, want 0\.\.1"),
        ({"parts": "2"}, "partition is empty"),
        ({"partition": "halves", "parts": "2"}, "partition is 'halves'"),
        ({"partition": "group", "parts": "2"}, "which site"),
    ],
)
def test_a_part_that_cannot_be_is_refused(given, said):
    with pytest.raises(DataError, match=said):
        load("bearing-simulator", {**SIMULATED, **given}, None)


def test_pictures_are_read_gzipped_or_plain_and_made_smaller(tmp_path):
    pictures = write_pictures(tmp_path)
    split = load("fashion-mnist", {}, tmp_path)
    assert split.test.features.dtype == np.uint8
    assert np.array_equal(split.test.features[:, 0], pictures)
    assert split.train.classes == CLOTHES
    small = load("mnist", {"downscale": "2"}, tmp_path).test.features
    assert small.shape == (20, 1, 2, 2)
    assert small[3, 0, 1, 0] == pytest.approx(pictures[3, 2:, :2].mean() / 255)
    with pytest.raises(DataError, match="downscale is 3, pictures are 4x4"):
        shrink(pictures[:, None], 3)


def test_damaged_pictures_are_refused_and_named(tmp_path):
    write_pictures(tmp_path)
    images = tmp_path / "train-images-idx3-ubyte.gz"
    whole = gzip.decompress(images.read_bytes())
    damages = {
        "cut": gzip.compress(whole[:-1]),
        "longer": gzip.compress(whole + b"\0"),
        "labels": gzip.compress(idx(np.zeros(20, dtype=np.uint8))),
        "half a gzip": images.read_bytes()[:-30],
        "no gzip": b"<html>",
        "empty": gzip.compress(b""),
        "huge": gzip.compress(whole[:4] + struct.pack(">3I", 2**31, 2**31, 4) + b"\0"),
    }
    for data in damages.values():
        images.write_bytes(data)
        with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz"):
            read_idx(images, 3)
    images.write_bytes(gzip.compress(idx(np.zeros((3, 4, 4), dtype=np.uint8))))
    with pytest.raises(DataError, match="20 labels, want one for each of 3"):
        load("mnist", {}, tmp_path)
    images.unlink()
    with pytest.raises(DataError, match="does not exist, nor does the plain file"):
        load("mnist", {}, tmp_path)


def write_loads(folder, samples=4_000):
    """Four files in the form of the CWRU set; sample i of every record is worth i steps, so places can be told."""
    counts = np.arange(samples, dtype=np.int16)
    for load_hp in range(4):
        arrays = {}
        states = [f"{fault}_{size}" for fault in cwru.FAULTS for size in cwru.DIAMETERS]
        for state in [*states, "normal"] if load_hp == 0 else states:
            for channel in cwru.CHANNELS:
                arrays[f"{state}__{channel}"] = counts
                arrays[f"{state}__{channel}__step"] = np.float64(0.001)
        np.savez(folder / f"cwru_12k_load{load_hp}hp.npz", **arrays)


def test_the_loads_share_the_normal_record_in_quarters_and_train_before_they_test(tmp_path):
    write_loads(tmp_path)
    raw = cwru.CwruSettings(mode="raw", window=100)
    for load_hp in range(4):
        split = cwru.load(replace(raw, load=str(load_hp)), tmp_path)
        samples = {
            name: np.rint(table.features[table.labels == 0][:, 0] * cwru.RAW_UNIT_G * 1000).astype(int)
            for name, table in (("train", split.train), ("test", split.test))
        }
        # Quarters of 1,000 samples, seven windows of 100 to train on, three to test on.
        assert samples["train"].ravel().tolist() == list(range(load_hp * 1000, load_hp * 1000 + 700))
        assert samples["test"].ravel().tolist() == list(range(load_hp * 1000 + 700, load_hp * 1000 + 1000))
    together = cwru.load(replace(raw, load="all"), tmp_path)
    assert together.train.group_names == ("0 hp", "1 hp", "2 hp", "3 hp")
    assert len(pooled_test("cwru", {"mode": "raw", "window": "100"}, tmp_path)) == len(together.test)
    assert load("cwru", {"window": "64"}, tmp_path).train.record_shape == (8,)


def test_recorded_bearings_that_are_incomplete_are_refused(tmp_path):
    write_loads(tmp_path)
    path = tmp_path / "cwru_12k_load2hp.npz"
    whole = dict(np.load(path))
    for change, said in [
        ({"ball_014__FE": None}, "column 'ball_014__FE': missing"),
        ({"ball_014__FE": np.zeros(9, dtype=np.int16)}, "9 samples, DE has 4000"),
        ({"ball_014__FE": np.zeros(4000)}, "is float64 with 1 dimensions"),
        ({"ball_014__FE": np.array([{}], dtype=object)}, "column 'ball_014__FE': cannot be read"),
    ]:
        np.savez(path, **{k: v for k, v in (whole | change).items() if v is not None})
        with pytest.raises(DataError, match=said):
            load("cwru", {"load": "2"}, tmp_path)
    path.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DataError, match=r"no readable \.npz"):
        load("cwru", {"load": "2"}, tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"cwru_12k_load2hp\.npz: does not exist"):
        load("cwru", {"load": "2"}, tmp_path)


def test_healthy_bearings_are_eight_channels_or_four_sites(tmp_path):
    millivolts = np.random.default_rng(0).integers(-500, 500, (4, 300, 8)).astype(np.int16)
    np.savez(tmp_path / "ims.npz", mV=millivolts)
    rms = load("ims", {"window": "100"}, tmp_path / "ims.npz")
    assert (rms.train.features.shape, rms.test.features.shape) == ((6, 8), (6, 8))
    sites = ims.load(ims.ImsSettings(features="bearing", window=100), tmp_path / "ims.npz").train
    assert sites.features.shape == (24, 8)
    # Record 5 is the second window of bearing 2.
    assert sites.groups[5] == 1
    raw = load("ims", {"window": "100", "features": "raw"}, tmp_path / "ims.npz").train
    assert raw.features[1, 3].tolist() == pytest.approx((millivolts[0, 100:200, 3] / 1000).tolist())
    np.savez(tmp_path / "ims.npz", mV=millivolts[:, :, :7])
    with pytest.raises(DataError, match=r"has the shape \[4, 300, 7\]"):
        load("ims", {}, tmp_path / "ims.npz")


def test_mosaics_are_taken_apart_tile_by_tile_and_damaged_ones_refused(tmp_path):
    from PIL import Image

    tiles = np.random.default_rng(0).integers(0, 256, (1000, 3, 32, 32), dtype=np.uint8)
    mosaic = tiles.reshape(25, 40, 3, 32, 32).transpose(0, 3, 1, 4, 2).reshape(800, 1280, 3)
    for name in ("train_00", "test_00"):
        Image.fromarray(mosaic).save(tmp_path / f"{name}.webp", lossless=True, quality=0)
    labels = np.arange(1000) % 10
    np.savez(tmp_path / "labels.npz", train_y=labels, test_y=labels)
    split = load("cifar10", {"limit": "7"}, tmp_path)
    assert np.array_equal(split.train.features, tiles[:7])
    Image.fromarray(mosaic[:, :640]).save(tmp_path / "train_00.webp", lossless=True)
    with pytest.raises(DataError, match="is 800x640, want 800x1280"):
        cifar_mosaics.load(cifar_mosaics.CifarSettings(), tmp_path)
    (tmp_path / "train_00.webp").write_bytes(b"RIFF....WEBP")
    with pytest.raises(DataError, match="cannot be read as a picture"):
        load("cifar10", {}, tmp_path)


PLAY = "".join(
    f"{speaker}:\n{line * 20}\n\n" for line in ("to be or not ", "the rest ") for speaker in ("Ann", "Bob", "Ann")
)


@pytest.mark.parametrize(("name", "pack"), [("p.txt", bytes), ("p.txt.gz", gzip.compress), ("p.txt.xz", lzma.compress)])
def test_a_play_is_windows_by_speaker_and_the_next_character(tmp_path, name, pack):
    path = tmp_path / name
    path.write_bytes(pack(PLAY.encode()))
    split = load("text", {"window": "10", "step": "3", "speaker_chars": "50"}, path)
    table = split.train
    assert table.group_names == ("Ann", "Bob")
    said = {"Ann": "", "Bob": ""}
    for block in PLAY.split("\n\n")[:-1]:
        speaker, _, speech = block.partition(":\n")
        said[speaker] += speech + "\n"
    for speaker, spoken in enumerate(said.values()):
        spoken = spoken[: len(spoken) * 80 // 100]
        windows = table.features[table.groups == speaker]
        assert len(windows) == len(range(0, len(spoken) - 10, 3))
        for i in (0, 1, len(windows) - 1):
            assert "".join(table.classes[code] for code in windows[i]) == spoken[3 * i : 3 * i + 10]
        nexts = table.labels[table.groups == speaker]
        assert "".join(table.classes[code] for code in nexts) == spoken[10::3]


def test_text_outside_the_alphabet_is_named_by_its_line(tmp_path):
    assert len(text.SHAKESPEARE) == 65
    path = tmp_path / "p.txt"
    for data, said in [
        (PLAY.replace("rest", "rÄst").encode(), r"line 11: 'Ä' is not in the alphabet"),
        (b"Ann:\n\xff", "byte 5 is not UTF-8"),
        (b"no speech at all", "nobody says enough"),
        (b"", "nobody says enough"),
    ]:
        path.write_bytes(data)
        with pytest.raises(DataError, match=said):
            load("text", {"window": "10"}, path)
    path.write_bytes(b"abab" * 40)
    plain = load("text", {"form": "plain", "window": "5", "speaker_chars": "9", "alphabet": "ab"}, path)
    assert plain.train.classes == ("a", "b")
    with pytest.raises(DataError, match="each of them once"):
        load("text", {"alphabet": "aab"}, path)


def test_a_plug_in_source_is_found_by_name_and_cut_like_any_other(monkeypatch, tmp_path):
    source = """
import numpy as np
from fl.data import DataError, Split, Table
class Ramp:
    summary = "a ramp"
    def load(self, settings, path):
        if "rows" not in settings:
            raise DataError("ramp needs rows")
        rows = int(settings["rows"])
        t = Table(np.arange(rows, dtype=np.float32)[:, None], np.zeros(rows, dtype=np.int64), ("a",))
        return Split(t, t)
plug_in = Ramp()
"""
    install_plug_in(monkeypatch, tmp_path, "hanse.datasets", "ramp", "hanse_plug_in_ramp", source)
    assert describe("ramp").summary == "a ramp"
    split = load("ramp", {"rows": "10", "offset": "4", "limit": "3"}, None)
    assert split.train.features.ravel().tolist() == [4, 5, 6]
    with pytest.raises(DataError, match="ramp needs rows"):
        load("ramp", {}, None)
