"""Who says what of a run, put on top of each other: defaults, what suits the data, a request, a run file, options.

A layer holds only what somebody said. What goes with a name (a strategy's settings, a model's arguments) goes with it:
another name on top does not inherit them.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from fl.data import registry
from fl.data.registry import OWN
from fl.simulate.scenarios import scenario_of
from fl.strategies.recommended import Circumstances, recommended
from fl.strategies.registry import notes
from node.federations.settings import AUTO, SECTIONS, RunFileError, RunSettings
from node.request_file import RequestDraft, StrategySection
from node.request_strategy import Contradiction, left_to_strategy
from node.toml_rules import read_toml, read_value, refuse_unknown, rules_of, shown

Layer: TypeAlias = dict[tuple[str, str], Any]
"""What was said, by section and key, as `RunSettings` holds it."""

# What belongs to a name, and is another thing under another one.
_GOES_WITH = {
    ("model", "arguments"): ("model", "name"),
    ("strategy", "settings"): ("strategy", "name"),
    ("aggregation", "settings"): ("aggregation", "rule"),
    ("privacy", "settings"): ("privacy", "mode"),
    ("attack", "strength"): ("attack", "name"),
    ("data", "settings"): ("data", "source"),
    ("data", "path"): ("data", "source"),
}


def file_layer(path: Path) -> Layer:
    """What a run file says. With [data.block] it is itself the path of the source "own". Raises RunFileError."""
    tables = read_toml(path, RunFileError)
    data = tables.get("data")
    if not isinstance(data, dict) or "block" not in data:
        return tables_layer(tables, path.absolute().parent, f"{path}: ")
    said = {key: value for key, value in data.items() if key != "block"}
    if said.get("source", OWN) != OWN or said.get("path"):
        raise RunFileError(f'{path}: [data.block] beside another source or a path, want source = "{OWN}" alone')
    layer = tables_layer({**tables, "data": said}, path.absolute().parent, f"{path}: ")
    return {**layer, ("data", "source"): OWN, ("data", "path"): path.absolute()}


def tables_layer(tables: Mapping[str, Any], folder: Path, where: str) -> Layer:
    """What TOML tables say; relative paths count from `folder`, errors begin with `where`. Raises RunFileError."""
    refuse_unknown(tables, SECTIONS, f"{where}the file", RunFileError)
    layer: Layer = {}
    for name, table in tables.items():
        rules = rules_of(SECTIONS[name])
        if not isinstance(table, Mapping):
            raise RunFileError(f"{where}[{name}] is {shown(table)}, want a table with {', '.join(rules)}")
        refuse_unknown(table, rules, f"{where}[{name}]", RunFileError)
        for key, value in table.items():
            layer[name, key] = read_value(rules[key], value, folder, f"{where}[{name}] {key}", RunFileError)
    return layer


def request_layer(draft: RequestDraft) -> Layer:
    """The terms of a request; its windows, prices and deadlines play no part here.

    A masked request gives the sums of the same updates, so it is simulated unmasked. The data type is the source where
    a source is called so.
    """
    training = dict(draft.training_settings)
    layer: Layer = {
        ("model", "name"): draft.model,
        ("model", "arguments"): draft.model_arguments,
        ("model", "scale_bits"): draft.scale_bits,
        ("model", "limit"): draft.limit,
        ("strategy", "name"): draft.strategy,
        ("strategy", "settings"): draft.strategy_settings,
        ("aggregation", "rule"): draft.aggregation,
        ("aggregation", "settings"): draft.aggregation_settings,
        # Leagues protect every request, since protocol 3; what is masked nobody can look at.
        ("aggregation", "inspected"): not draft.masked,
        ("privacy", "mode"): draft.privacy,
        ("privacy", "settings"): draft.privacy_settings,
        ("training", "epochs"): draft.epochs,
        ("training", "batch"): draft.batch,
        ("training", "learning_rate"): training["learning_rate"],
        ("training", "momentum"): training["momentum"],
        ("rounds", "rounds"): draft.rounds_max,
        ("run", "seed"): draft.seed,
        ("run", "order_seed"): int(training.get("order_seed", -1)),
    }
    if _is_its_own(draft):
        # So that another strategy on top brings the rule that it needs.
        del layer["aggregation", "rule"], layer["aggregation", "settings"]
        layer["aggregation", "inspected"] &= dict(draft.aggregation_settings).get("inspect") != "false"
    if draft.data_type in registry.names():
        layer["data", "source"] = draft.data_type
    return layer


def _is_its_own(draft: RequestDraft) -> bool:
    """Whether updates are aggregated as the strategy says by itself where nothing is masked."""
    try:
        rule, _ = left_to_strategy(
            draft.strategy, draft.strategy_settings, draft.aggregation, draft.aggregation_settings
        )
    except Contradiction:
        return False
    return rule == AUTO


def scenario_layer(source: str) -> Layer:
    """What suits this source; nothing for one that nobody has tried. The name of a scenario stands for its source."""
    chosen = scenario_of(source)
    if chosen is None:
        return {("data", "source"): source}
    terms = chosen.terms
    return {
        ("data", "source"): chosen.source,
        ("data", "settings"): tuple(chosen.settings.items()),
        ("data", "split"): chosen.split,
        ("training", "epochs"): terms.epochs,
        ("training", "batch"): terms.batch,
        ("training", "learning_rate"): repr(terms.lr),
        ("training", "momentum"): repr(terms.momentum),
        ("rounds", "rounds"): terms.rounds,
    }


def laid(below: Layer, above: Layer) -> Layer:
    """Both, `above` where both say something."""
    kept = {
        key: value
        for key, value in below.items()
        if key not in _GOES_WITH or _GOES_WITH[key] not in above or above[_GOES_WITH[key]] == below.get(_GOES_WITH[key])
    }
    return {**kept, **above}


def added(layer: Layer, key: tuple[str, str], more: Mapping[str, str]) -> Layer:
    """The layer with single settings on top of those that it has under `key`."""
    return {**layer, key: tuple({**dict(layer.get(key, ())), **more}.items())} if more else layer


def settled(*layers: Layer, more: Mapping[tuple[str, str], Mapping[str, str]] | None = None) -> RunSettings:
    """The run that the layers say, the last one on top of all; `more`: single settings on top of theirs.

    What no layer says is what suits the data, and else the default. Raises RunFileError.
    """
    said: Layer = {}
    for layer in layers:
        said = laid(said, layer)
    source = said.get(("data", "source"))
    if source is None:
        raise RunFileError("no data: want --data NAME, or [data] source in a run file (`hanse help sources`)")
    suited = scenario_layer(source)
    said[("data", "source")] = suited["data", "source"]
    whole = laid(suited, said)
    for key, each in (more or {}).items():
        whole = added(whole, key, each)
    sections = {
        name: kind(**{key: whole[name, key] for key in rules_of(kind) if (name, key) in whole})
        for name, kind in SECTIONS.items()
    }
    settings = RunSettings(**sections)
    _check(settings)
    return _with_strategy(settings)


def _with_strategy(settings: RunSettings) -> RunSettings:
    """A strategy where none is named: what a request of these terms would have, unless few clients take part in a
    round, which no request can ask for; it is told how few, where it takes that."""
    if settings.strategy.name != AUTO:
        return settings
    asked = settings.aggregation.rule
    per_round = per_round_of(settings)
    share = per_round / settings.data.clients if per_round else 1.0
    name = recommended(Circumstances(settings.privacy.mode, None if asked == AUTO else asked, participation=share))
    own = dict(settings.strategy.settings)
    if per_round and "participation" in {note.name for note in notes(name)}:
        own.setdefault("participation", repr(share))
    return replace(settings, strategy=StrategySection(name, tuple(own.items())))


def _check(settings: RunSettings) -> None:
    """Refuse settings that are each allowed and cannot be meant together."""
    per_round, clients = float(settings.rounds.per_round), settings.data.clients
    if per_round >= 1 and (per_round != int(per_round) or per_round > clients):
        raise RunFileError(
            f"[rounds] per_round is {settings.rounds.per_round}, want 0, a share below 1, or 1 to {clients} clients"
        )
    if settings.aggregation.rule == AUTO and settings.aggregation.settings:
        raise RunFileError("[aggregation] settings without a rule: want the name of the rule they are for")
    if settings.model.name == AUTO and settings.model.arguments:
        raise RunFileError("[model] arguments without a name: want the name of the model they are for")
    attack = settings.attack
    if not attack.name and attack.attackers:
        raise RunFileError(f"{attack.attackers} attackers without an attack: want the name of one")
    if attack.name and not 1 <= attackers_of(settings) < clients:
        raise RunFileError(f"{attackers_of(settings)} attackers of {clients} clients, want 1 to {clients - 1}")
    if settings.machine.engine == "inline" and settings.machine.workers:
        raise RunFileError(f"[machine] engine inline with {settings.machine.workers} workers, want 0 or another engine")


def attackers_of(settings: RunSettings) -> int:
    """How many clients attack, whether they do in this run or not."""
    return settings.attack.attackers or settings.data.clients // 3


def per_round_of(settings: RunSettings) -> int:
    """Clients drawn for a round, 0 for all of them; a share is rounded, and at least one client."""
    asked = float(settings.rounds.per_round)
    return max(1, round(asked * settings.data.clients)) if 0 < asked < 1 else int(asked)
