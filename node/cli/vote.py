"""`hanse vote`: the ballots of the league, and this organisation's voice in them."""

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.motions import outcome
from node.cli.output import print_fields, print_json, print_table, short_hash
from node.cli.sending import say_sent, sending_options
from node.cli.verbs import VerbGroup, node_options
from node.cli.which_node import ask, send

# As for requests: shorter than this is a slip of the finger.
PREFIX_CHARS_MIN = 4
ID_CHARS = 64
# As many as one answer may hold; more ballots than this are never open.
LISTED_MAX = 100


@click.group(
    cls=VerbGroup,
    examples=("hanse vote list -c ./alice", "hanse vote support 5f31c0 -c ./alice"),
)
def vote() -> None:
    """What is put to the members. A ballot passes with the voices of more than two thirds of those who vote.

    Ballots are opened by `hanse members expel`, `roles` and `pardon`, and by `hanse league change` and `upgrade`. There
    is no voice against: what too few support is forgotten when its time is over.
    """


@vote.command(name="list", examples=("hanse vote list -c ./alice", "hanse vote list --passed -c ./alice"))
@click.option("--passed", is_flag=True, help="What was decided, instead of what is open.")
@node_options
def list_ballots(passed: bool, config_path: str, as_json: bool) -> None:
    """Print the open ballots with their voices, or what was decided."""
    answer = ask(config_path, "decisions" if passed else "ballots", limit=LISTED_MAX)
    if as_json:
        print_json(answer)
    elif passed:
        decided = [
            (short_hash(d["id"]), d["decided_height"], d["text"], d["moot"] or "done") for d in answer["decisions"]
        ]
        print_table(f"{answer['count']} decisions", ("ballot", "height", "motion", "outcome"), decided)
    else:
        rows = [
            (
                short_hash(each["id"]),
                each["text"],
                each["opener_name"],
                f"{each['voices']} of {each['needed']}",
                "waits for us" if each["ours_to_support"] else "given" if each["supported_by_us"] else "-",
                each["expires_height"],
            )
            for each in answer["ballots"]
        ]
        columns = ("ballot", "motion", "opened by", "voices", "our voice", "until height")
        print_table(f"{answer['count']} open ballots", columns, rows)


@vote.command(examples=("hanse vote show 5f31c0 -c ./alice",))
@click.argument("ballot", metavar="ID")
@node_options
def show(ballot: str, config_path: str, as_json: bool) -> None:
    """Print one ballot, open or passed: the motion, who supports it, what came of it."""
    answer = ask(config_path, "ballot", ballot=_whole(config_path, ballot))
    if as_json:
        print_json(answer)
        return
    found = answer["ballot"] or answer["decision"]
    fields = {"ballot": found["id"], "motion": found["text"], "opened by": found["opener_name"] or found["opener"]}
    supporters = tuple(found["supporters"]) or ("nobody",)
    print_fields({**fields, "status": outcome(answer), "supporters": supporters})


@vote.command(examples=("hanse vote support 5f31c0 -c ./alice",))
@click.argument("ballot", metavar="ID")
@node_options
@sending_options
def support(ballot: str, config_path: str, as_json: bool, wait: bool, timeout_s: float) -> None:
    """Say yes to a ballot, as this organisation. ID: the whole id, or its first digits (at least four)."""
    whole = _whole(config_path, ballot)
    answer = send(config_path, {"kind": "support", "ballot": whole}, wait, timeout_s, as_json)
    if as_json or answer["status"] != "final":
        say_sent(f"Supported ballot {short_hash(whole)}", answer, as_json)
        return
    click.echo(f"Supported ballot {short_hash(whole)}: {outcome(ask(config_path, 'ballot', ballot=whole))}")


def _whole(config_path: str, given: str) -> str:
    """The ballot's id that begins with `given`. Raises CliError."""
    if len(given) == ID_CHARS:
        return given
    if len(given) < PREFIX_CHARS_MIN:
        raise CliError(Exit.USAGE, f"ballot {given!r}, want at least {PREFIX_CHARS_MIN} digits of its id")
    known = [each["id"] for each in ask(config_path, "ballots", limit=LISTED_MAX)["ballots"]]
    known += [each["id"] for each in ask(config_path, "decisions", limit=LISTED_MAX)["decisions"]]
    found = [each for each in known if each.startswith(given.lower())]
    if len(found) != 1:
        many = f"{len(found)} ballots begin with" if found else "no ballot begins with"
        raise CliError(Exit.NOT_FOUND if not found else Exit.USAGE, f"{many} {given}")
    return str(found[0])
