"""The aggregate of a masked round, from masked blobs and revealed shares: for leader, committee and auditor.

Everybody computes the same bits, so what is found here is found by all: the model, or that there is none and whose
fault that is. Blobs come as bytes; who fetches them is the caller's business.
"""

from collections.abc import Callable

from fl.aggregate import AggregateError
from fl.fixed_point import Bytes, InvalidVector, limit_in_steps
from fl.mask_keys import MaskContext
from fl.masked_aggregate import aggregate_masked
from fl.masking import MaskMember, WrongShares, wrong_dealers
from ledger.aggregation import AggregationResult, AggregationTask
from ledger.types import OrgId
from node.network.blob_store import blob_digest
from node.rounds import settings_dict

# What a dealer of wrong shares is put out for; the ledger takes 64 bytes.
BLAME = "the shares it dealt are not of what it announced"


def unmasked(
    task: AggregationTask, league: bytes, bytes_of: Callable[[bytes], Bytes]
) -> tuple[AggregationResult, bytes, str]:
    """What the ledger is told of a masked round, the model's blob, and why there is none (empty when there is one).

    `league`: the chain id; `bytes_of`: the bytes of a blob, by its digest. Reads all blobs: call it in a thread.

    Without a model the round is void and tried again: with blame where dealers' shares combine to other secrets than
    they announced, without where the sum is no sum of updates. Nobody can tell whose masked words made it so.
    """
    assert task.masking is not None, "only a masked round is unmasked"
    context = MaskContext(league, task.request, task.round, task.attempt, task.parameters)
    blobs = {each.org: each.blob for each in task.contributions}
    members = [
        MaskMember(
            each.org,
            each.mask_key,
            each.seed_commitment,
            bytes_of(blobs[OrgId(each.org)]) if each.delivered else None,
            tuple((share.index, share.share) for share in each.shares),
        )
        for each in task.masking.members
    ]
    try:
        aggregated = aggregate_masked(
            task.aggregation,
            settings_dict(task.aggregation_settings),
            bytes_of(task.base_model),
            context,
            members,
            {each.org: each.weight for each in task.contributions},
            task.scale_bits,
            limit_in_steps(task.limit, task.scale_bits),
        )
    except WrongShares as error:
        blamed = tuple((OrgId(org), BLAME) for org in wrong_dealers(context, members))
        return AggregationResult(b"", 0, (), blamed), b"", str(error)
    except (AggregateError, InvalidVector, ValueError) as error:
        return AggregationResult(b"", 0, ()), b"", str(error)
    orgs = [each.org for each in task.contributions]
    scores = tuple(zip(orgs, aggregated.qualities, strict=True))
    return AggregationResult(blob_digest(aggregated.blob), len(aggregated.blob), scores), aggregated.blob, ""
