"""Which data sets can be fetched: where their files are, how long they are, and the SHA-256 that they must have.

docs/data.md says of every sum how it is known. A data set whose sums nobody could check is not here.
"""

from collections.abc import Mapping

from node.data_sets import cifar10, cwru
from node.data_sets.remote import DataSet, RemoteFile

_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def _idx_files(places: tuple[str, ...], pinned: Mapping[str, tuple[int, str]]) -> tuple[RemoteFile, ...]:
    names = [f"{name}.gz" for name in _IDX]
    return tuple(RemoteFile(name, tuple(place + name for place in places), *pinned[name]) for name in names)


DATA_SETS: Mapping[str, DataSet] = {
    each.name: each
    for each in (
        DataSet(
            name="mnist",
            summary="handwritten digits, 28x28: 60,000 to train on, 10,000 to test on",
            origin="http://yann.lecun.com/exdb/mnist/",
            terms="Y. LeCun, C. Cortes, C. Burges; commonly given as CC BY-SA 3.0",
            files=_idx_files(
                (
                    "http://yann.lecun.com/exdb/mnist/",
                    "https://storage.googleapis.com/cvdf-datasets/mnist/",
                    "https://ossci-datasets.s3.amazonaws.com/mnist/",
                ),
                {
                    "train-images-idx3-ubyte.gz": (
                        9_912_422,
                        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                    ),
                    "train-labels-idx1-ubyte.gz": (
                        28_881,
                        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                    ),
                    "t10k-images-idx3-ubyte.gz": (
                        1_648_877,
                        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                    ),
                    "t10k-labels-idx1-ubyte.gz": (
                        4_542,
                        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                    ),
                },
            ),
        ),
        DataSet(
            name="fashion-mnist",
            summary="pictures of clothes, 28x28: 60,000 to train on, 10,000 to test on",
            origin="https://github.com/zalandoresearch/fashion-mnist",
            terms="Zalando SE, MIT licence",
            files=_idx_files(
                (
                    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
                ),
                {
                    "train-images-idx3-ubyte.gz": (
                        26_421_880,
                        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                    ),
                    "train-labels-idx1-ubyte.gz": (
                        29_515,
                        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                    ),
                    "t10k-images-idx3-ubyte.gz": (
                        4_422_102,
                        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                    ),
                    "t10k-labels-idx1-ubyte.gz": (
                        5_148,
                        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                    ),
                },
            ),
        ),
        DataSet(
            name="cifar10",
            summary="colour pictures of ten things, 32x32: 50,000 to train on, 10,000 to test on",
            origin="https://www.cs.toronto.edu/~kriz/cifar.html",
            terms="A. Krizhevsky, University of Toronto; no formal licence, cite the report of 2009",
            files=(
                RemoteFile(
                    "cifar-10-binary.tar.gz",
                    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
                    170_052_171,
                    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                ),
            ),
            made_bytes=cifar10.UNPACKED_BYTES,
            make=cifar10.unpack,
        ),
        DataSet(
            name="shakespeare",
            summary="plays of Shakespeare as one text of 1.1 MB, for the source text",
            origin="https://github.com/karpathy/char-rnn",
            terms="public domain",
            source="text",
            reads="input.txt",
            files=(
                RemoteFile(
                    "input.txt",
                    ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",),
                    1_115_394,
                    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                ),
            ),
        ),
        DataSet(
            name="cwru",
            summary="bearing faults recorded at four motor loads, drive and fan end, 12 kHz",
            origin="https://engineering.case.edu/bearingdatacenter",
            terms="Case Western Reserve University Bearing Data Center; free to download, name the source",
            files=cwru.FILES,
            made_bytes=cwru.MADE_BYTES,
            about_bytes=cwru.ARRIVING_BYTES,
            make=cwru.convert,
        ),
    )
}
