"""The words by which the ledger refuses a transaction (`error.data.rule` of `refused`): what each means, what to do."""

REFUSALS: dict[str, tuple[str, str]] = {
    "accused": ("Who is to be expelled has no voice in it, and nobody expels itself.", "`hanse leave` is the way out."),
    "announced": ("The provider has announced, declined or missed its part of this round already.", "Nothing to do."),
    "approved": ("The sender has approved this candidate already.", "Nothing to do; others have to approve."),
    "attested": ("The sender has attested this update already.", "Nothing to do."),
    "author": ("Only a block's author puts an aggregate into it; it is never sent.", "Do not send it."),
    "balance": ("The sender has fewer tokens than it wants to spend.", "Ask `account` for the balance; spend less."),
    "ballot": ("There is no such open ballot.", "Ask `ballots`; `decisions` for what passed."),
    "blob": ("An update or model is not of the announced size, or no such update was announced.", "Check the blob."),
    "bytes": ("The bytes are no canonical transaction.", "Encode it with the ledger's codec, in field order."),
    "cancelled": ("The request is cancelled already; its round is settled first.", "Wait for the end of the round."),
    "candidate": ("Nobody with this key waits for approval, or it waits already.", "Ask `members` for candidates."),
    "charge": (
        "What an update cost its data is missing, contradicts itself, or is said where the mode has no price.",
        "Say it for `sound` and `distributed`, with the mode of the terms.",
    ),
    "committee": ("Only members of the present committee attest.", "Ask `committee` who sits in it."),
    "data_type": ("The offered data is not of the type the request asks for.", "Offer the type in its terms."),
    "dealers": ("The providers named have dealt no shares that matter, or are not ascending.", "Ask `request.get`."),
    "dealt": ("Who has dealt no shares itself accepts none: its masks do not count.", "Wait for the next round."),
    "disk": ("The node's disk is too full for new work; the ledger was not asked.", "Free space; see `hanse disk`."),
    "evidence": ("The evidence is too old, of no member, or proves nothing.", "Nothing to do."),
    "excluded": ("The provider dealt wrong shares in this request and takes no further part in it.", "Join another."),
    "full": ("A bound is reached: places of a request, open requests, candidates, waiting transactions.", "Try later."),
    "height": ("A change begins too soon: the others need notice.", "Name the height in the message, or a later one."),
    "holders": ("Shares are for exactly those who wait for them, ascending.", "Ask `request.get` who these are."),
    "invited": ("The sender is not invited to this round.", "Join a request while it is open."),
    "jail": ("Only who is jailed can be pardoned.", "Nothing to do."),
    "joined": ("The sender has joined this request already.", "Nothing to do."),
    "key": (
        "The key was rotated away, is not the one that signs this, is or was somebody's, or shares no secret.",
        "`hanse keys show`; the message says which key.",
    ),
    "keys": (
        "The provider has offered no keys for this attempt, so it has no part in its masks.",
        "Wait for the next round.",
    ),
    "last": ("Nobody would be left to vote.", "The last member that is no observer stays."),
    "masked": (
        "The provider fell out of the exchange of masks: its update would spoil the sum.",
        "Wait for the next round.",
    ),
    "member": ("The sender is no member, or registers though it is one.", "`hanse join league` asks to be let in."),
    "name": ("Another member has this name.", "Choose another."),
    "nonce": ("The nonce is not the sender's next one, so it ran already or one is missing.", "Sign with `nonce`'s."),
    "open": ("A ballot on this very motion is open already.", "Support that one: `hanse vote support`."),
    "parameters": ("These parameters do not fit together.", "Correct what is named."),
    "period": ("Periods are anchored once, in ascending order, and end after they begin.", "Ask `anchor.list`."),
    "periods": ("An update names a period that is not anchored, or names one twice.", "Anchor it first."),
    "proof": (
        "The node's key did not sign that it belongs to this organisation.",
        "Let the node make it: `identity.prepare`.",
    ),
    "protection": (
        "A plain statement for a protected request, or the other way round.",
        "Use the kind that the message names.",
    ),
    "protocol": (
        "The league runs a protocol that does not know this yet.",
        "`hanse league upgrade` puts a later one to the vote.",
    ),
    "quota": (
        "This organisation has put as many bytes on the ledger as the league allows for now.",
        "Wait; say less, or in fewer transactions.",
    ),
    "recipient": ("Tokens can be sent to members only.", "Ask `members`."),
    "records": ("More records than can be counted.", "Anchor fewer."),
    "rejected": ("An aggregate rejects who cannot be rejected, or beside a sum that needs all.", "Nothing to do."),
    "reported": ("The requester has reported on this round already.", "Nothing to do."),
    "request": ("There is no such request.", "Ask `request.list`; the node may still be catching up."),
    "requester": ("Only the requester may do this, or it is what a requester may not do.", "Use the right node."),
    "requests": ("Own requests are open.", "Cancel them first, and wait until they are over."),
    "role": (
        "The sender has not the role for this: a requester publishes, a provider anchors and joins requests.",
        "`hanse members roles` puts it to the vote.",
    ),
    "roles": ("The member has these roles already.", "Nothing to do."),
    "rotation": ("Keys were rotated too often: four times at once, then once a week.", "Wait."),
    "round": ("Another round or attempt is in work.", "Ask `round`."),
    "said": ("The provider has said this in this attempt already, or nobody waits for it.", "Nothing to do."),
    "scores": ("An aggregate's scores do not name exactly the delivered updates.", "Nothing to do."),
    "share": (
        "The share is not the one that was committed to, or is of the secret that must not be told.",
        "Tell the kind that is due: `request.get`.",
    ),
    "signature": ("The sender did not sign this for this chain.", "Sign for this league's chain id with its key."),
    "size": ("The transaction, or what it says about data, is longer than it may be.", "Split it; say less."),
    "skipped": ("The sender is not skipped as a leader.", "Nothing to do."),
    "stage": ("The request is at a stage at which this is not possible.", "Ask `request.get` for its stage."),
    "state": (
        "It would leave an entry of the ledger larger than its bounds.",
        "Say less, or wait until the entry has room.",
    ),
    "supported": ("The sender supports this ballot already.", "Nothing to do; others have to."),
    "terms": ("The terms of the request contradict themselves or are out of bounds.", "Correct what is named."),
    "unreachable": ("No bootstrap peer could be asked to let us in.", "Check `[network] bootstrap` and the network."),
    "version": (
        "The motion names another protocol than the one after the present.",
        "Ask `parameters` for the present one.",
    ),
}


def refusals_table() -> str:
    """For docs/errors.md, as Markdown."""
    rows = [f"| `{word}` | {happened} | {remedy} |" for word, (happened, remedy) in sorted(REFUSALS.items())]
    return "\n".join(["| rule | what happened | what to do |", "|---|---|---|", *rows])
