"""The records of a run: a source read from this machine's files, divided among the clients, and a model for them."""

from dataclasses import dataclass, replace

from fl.data.tables import Split, Table
from fl.simulate.scenarios import SCENARIOS, Scenario, clients_of, scenario_of
from fl.simulate.suited_model import suited_model
from node.federations.settings import AUTO, RunSettings


@dataclass(frozen=True, slots=True, eq=False)
class DividedData:
    """Each client's records, and the common test."""

    clients: list[Split]
    test: Table

    @property
    def train(self) -> list[Table]:
        return [split.train for split in self.clients]


def divided_data(settings: RunSettings) -> DividedData:
    """Raises DataError for a source, settings, files or a split that give no records for every client."""
    data = settings.data
    at_sites = data.source == "bearing-simulator"
    split = data.split if data.split != AUTO else ("site" if at_sites else "iid")
    # The terms of a scenario play no part in who holds what.
    chosen = Scenario(data.source, dict(data.settings), split, SCENARIOS["bearings"].terms)
    clients, test = clients_of(chosen, data.path, data.clients, split, settings.run.seed)
    return DividedData(clients, test)


def with_model(settings: RunSettings, data: DividedData) -> RunSettings:
    """The settings with the model decided: where they leave it open, one that suits the records. Raises ModelError."""
    if settings.model.name != AUTO:
        return settings
    tried = scenario_of(settings.data.source)
    known = (tried.terms.model, tried.terms.arguments) if tried is not None else ("", {})
    name, arguments = suited_model(data.clients[0].train, *known)
    return replace(settings, model=replace(settings.model, name=name, arguments=tuple(arguments.items())))
