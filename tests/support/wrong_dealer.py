"""`hanse start` as a test build that deals wrong shares: good ones, of another seed than the one it is bound to.

Run as `python -m tests.support.wrong_dealer start -c FOLDER`. All else is the daemon as it is released.
"""

from dataclasses import replace

from ledger.protection import ShareMaskSecrets
from node import masking_steps
from node.devnet.league import DevNode
from node.masking_memory import RoundSecrets
from node.masking_steps import MaskView

_honest = masking_steps._dealing_words


def _wrong(view: MaskView, secrets: RoundSecrets) -> ShareMaskSecrets:
    return replace(_honest(view, secrets), seed_commitment=bytes(32))


def start(node: DevNode) -> None:
    """Start a stopped node as this build."""
    node.start(("tests.support.wrong_dealer", "start", "-c"))


if __name__ == "__main__":
    masking_steps._dealing_words = _wrong
    from node.cli.main import main

    main()
