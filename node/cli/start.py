"""`hanse start` and `hanse stop`: the life of a node's process. `start` is the only verb that imports the daemon."""

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_json, progress
from node.cli.passphrases import passphrase_options, unlock
from node.cli.verbs import Verb, config_option, json_option, node_options, timeout_option
from node.cli.which_node import node_client, read_config

if TYPE_CHECKING:
    from node.config import Config

# Often enough that nobody waits for it, seldom enough to cost nothing.
LOOK_EVERY_S = 0.05
LOG_FILE = "node.log"
# The end of a log that explains why a node did not come up.
LOG_TAIL_BYTES = 2000


@click.command(
    cls=Verb,
    examples=(
        "hanse start -c ./alice",
        "hanse start -c ./alice --background        comes back when the node answers; log in ./alice/node.log",
        "hanse start -c ./alice --passphrase-fd 3 3< <(pass show hanse/alice)",
    ),
)
@config_option
@json_option
@click.option("--foreground/--background", default=True, help="Stay (default), or leave the node running behind.")
@passphrase_options
@timeout_option(30, "With --background: how long the node may take until it answers.")
def start(
    config_path: str,
    as_json: bool,
    foreground: bool,
    passphrase_file: Path | None,
    passphrase_fd: int | None,
    timeout_s: float,
) -> int:
    """Run the node in this folder until SIGTERM or Ctrl-C, which end it cleanly.

    A node that is killed instead loses nothing: it is at one block or the next when it comes back.
    """
    from node.config_check import missing_files

    config = read_config(config_path)
    for problem in missing_files(config):
        raise CliError(Exit.CONFIGURATION, f"{config.path}: {problem}")
    ring = unlock(config, passphrase_file, passphrase_fd)
    if not foreground:
        _start_behind(config, ring.passphrase, timeout_s, as_json)
        return Exit.OK
    from node.daemon import run_daemon

    if sys.stderr.isatty():
        # The log is quiet by default: without a word a person would not know that this is how a good start looks.
        click.echo(f"{config.node.name} is starting; `hanse status -c {config_path}` tells how it stands.", err=True)
        click.echo("Ctrl-C ends it.", err=True)
    return run_daemon(config, ring)


def _start_behind(config: "Config", passphrase: str | None, timeout_s: float, as_json: bool) -> None:
    """Start a second process and wait until it answers or is gone. It gets the passphrase through a pipe."""
    log = config.node.data_dir / LOG_FILE
    reading, writing = os.pipe()
    command = [sys.executable, "-P", "-m", "node.cli.passphrase_from_pipe", str(config.path), str(reading)]
    with log.open("ab") as lines:
        begins = lines.tell()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=lines, stderr=lines, start_new_session=True, pass_fds=(reading,)
        )
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        _send(pipe, b"" if passphrase is None else passphrase.encode())
    until = time.monotonic() + timeout_s
    with progress("starting", None, as_json):
        while _answering_pid(config.node.data_dir) != child.pid:
            if child.poll() is not None:
                raise CliError(_exit_of(child.returncode), f"the node stopped at once: {_tail(log, begins)}")
            if time.monotonic() > until:
                raise CliError(Exit.TIMED_OUT, f"the node (process {child.pid}) runs but does not answer; see {log}")
            time.sleep(LOOK_EVERY_S)
    if as_json:
        print_json({"pid": child.pid, "log": str(log)})
    else:
        click.echo(f"The node runs as process {child.pid}; its log is {log}.")


def _exit_of(code: int) -> Exit:
    """Its exit code when that means something; killed by a signal, or ended for no reason: a fault."""
    return Exit(code) if code in set(Exit) - {Exit.OK} else Exit.INTERNAL


def _send(pipe: IO[bytes], passphrase: bytes) -> None:
    try:
        pipe.write(passphrase)
        pipe.flush()
    except BrokenPipeError:
        # The child is gone already; the wait below tells why.
        return


def _tail(log: Path, begins: int) -> str:
    with log.open("rb") as lines:
        size = lines.seek(0, os.SEEK_END)
        lines.seek(max(begins, size - LOG_TAIL_BYTES))
        said = lines.read().decode(errors="replace").strip().splitlines()
    return said[-1].removeprefix("hanse: ") if said else f"it said nothing ({log})"


def _answering_pid(data_dir: Path) -> int | None:
    """The process that rpc.json names: it is written when the node answers."""
    try:
        pid = json.loads((data_dir / "rpc.json").read_text())["pid"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if isinstance(pid, int) else None


@click.command(cls=Verb, examples=("hanse stop -c ./alice", "hanse stop -c ./alice --timeout 5"))
@node_options
@timeout_option(60, "How long the node may take to end what it has begun.")
def stop(config_path: str, as_json: bool, timeout_s: float) -> None:
    """Ask a running node to stop and wait until its process is gone. Exit code 4 when none runs, 8 when it stays."""
    data_dir = read_config(config_path).node.data_dir
    pid = _answering_pid(data_dir)
    try:
        # Opened before the call: afterwards the number may already belong to another process.
        watched = None if pid is None else os.pidfd_open(pid)
    except ProcessLookupError:
        watched = None
    client = node_client(config_path)
    client.call("stop")
    if watched is not None:
        with progress("stopping", None, as_json):
            ended, _, _ = select.select([watched], [], [], timeout_s)
        os.close(watched)
        if not ended:
            raise CliError(Exit.TIMED_OUT, f"process {pid} is still there after {timeout_s:g} s", pid=pid)
    if as_json:
        print_json({"stopped": True, "pid": pid})
    else:
        click.echo("The node has stopped.")
