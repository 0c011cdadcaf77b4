"""What ends a daemon becomes one line for its operator and an exit code for its supervisor."""

import errno
from pathlib import Path

import pytest

from ledger.errors import CorruptStore, StoreFull, StoreLocked, StoreOfAnotherVersion, UnknownProtocol
from node.daemon import EXIT_BROKEN, EXIT_CONFIGURATION, EXIT_DISK_FULL, EXIT_OUTDATED, _explain
from node.start_errors import BadStart


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadStart(f"{Path('genesis.json')}: no such file"), EXIT_CONFIGURATION),
        (StoreLocked("in use"), EXIT_CONFIGURATION),
        (StoreOfAnotherVersion("layout 2"), EXIT_CONFIGURATION),
        (
            OSError(errno.EADDRINUSE, "cannot listen on /ip4/127.0.0.1/tcp/4001: Address already in use"),
            EXIT_CONFIGURATION,
        ),
        (UnknownProtocol(9, 1_200, 2), EXIT_OUTDATED),
        (StoreFull("no room"), EXIT_DISK_FULL),
        (OSError(errno.ENOSPC, "No space left on device"), EXIT_DISK_FULL),
        (CorruptStore("damaged"), EXIT_BROKEN),
        (OSError(errno.EIO, "the disk fails"), EXIT_BROKEN),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else str(each),
)
def test_the_operators_faults_and_the_nodes_own_end_with_different_codes(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _explain(error) == code
    assert str(error) in capsys.readouterr().err


def test_a_fault_of_ours_is_not_explained_away() -> None:
    with pytest.raises(ZeroDivisionError):
        _explain(ZeroDivisionError())
