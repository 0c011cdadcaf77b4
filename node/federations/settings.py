"""Everything that can be said of a simulated run, in sections as a run file has them: bounds, default and meaning.

`layers.py` puts together what a file, a request and the command line say; `terms.py` makes a federation of it.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from fl.simulate.scenarios import CLIENTS_MAX
from ledger.transactions import SETTINGS_MAX
from ledger.types import AMOUNT_MAX
from node.request_file import Settings, StrategySection
from node.toml_rules import Choice, Flag, Number, Place, TextTable, Whole, Words, rules_of

AUTO = "auto"
ENGINES = (AUTO, "inline", "processes", "ray")
SEEDS_MAX = 1000
WORKERS_MAX = 256


class RunFileError(Exception):
    """A run file or its options that make no run. The text names the file, `[section] key`, came and wanted."""


@dataclass(frozen=True, slots=True)
class DataSection:
    """What is trained on, and how it is divided among the clients."""

    source: Annotated[str, Words(1, 64, "a data source: `hanse help sources`")]
    path: Annotated[Path | None, Place("file or folder of the source, where it needs one")] = None
    settings: Annotated[Settings, TextTable(64, "settings of the source")] = ()
    clients: Annotated[int, Whole(1, CLIENTS_MAX, "factories")] = 10
    split: Annotated[
        str,
        Words(1, 64, "iid, class(2), dirichlet(0.5), site, or auto: site where every client has a source, else iid"),
    ] = AUTO


@dataclass(frozen=True, slots=True)
class ModelSection:
    """The model that is trained; `run.seed` draws its first weights."""

    name: Annotated[str, Words(1, 64, "`hanse help models`, or auto: one that suits the data")] = AUTO
    arguments: Annotated[Settings, TextTable(SETTINGS_MAX, "arguments of the model")] = ()
    scale_bits: Annotated[int, Whole(1, 30, "binary places of a parameter in updates and sums")] = 20
    limit: Annotated[int, Whole(1, 2**30, "every parameter lies between -limit and +limit")] = 512


@dataclass(frozen=True, slots=True)
class AggregationSection:
    """How one model is made of all updates: exact integers, as a committee computes them."""

    rule: Annotated[str, Words(1, 64, "`hanse help rules`, or auto: the one that the strategy needs")] = AUTO
    settings: Annotated[Settings, TextTable(SETTINGS_MAX, "settings of the rule")] = ()
    inspected: Annotated[bool, Flag("reject updates that are no work, as protected requests do")] = False


@dataclass(frozen=True, slots=True)
class PrivacySection:
    """What protects the records in an update."""

    mode: Annotated[str, Words(1, 64, "none, sound or paper: `hanse help privacy`")] = "none"
    settings: Annotated[Settings, TextTable(SETTINGS_MAX, "settings of the mode, as epsilon and delta")] = ()


@dataclass(frozen=True, slots=True)
class TrainingSection:
    """What each client does in a round."""

    epochs: Annotated[int, Whole(1, 10_000, "passes over the client's records in a round")] = 5
    batch: Annotated[int, Whole(1, 1_000_000, "records a step")] = 32
    learning_rate: Annotated[str, Number("0.000000001", "1000", "step length of SGD")] = "0.05"
    momentum: Annotated[str, Number("0", "0.999999", "momentum of SGD")] = "0.8"
    pace_s: Annotated[
        str,
        Number("0.000001", "86400", "virtual seconds that a step takes a middling client; t-sfl ends rounds by time"),
    ] = "0.01"
    pace_spread: Annotated[
        str, Number("1", "1000000", "how many times as long a step may take the slowest client as the fastest")
    ] = "4"


@dataclass(frozen=True, slots=True)
class RoundsSection:
    """How many rounds, of how many clients, and which of them are tested."""

    rounds: Annotated[int, Whole(1, 1_000_000, "rounds")] = 30
    per_round: Annotated[
        str, Number("0", str(CLIENTS_MAX), "clients drawn for a round: 0 all of them, below 1 a share, else a number")
    ] = "0"
    evaluate_every: Annotated[int, Whole(1, 1_000_000, "the models are tested after every so many rounds")] = 1


@dataclass(frozen=True, slots=True)
class AttackSection:
    """What dishonest clients do. With `compare` four runs: the usual rule unchecked, and the rule with all checks, each
    without the attack and with it."""

    name: Annotated[str, Words(0, 64, "`hanse help attacks`; empty: nobody attacks")] = ""
    strength: Annotated[str, Number("0", "1000000", "of the attack; 0: its own")] = "0"
    attackers: Annotated[int, Whole(0, CLIENTS_MAX, "the last so many clients attack; 0: a third of all")] = 0
    compare: Annotated[bool, Flag("run it without the attack and without the rule too")] = True


@dataclass(frozen=True, slots=True)
class RunSection:
    """What is drawn, and how often it is all done again."""

    seed: Annotated[int, Whole(0, 2**32 - 1, "of everything that is drawn")] = 1
    order_seed: Annotated[
        int, Whole(-1, AMOUNT_MAX, "of the mini-batches' order, where a request says one; -1: the seed")
    ] = -1
    seeds: Annotated[int, Whole(1, SEEDS_MAX, "runs with seeds one after the other: mean and spread of them")] = 1


@dataclass(frozen=True, slots=True)
class MachineSection:
    """What does the work. The results are the same bits on one worker or many."""

    engine: Annotated[str, Choice(ENGINES, "inline, processes, ray, or auto: processes when there are workers")] = AUTO
    workers: Annotated[int, Whole(0, WORKERS_MAX, "worker processes; 0: none, all in this process")] = 0
    device: Annotated[str, Choice((AUTO, "cpu", "cuda"), "what trains and tests; auto: a GPU where there is one")] = (
        AUTO
    )


@dataclass(frozen=True, slots=True)
class ResultsSection:
    """What is written while it runs and at its end. Without a folder nothing is."""

    folder: Annotated[Path | None, Place("where the result files go; empty: none are written")] = None
    checkpoint_every: Annotated[int, Whole(1, 1_000_000, "rounds from one checkpoint to the next")] = 10
    plots: Annotated[bool, Flag("draw pictures at the end; needs the extra plots")] = False


@dataclass(frozen=True, slots=True)
class RunSettings:
    """A run, every setting decided."""

    data: DataSection
    model: ModelSection
    strategy: StrategySection
    aggregation: AggregationSection
    privacy: PrivacySection
    training: TrainingSection
    rounds: RoundsSection
    attack: AttackSection
    run: RunSection
    machine: MachineSection
    results: ResultsSection

    def as_json(self) -> dict[str, dict[str, Any]]:
        """What decides the results, section by section; nothing of this machine: no path, no worker, no folder."""
        told: dict[str, dict[str, Any]] = {}
        for name, kind in SECTIONS.items():
            if name in OF_THIS_MACHINE:
                continue
            section = getattr(self, name)
            told[name] = {
                key: dict(value) if isinstance(value := getattr(section, key), tuple) else value
                for key in rules_of(kind)
                if (name, key) != ("data", "path")
            }
        return told


SECTIONS: dict[str, type] = {field.name: field.type for field in fields(RunSettings)}  # type: ignore[misc]
OF_THIS_MACHINE = frozenset({"machine", "results"})


def differences(now: dict[str, dict[str, Any]], before: dict[str, dict[str, Any]]) -> list[str]:
    """What two `RunSettings.as_json` say differently: "[training] epochs is 10, was 5"."""
    found = []
    for name in [*now, *(name for name in before if name not in now)]:
        one, other = now.get(name, {}), before.get(name, {})
        for key in [*one, *(key for key in other if key not in one)]:
            if one.get(key) != other.get(key):
                found.append(f"[{name}] {key} is {one.get(key)!r}, was {other.get(key)!r}")
    return found
