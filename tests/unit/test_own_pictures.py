"""Pictures in folders: a folder is a class, a picture is what was asked for or refused with what it is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fl.data.errors import DataError
from fl.data.own.block import parse_block
from fl.data.own.picture_files import PixelForm, read_picture

PARTS: dict[str, Any] = {
    "kind": "images",
    "path": "parts",
    "classes": ["good", "scratched"],
    "size": [4, 6],
    "colour": "grey",
    "test_percent": 50,
}


def picture(path: Path, pixels: np.ndarray, mode: str = "L", **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8), mode).save(path, **how)
    return path


def grey(value: int, height: int = 4, width: int = 6) -> np.ndarray:
    return np.full((height, width), value)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Two good parts, four scratched ones; every picture has a shade of its own, by name."""
    for at in range(2):
        picture(tmp_path / "parts" / "good" / f"{at}.png", grey(10 + at))
    for at in range(4):
        picture(tmp_path / "parts" / "scratched" / f"{at}.png", grey(20 + at))
    return tmp_path


def shades(table: Any) -> list[int]:
    return [int(each[0, 0, 0]) for each in table.features]


def read(folder: Path, **change: Any) -> Any:
    return parse_block(PARTS | change, folder, "block").load()


def test_folders_are_classes_and_the_last_of_every_class_are_tested_on(parts: Path):
    split = read(parts, split="last")
    assert split.train.record_shape == (1, 4, 6)
    assert split.train.features.dtype == np.uint8
    assert (shades(split.train), shades(split.test)) == ([10, 20, 21], [11, 22, 23])
    assert split.train.labels.tolist() == [0, 1, 1]


def test_without_a_word_random_pictures_are_tested_on_the_same_for_one_seed(parts: Path):
    first, again, other = (read(parts, seed=seed) for seed in (1, 1, 2))
    assert shades(first.train) == shades(again.train) != shades(other.train)
    assert sorted(shades(first.train) + shades(first.test)) == [10, 11, 20, 21, 22, 23]


def test_a_factory_may_have_none_of_a_class(parts: Path):
    assert read(parts, classes=["bent", "good", "scratched"]).train.classes == ("bent", "good", "scratched")


def test_several_folders_may_be_one_class(parts: Path):
    labels = {"good": "fine", "scratched": "bad", "bent": "bad"}
    picture(parts / "parts" / "bent" / "0.png", grey(30))
    picture(parts / "parts" / "bent" / "1.png", grey(31))
    split = read(parts, classes=["bad", "fine"], labels=labels, split="last")
    assert (shades(split.train), split.train.labels.tolist()) == ([30, 31, 10, 20], [0, 0, 1, 0])
    assert shades(split.test) == [11, 21, 22, 23]
    with pytest.raises(DataError, match="scratched: is in the folder of classes, want only the folders good, bent"):
        read(parts, classes=["bad", "fine"], labels={"good": "fine", "bent": "bad"})


def test_folders_within_a_class_are_groups_when_the_block_says_so(tmp_path: Path):
    for camera, shade in (("north", 1), ("south", 2)):
        picture(tmp_path / "parts" / "good" / camera / "a.png", grey(shade))
        picture(tmp_path / "parts" / "scratched" / camera / "a.png", grey(shade + 10))
    block = {name: value for name, value in PARTS.items() if name != "test_percent"}
    split = parse_block(block | {"group": "camera", "test_path": "parts"}, tmp_path, "block").load()
    assert split.train.names_of_groups() == ("north", "south", "north", "south")
    assert (split.train.grouped_by, shades(split.test)) == ("camera", [1, 2, 11, 12])
    with pytest.raises(DataError, match="north: is a folder among pictures"):
        read(tmp_path)
    picture(tmp_path / "parts" / "good" / "b.png", grey(3))
    with pytest.raises(DataError, match=r"b\.png: lies beside the folders of 'camera'"):
        read(tmp_path, group="camera")


def test_what_an_operating_system_leaves_behind_is_passed_over(parts: Path):
    (parts / "parts" / ".DS_Store").write_bytes(b"x")
    (parts / "parts" / "good" / "Thumbs.db").write_bytes(b"x")
    assert len(read(parts).train) == 3


def test_colours_are_channels(tmp_path: Path):
    pixels = np.arange(72).reshape(4, 6, 3)
    picture(tmp_path / "parts" / "good" / "a.png", pixels, "RGB")
    picture(tmp_path / "parts" / "good" / "b.bmp", pixels, "RGB")
    table = read(tmp_path, colour="rgb").train
    assert np.array_equal(table.features[0], pixels.transpose(2, 0, 1))


def test_a_palette_of_colours_is_colour(tmp_path: Path):
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, :3] = (10, 20, 30)
    for at in range(2):
        path = tmp_path / "parts" / "good" / f"{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE).save(path)
    assert np.array_equal(read(tmp_path, colour="rgb").train.features[0], pixels.transpose(2, 0, 1))
    with pytest.raises(DataError, match="is stored as P, want grey"):
        read(tmp_path)


# --- made to fit, only when asked


