"""The sums that `hanse data fetch` pins, held against recorded data sets, as far as these have the very same bytes."""

import gzip
import hashlib
import lzma

import numpy as np
import pytest

from node.data_sets.catalogue import DATA_SETS
from node.data_sets.cwru import CHANNELS, RECORDINGS
from tests.support.shared_data import shared_data

pytestmark = pytest.mark.data

# Published beside the pinned sums of the .gz files, of what is in them; these were packed again.
UNPACKED_MNIST = {
    "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def test_the_digits_here_are_those_that_the_pinned_files_hold():
    folder = shared_data("mnist")
    assert {file.name for file in DATA_SETS["mnist"].files} == UNPACKED_MNIST.keys()
    for name, sha256 in UNPACKED_MNIST.items():
        assert hashlib.sha256(gzip.decompress((folder / name).read_bytes())).hexdigest() == sha256, name


def test_the_plays_here_are_the_pinned_ones():
    (file,) = DATA_SETS["shakespeare"].files
    plays = lzma.decompress((shared_data("shakespeare") / "input.txt.xz").read_bytes())
    assert (len(plays), hashlib.sha256(plays).hexdigest()) == (file.bytes, file.sha256)


def test_the_bearings_here_are_the_pinned_recordings():
    folder = shared_data("cwru")
    for recording in RECORDINGS:
        hasher = hashlib.sha256()
        with np.load(folder / f"cwru_12k_load{recording.load}hp.npz") as file:
            for channel in CHANNELS:
                steps = file[f"{recording.state}__{channel}"]
                told = float(file[f"{recording.state}__{channel}__step"])
                # The same numbers for a model: a step differs in the last bit of a double at most.
                ours = steps.astype(np.float64) * recording.step(channel)
                assert np.array_equal((steps.astype(np.float64) * told).astype(np.float32), ours.astype(np.float32))
                assert len(steps) == recording.samples
                hasher.update(steps.astype("<i2").tobytes())
        assert hasher.hexdigest() == recording.sha256, recording.file
