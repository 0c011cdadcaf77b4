"""What `hanse devnet --data` takes for which data: a data set by its files, one's own by its block, others by name."""

from pathlib import Path

import pytest

from node.devnet.plan import CannotPlan, recognise


@pytest.mark.parametrize(
    ("folder", "file", "source"),
    [
        ("cwru", "cwru_12k_load0hp.npz", "cwru"),
        ("pictures", "test_batch.bin", "cifar10"),
        ("pictures", "train_00.webp", "cifar10"),
        ("digits", "train-images-idx3-ubyte.gz", "mnist"),
        ("fashion-mnist", "train-images-idx3-ubyte.gz", "fashion-mnist"),
    ],
)
def test_a_folder_is_known_by_its_files(tmp_path: Path, folder: str, file: str, source: str):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / file).touch()
    assert recognise(str(tmp_path / folder)) == (source, tmp_path / folder)


def test_ones_own_data_are_named_by_their_block(tmp_path: Path):
    (tmp_path / "press.toml").touch()
    assert recognise(str(tmp_path / "press.toml")) == ("own", tmp_path / "press.toml")


def test_a_source_without_files_goes_by_its_name_and_others_want_a_path(tmp_path: Path):
    assert recognise("bearing-simulator") == ("bearing-simulator", None)
    for data, said in (
        ("mnist", "want the path of the folder with the four idx files"),
        ("nowhere", "neither a path nor a source"),
        (str(tmp_path), "want one of cwru, cifar10, fashion-mnist, mnist, or the TOML file of a block"),
    ):
        with pytest.raises(CannotPlan, match=said):
            recognise(data)
