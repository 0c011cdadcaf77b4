"""`hanse ledger prove`: proofs out of a running node, for readers who trust none. `hanse verify` checks them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from node.cli.bundles import write_bundle_file
from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_json, progress
from node.cli.request_ids import whole_id
from node.cli.verbs import VerbGroup, node_options
from node.cli.which_node import ask, node_client

FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(
    cls=VerbGroup,
    examples=(
        "hanse ledger prove balance bob -o balance.json -c ./alice",
        "hanse ledger prove reward ID 3 -o reward.json -c ./alice",
        "hanse verify balance.json --genesis genesis.json",
    ),
)
def prove() -> None:
    """Make a file that shows one fact to anybody with the genesis file: no node, no network, nobody to believe."""


def proof_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What every verb here takes: where the file goes, and what its reader trusts."""
    function = node_options(function)
    function = click.option("--sequential", is_flag=True, help="Skip no header: for `hanse verify --skip-at-most 0`.")(
        function
    )
    function = click.option(
        "--trusted-height",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        metavar="HEIGHT",
        help="The header that the reader trusts. 0: the genesis.",
    )(function)
    return click.option("-o", "--output", type=FILE, metavar="FILE", help="Write the proof here; else it is printed.")(
        function
    )


@prove.command(
    examples=(
        "hanse ledger prove headers -o head.json -c ./alice",
        "hanse ledger prove headers --height 120 -o trusted.json -c ./alice",
    )
)
@click.option("--height", type=click.IntRange(1), metavar="HEIGHT", help="Default: the head.")
@proof_options
def headers(height: int | None, **options: Any) -> None:
    """Prove that a block is final: headers, certificates and changes of the committee that lead to it."""
    _prove("proof.headers", {"height": height}, **options)


@prove.command(examples=("hanse ledger prove balance bob -o balance.json -c ./alice",))
@click.argument("who", required=False, default="me", metavar="[WHO]")
@proof_options
def balance(who: str, **options: Any) -> None:
    """Prove the tokens of an organisation, this one by default."""
    _prove_entry(f"account/{who}", present=True, **options)


@prove.command(examples=("hanse ledger prove member bob -o member.json -c ./alice",))
@click.argument("who", required=False, default="me", metavar="[WHO]")
@proof_options
def member(who: str, **options: Any) -> None:
    """Prove that an organisation is a member, with its name and addresses."""
    _prove_entry(f"member/{who}", present=True, **options)


@prove.command(examples=("hanse ledger prove anchor bob 3 -o anchor.json -c ./alice",))
@click.argument("who", metavar="WHO")
@click.argument("period", type=click.IntRange(0), metavar="PERIOD")
@proof_options
def anchor(who: str, period: int, **options: Any) -> None:
    """Prove the root that an organisation anchored over the records of a period."""
    _prove_entry(f"anchor/{who}/{period}", present=True, **options)


@prove.command(
    examples=(
        "hanse ledger prove absence anchor/bob/9 -o never.json -c ./alice",
        "hanse ledger prove absence member/12D3KooW... -o outsider.json -c ./alice",
    )
)
@click.argument("key", metavar="KEY")
@proof_options
def absence(key: str, **options: Any) -> None:
    """Prove that there is nothing under a KEY of the state; keys as in `hanse ledger state`."""
    _prove_entry(key, present=False, **options)


@prove.command(examples=("hanse ledger prove state league -o league.json -c ./alice",))
@click.argument("key", metavar="KEY")
@proof_options
def state(key: str, **options: Any) -> None:
    """Prove what lies under a KEY of the state, or that nothing does; keys as in `hanse ledger state`."""
    _prove("proof.state", {"key": key}, **options)


@prove.command(examples=("hanse ledger prove record 3 17 -o record.json -c ./alice",))
@click.argument("period", type=click.IntRange(0), metavar="PERIOD")
@click.argument("index", type=click.IntRange(0), metavar="INDEX")
@proof_options
def record(period: int, index: int, **options: Any) -> None:
    """Prove that a record of this organisation is in a period that it anchored. The file contains the record."""
    _prove("proof.record", {"period": period, "index": index}, **options)


@prove.command(examples=("hanse ledger prove transaction ID -o paid.json -c ./alice",))
@click.argument("transaction", metavar="ID")
@proof_options
def transaction(transaction: str, **options: Any) -> None:
    """Prove that a transaction is in a final block."""
    _prove("proof.tx", {"id": transaction}, **options)


