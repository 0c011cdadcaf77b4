"""Those who train in a federation: on what, in which order, under which noise, and what they remember. Trains nothing.

With a strategy that pools records there is one of them, whatever the number of clients.
"""

from collections.abc import Iterable, Iterator, Sequence

from fl.data.tables import Table, join
from fl.draws import drawn, order_of
from fl.privacy.plan import RoundCost, round_cost
from fl.simulate.blob_shelf import BlobShelf
from fl.simulate.engines.base import Rows, TrainAnswer, TrainOrder
from fl.simulate.paces import pace_of
from fl.simulate.participation import participants
from fl.simulate.terms import SimulationError, Terms

MICRO = 1_000_000


class Cohort:
    """`tables`: by client, what it trains on. `states`: where what clients remember is kept. `earlier`: where what they
    remembered before the round is kept until it is settled; None where nothing of it is ever taken back."""

    def __init__(
        self,
        terms: Terms,
        tables: Sequence[Table],
        seed: int,
        batch_seeds: Sequence[int] | None,
        states: BlobShelf,
        pooled: bool,
        earlier: BlobShelf | None = None,
    ) -> None:
        """Raises PrivacyRefused for noise that keeps no promise, SimulationError for terms that do not fit."""
        clients = len(tables)
        if not clients or terms.per_round > clients:
            raise SimulationError(f"{terms.per_round} clients a round of {clients}, want one client at least")
        if batch_seeds is not None and len(batch_seeds) != clients:
            raise SimulationError(f"{len(batch_seeds)} batch seeds for {clients} clients, want one each")
        if pooled and terms.per_round:
            raise SimulationError(f"{terms.per_round} clients a round, but strategy {terms.strategy} pools all records")
        if pooled:
            tables = [join(tables)]
        self._terms, self._seed = terms, seed
        self.pooled, self.states, self._earlier = pooled, states, earlier
        self.tables: list[Rows] = [(table.features, table.labels) for table in tables]
        order = seed if terms.order_seed < 0 else terms.order_seed
        self._orders = list(batch_seeds or (order_of(order, client) for client in range(clients)))
        # Those with as many records are charged as much.
        costs = {len(table): self._cost(len(table)) for table in tables}
        self.costs = [costs[len(table)] for table in tables]
        self.taken = [0] * len(tables)
        self._paces = [pace_of(seed, client, terms.pace_s, terms.pace_spread) for client in range(len(tables))]

    def __len__(self) -> int:
        return len(self.tables)

    def state_of(self, client: int) -> bytes | None:
        """What whoever trains for this client remembers; None where it has never taken part."""
        return self.states.get(0 if self.pooled else client)

    def chosen(self, number: int) -> tuple[int, ...]:
        """Places of those who take part in round `number`, counted from 0."""
        return participants(self._seed, number, len(self.tables), self._terms.per_round)

    def orders(self, chosen: Sequence[int], number: int) -> Iterator[TrainOrder]:
        """The longest first, so that no worker is left alone with one at the end."""
        for client in sorted(chosen, key=lambda place: -len(self.tables[place][1])):
            noise_seed = drawn(self._seed, "noise", client, number)
            state = self.states.get(client)
            yield TrainOrder(
                client, number, self._orders[client], noise_seed, self.sigma(client), state, self.pace_s(client)
            )

    def pace_s(self, client: int) -> float:
        """Virtual seconds that a step takes this client."""
        return self._paces[client]

    def keep(self, answer: TrainAnswer) -> None:
        """What a client remembers from now on, and that it took part; who left itself out remembers what it did."""
        if answer.left_out is not None:
            return
        if self._earlier is not None and (state := self.states.get(answer.client)) is not None:
            self._earlier[answer.client] = state
        self.states[answer.client] = answer.state
        self.taken[answer.client] += 1

    def settle(self, uncounted: Iterable[int]) -> None:
        """The round is aggregated without the updates of these: by strategies whose states mirror a sum of the
        aggregate they go on from what they remembered before it, as a league's do (node/round_states.py)."""
        if self._earlier is None:
            return
        for client in uncounted:
            if client in self._earlier:
                self.states[client] = self._earlier[client]
            else:
                del self.states[client]
        self._earlier.close()

    def close(self) -> None:
        """Forget what clients remember."""
        self.states.close()
        if self._earlier is not None:
            self._earlier.close()

    def restore(self, taken: Sequence[int]) -> None:
        self.taken = list(taken)

    def sigma(self, client: int) -> float:
        """The noise multiplier that the client is charged for; 0 where nothing is charged."""
        cost = self.costs[client]
        return 0.0 if cost is None else cost.noise.sigma_micro / MICRO

    def epsilon(self) -> float | None:
        """The most that any client has spent, by the node's accountant; None in modes without a guarantee."""
        spent = {(cost, rounds) for cost, rounds in zip(self.costs, self.taken, strict=True) if cost is not None}
        return max((cost.epsilon(rounds) for cost, rounds in spent), default=None)

    def _cost(self, records: int) -> RoundCost | None:
        """What a round would cost a provider of so many records; None where nothing is charged."""
        terms = self._terms
        if terms.privacy != "sound":
            return None
        return round_cost(terms.privacy, terms.privacy_settings, records, terms.batch, terms.epochs, terms.rounds)
