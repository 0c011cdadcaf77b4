"""An independent check of a Hanse proof: imports nothing of Hanse, written from docs/proofs.md alone.

    python examples/verify_bundle.py proof.json genesis.json

For proofs of kind `state`: a balance, a member, an anchor, a receipt, or that there is none. Prints what the proof
shows and ends with 0, or prints the first thing that does not hold and ends with 1. Needs pynacl and msgpack.
"""

import hashlib
import json
import sys

import msgpack
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

HEADER = ["version", "chain_id", "height", "view", "time", "parent", "author", "transactions_root", "nullified_root"]
HEADER += ["state_root", "committee", "next_committee"]
VOTE = ["height", "committee", "view", "kind", "block"]
ROLES = {"requester": 1, "provider": 2}
FINALIZE, SKIP_HEIGHTS_MAX = 3, 100_000


def need(holds, reason):
    if not holds:
        sys.exit(f"does not hold: {reason}")


def plain(value):
    """JSON's hex as bytes, for the fields that are bytes."""
    need(isinstance(value, str) and bytes.fromhex(value).hex() == value, f"{value!r} is not lower-case hex")
    return bytes.fromhex(value)


def fields(described, names):
    need(list(described) == names, f"fields {list(described)}, want {names}")
    values = [FINALIZE if each == "FINALIZE" else each for each in described.values()]
    return [each if type(each) is int else plain(each) for each in values]


def digest(tag, data):
    return hashlib.sha256(bytes([len(tag)]) + tag.encode() + data).digest()


def chain_and_committee(genesis):
    """The chain id, and the keys that vote on height 1: of the first 3k + 1 founders by identity."""
    members = []
    for each in genesis["members"]:
        roles = sum(ROLES.get(role, 0) for role in each.get("roles", ROLES))
        key = plain(each.get("key", ""))
        members.append([plain(each["org"]), each["name"], each["addresses"], each["balance"], key, roles])
    content = [genesis["name"], genesis["time"], members, list(genesis["parameters"].values()), genesis["protocol"]]
    voters = sorted((org, key or org) for org, _, _, _, key, roles in members if roles)
    able = min(len(voters), genesis["parameters"]["seats_max"])
    seats = able if able < 4 else (able - 1) // 3 * 3 + 1
    return digest("hanse/genesis", msgpack.packb(content)), sorted(key for _, key in voters[:seats])


def final(step, chain_id):
    """Check one header and its certificate by itself; its fields, id, committee and who signed."""
    header = dict(zip(HEADER, fields(step["header"], HEADER), strict=True))
    block = digest("hanse/block", msgpack.packb(list(header.values())))
    committee = [plain(key) for key in step["committee"]["members"]]
    need(header["chain_id"] == chain_id, "the header is of another chain")
    need(committee == sorted(set(committee)), "the committee is not ascending and distinct")
    need(digest("hanse/committee", msgpack.packb([committee])) == header["committee"], "another committee is named")
    subject = fields(step["certificate"]["subject"], VOTE)
    wanted = [header["height"], header["committee"], max(subject[2], header["view"]), FINALIZE, block]
    need(subject == wanted, f"the certificate does not make height {header['height']} final")
    signed = [(plain(each["voter"]), plain(each["signature"])) for each in step["certificate"]["signatures"]]
    voters = [voter for voter, _ in signed]
    need(voters == sorted(set(voters)) and set(voters) <= set(committee), "voters without a seat, or twice")
    need(len(voters) >= len(committee) - (len(committee) - 1) // 3, f"{len(voters)} votes of {len(committee)}")
    message = digest("hanse/sign/vote", chain_id + msgpack.packb(subject))
    for voter, signature in signed:
        try:
            VerifyKey(voter).verify(message, signature)
        except (CryptoError, ValueError) as error:
            need(False, f"the signature of {voter.hex()[:16]}: {error}")
    return header, block, committee, voters


def follow(path, genesis):
    """From the genesis along the headers of the path; the last one's fields."""
    need(path, "no header is shown")
    chain_id, committee = chain_and_committee(genesis)
    height, parent, time, after = 0, chain_id, genesis["time"], digest("hanse/committee", msgpack.packb([committee]))
    for step in path:
        header, block, its_committee, voters = final(step, chain_id)
        need(header["height"] > height and header["time"] > time, "heights and times do not ascend")
        if header["height"] == height + 1:
            need(header["parent"] == parent and header["committee"] == after, "not the child of the header before")
        elif header["committee"] != after:
            need(header["height"] - height <= SKIP_HEIGHTS_MAX, "too far to skip")
            need(3 * len(set(voters) & set(committee)) > len(committee), "a third of the committee before, or less")
        height, time, after = header["height"], header["time"], header["next_committee"]
        parent, committee = block, its_committee
    return header


def state_root(entry):
    """The root under which the entry lies, or under which nothing lies at its key."""
    path = digest("hanse/state/key", plain(entry["key"]))
    bits, siblings, other = f"{int.from_bytes(path, 'big'):0256b}", entry["proof"]["siblings"], entry["proof"]["other"]
    reached = bytes(32)
    if entry["value"] is not None:
        need(other is None, "a key that is present, and another in its place")
        reached = hashlib.sha256(b"\0" + path + hashlib.sha256(plain(entry["value"])).digest()).digest()
    elif other is not None:
        theirs, value_hash = fields(other, ["path", "value_hash"])
        their_bits = f"{int.from_bytes(theirs, 'big'):0256b}"
        need(len(theirs) == len(value_hash) == 32 and theirs != path, "the other leaf is the key's own")
        need(their_bits[: len(siblings)] == bits[: len(siblings)], "the other leaf is not in the key's place")
        reached = hashlib.sha256(b"\0" + theirs + value_hash).digest()
    for bit, sibling in reversed(list(zip(bits, map(plain, siblings), strict=False))):
        need(len(sibling) == 32, "a sibling that is no hash")
        reached = hashlib.sha256(b"\1" + (sibling + reached if bit == "1" else reached + sibling)).digest()
    return reached


def main(proof_path, genesis_path):
    with open(proof_path) as proof_file, open(genesis_path) as genesis_file:
        proof, genesis = json.load(proof_file), json.load(genesis_file)
    need((proof["format"], proof["kind"]) == ("hanse-proof-1", "state"), "not a proof of kind state")
    header, entry = follow(proof["path"], genesis), proof["entry"]
    need(state_root(entry) == header["state_root"], "the entry is not under the state root")
    key, value = plain(entry["key"]), entry["value"]
    shown = "nothing" if value is None else msgpack.unpackb(plain(value))
    print(f"height {header['height']} of chain {header['chain_id'].hex()} has {shown} under {key!r}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        sys.exit(f"not a proof: {error!r}")
