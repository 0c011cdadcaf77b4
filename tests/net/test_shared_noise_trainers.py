"""Mode distributed from records to model: a real training process, masks, charges on the ledger, noise in the sum."""

import math
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trio

from fl.fixed_point import limit_in_steps, pack, unpack
from fl.mask_keys import MaskContext
from fl.masked_aggregate import GRADIENT_BITS, noisy_step, step_rate
from fl.masking import MaskMember, unmask
from fl.privacy.shared_noise import noise_shares, own_multiplier, sum_multiplier
from fl.privacy.terms import DistributedSettings
from ledger.entries import Fate, Receipt, Stage, receipt_key
from ledger.protection_entries import MaskedInputs, Spent, charge_key, unmasking_key
from ledger.transactions import Protection, PublishProtected, Setting
from node import masked_rounds, offers, provider_rounds, requester_reports, trainer
from node.network.blob_store import blob_digest
from tests.support.open_requests import LIMIT, PARAMETERS, SCALE_BITS, TERMS
from tests.support.sealed_chain import key_of, wait_until
from tests.support.training_league import BASE, TrainingLeague

PROVIDERS = ("alice", "bob", "carol")
RECORDS, ROUNDS, WINDOW_MS = 39, 2, 10_000
LIMIT_Q = limit_in_steps(LIMIT, SCALE_BITS)


@pytest.fixture
async def league(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[TrainingLeague]:
    for part in (provider_rounds, requester_reports, trainer, masked_rounds, offers):
        monkeypatch.setattr(part, "RESEND_S", 0.05)
    with ExitStack() as stack:
        league = TrainingLeague(tmp_path, nursery, stack)
        for seed, name in enumerate(PROVIDERS):
            league.keep_records(name, seed)
        league.attesters()
        yield league
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_three_factories_step_together_under_noise_that_none_of_them_adds_alone(
    league: TrainingLeague, nursery: trio.Nursery
) -> None:
    # Little enough that the noise stands out of the gradients.
    wish = DistributedSettings(epsilon=0.2)
    process = await league.process(idle_exit_s=600)
    for name in PROVIDERS:
        nursery.start_soon(league.trainer(name, process).run)
    nursery.start_soon(league.live)
    terms = replace(
        TERMS,
        initial_model=blob_digest(BASE),
        strategy="fedavg",
        aggregation="noisy-step",
        privacy="distributed",
        privacy_settings=(Setting("epsilon", str(wish.epsilon)),),
        providers_min=3,
        providers_max=3,
        rounds_max=ROUNDS,
    )
    said = league.sealed.say("dave", PublishProtected(terms, Protection((Setting("lr", "0.5"),), True, WINDOW_MS)))
    league.seal()
    assert not league.sealed.refused, league.sealed.refused
    await wait_until(lambda: league.request(said.id).stage is Stage.DONE, 120)
    assert league.request(said.id).outcome == "all rounds done"

    shares = noise_shares(len(PROVIDERS))
    sigma = sum_multiplier(wish, ROUNDS)
    own = own_multiplier(sigma, shares.honest)
    read = league.sealed.chain.read
    for name in PROVIDERS:
        spent = read(Spent, charge_key(said.id, key_of(name).org))
        assert spent is not None
        charge = spent.charge
        assert (spent.rounds, charge.mode, charge.unit) == (ROUNDS, "distributed", "record")
        assert (charge.batch, charge.units, charge.steps) == (RECORDS, RECORDS, 1)
        assert charge.noise_micro == round(own * 1e6)
        assert 0.19e6 < charge.epsilon_micro <= 0.2e6

    base = BASE
    for number in range(1, ROUNDS + 1):
        receipt = read(Receipt, receipt_key(said.id, number, 0))
        inputs = read(MaskedInputs, unmasking_key(said.id, number, 0))
        assert receipt is not None
        assert inputs is not None
        assert {(line.fate, line.weight) for line in receipt.lines} == {(Fate.DELIVERED, RECORDS)}
        blobs = {line.org: league.blobs["dave"].store.read(line.blob) for line in receipt.lines}
        members = [
            MaskMember(
                each.org,
                each.mask_key,
                each.seed_commitment,
                blobs[each.org],
                tuple((share.index, share.share) for share in each.shares),
            )
            for each in inputs.members
        ]
        context = MaskContext(league.sealed.chain.chain_id, said.id, number, 0, PARAMETERS)
        found = unmask(context, members)
        # Of all three together: more than the two honest ones that are charged for.
        noise = (found.sums / 2**GRADIENT_BITS).std()
        together = own * math.sqrt(3)
        assert abs(noise / together - 1) < 5 / math.sqrt(2 * PARAMETERS) + 0.1
        assert noise > sigma * (1 - 5 / math.sqrt(2 * PARAMETERS))
        before = unpack(base, PARAMETERS, SCALE_BITS, LIMIT_Q)
        stepped = noisy_step(before, found.sums, found.weight, step_rate({"lr": "0.5"}), LIMIT_Q, SCALE_BITS)
        base = pack(stepped, SCALE_BITS)
        assert receipt.model == blob_digest(base)
        assert not np.array_equal(before, stepped)
