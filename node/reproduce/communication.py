"""[ANCHOR] 3.4.3: what 100 rounds move with one to five clients, and whether it depends on how many records they have.

Models: 100 simulated rounds in which so many of five clients are drawn; the bytes are those of the blobs that a league
would store, an update up and a global model down for each client and round. League: a customer and so many factories,
a process each; what all nodes together send each other in a request, votes and blocks and blobs to every member of the
committee included, scaled to 100 rounds; and the blocks it left on the ledger.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import ClassVar

from node.plots.lines import Line
from node.reproduce import published
from node.reproduce.experiment import Asked, Experiment, Published, Report, ReportTable, Run, Tell
from node.reproduce.plot import Panel, Plot
from node.reproduce.results import Keys, Measured, Results

MODELS, LEAGUE = "models", "league"
UP_KB, DOWN_KB, TOTAL_KB = "up_kb", "down_kb", "total_kb"
NETWORK_KB, LEDGER_KB = "network_kb", "ledger_kb"
PARAMETERS = "parameters"
KB = 1000.0
FEW_RECORDS = 100


@dataclass(frozen=True, slots=True)
class CommunicationSize:
    """`league_rounds`: run on leagues, then scaled to `rounds`; `records`: of a client, and FEW_RECORDS beside."""

    clients: tuple[int, ...]
    league_clients: tuple[int, ...]
    league_rounds: int
    records: int = 1000
    rounds: int = published.COMMUNICATION_ROUNDS
    layers: str = "8,150,150,4"


class Communication(Experiment):
    name = "communication"
    summary = "[ANCHOR] 3.4.3: what travels in 100 rounds with one to five clients"
    source = "[ANCHOR] section 3.4.3"
    alone = True
    seeds_usual = 1
    minutes_quick = 2.0
    sizes: ClassVar[Mapping[str, object]] = {
        "quick": CommunicationSize(clients=(1, 2, 3, 4, 5), league_clients=(1, 3, 5), league_rounds=4),
        "full": CommunicationSize(clients=(1, 2, 3, 4, 5), league_clients=(1, 2, 3, 4, 5), league_rounds=100),
    }
    size: CommunicationSize

    def runs(self, asked: Asked) -> Sequence[Run]:
        size = self.size
        settings = {
            "size": {**asdict(size), "clients": list(size.clients), "league_clients": list(size.league_clients)}
        }
        runs = []
        for seed in asked.seeds:
            for clients in size.clients:
                for records in (FEW_RECORDS, size.records):
                    keys = {"what": MODELS, "clients": str(clients), "records": str(records)}
                    runs.append(Run(keys, seed, settings, partial(self._models, asked, clients, records, seed)))
            for clients in size.league_clients:
                keys = {"what": LEAGUE, "clients": str(clients), "records": str(size.records)}
                runs.append(Run(keys, seed, settings, partial(self._league, clients)))
        return runs

    def _models(self, asked: Asked, clients: int, records: int, seed: int, tell: Tell) -> Measured:
        from fl.simulate.federation import Federation
        from node.reproduce.federations import FEDAVG, load_split, terms_of

        size = self.size
        most = max(size.clients)
        wanted = {"factories": str(most), "seed": str(seed), "train_records": str(records), "test_records": "100"}
        factories = [load_split("bearing-simulator", {**wanted, "factory": str(at)}, None) for at in range(most)]
        terms = terms_of(
            {
                **FEDAVG,
                "model": "mlp",
                "arguments": {"layers": size.layers},
                "rounds": size.rounds,
                "epochs": 1,
                "batch": 32,
                "lr": 0.005,
                "momentum": 0.0,
                "per_round": clients,
                "evaluate_every": size.rounds,
            },
            asked.device,
        )
        with Federation(terms, factories, factories[0].test, seed) as federation:
            course = federation.run(lambda done: tell(f"round {done.number} of {terms.rounds}"))
            parameters = len(federation.base)
        up, down = (sum(each) / KB for each in zip(*((r.bytes_up, r.bytes_down) for r in course.rounds), strict=True))
        return Measured({UP_KB: up, DOWN_KB: down, TOTAL_KB: up + down, PARAMETERS: float(parameters)})

    def _league(self, clients: int, tell: Tell) -> Measured:
        from node.reproduce.leagues import bearing_league, train

        size = self.size
        tell("founding a league")
        with bearing_league(clients, size.records) as league:
            tell(f"training {size.league_rounds} rounds")
            trained = train(league, size.league_rounds, epochs=1)
        scale = size.rounds / size.league_rounds / KB
        return Measured({NETWORK_KB: trained.sent_bytes * scale, LEDGER_KB: trained.ledger_bytes * scale})

    def published(self, keys: Keys, figure: str) -> Published | None:
        value = published.COMMUNICATION_KB.get(int(keys["clients"]))
        if figure != TOTAL_KB or value is None:
            return None
        return Published(value, "[ANCHOR] 3.4.3")

    def report(self, results: Results) -> Report:
        size = self.size
        most = str(size.records)
        rows = []
        for clients in map(str, size.clients):
            here = {"what": MODELS, "clients": clients}
            league = results.where(what=LEAGUE, clients=clients)
            rows.append(
                (
                    clients,
                    f"{published.COMMUNICATION_KB[int(clients)]:.0f}"
                    if int(clients) in published.COMMUNICATION_KB
                    else "-",
                    results.spread(TOTAL_KB, **here, records=str(FEW_RECORDS)).text(0),
                    *(results.spread(figure, **here, records=most).text(0) for figure in (TOTAL_KB, UP_KB, DOWN_KB)),
                    league.spread(NETWORK_KB).text(0) if league.all else "-",
                    league.spread(LEDGER_KB).text(0) if league.all else "-",
                )
            )
        columns = (
            "clients a round",
            "printed",
            f"models, {FEW_RECORDS} records each",
            f"models, {most} records each",
            "of it up",
            "of it down",
            "a league's network",
            "a league's ledger",
        )
        lines = [_line("models up and down", results.where(what=MODELS, records=most), TOTAL_KB)]
        if results.where(what=LEAGUE).all:
            lines.append(_line("a league's network", results.where(what=LEAGUE), NETWORK_KB))
            lines.append(_line("a league's ledger", results.where(what=LEAGUE), LEDGER_KB))
        lines.append(Line("printed", [dict(published.COMMUNICATION_KB)]))
        return Report(
            f"{size.rounds} rounds, MLP {size.layers.replace(',', '-')}, four bytes a coordinate; leagues "
            f"ran {size.league_rounds} rounds, scaled to {size.rounds}; a league has a customer beside its clients.",
            (ReportTable(f"Kilobytes (1,000 bytes) in {size.rounds} rounds", columns, tuple(rows)),),
            (Plot("kilobytes", (Panel("What 100 rounds move", "kB", "clients a round", tuple(lines), log=True),)),),
            communication_verdict(results, self.size),
        )


def _line(label: str, results: Results, figure: str) -> Line:
    by_seed: dict[int, dict[int, float]] = {}
    for each in results.all:
        by_seed.setdefault(each.seed, {})[int(each.keys["clients"])] = each.measured.figures[figure]
    return Line(label, list(by_seed.values()))


def communication_verdict(results: Results, size: CommunicationSize) -> str:
    """The paragraph."""
    most = str(size.records)
    totals = {each: results.mean(TOTAL_KB, what=MODELS, clients=str(each), records=most) for each in size.clients}
    few = {each: results.mean(TOTAL_KB, what=MODELS, clients=str(each), records=str(FEW_RECORDS)) for each in totals}
    a_client = totals[size.clients[0]] / size.clients[0]
    linear = all(abs(kb / each - a_client) <= 0.01 * a_client for each, kb in totals.items())
    alike = all(abs(totals[each] - few[each]) <= 0.01 * totals[each] for each in totals)
    sentences = [
        f"Traffic {'grows' if linear else 'does not grow'} in proportion to the clients of a round and "
        f"{'does not depend' if alike else 'depends'} on how many records they have"
        + (", both as printed." if linear and alike else "; the paper prints proportion and independence.")
    ]
    parameters = results.mean(PARAMETERS, what=MODELS, clients=str(size.clients[0]), records=most)
    printed = published.COMMUNICATION_KB[1]
    a_round = printed * KB / published.COMMUNICATION_ROUNDS
    if a_client > 2 * printed:
        sentences.append(
            f"The printed size does not reproduce: {printed:.0f} KB a client in 100 rounds are {a_round:.0f} bytes a "
            f"round, and the model that is named has {parameters:.0f} parameters, so that up and down together "
            f"{8 * a_round / 2 / parameters:.3f} bits would be left for each; here a client's models are "
            f"{a_client:.0f} kB."
        )
    else:
        sentences.append(f"A client's models are {a_client:.0f} kB in 100 rounds, printed are {printed:.0f} KB.")
    league = results.where(what=LEAGUE)
    if league.all:
        moved = {int(each): results.mean(NETWORK_KB, what=LEAGUE, clients=each) for each in league.named("clients")}
        told = ", ".join(f"{kb:.0f} kB with {each}" for each, kb in moved.items())
        more = [str(each) for each, kb in moved.items() if kb > totals[each]]
        sentences.append(f"In a league all nodes together sent {told}.")
        if more:
            sentences.append(
                f"With {' and '.join(more)} that is more than the models up and down, for nobody has to be believed "
                "there: the committee fetches every update and computes the mean itself."
            )
        if len(more) < len(moved):
            less = " and ".join(str(each) for each in moved if str(each) not in more)
            sentences.append(
                f"With {less} it is less: whoever holds the updates computes the global model, so that it does not "
                "travel, and blobs travel deflated."
            )
    return " ".join(sentences)
