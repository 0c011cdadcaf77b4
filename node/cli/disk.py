"""`hanse disk`: what a node takes of the disk, what it keeps of the ledger, and what it offers to members that join."""

from typing import Any

import click

from node.cli.exit_codes import Exit
from node.cli.output import print_fields, print_json
from node.cli.verbs import Verb, node_options
from node.cli.which_node import ask

MB = 2**20


@click.command(cls=Verb, examples=("hanse disk -c ./alice", "hanse disk -c ./alice --json | jq .disk.parts"))
@node_options
def disk(config_path: str, as_json: bool) -> int:
    """Print how much of the disk the node takes and for what, which blocks it holds, and its snapshots."""
    use, sync = ask(config_path, "disk"), ask(config_path, "sync")
    if as_json:
        print_json({"disk": use, "sync": sync})
        return Exit.OK
    print_fields(_lines(use, sync))
    return Exit.OK


def _lines(use: dict[str, Any], sync: dict[str, Any]) -> dict[str, object]:
    bound = f"{use['bytes_max'] // MB} MB allowed" if use["bytes_max"] else "no bound but the disk's"
    lines: dict[str, object] = {
        "room": use["refusal"] or use["room"],
        "taken": f"{use['bytes'] / MB:.1f} MB, {bound}",
        "free": f"{use['free'] // MB} MB, at least {use['free_min'] // MB} wanted",
    }
    lines |= {f"  {part}": f"{taken / MB:.1f} MB" for part, taken in use["parts"].items()}
    lines["blocks"] = f"{sync['first_block']} to {sync['head']['height']}"
    lines["headers"] = f"{sync['first_header']} to {sync['head']['height']}"
    offered = [f"height {each['height']} in {each['chunks']} chunks" for each in sync["snapshots"]]
    lines["snapshots"] = ", ".join(offered) or "none yet"
    if sync["joining"] is not None:
        joining = sync["joining"]
        lines["joining"] = (
            f"{joining['stage']} of height {joining['height']}, {joining['chunks_in']} of {joining['chunks']} chunks"
        )
    return lines
