"""The process that `hanse start --background` leaves running: the daemon, with the key it is handed through a pipe.

The passphrase was asked for where there is a terminal; the open key never touches a disk, an argument or the
environment.
"""

import os
import sys
import traceback
from pathlib import Path

from ledger.keys import KeyPair
from node.cli.faults import as_cli_error, report
from node.config import load_config
from node.pkcs8 import seed_from_pem

# A PEM key is some 120 bytes.
KEY_BYTES_MAX = 4096


def main() -> int:
    """Arguments: the configuration file, and the number of the descriptor the key is read from."""
    config = load_config(Path(sys.argv[1]))
    with os.fdopen(int(sys.argv[2]), "rb") as pipe:
        key = KeyPair.from_seed(seed_from_pem(pipe.read(KEY_BYTES_MAX), None))
    from node.daemon import run_daemon

    return run_daemon(config, key)


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
