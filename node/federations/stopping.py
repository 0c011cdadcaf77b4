"""Ending a run before its last round: the round in work is finished, a checkpoint written, the run goes on later."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether somebody has asked for the end."""

    def __init__(self) -> None:
        self.asked = False


@contextmanager
def stop_on_signals(tell: Callable[[], object]) -> Iterator[Stop]:
    """The first Ctrl-C or SIGTERM asks, and `tell` says so; a second one raises KeyboardInterrupt at once.

    To be entered by the main thread. What the signals did before they do again afterwards.
    """
    stop = Stop()

    def heard(number: int, frame: FrameType | None) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True
        tell()

    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.signal(kind, heard) for kind in kinds}
    try:
        yield stop
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
