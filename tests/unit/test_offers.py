"""Which requests a node joins by itself depends on its role in the league, as it is now (node/offers.py)."""

from types import SimpleNamespace
from typing import Any

from ledger.entries import Member, Stage
from ledger.roles import Role
from node.offers import Offers

ME, REQUEST = b"m" * 32, b"r" * 32


def test_only_a_provider_joins_and_who_becomes_one_joins_what_is_still_open() -> None:
    roles, told = [int(Role.REQUESTER)], []

    def read(kind: type, key: bytes) -> Member:
        return Member("alice", (), 0, 0, ME, roles[0], 0)

    terms = SimpleNamespace(providers_max=3, data_type="bearing", price=1)
    request: Any = SimpleNamespace(requester=b"b" * 32, stage=Stage.OPEN, providers=(), terms=terms)
    shop: Any = SimpleNamespace(
        me=ME,
        ledger=SimpleNamespace(chain=SimpleNamespace(read=read)),
        settings=SimpleNamespace(data_type="bearing", joins=lambda data_type: True, price_min=5),
        provides=lambda request: False,
        anchored_records=lambda: 100,
        notify=lambda topic, data: told.append(data["reason"]),
    )
    offers = Offers(shop)
    assert not offers.should_join(REQUEST, request)
    assert not offers.should_join(REQUEST, request)
    assert told == ["this organisation is no provider in the league"], "said once"
    roles[0] = int(Role.PROVIDER)
    assert not offers.should_join(REQUEST, request)
    assert told[1:] == ["price 1, want at least 5"], "it is looked at like any provider's"
