"""Exact aggregation: many integer vectors into one, the same bits on every machine (DESIGN D4). numpy, no float.

`aggregate_blobs` is what the leader computes and every committee member recomputes. A rule is a row in `RULES`; those
that bear bad updates are in `fl.robust`, and what is no honest work is found in `fl.inspection`. Vectors may be views
of memory-mapped files: they are read in chunks, and a few megabytes are all that is needed beyond the inputs and the
result. Who may deliver, and how many records count for whom, is decided elsewhere.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any

from fl.clustering import ClusteredSettings, clustered, vectors_of, work_place
from fl.delta_blob import unpack_update
from fl.exact_sums import (
    CHUNK,
    INT64_MAX,
    WIDEST,
    AggregateError,
    total_weight_max,
    weighted_mean,
)
from fl.fixed_point import Bytes, Ints, pack, unpack
from fl.inspection import inspect
from fl.robust import (
    NormBoundSettings,
    ShareSettings,
    Updates,
    median,
    multi_krum,
    norm_bound,
    trimmed_mean,
)
from fl.server_steps import ADAM_VECTORS, AdamSettings, MomentumSettings, adam, momentum
from fl.settings import Choice, NoSettings, SettingNote, Whole, parse_settings, setting_notes
from fl.update_quality import MICRO, as_model, quality

__all__ = [
    "CHUNK",
    "INT64_MAX",
    "MICRO",
    "RULES",
    "WIDEST",
    "AggregateError",
    "Aggregated",
    "Rule",
    "Updates",
    "aggregate_blobs",
    "check_rule",
    "quality",
    "rule_notes",
    "total_weight_max",
    "vectors_seen",
    "weighted_mean",
]

# Of 64 vectors even the smallest model that anybody trains fills a blob.
VECTORS_MAX = 64


@dataclass(frozen=True, slots=True)
class Aggregated:
    """The blob of the new global model, and the quality of each update in the order they were given (millionths).

    rejected: (place, reason) of the updates that were found to be no honest work: they count for nothing and have
    quality 0. When nothing else was given, the blob is empty.
    """

    blob: bytes
    qualities: tuple[int, ...]
    rejected: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """`run` makes the new vector, every |coordinate| at most limit_q, of parsed settings and of what was delivered.

    `robust`: it looks at single updates and bears a minority of bad ones, so it is not for updates that are masked.
    `vectors`: how many vectors of one length it works on, told by its settings; None: as many as the request says.
    `place`: where the work of an update is, of the old global vector, the update and the number of vectors; its quality
    is how far it agrees with the others there. None: all work is in the first vector.
    """

    summary: str
    settings: type
    run: Callable[[Any, Updates], Ints]
    robust: bool = False
    vectors: Callable[[Any], int] | None = None
    place: Callable[[Ints, Ints, int], slice] | None = None


def _mean(settings: NoSettings, updates: Updates) -> Ints:
    return weighted_mean(updates.vectors, updates.weights, updates.limit_q)


def _even_mean(settings: NoSettings, updates: Updates) -> Ints:
    return weighted_mean(updates.vectors, [1] * len(updates.vectors), updates.limit_q)


RULES: dict[str, Rule] = {
    "mean": Rule("the mean, weighted by records", NoSettings, _mean),
    "even-mean": Rule("the mean in which every factory counts alike, whatever its records", NoSettings, _even_mean),
    "norm-bound": Rule("the weighted mean of steps that are bounded in length", NormBoundSettings, norm_bound, True),
    "trimmed-mean": Rule("by coordinate the mean without the extremes", ShareSettings, trimmed_mean, True),
    "median": Rule("by coordinate the middle", NoSettings, median, True),
    "multi-krum": Rule("the mean of the updates that lie nearest to one another", ShareSettings, multi_krum, True),
    "momentum": Rule("the mean's step and some of the last movement again: FedAvgM", MomentumSettings, momentum),
    "adam": Rule(
        "the mean's step by coordinate in its own length: FedAdam", AdamSettings, adam, vectors=lambda _: ADAM_VECTORS
    ),
    "clustered": Rule(
        "a model of all and one of each group of factories that learn alike",
        ClusteredSettings,
        clustered,
        vectors=vectors_of,
        place=work_place,
    ),
}


@dataclass(frozen=True, slots=True)
class CommonSettings:
    """What every rule can be told beside its own settings."""

    inspect: Annotated[str, Choice(("true", "false"), "reject copies, free riders and noise: unpaid")] = "true"
    vectors: Annotated[int, Whole(1, VECTORS_MAX, "how many an update holds; its work is seen in the first")] = 1


def _common(rule: Rule) -> frozenset[str]:
    """Names of the common settings that the rule leaves to be told: what it settles itself, nobody may tell it."""
    names = {field.name for field in fields(CommonSettings)} - {field.name for field in fields(rule.settings)}
    return frozenset(names - {"vectors"} if rule.vectors is not None else names)


def check_rule(name: str, settings: Mapping[str, str]) -> None:
    """Raises AggregateError for a rule that does not exist, or a setting that it does not have or allow."""
    _parsed(name, settings)


def vectors_seen(name: str, settings: Mapping[str, str]) -> int:
    """How many vectors of one length the rule takes an update for. Raises AggregateError, as `check_rule` does."""
    return _parsed(name, settings).vectors


def rule_notes(name: str) -> tuple[SettingNote, ...]:
    """The settings of a rule for people to read."""
    rule = RULES[name]
    common = _common(rule)
    return (*setting_notes(rule.settings), *(note for note in setting_notes(CommonSettings) if note.name in common))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A rule with its own settings; whether updates are inspected before it; how many vectors each of them holds."""

    rule: Rule
    own: Any
    inspected: bool
    vectors: int


