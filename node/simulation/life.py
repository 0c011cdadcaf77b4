"""One life of a simulated node: its driver with somebody looking on, and `services.py` in small."""

from collections.abc import Callable, Iterator, Sequence

from consensus.effects import Effect
from ledger.chain import Chain
from ledger.keys import KeyPair
from ledger.transactions import Body, Transaction
from ledger.types import Hash32, OrgId
from node.blobs import NodeBlobs
from node.replica import ReplicaDriver


class WatchedDriver(ReplicaDriver):
    """The daemon's driver; somebody looks at the effects first."""

    watch: Callable[[Sequence[Effect]], None]

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        self.watch(effects)
        super()._carry_out(effects)


class Life:
    """One process: from its start to its end. `services.py` in small: what the attester and the factory ask for."""

    def __init__(self, org: OrgId, key: KeyPair, driver: WatchedDriver, blobs: NodeBlobs) -> None:
        self.org = org
        self.key = key
        self.driver = driver
        self.blobs = blobs

    @property
    def chain(self) -> Chain:
        return self.driver.replica.chain

    @property
    def catching_up(self) -> bool:
        return self.driver.replica.behind > 1

    @property
    def may_vote(self) -> bool:
        return self.driver.replica.machine.setup.may_vote

    def pending_transactions(self) -> Iterator[Transaction]:
        return iter(self.driver.replica.intake.pool)

    async def submit_own(self, body: Body) -> Transaction:
        return self.driver.submit_own(body)

    async def wait_final(self, tx_id: Hash32) -> tuple[int, int]:
        return await self.driver.wait_final(tx_id)
