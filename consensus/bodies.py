"""The blocks a member holds of one height, by id: checked or not, ready or not, and whom to ask for a missing one."""

from collections.abc import Callable, Iterable

from ledger.blocks import Block, nullified_root, transactions_root
from ledger.types import Hash32, NodeKey

# Asked at once for a missing body. Of a quorum at least f + 1 correct members hold it; the next re-send asks two more.
HOLDERS_ASKED = 2


class Bodies:
    """Blocks of one height. What was notarized by us stays: others count on it until the height is final."""

    def __init__(self, journaled: dict[Hash32, Block]) -> None:
        self._held = dict(journaled)
        self._journaled = set(journaled)
        self._verdicts: dict[Hash32, bool] = {}
        self._check_asked: set[Hash32] = set()
        self._ready: set[Hash32] = set()
        self._fetches: dict[Hash32, int] = {}

    def get(self, block_id: Hash32) -> Block | None:
        return self._held.get(block_id)

    def hold(self, block: Block) -> None:
        self._held.setdefault(block.id, block)
        self._fetches.pop(block.id, None)

    def take_unchecked(self, block_id: Hash32) -> Block | None:
        """The block, the first time that it is held and asked about: it must be checked now."""
        block = self._held.get(block_id)
        if block is None or block_id in self._check_asked:
            return None
        self._check_asked.add(block_id)
        return block

    def judge(self, block_id: Hash32, valid: bool) -> None:
        self._verdicts[block_id] = valid

    def mark_ready(self, block_id: Hash32) -> None:
        self._ready.add(block_id)

    def is_valid(self, block_id: Hash32) -> bool:
        return self._verdicts.get(block_id, False)

    def is_invalid(self, block_id: Hash32) -> bool:
        return not self._verdicts.get(block_id, True)

    def is_ready(self, block_id: Hash32) -> bool:
        return block_id in self._ready

    def take_unjournaled(self, block_id: Hash32) -> Block | None:
        """The block, the first time it has to go into the journal."""
        if block_id in self._journaled:
            return None
        self._journaled.add(block_id)
        return self._held[block_id]

    def keep_only(self, needed: Callable[[Hash32], bool]) -> None:
        """Forget blocks that are neither journaled nor needed: a view's leader may cost us one block."""
        for block_id in list(self._held):
            if block_id not in self._journaled and not needed(block_id):
                del self._held[block_id]
                self._check_asked.discard(block_id)

    def fetch_first(self, block_id: Hash32) -> bool:
        """Whether this body was not asked for yet; it counts as asked for from now on."""
        if block_id in self._fetches:
            return False
        self._fetches[block_id] = 0
        return True

    def next_holders(self, block_id: Hash32, holders: Iterable[NodeKey]) -> tuple[NodeKey, ...]:
        """Whom to ask this time: a few of `holders`, others at every call until all were asked."""
        everyone = list(dict.fromkeys(holders))
        begin = self._fetches.get(block_id, 0)
        self._fetches[block_id] = begin + HOLDERS_ASKED
        picked = [everyone[(begin + step) % len(everyone)] for step in range(min(HOLDERS_ASKED, len(everyone)))]
        return tuple(picked)


def is_whole(block: Block) -> bool:
    """Whether the body is the one its header speaks of. The id covers the header only: anyone can pair it with junk."""
    header = block.header
    return header.transactions_root == transactions_root(
        block.transactions
    ) and header.nullified_root == nullified_root(block.nullified)