def _parsed(name: str, settings: Mapping[str, str]) -> _Asked:
    rule = RULES.get(name)
    if rule is None:
        raise AggregateError(f"unknown rule {name[:80]!r}, want one of {', '.join(sorted(RULES))}")
    everybodys = _common(rule)
    common = {key: value for key, value in settings.items() if key in everybodys}
    own = {key: value for key, value in settings.items() if key not in everybodys}
    said = parse_settings(CommonSettings, f"rule {name}", common, AggregateError)
    parsed: Any = parse_settings(rule.settings, f"rule {name}", own, AggregateError)
    vectors = said.vectors if rule.vectors is None else rule.vectors(parsed)
    return _Asked(rule, parsed, said.inspect == "true", vectors)


def aggregate_blobs(
    rule: str,
    settings: Mapping[str, str],
    base: Bytes,
    updates: Sequence[tuple[Bytes, int]],
    count: int,
    scale_bits: int,
    limit_q: int,
    *,
    inspected: bool = False,
    previous: Bytes | None = None,
    known_for: Sequence[int] | None = None,
) -> Aggregated:
    """The new global model from the blobs of the old one and of the (update, weight) pairs.

    Updates are whole vectors or changes to the old model (`fl.delta_blob`); those take 4 bytes a coordinate once read.

    `inspected`: updates that are no honest work are rejected first, unless the settings say otherwise; `previous` is
    the blob of the global model before the old one, None where there is none; `known_for` how long everybody has
    known each update (fl.inspection.inspect), None where all are new. Raises InvalidVector for a blob that is no vector
    of `count` coordinates at `scale_bits` within limit_q, AggregateError for an unknown rule or setting, a `count` that
    is no multiple of the vectors, for no updates, and for weights that could overflow.
    """
    asked = _parsed(rule, settings)
    model, rest = divmod(count, asked.vectors)
    if rest or not model:
        raise AggregateError(f"{count} coordinates, want {asked.vectors} vectors of one length for rule {rule}")
    origin = unpack(base, count, scale_bits, limit_q)
    vectors = [unpack_update(blob, origin, scale_bits, limit_q) for blob, _ in updates]
    before = unpack(previous, count, scale_bits, limit_q) if previous is not None else None
    # What a rule carries beside the model is nobody's work: who worked, and how well, shows in one vector.
    find = asked.rule.place
    places = [slice(model) if find is None else find(origin, vector, asked.vectors) for vector in vectors]
    rejected: dict[int, str] = {}
    if inspected and asked.inspected:
        moved_from = before[:model] if before is not None else None
        models = [as_model(origin, vector, place) for vector, place in zip(vectors, places, strict=True)]
        rejected = {at: reason.value for at, reason in inspect(origin[:model], models, moved_from, known_for)}
    kept = [at for at in range(len(updates)) if at not in rejected]
    if rejected and not kept:
        return Aggregated(b"", (0,) * len(updates), tuple(rejected.items()))
    given = Updates(origin, [vectors[at] for at in kept], [updates[at][1] for at in kept], scale_bits, limit_q, before)
    whole = asked.rule.run(asked.own, given)
    qualities: dict[int, int] = {}
    for place in {places[at].start or 0: places[at] for at in kept}.values():
        those = [at for at in kept if places[at] == place]
        works = [vectors[at][place] for at in those]
        # Where there are several places, what the rule does beside averaging each says nothing of who worked on it.
        made = whole[place] if find is None else weighted_mean(works, [updates[at][1] for at in those], limit_q)
        found = quality(origin[place], works, made)
        qualities |= dict(zip(those, found, strict=True))
    blob = pack(whole, scale_bits)
    return Aggregated(blob, tuple(qualities.get(at, 0) for at in range(len(updates))), tuple(rejected.items()))
