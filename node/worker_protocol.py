"""What the node and its training process say to each other: jobs in, answers out, as length-prefixed canonical frames.

No torch here: both sides import it. A frame is eight bytes of length, big-endian, and `codec.encode_union`. Numbers
that are not whole travel as text in Python's shortest exact form.
"""

from dataclasses import dataclass
from typing import Annotated, BinaryIO, ClassVar

from ledger.codec import Range, Size, decode_union, encode_union
from ledger.errors import InvalidBytes
from ledger.transactions import Settings
from ledger.types import AMOUNT_MAX, BLOB_BYTES_MAX

LENGTH_BYTES = 8
# A job carries the global model and a strategy's state, an answer an update, a state and a served model.
FRAME_BYTES_MAX = 4 * BLOB_BYTES_MAX
# Records of the confusion matrix of the largest vocabulary worth looking at; past that only the sums travel.
CONFUSION_CELLS_MAX = 256 * 256

Count = Annotated[int, Range(0, AMOUNT_MAX)]
Number = Annotated[str, Size(1, 32)]
Reason = Annotated[str, Size(0, 4096)]


@dataclass(frozen=True, slots=True)
class ModelForm:
    """What a vector means: a model of the registry, and how its parameters are written as integers.

    `parameters`: length of the vector, a whole number of times the model's; 0 for the model alone.
    """

    model: str
    arguments: Settings
    scale_bits: int
    limit: int
    parameters: Count = 0


@dataclass(frozen=True, slots=True)
class TrainingTerms:
    """How a round is trained: `fl.round.RoundJob` in words of the ledger. `round_number` counts from 0.

    `noise`: the noise multiplier that was charged for, 0 in modes without. `accuracy`: what may be told of the test
    records, "none", "noisy" or "exact"; `query_noise`: deviation of the noise on the count of recognised ones.
    `units`: how many units of privacy were charged for, 0 in modes without. `deadline`: seconds that the round takes
    updates.
    """

    form: ModelForm
    strategy: str
    strategy_settings: Settings
    privacy: str
    privacy_settings: Settings
    epochs: int
    batch: int
    learning_rate: Number
    momentum: Number
    round_number: Count
    seed: Count
    allow_no_guarantee: bool
    noise: Number = "0"
    accuracy: Annotated[str, Size(1, 16)] = "none"
    query_noise: Number = "0"
    units: Count = 0
    deadline: Number = "0"


@dataclass(frozen=True, slots=True)
class InitialModel:
    """Make the first global vector of this strategy; `form` need not say how long it is."""

    KIND: ClassVar[int] = 1
    form: ModelForm
    seed: Count
    strategy: str = "fedavg"
    strategy_settings: Settings = ()


@dataclass(frozen=True, slots=True)
class TrainRound:
    """Train one round on the records of `periods` in the store; tested on the store's test records when it has any."""

    KIND: ClassVar[int] = 2
    terms: TrainingTerms
    store: str
    periods: tuple[Count, ...]
    base: bytes
    state: bytes | None


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Test a global model on the store's test records."""

    KIND: ClassVar[int] = 3
    form: ModelForm
    store: str
    model: bytes


@dataclass(frozen=True, slots=True)
class ServeModel:
    """Make the model that this factory uses itself of the newest global one and its own state, fit it to the records of
    `periods` (none: not at all), and test it."""

    KIND: ClassVar[int] = 4
    terms: TrainingTerms
    store: str
    periods: tuple[Count, ...]
    base: bytes
    state: bytes | None


Job = InitialModel | TrainRound | Evaluate | ServeModel


@dataclass(frozen=True, slots=True)
class Score:
    """A model on test records. Ratios and the mean loss (nats) in millionths; `confusion` row by row, or empty."""

    records: Count
    correct: Count
    accuracy: Count
    loss: Count
    macro_f1: Count
    confusion: Annotated[tuple[Count, ...], Size(0, CONFUSION_CELLS_MAX)]


@dataclass(frozen=True, slots=True)
class Progress:
    """Epochs done of all, and the mean loss of the last one in millionths."""

    KIND: ClassVar[int] = 16
    epoch: Count
    epochs: Count
    loss: Count


@dataclass(frozen=True, slots=True)
class ModelMade:
    KIND: ClassVar[int] = 17
    model: bytes


@dataclass(frozen=True, slots=True)
class RoundTrained:
    """A finished round. `update`: the blob to upload; `weight`: records it counts for. Scores: of the global model the
    round began with, of the model that was served before it, of the update; None without test records. They, losses
    and drift are raw statistics of the records and stay in this node: what may leave of them is `told_accuracy`, in
    millionths, of the model the round began with, on `told_records` test records (0: nothing is told)."""

    KIND: ClassVar[int] = 18
    update: bytes
    weight: Count
    records: Count
    state: bytes
    start: Score | None
    served: Score | None
    trained: Score | None
    steps: Count
    losses: tuple[Number, ...]
    beta: Number
    drift: Number
    warnings: tuple[Reason, ...]
    guarantee: Reason
    epsilon: Number | None
    told_accuracy: Count = 0
    told_records: Count = 0


@dataclass(frozen=True, slots=True)
class Evaluated:
    KIND: ClassVar[int] = 19
    score: Score


@dataclass(frozen=True, slots=True)
class ModelServed:
    """`vector`: float32, little-endian. `own_share`: how much of the factory's own last model is in it."""

    KIND: ClassVar[int] = 20
    vector: bytes
    own_share: Number
    score: Score | None


@dataclass(frozen=True, slots=True)
class JobFailed:
    """The job cannot be done. `code` is one short word: "model", "strategy", "privacy", "data", "diverged", "late",
    "settings", "store", "memory", "bug"."""

    KIND: ClassVar[int] = 21
    code: Annotated[str, Size(1, 16)]
    reason: Reason


Answer = Progress | ModelMade | RoundTrained | Evaluated | ModelServed | JobFailed


def job_frame(job: Job) -> bytes:
    return _frame(encode_union(job, Job))


def answer_frame(answer: Answer) -> bytes:
    return _frame(encode_union(answer, Answer))


def parse_job(body: bytes) -> Job:
    job: Job = decode_union(Job, body)
    return job


def parse_answer(body: bytes) -> Answer:
    """Raises InvalidBytes."""
    answer: Answer = decode_union(Answer, body)
    return answer


def frame_length(head: bytes) -> int:
    """The length that a frame's head states. Raises InvalidBytes past FRAME_BYTES_MAX."""
    length = int.from_bytes(head, "big")
    if length > FRAME_BYTES_MAX:
        raise InvalidBytes(f"a frame of {length} bytes, want at most {FRAME_BYTES_MAX}")
    return length


def read_frame(stream: BinaryIO) -> bytes | None:
    """The body of the next frame of a blocking stream; None when it ends, even in the middle of one."""
    head = stream.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    length = frame_length(head)
    body = stream.read(length)
    return body if len(body) == length else None


def _frame(body: bytes) -> bytes:
    if len(body) > FRAME_BYTES_MAX:
        raise InvalidBytes(f"a frame of {len(body)} bytes, want at most {FRAME_BYTES_MAX}")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body
