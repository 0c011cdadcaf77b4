"""`hanse ledger vote-again`: what operators of a league too small to go on without a node do when its journal is lost.

What a lost journal means, and why a node then does not vote, is `consensus/journal.py`'s.
"""

from typing import TYPE_CHECKING

import click

from node.cli.bundles import read_genesis_file
from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.ledger_stores import explained, whole_store
from node.cli.output import print_json
from node.cli.verbs import Verb, node_options
from node.cli.which_node import read_config

if TYPE_CHECKING:
    from node.config import Config

# From so many seats on the others make heights final without this node, and it votes again by itself.
SEATS_WITHOUT_ONE = 4

WARNING = """\
This node lost what it had signed. If it voted in height {height} before, and votes otherwise now, that is
equivocation: the league takes a part of its tokens and bars it from seats. Ask the operators of all other nodes
first, by telephone, and go on only if every answer is yes:
  - no other node has lost its journal;
  - no other node has a block above height {head} (`hanse status`);
  - no copy of this node runs anywhere."""


@click.command(
    cls=Verb,
    name="vote-again",
    examples=("hanse ledger vote-again -c ./alice                             asks before it does it",),
)
@click.option("--yes", is_flag=True, help="Do not ask: all other operators have said yes.")
@node_options
def vote_again(yes: bool, config_path: str, as_json: bool) -> None:
    """Let a stopped node vote at once though its vote journal is lost, in a league of one, two or three.

    A larger league makes the heights in doubt final without it, and the node votes again by itself; there this is
    refused.
    """
    from node.vote_memory import recall_vote_from, remember_vote_from

    config = read_config(config_path)
    if recall_vote_from(config.node.data_dir) == 0:
        raise CliError(Exit.REFUSED, f"{config.node.data_dir}: nothing is noted as lost, the node votes when it runs")
    head, seats = _head_and_seats(config)
    if seats >= SEATS_WITHOUT_ONE:
        raise CliError(
            Exit.REFUSED,
            f"the committee has {seats} seats: start the node and let the others make the next heights final, then it"
            " votes again by itself; only a league of one, two or three stands still without it",
        )
    click.echo(WARNING.format(head=head, height=head + 1), err=True)
    if not yes and not click.confirm("Have all of them said yes?", err=True):
        raise CliError(Exit.INTERRUPTED, "nothing was changed: the node does not vote")
    remember_vote_from(config.node.data_dir, 0)
    if as_json:
        print_json({"votes_from": head + 1, "seats": seats})
    else:
        click.echo(f"The node votes from height {head + 1} on: start it.")


def _head_and_seats(config: "Config") -> tuple[int, int]:
    """Of the ledger of this stopped node. Raises CliError when it runs, or has no ledger."""
    from ledger.chain import Chain

    genesis = read_genesis_file(config.genesis.file)
    with whole_store(config, create=False) as store, explained(str(config.node.data_dir)):
        chain = Chain(store, genesis)
        return chain.height, len(chain.committee().members)
