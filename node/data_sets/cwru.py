"""The CWRU bearing data out of the university's own .mat files, one a recording, into one .npz a motor load.

Nobody publishes sums of the .mat files, so what is pinned is what stands in them: the samples of both channels as the
whole steps of the converter that took them (every sample is a whole number of steps, to the last bit of its double).
A file that says anything else is refused. Needs scipy.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.data_sets.remote import FetchError, RemoteFile, WrongBytes
from node.disk import publish_file

PLACE = "https://engineering.case.edu/sites/default/files/"
CHANNELS = ("DE", "FE")
# In g: one step of the converter, by the channel's range in that recording.
FAN_END_STEP = 0.00020545454545454545
DRIVE_END_STEPS = {
    "normal": 0.0002086153846153846,
    "outer_007": 0.00040608782435129736,
    "outer_014": 4.0598802395209575e-05,
    "inner_021": 0.00040608782435129736,
    "outer_021": 0.00040608782435129736,
}
DRIVE_END_STEP = 0.00016243512974051897
# Of one step: how far a sample may lie beside a whole number of them.
STEP_ERROR_MAX = 1e-6
# Four files of two million samples each, compressed; two or three channels of doubles a recording before.
MADE_BYTES = 24 * 2**20
ARRIVING_BYTES = 104 * 2**20


@dataclass(frozen=True, slots=True)
class Recording:
    """`number` of the .mat file, motor load in hp, SHA-256 of the steps of DE, then FE, as little-endian int16."""

    number: int
    load: int
    state: str
    samples: int
    sha256: str

    @property
    def file(self) -> str:
        return f"{self.number}.mat"

    def step(self, channel: str) -> float:
        return FAN_END_STEP if channel == "FE" else DRIVE_END_STEPS.get(self.state, DRIVE_END_STEP)


# Outer faults are those at six o'clock; the normal state at no load is what the source reads.
RECORDINGS = (
    Recording(97, 0, "normal", 243_938, "484a3f5d10bba7bfdc75f6f5c22b80d1cb34a5b535c5e42eada395a6cb62d5d2"),
    Recording(105, 0, "inner_007", 121_265, "8654f883fc7ba086df44445dd36ef7dcdc4694a9f75eae27c8b5b3fc8c715c70"),
    Recording(118, 0, "ball_007", 122_571, "556a3affbe0f2ba433fda81e7c27bed510a27766664ca58eda36674e144a2126"),
    Recording(130, 0, "outer_007", 121_991, "4ceba27707c1052aa31d3d28fc7e5e2caca38666730a2f1274f50b355f0edba1"),
    Recording(169, 0, "inner_014", 121_846, "8d9067d21f051f9a2b29aec7acfbe7dd3516db18a486af2c0905ce9ac2961ccb"),
    Recording(185, 0, "ball_014", 121_846, "bb71bb2e745b29b5a8c3b12dae9563314c41d8b0ade8b5f6ee84a0414e24ebcf"),
    Recording(197, 0, "outer_014", 121_846, "f13e10b95144d636cc07fe1fa9c9f653bc2ddf1403bac65db497b1646fef3732"),
    Recording(209, 0, "inner_021", 122_136, "7bc32e492c9df958218d8635f1145d8c2dcd2be283448ec3d71ae23544cfa291"),
    Recording(222, 0, "ball_021", 121_991, "68a0d129df23b5aa569041053e055160824b52610da716776be4ec0bfc3bcee4"),
    Recording(234, 0, "outer_021", 122_426, "29800c8cdf7f12af2913f78ea2618a0d0bb4a55cd272545de2c175687c0c91cc"),
    Recording(106, 1, "inner_007", 121_991, "c9365e1a61229b983e0c113ad8f95d6074edfa23ddb4fedcc267d2d9e2bf87fd"),
    Recording(119, 1, "ball_007", 121_410, "b85e91bdc174e6ae8065cec8e66da1495f9d4992a28aeead0b2e71b21fc200d9"),
    Recording(131, 1, "outer_007", 122_426, "392579a7140924472b5ccd01bfcf1acf68fa6fe56a12930f32443ab563574283"),
    Recording(170, 1, "inner_014", 121_846, "d5f561ee3718b09f5caca2974155849d93ed36587904b5ad42673f075d912540"),
    Recording(186, 1, "ball_014", 122_136, "7b818475c882540f56f49851ed1fa10624b4ee23ddca9ddd69a7131da81a94f9"),
    Recording(198, 1, "outer_014", 122_136, "95a29736fece6e7d9f23aa1504ccc348e790af540c82306736efd28aa54c4584"),
    Recording(210, 1, "inner_021", 121_556, "1e1fae680508001eb31b78d4f40a4f20d35bae8f3935d9dfa94393bc6e205b74"),
    Recording(223, 1, "ball_021", 121_701, "0bd68e73d213169799e3df45e40686db3e5bbcc5501d40b488548a9a225c3609"),
    Recording(235, 1, "outer_021", 121_991, "19aac1494a62fc93a6885cee9713b2f463602bb434a1ec801d756fbd34a2dd41"),
    Recording(107, 2, "inner_007", 122_136, "856569c6ed46798124f6083256c57c5fd1360afb2525524332a62a9926662f29"),
    Recording(120, 2, "ball_007", 121_556, "023fe3a5e587dcb50f3d8d47d8ee6237e8c5e678feaead0d234470210094f333"),
    Recording(132, 2, "outer_007", 121_410, "acc5d2adde5146c82ebcc8ac05dfa0799a986abd8c815115032c17a91bbb56aa"),
    Recording(171, 2, "inner_014", 121_846, "685c7f20913a78b05ff8517f9f486876e0adf610210da01d187f6a8b21e2c879"),
    Recording(187, 2, "ball_014", 121_991, "f560e1f7577692d3cf2ac0b96de31b4dd79837a8b5c5e984cccefbd0fcb50968"),
    Recording(199, 2, "outer_014", 121_846, "10501927fec1f7646927a270a4d8016bb0018ced779f9e5b5717ff89619e6a11"),
    Recording(211, 2, "inner_021", 121_846, "0777c5201819be8afd6f43ffc11e861e0529e3e88e720d2afa4b9597c6c5d33c"),
    Recording(224, 2, "ball_021", 122_136, "2c58f309c00e4d23ca491b1536c231ed2acedf34a31b5be1ade753700f140e51"),
    Recording(236, 2, "outer_021", 122_281, "e0c952f383b298475079ded913047fadbbf11b90294eaba4868ea9150be3b5d8"),
    Recording(108, 3, "inner_007", 122_917, "595b2ff63b3d4024b074f14069ca25b9c1a3a5694af7c059807655e0dad125b5"),
    Recording(121, 3, "ball_007", 121_556, "add0039b873ee15d6eda0e743cd00e73e42916b5d1a7d97bcad32b831cda7ade"),
    Recording(133, 3, "outer_007", 122_571, "74871ecd2794df24401448b1087f46984bb7517d318e2dd4251319e3a3a87a06"),
    Recording(172, 3, "inner_014", 121_701, "2d9e57d9021954deecb9f1220b928ade77b3914e2a28693a720570a838611d39"),
    Recording(188, 3, "ball_014", 122_136, "70b37ca87b91b529aed20eaf95853257bb419d643ba20b2a3fc42286e73a9201"),
    Recording(200, 3, "outer_014", 121_991, "b3695f57a1f83890b67d16da4a911a957191acc0d0e34cbe2968a63432d8c212"),
    Recording(212, 3, "inner_021", 121_991, "ebbc1e17989beff6be5c4698d214174d4fb0c01defa97f43eec47401276460f0"),
    Recording(225, 3, "ball_021", 122_136, "9ffbfa45d7305eea283e2adfa5051ac9dc23423d961c8a7db6c4c54d532c12fb"),
    Recording(237, 3, "outer_021", 121_991, "e404e7fbf76269cbe467c96707db225705fcf27d5f42361cd35034b0d830c84a"),
)
FILES = tuple(RemoteFile(each.file, (PLACE + each.file,)) for each in RECORDINGS)


def convert(folder: Path, arrived: Path) -> tuple[str, ...]:
    """cwru_12k_load0hp.npz to 3hp in `folder`, as the source "cwru" reads them.

    Raises WrongBytes for a recording that is not the pinned one; its file is thrown away. FetchError without scipy.
    """
    made = []
    for load in sorted({each.load for each in RECORDINGS}):
        arrays: dict[str, NDArray[Any]] = {}
        for recording in RECORDINGS:
            if recording.load == load:
                arrays |= _arrays(recording, arrived / recording.file)
        written = io.BytesIO()
        np.savez_compressed(written, **arrays)  # type: ignore[arg-type]
        made.append(f"cwru_12k_load{load}hp.npz")
        publish_file(folder / made[-1], written.getvalue())
    return tuple(made)


def _arrays(recording: Recording, path: Path) -> dict[str, NDArray[Any]]:
    hasher = hashlib.sha256()
    arrays: dict[str, NDArray[Any]] = {}
    try:
        for channel, signal in _signals(path, recording).items():
            steps = np.rint(signal / recording.step(channel))
            error = float(np.abs(signal / recording.step(channel) - steps).max())
            if not error <= STEP_ERROR_MAX or np.abs(steps).max() > np.iinfo(np.int16).max:
                raise WrongBytes(f"{channel} holds samples that are no whole steps of {recording.step(channel):g} g")
            arrays[f"{recording.state}__{channel}"] = steps.astype("<i2")
            arrays[f"{recording.state}__{channel}__step"] = np.array(recording.step(channel))
            hasher.update(arrays[f"{recording.state}__{channel}"].tobytes())
        if hasher.hexdigest() != recording.sha256:
            raise WrongBytes(f"its samples have the SHA-256 {hasher.hexdigest()}, want {recording.sha256}")
    except WrongBytes as fault:
        path.unlink(missing_ok=True)
        raise WrongBytes(
            f"{path.name} is not the recording {recording.state} at {recording.load} hp: {fault}"
        ) from None
    return arrays


def _signals(path: Path, recording: Recording) -> dict[str, NDArray[np.float64]]:
    """float64 [samples] by channel. Raises WrongBytes."""
    try:
        from scipy.io import loadmat, whosmat
    except ImportError:
        raise FetchError(f"{path} is a .mat file, want scipy to read it: pip install 'hanse[data]'") from None
    try:
        # What a file says it holds is looked at before any of it is unpacked.
        shapes = {name: shape for name, shape, _ in whosmat(path)}
        names = {channel: _variable(shapes, recording, channel) for channel in CHANNELS}
        read = loadmat(path, variable_names=list(names.values()))
        return {channel: np.asarray(read[name], dtype=np.float64).reshape(-1) for channel, name in names.items()}
    except WrongBytes:
        raise
    except Exception as error:  # a damaged file raises whatever it likes in there
        raise WrongBytes(f"cannot be read as a .mat file: {error}") from None


def _variable(shapes: dict[str, tuple[int, ...]], recording: Recording, channel: str) -> str:
    """Files may hold more than one recording: the number in a variable's name says whose it is."""
    name = f"X{recording.number:03}_{channel}_time"
    if shapes.get(name) not in ((recording.samples, 1), (1, recording.samples)):
        found = ", ".join(f"{each} {list(shape)}" for each, shape in list(shapes.items())[:8])
        raise WrongBytes(f"has {found}; want {name} with {recording.samples} samples")
    return name
