"""Strategies by name: the built-in ones and those that installed packages offer (entry points `hanse.strategies`)."""

from collections.abc import Mapping
from importlib.metadata import entry_points

from fl.settings import NoSettings, SettingNote, setting_notes
from fl.strategies.base import Strategy, StrategyError
from fl.strategies.centralised import Centralised
from fl.strategies.clustered import Clustered, ClusteredStrategySettings
from fl.strategies.ditto import Ditto, DittoSettings
from fl.strategies.dlmu import Dlmu, DlmuSettings
from fl.strategies.fedadam import FedAdam, FedAdamSettings
from fl.strategies.fedavg import FedAvg, FedAvgSettings
from fl.strategies.fedavgm import FedAvgM, FedAvgMSettings
from fl.strategies.fedobd import FedObd, FedObdSettings
from fl.strategies.fedper import FedPer, FedPerSettings
from fl.strategies.fedprox import FedProx, FedProxSettings
from fl.strategies.gradient_tracking import GradientTracking, GradientTrackingSettings
from fl.strategies.local_only import LocalOnly
from fl.strategies.scaffold import Scaffold, ScaffoldSettings
from fl.strategies.t_sfl import TSfl, TSflSettings

GROUP = "hanse.strategies"

BUILT_IN: dict[str, tuple[type[Strategy], type]] = {
    FedAvg.name: (FedAvg, FedAvgSettings),
    Dlmu.name: (Dlmu, DlmuSettings),
    FedAvgM.name: (FedAvgM, FedAvgMSettings),
    FedProx.name: (FedProx, FedProxSettings),
    Scaffold.name: (Scaffold, ScaffoldSettings),
    GradientTracking.name: (GradientTracking, GradientTrackingSettings),
    FedAdam.name: (FedAdam, FedAdamSettings),
    Ditto.name: (Ditto, DittoSettings),
    FedPer.name: (FedPer, FedPerSettings),
    LocalOnly.name: (LocalOnly, NoSettings),
    Centralised.name: (Centralised, NoSettings),
    FedObd.name: (FedObd, FedObdSettings),
    Clustered.name: (Clustered, ClusteredStrategySettings),
    TSfl.name: (TSfl, TSflSettings),
}


def names() -> tuple[str, ...]:
    """Every strategy known here, the built-in ones first."""
    offered = sorted({point.name for point in entry_points(group=GROUP)} - BUILT_IN.keys())
    return (*BUILT_IN, *offered)


def notes(name: str) -> tuple[SettingNote, ...]:
    """The settings of a strategy for people to read; none of a plug-in that does not say which it takes.

    Raises StrategyError for a name that is not there, or a plug-in that is no strategy.
    """
    if name in BUILT_IN:
        return setting_notes(BUILT_IN[name][1])
    takes = _plug_in(name).takes
    return () if takes is None else setting_notes(takes)


def summary(name: str) -> str:
    """What a strategy does, in a line. Raises StrategyError."""
    return (BUILT_IN[name][0] if name in BUILT_IN else _plug_in(name)).summary


def strategy(name: str, settings: Mapping[str, str]) -> Strategy:
    """The strategy of that name. Raises StrategyError for an unknown name or setting, or a plug-in that is none."""
    kind = BUILT_IN[name][0] if name in BUILT_IN else _plug_in(name)
    return kind.from_settings(settings)


def _plug_in(name: str) -> type[Strategy]:
    # A plug-in cannot take the place of a built-in rule: a request means the same at every provider.
    for point in entry_points(group=GROUP, name=name):
        try:
            kind = point.load()
        except Exception as error:  # a broken plug-in may fail in any way it likes
            raise StrategyError(f"strategy {name!r}: its plug-in cannot be loaded: {error!r}") from error
        if not (isinstance(kind, type) and issubclass(kind, Strategy)):
            raise StrategyError(f"strategy {name!r}: its plug-in is {kind!r}, want a subclass of Strategy")
        return kind
    raise StrategyError(f"unknown strategy {name[:80]!r}, want one of {', '.join(names())}")
