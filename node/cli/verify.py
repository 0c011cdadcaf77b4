"""`hanse verify`: check a proof offline, from the genesis file or a trusted header alone. Asks no node."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.cli.bundles import read_genesis_file, read_text
from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import cell_text, print_fields, print_json
from node.cli.verbs import Verb, json_option

if TYPE_CHECKING:
    from ledger.light import Trusted
    from ledger.proof_check import ProofCheck
    from ledger.proofs import Proof

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(
    cls=Verb,
    examples=(
        "hanse verify balance.json --genesis genesis.json",
        "hanse verify balance.json --trusted from-bob.json --trusted from-carol.json",
        "hanse verify model.json --genesis genesis.json --blob blobs/",
    ),
)
@click.argument("path", type=FILE, metavar="PROOF")
@click.option("--genesis", "genesis_path", type=FILE, metavar="FILE", help="The league's first block.")
@click.option(
    "--trusted",
    "trusted_paths",
    type=FILE,
    multiple=True,
    metavar="FILE",
    help="A header to begin from: the last of a proof of headers. Give what two members or more say; they must agree.",
)
@click.option(
    "--blob",
    "blob_paths",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="PATH",
    help="A model's or update's file, or a folder of them, to compute an aggregate again.",
)
@click.option(
    "--skip-at-most",
    type=click.IntRange(0),
    metavar="HEIGHTS",
    help="How far a header may lie behind the one that vouches for it. Default 100000; 0: no header is skipped to.",
)
@json_option
def verify(
    path: Path,
    genesis_path: Path | None,
    trusted_paths: tuple[Path, ...],
    blob_paths: tuple[Path, ...],
    skip_at_most: int | None,
    as_json: bool,
) -> None:
    """Check PROOF and say what it shows: a balance, a member, an anchor, a record, a transaction, a reward, a model,
    an absence, a dispute, or which blocks are final.

    Exit code 0 when everything in it holds, 7 when something does not, 10 when the file is no proof at all.
    """
    from ledger.light import SKIP_HEIGHTS_MAX
    from ledger.proof_check import check_proof

    proof = _read_proof(path)
    trusted, word = _trust(genesis_path, trusted_paths)
    skip = SKIP_HEIGHTS_MAX if skip_at_most is None else skip_at_most
    check = check_proof(proof, trusted, _recompute(blob_paths, trusted.chain_id), skip)
    check.steps.insert(0, word)
    if not check.holds:
        if not as_json:
            _print_steps(check)
        raise CliError(Exit.NOT_VERIFIED, f"{path} does not hold: {check.refusal}", kind=proof.KIND, steps=check.steps)
    assert check.header is not None
    if as_json:
        shown = {"height": check.header.height, "block": check.header.id.hex(), "time": check.header.time}
        print_json({"holds": True, "kind": proof.KIND, "steps": check.steps, **shown, "facts": _plain(check.facts)})
        return
    _print_steps(check)
    _print_facts(check)


def _read_proof(path: Path) -> "Proof":
    from ledger.errors import InvalidBytes
    from ledger.proofs import proof_from_json

    try:
        return proof_from_json(read_text(path))
    except InvalidBytes as error:
        raise CliError(Exit.MALFORMED, f"{path}: {error}") from None


def _trust(genesis_path: Path | None, trusted_paths: tuple[Path, ...]) -> "tuple[Trusted, str]":
    """What to begin from, and on whose word. Raises CliError."""
    from ledger.light import trust_genesis

    if genesis_path is None and not trusted_paths:
        raise CliError(Exit.USAGE, "begin from what? Give --genesis FILE, or --trusted FILE once or more")
    genesis = None if genesis_path is None else read_genesis_file(genesis_path)
    if not trusted_paths:
        assert genesis is not None
        return trust_genesis(genesis), f"the genesis of chain {genesis.chain_id.hex()}"
    given = [_trusted_header(each) for each in trusted_paths]
    first = given[0]
    for each, file in zip(given, trusted_paths, strict=True):
        if each.height != first.height:
            text = (
                f"{file} is of height {each.height}, {trusted_paths[0]} of {first.height}: give headers of one height"
            )
            raise CliError(Exit.USAGE, text)
        if each.block != first.block or each.chain_id != first.chain_id:
            text = f"{file} and {trusted_paths[0]} have different blocks at height {first.height}: one of them lies"
            raise CliError(Exit.NOT_VERIFIED, text)
    if genesis is not None and genesis.chain_id != first.chain_id:
        raise CliError(Exit.NOT_VERIFIED, f"{trusted_paths[0]} is of another chain than {genesis_path}")
    words = "the word of one file alone" if len(given) == 1 else f"the word of {len(given)} files"
    return first, f"height {first.height} of chain {first.chain_id.hex()}, on {words}"


def _trusted_header(path: Path) -> "Trusted":
    """The header that a proof of headers ends at; who gave the file is believed, not the path to it."""
    from ledger.errors import InvalidProof
    from ledger.light import trust_header
    from ledger.proofs import HeadersProof

    proof = _read_proof(path)
    if not isinstance(proof, HeadersProof) or proof.ancestors:
        raise CliError(Exit.USAGE, f"{path} is no proof of a header: `hanse ledger prove headers -o FILE` makes one")
    try:
        return trust_header(proof.path[-1])
    except InvalidProof as error:
        raise CliError(Exit.NOT_VERIFIED, f"{path}: {error}") from None


def _recompute(paths: tuple[Path, ...], league: bytes) -> Any:
    """How to compute an aggregate again; numpy is imported when there is something to compute with."""
    if not paths:
        return None
    from node.proof_blobs import BlobFiles

    return BlobFiles(paths, league).recompute


def _print_steps(check: "ProofCheck") -> None:
    click.echo(f"given: {check.steps[0]}")
    for step in check.steps[1:]:
        click.echo(f"holds: {step}")


def _print_facts(check: "ProofCheck") -> None:
    plain = _plain(check.facts)
    if isinstance(plain.get("entry"), dict):
        plain = {**{name: value for name, value in plain.items() if name != "entry"}, **plain["entry"]}
    lines = {name.replace("_", " "): _flat(value) for name, value in plain.items()}
    if lines:
        print_fields(lines)


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    from ledger.json_form import to_json

    return {name: to_json(value) for name, value in facts.items()}


# As much of a value as fits a line; --json has all of it.
_SHOWN_CHARS = 160


def _flat(value: Any) -> str:
    text = cell_text(value) if not isinstance(value, dict | list) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}… ({len(text)} characters)"