@prove.command(
    examples=(
        "hanse ledger prove reward ID 3 -o reward.json -c ./alice",
        "hanse ledger prove reward ID 3 --provider bob -o bobs.json -c ./alice",
    )
)
@click.argument("request_id", metavar="ID")
@click.argument("number", type=click.IntRange(1), metavar="ROUND")
@click.option("--attempt", type=click.IntRange(0), help="Default: the last one that was closed.")
@click.option("--provider", metavar="WHO", help="With the anchors of this one only. Default: of all who delivered.")
@proof_options
def reward(request_id: str, number: int, attempt: int | None, provider: str | None, **options: Any) -> None:
    """Prove what a closed round paid, so that anybody computes it again: records that counted, times the price."""
    about = _round(options["config_path"], request_id, number, attempt)
    _prove("proof.reward", {**about, "provider": provider}, **options)


@prove.command(
    examples=("hanse ledger prove aggregate ID 3 -o model.json --blobs blobs -c ./alice",),
)
@click.argument("request_id", metavar="ID")
@click.argument("number", type=click.IntRange(1), metavar="ROUND")
@click.option("--attempt", type=click.IntRange(0), help="Default: the last one that was closed.")
@click.option(
    "--blobs",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Put the model before the round and the updates here, each under its digest.",
)
@proof_options
def aggregate(request_id: str, number: int, attempt: int | None, blobs: Path | None, **options: Any) -> None:
    """Prove the model of a closed round: with the blobs beside it, anybody computes the mean again.

    The updates are shown to whoever gets the blobs; nodes keep them as long as a request runs.
    """
    about = _round(options["config_path"], request_id, number, attempt)
    beside = f" --blob {blobs or 'FOLDER-OF-THE-BLOBS'}"
    answer = _prove("proof.aggregate", about, beside, **options)
    if blobs is not None:
        _fetch(options["config_path"], answer["blobs"], blobs, options["as_json"])


def _round(config_path: str, request_id: str, number: int, attempt: int | None) -> dict[str, Any]:
    return {"request": whole_id(config_path, request_id), "round": number, "attempt": attempt}


def _prove_entry(key: str, *, present: bool, **options: Any) -> None:
    """Refuses to write the opposite of what was asked for."""
    answer = ask(options["config_path"], "state.get", key=key)
    if answer["present"] != present:
        raise CliError(Exit.NOT_FOUND, f"there is {'no' if present else 'a'} {key} on the ledger")
    _prove("proof.state", {"key": key}, **options)


def _prove(
    method: str,
    about: dict[str, Any],
    beside: str = "",
    *,
    output: Path | None,
    trusted_height: int,
    sequential: bool,
    config_path: str,
    as_json: bool,
) -> dict[str, Any]:
    """Ask the node, write or print what it answers. `beside`: what `hanse verify` is told beside the proof."""
    answer: dict[str, Any] = ask(
        config_path, method, **about, trusted_height=trusted_height, sequential=sequential or None
    )
    if output is None:
        print_json(answer["bundle"])
        return answer
    write_bundle_file(output, answer["bundle"])
    if as_json:
        print_json({"file": str(output), "kind": answer["bundle"]["kind"], "head": answer["head"]})
    else:
        against = "--genesis genesis.json" if not trusted_height else "--trusted FILE"
        click.echo(f"{output}: the proof; `hanse verify {output} {against}{beside}` checks it anywhere")
    return answer


def _fetch(config_path: str, digests: list[str], folder: Path, as_json: bool) -> None:
    """Blobs from the node into a folder, each under its digest; what lies there already stays."""
    from node.disk import publish_file
    from node.network.blob_store import blob_digest

    folder.mkdir(parents=True, exist_ok=True)
    with node_client(config_path) as client, progress("fetching blobs", len(digests), as_json) as bar:
        for digest in digests:
            status, data = client.get(f"/blobs/{digest}")
            if status != 200:
                raise CliError(Exit.NOT_FOUND, f"blob {digest} is not kept by this node any more; ask another member")
            if blob_digest(data).hex() != digest:
                raise CliError(Exit.NOT_VERIFIED, f"the node answered with other bytes for blob {digest}")
            publish_file(folder / digest, data)
            bar.advance(1)
