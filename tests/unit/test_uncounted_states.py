"""From what simulated clients go on whose updates were not counted: SCAFFOLD from before the round, as in a league."""

from dataclasses import replace

import pytest

from fl.simulate.attacks import FreeRider, attack
from fl.simulate.checkpoint import Checkpoint
from fl.simulate.federation import Federation
from tests.support.federations import TERMS, factories, federation


def states_of(ours: Federation, count: int) -> list[bytes | None]:
    # Read as they lie, for a client may have been given a file.
    return [ours.checkpoint().states.get(client) for client in range(count)]


@pytest.mark.parametrize("memory_bytes_max", [2**25, 0])
def test_a_control_variate_moves_only_where_the_update_was_counted(memory_bytes_max):
    more = {"memory_bytes_max": memory_bytes_max}
    ours = federation(7, attack=attack("copier"), attackers=[6], strategy="scaffold", inspected=True, more=more)
    rejected = 0
    for number in range(3):
        before = states_of(ours, 7)
        result = ours.round(number)
        after = states_of(ours, 7)
        for client in range(7):
            assert (after[client] == before[client]) == (client in result.rejected), f"client {client}"
        rejected += len(result.rejected)
    assert 0 < rejected < 21


class TiredRider(FreeRider):
    """Works in the first round, and sends back what it was given from then on."""

    def uploads(self, seen):
        return {} if seen.previous is None else super().uploads(seen)


def test_who_was_counted_once_goes_on_from_what_it_kept_then():
    ours = federation(7, attack=TiredRider(), attackers=[6], strategy="scaffold", inspected=True)
    assert ours.round(0).rejected == {}
    kept = states_of(ours, 7)[6]
    assert kept is not None
    for number in (1, 2):
        assert ours.round(number).rejected.keys() == {6}
        assert states_of(ours, 7)[6] == kept


def test_who_was_never_counted_remembers_nothing_and_the_others_what_they_would():
    ours = federation(7, attack=attack("free-rider"), attackers=[6], strategy="scaffold", inspected=True)
    honest = federation(7, strategy="scaffold", inspected=True)
    assert ours.round(0).rejected.keys() == {6}
    assert honest.round(0).rejected == {}
    assert states_of(ours, 7) == [*states_of(honest, 7)[:6], None]


def test_a_round_that_came_to_nothing_moved_no_control_variate():
    ours = federation(4, attack=attack("free-rider"), attackers=range(4), strategy="scaffold", inspected=True)
    base = ours.blob
    result = ours.round(0)
    assert (len(result.rejected), ours.blob) == (4, base)
    assert states_of(ours, 4) == [None] * 4


def test_who_mirrors_no_sum_remembers_what_it_trained():
    ours = federation(7, attack=attack("copier"), attackers=[6], strategy="dlmu", inspected=True)
    assert ours.round(0).rejected
    assert None not in states_of(ours, 7)


def test_a_checkpoint_after_a_rejection_goes_on_to_the_same_bits():
    terms = replace(TERMS, strategy="scaffold", inspected=True)
    clients, test = factories(7)
    whole = Federation(terms, clients, test, 1, attack("copier"), (6,))
    wanted = whole.run().rounds
    first = Federation(terms, clients, test, 1, attack("copier"), (6,))
    assert first.round(0).rejected
    kept = Checkpoint.from_bytes(first.checkpoint().to_bytes())
    assert Federation(terms, clients, test, 1, attack("copier"), (6,), checkpoint=kept).run().rounds == wanted[1:]