def test_another_size_is_refused_unless_asked_for(parts: Path):
    big = picture(parts / "parts" / "good" / "big.png", np.arange(96).reshape(8, 12))
    with pytest.raises(DataError, match=r"big\.png: is 8x12 pixels, want 4x6 \(resize = true"):
        read(parts)
    assert len(read(parts, resize=True).train) == 4
    # Every pixel is the mean of the four that it covers: 0, 1, 12, 13.
    made = read_picture(big, PixelForm(4, 6, grey=True, resize=True))
    assert made[0, 0].tolist() == [7, 9, 11, 13, 15, 17]


def test_another_colour_is_refused_unless_asked_for(parts: Path):
    picture(parts / "parts" / "good" / "c.png", np.full((4, 6, 3), 200), "RGB")
    with pytest.raises(DataError, match=r"c\.png: is stored as RGB, want grey \(convert = true"):
        read(parts)
    assert 200 in shades(read(parts, convert=True).train) + shades(read(parts, convert=True).test)
    with pytest.raises(DataError, match="is stored as L, want rgb"):
        read(parts, colour="rgb")


def test_what_shines_through_is_black_whatever_colour_stands_behind_it(tmp_path: Path):
    pixels = np.full((4, 6, 4), 255)
    pixels[..., 3] = 0
    for at in range(2):
        picture(tmp_path / "parts" / "good" / f"{at}.png", pixels, "RGBA")
    with pytest.raises(DataError, match="is stored as RGBA"):
        read(tmp_path)
    assert read(tmp_path, convert=True).train.features.max() == 0


def test_a_picture_is_turned_as_its_camera_noted(tmp_path: Path):
    upright = np.zeros((4, 6), np.uint8)
    upright[0] = 255
    note = Image.Exif()
    note[0x0112] = 6  # lies on its side: to be turned by a quarter to the right
    for at in range(2):
        picture(tmp_path / "parts" / "good" / f"{at}.png", np.rot90(upright), exif=note)
    assert np.array_equal(read(tmp_path).train.features[0, 0], upright)
    # Its file is of another size than asked for, what it shows is not; the other way round it is refused.
    picture(tmp_path / "parts" / "good" / "1.png", np.rot90(upright))
    with pytest.raises(DataError, match=r"1\.png: is 6x4 pixels, want 4x6"):
        read(tmp_path)


# --- what is no such picture


def deep(path: Path) -> None:
    Image.fromarray(np.full((4, 6), 40_000, np.uint16)).save(path)


def moving(path: Path) -> None:
    frames = [Image.fromarray(grey(shade).astype(np.uint8)) for shade in (1, 2)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def cut(path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (4, 6))
    path.write_bytes(picture(path, noise).read_bytes()[:60])


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("x.png", deep, "is stored as I;16, want eight bits a channel"),
        ("x.gif", moving, "has 2 frames, want one picture"),
        ("x.png", cut, "cannot be read as a picture"),
        ("x.jpg", lambda path: path.write_bytes(b"GIF89a no"), "cannot be read as a picture"),
        ("x.txt", lambda path: path.write_text("x"), "is no picture by its name"),
    ],
)
def test_a_file_that_is_no_such_picture_is_named(parts: Path, name: str, make, said: str):
    make(parts / "parts" / "good" / name)
    with pytest.raises(DataError) as refused:
        read(parts, convert=True, resize=True)
    assert str(parts / "parts" / "good" / name) in str(refused.value)
    assert said in str(refused.value)


def test_a_folder_that_is_no_class_is_refused(parts: Path):
    (parts / "parts" / "goood").mkdir()
    with pytest.raises(DataError, match="goood: is in the folder of classes, want only the folders good, scratched"):
        read(parts)


def test_a_folder_without_pictures_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="parts: cannot be read as a folder"):
        read(tmp_path)
    (tmp_path / "parts" / "good").mkdir(parents=True)
    with pytest.raises(DataError, match="has no picture in the folders good, scratched"):
        read(tmp_path)
    picture(tmp_path / "parts" / "good" / "a.png", grey(1))
    for split in ("last", "random"):
        with pytest.raises(DataError, match="want enough to train and to test on"):
            read(tmp_path, split=split)


def test_a_huge_picture_is_refused_before_it_is_decoded(parts: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    picture(parts / "parts" / "good" / "bomb.png", grey(1, 40, 60))
    with pytest.raises(DataError, match=r"bomb\.png: cannot be read as a picture: .*decompression bomb"):
        read(parts, resize=True)
    monkeypatch.setattr("fl.data.own.pictures.PIXELS_MAX", 100)
    with pytest.raises(DataError, match="7 pictures make 168 bytes, want at most 100"):
        read(parts)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": [4]}, "size (height, width) is [4]"),
        ({"size": [0, 4]}, "size (height, width) is [0, 4]"),
        ({"colour": "gray"}, "colour is 'gray', want 'grey' or 'rgb'"),
        ({"resize": "yes"}, "resize is 'yes', want true or false"),
        ({"label": "x"}, "kind 'images' has no label"),
    ],
)
def test_a_block_of_pictures_that_means_nothing_is_refused(tmp_path: Path, change, said: str):
    with pytest.raises(DataError) as refused:
        parse_block(PARTS | change, tmp_path, "block")
    assert said in str(refused.value)


def test_pictures_do_not_grow(tmp_path: Path):
    with pytest.raises(DataError, match="'images' does not grow"):
        parse_block(PARTS, tmp_path, "block").growing()
