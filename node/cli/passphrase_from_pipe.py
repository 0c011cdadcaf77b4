"""The process that `hanse start --background` leaves running: the daemon, with the passphrase handed through a pipe.

It was asked for where there is a terminal; it never touches a disk, an argument or the environment.
"""

import os
import sys
import traceback
from pathlib import Path

from node.cli.faults import as_cli_error, report
from node.config import load_config
from node.identity import PASSPHRASE_BYTES_MAX
from node.key_ring import KeyRing


def main() -> int:
    """Arguments: the configuration file, and the descriptor's number; nothing to read there means no passphrase."""
    config = load_config(Path(sys.argv[1]))
    with os.fdopen(int(sys.argv[2]), "rb") as pipe:
        passphrase = pipe.read(PASSPHRASE_BYTES_MAX).decode()
    ring = KeyRing(config.key.file, passphrase or None)
    from node.daemon import run_daemon

    return run_daemon(config, ring)


def guarded() -> int:
    """`main` with the exit codes of `hanse`; the last line of the log says what was wrong."""
    try:
        return main()
    except Exception as error:
        traceback.print_exc()
        fault = as_cli_error(error)
        report(fault, as_json=False)
        return fault.code


if __name__ == "__main__":
    sys.exit(guarded())
