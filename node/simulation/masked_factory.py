"""A simulated factory's part in masked rounds: the node's own words, over the disk that forgets.

What `masked_rounds.py` and `provider_rounds.py` do beside a trainer; the update is the factory's small function.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np

from fl.fixed_point import HEAD
from ledger.codec import decode, encode
from ledger.entries import Fate, Stage
from ledger.errors import InvalidBytes
from ledger.transactions import AnnounceProtected, AnnounceUpdate, Body, DeclineRound
from node.files import Files
from node.masked_rounds import BEFORE_TRAINING, mask_view, rounds_unmasked
from node.masking_memory import BothSecrets, MaskingMemory
from node.masking_steps import MaskView, Random, SecretsLost, masked, next_step
from node.ports import Blobs, Ledger
from node.rounds import RoundInWork, participant

Say = Callable[[object, Body], Awaitable[None]]
Train = Callable[[], Awaitable[bytes | None]]
"""The blob of what was trained; None when the model to begin with is not to be had now."""


class MaskedFactory:
    """One life's. `archive`: every blob that was ever made, for who computes aggregates again."""

    def __init__(
        self, ledger: Ledger, blobs: Blobs, archive: dict[bytes, bytes], folder: Path, files: Files, random: Random
    ) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._archive = archive
        self._folder = folder
        self._files = files
        self._random = random
        self._memory = MaskingMemory(folder, files)

    def tidy(self) -> None:
        """Secrets that are of no use any more go. Raises OSError."""
        for over in rounds_unmasked(self._ledger.chain, self._memory):
            self._memory.forget(over)

    async def look(self, work: RoundInWork, train: Train, records: int, say: Say) -> None:
        """What a masked round in work asks of this factory now. Raises OSError: then it is looked at again."""
        view = mask_view(self._ledger.chain, work.id, self._ledger.org)
        part = participant(work.round, self._ledger.org)
        if view is None or part is None:
            return
        awaited = part.fate is Fate.MISSING
        try:
            step = next_step(view, self._memory.load(work.id), self._random)
            if step is not None:
                if step.keep is not None:
                    self._memory.save(step.keep)
                await say(("masking", work.id, type(step.say)), step.say)
            mine = view.myself
            if view.stage is Stage.TRAINING and awaited and mine is not None and mine.counted:
                answer = await self._answer(work, view, train, records)
                if answer is not None:
                    await say(("update", work.id), answer)
        except (SecretsLost, BothSecrets) as error:
            if awaited and view.stage in BEFORE_TRAINING | {Stage.TRAINING}:
                await say(("decline", work.id), DeclineRound(*work.id, str(error)[:64]))

    async def _answer(self, work: RoundInWork, view: MaskView, train: Train, records: int) -> AnnounceProtected | None:
        """The announcement as it lies on the disk, made now unless it was made before."""
        path = self._folder / f"answer-{work.id.request.hex()}"
        if self._files.exists(path):
            try:
                known = decode(AnnounceProtected, self._files.read(path))
            except InvalidBytes:
                known = None
            if known is not None and (known.update.round, known.update.attempt) == work.id[1:]:
                return known
        secrets = self._memory.load(work.id)
        if secrets is None or secrets.is_spent:
            raise SecretsLost("the secrets that mask this update are gone")
        trained = await train()
        if trained is None:
            return None
        values = np.frombuffer(trained, "<i4", offset=HEAD.size)
        blob = masked(view, secrets, work.request.terms.aggregation, values, records)
        self._memory.save(secrets.spent())
        update = AnnounceUpdate(*work.id, await self._blobs.put(blob), len(blob), records, (1,), 0, 0)
        self._archive[update.blob] = blob
        answer = AnnounceProtected(update, ())
        self._files.publish(path, encode(answer), mode=0o600)
        return answer
