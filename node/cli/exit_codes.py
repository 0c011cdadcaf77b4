"""What the exit codes of `hanse` mean. The only table of them: help, tests and the page in docs are made of it."""

from enum import IntEnum


class Exit(IntEnum):
    OK = 0
    USAGE = 2
    CONFIGURATION = 3
    UNREACHABLE = 4
    REFUSED = 5
    NOT_FOUND = 6
    NOT_VERIFIED = 7
    TIMED_OUT = 8
    OUTDATED = 9
    MALFORMED = 10
    DISK_FULL = 11
    INTERNAL = 70
    INTERRUPTED = 130


MEANINGS: dict[Exit, str] = {
    Exit.OK: "done",
    Exit.USAGE: "the command line is wrong: an unknown verb, option or value",
    Exit.CONFIGURATION: "a file of this machine is wrong or missing: configuration, key, genesis, request, data",
    Exit.UNREACHABLE: "no node answers: not started, still starting, or it refuses this caller; or there is no network",
    Exit.REFUSED: "the node or the ledger refused what was asked; nothing was charged",
    Exit.NOT_FOUND: "there is no such block, transaction, member, request, anchor or model",
    Exit.NOT_VERIFIED: "a proof does not hold, a record was changed after it was anchored, a claim is refuted, or what"
    " was downloaded is not what was pinned",
    Exit.TIMED_OUT: "it was not finished in the time given; it may still happen",
    Exit.OUTDATED: "the league runs a protocol that this program does not know: install a newer one",
    Exit.MALFORMED: "a file is no proof or export at all, or was cut short or damaged",
    Exit.DISK_FULL: "the node stopped before the disk was full: nothing is lost, free some space and start it again",
    Exit.INTERNAL: "a fault of hanse itself; please report it",
    Exit.INTERRUPTED: "stopped by Ctrl-C",
}

# `error.data.code` of the local interface (node/rpc/errors.py); what is not named here is a refusal.
OF_RPC_WORD: dict[str, Exit] = {
    "not_found": Exit.NOT_FOUND,
    "timed_out": Exit.TIMED_OUT,
    "not_verified": Exit.NOT_VERIFIED,
    "unauthorized": Exit.UNREACHABLE,
    "forbidden": Exit.UNREACHABLE,
    "internal": Exit.INTERNAL,
}
