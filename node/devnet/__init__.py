"""A whole league of real processes on one machine: to try Hanse, to show it, and to test it."""

from node.devnet.run import run_devnet

__all__ = ["run_devnet"]
