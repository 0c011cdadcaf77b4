"""What verbs have in common that say something with the organisation's identity: here, or on the machine that holds it.

Here: the identity is opened, signs, and is forgotten. Elsewhere: `--offline FILE` writes what is to be signed,
`hanse keys sign` signs it where the identity is, `--submit FILE` hands it in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_json, progress
from node.cli.passphrases import identity_options, open_identity
from node.cli.which_node import ask, finality, read_config

if TYPE_CHECKING:
    from node.statement_file import Statement

# The node may say something itself between our asking for the nonce and our signing with it.
TRIES_MAX = 5

Prepared = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Signing:
    """How a statement is to be signed, as the options say."""

    identity: Path | None
    identity_passphrase_file: Path | None
    offline: Path | None
    submit: Path | None


def signing_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--identity, --identity-passphrase-file, --offline and --submit."""
    function = click.option(
        "--submit",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Hand in what `hanse keys sign` has signed.",
    )(function)
    function = click.option(
        "--offline",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write what is to be signed to this file, for the machine that holds the identity; say nothing yet.",
    )(function)
    return identity_options(function)


def say_with_identity(
    config_path: str,
    body_of: Callable[[Prepared], dict[str, Any]],
    signing: Signing,
    *,
    draw: bool,
    wait: bool,
    timeout_s: float,
    as_json: bool,
) -> dict[str, Any] | None:
    """Have the identity say a body; the node's answer, None when it was written to a file instead.

    `body_of` makes the body of what `identity.prepare` answered. With `draw` the node draws the key that is to follow.
    """
    if signing.submit is not None and (signing.offline is not None or signing.identity is not None):
        raise CliError(Exit.USAGE, "--submit hands in what is signed already: leave --offline and --identity out")
    if signing.submit is not None:
        from node.statement_file import read_statement

        return _hand_in(config_path, read_statement(signing.submit), wait, timeout_s, as_json)
    if signing.offline is not None:
        from node.statement_file import write_statement

        statement = _statement(config_path, body_of, draw)
        write_statement(signing.offline, statement)
        _say_offline(signing.offline, statement, as_json)
        return None
    return _sign_and_hand_in(config_path, body_of, signing, draw, wait, timeout_s, as_json)


def _sign_and_hand_in(
    config_path: str,
    body_of: Callable[[Prepared], dict[str, Any]],
    signing: Signing,
    draw: bool,
    wait: bool,
    timeout_s: float,
    as_json: bool,
) -> dict[str, Any]:
    from node.rpc.errors import RpcError

    # Asked first: it is the node that keeps the only key of an organisation as its identity before it is replaced.
    statement = _statement(config_path, body_of, draw)
    identity = open_identity(_identity_file(config_path, signing.identity), signing.identity_passphrase_file)
    for tries_left in reversed(range(TRIES_MAX)):
        try:
            return _hand_in(config_path, statement.sign(identity), wait, timeout_s, as_json)
        except RpcError as refused:
            if refused.details.get("rule") != "nonce" or not tries_left:
                raise
        statement = _statement(config_path, body_of, draw)
    raise AssertionError("the last try returns or raises")


def _identity_file(config_path: str, given: Path | None) -> Path:
    """The identity's key file. Without one beside the node, the node's only key is the identity. Raises CliError."""
    if given is not None:
        return given
    config = read_config(config_path)
    beside = config.key.file.with_name("identity.pem")
    if beside.exists():
        return beside
    if config.key.identity.exists():
        raise CliError(
            Exit.CONFIGURATION,
            f"{beside}: the identity is not there, as it should be; name it with --identity, or write what it is to"
            " sign with --offline FILE",
        )
    return config.key.file


def _statement(config_path: str, body_of: Callable[[Prepared], dict[str, Any]], draw: bool) -> "Statement":
    from ledger.types import Hash32, OrgId
    from node.rpc.views import body_from_json, unhex
    from node.statement_file import Statement

    prepared = ask(config_path, "identity.prepare", draw=draw)
    body = body_from_json(body_of(prepared), unhex)
    chain_id, org = Hash32(unhex(prepared["chain_id"])), OrgId(unhex(prepared["org"]))
    return Statement(prepared["league"], chain_id, org, prepared["nonce"], body)


def _hand_in(config_path: str, statement: "Statement", wait: bool, timeout_s: float, as_json: bool) -> dict[str, Any]:
    nonce = ask(config_path, "identity.prepare")["nonce"] if len(statement.signatures) > 1 else statement.nonce
    raw = statement.transaction(nonce).encoded.hex()
    with progress("waiting for a final block" if wait else "sending", None, as_json):
        answer: dict[str, Any] = ask(config_path, "submit_tx", transaction=raw, **finality(wait, timeout_s))
    return answer


def _say_offline(path: Path, statement: "Statement", as_json: bool) -> None:
    if as_json:
        print_json({"file": str(path.absolute()), "signer": statement.signer.hex(), "nonce": statement.nonce})
        return
    click.echo(f"{path} holds what is to be signed. Carry it to the machine with the identity, and there\n")
    click.echo(f"  hanse keys sign {path.name} --identity identity.pem -o signed.json\n")
    click.echo("then bring signed.json back and give this verb --submit signed.json.")
