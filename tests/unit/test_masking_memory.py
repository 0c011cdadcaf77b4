"""What a provider keeps of a masked round: whole or not at all, never both secrets of one, nothing when it is over."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from ledger.protection import SecretKind
from node.masking_memory import BothSecrets, Dealt, Held, MaskingMemory, RoundSecrets, Told
from node.rounds import RoundId
from node.simulation.disk import DiskFaults, PowerCut, SimDisk

REQUEST, ALICE, BOB = bytes([5]) * 32, bytes([1]) * 32, bytes([2]) * 32
ROUND = RoundId(REQUEST, 2, 1)
SHARE, SALT = bytes([7]) * 33, bytes([8]) * 16
FRESH = RoundSecrets(*ROUND, b"k" * 32, b"x" * 32, b"s" * 32)
DEALT = replace(FRESH, dealt=(Dealt(ALICE, SHARE, SALT, SHARE, SALT, b"sealed"),))
CHECKED = replace(DEALT, checked=True, held=(Held(BOB, SHARE, SALT, SHARE, SALT),))
SPENT = CHECKED.spent()
TOLD = SPENT.with_told({BOB: SecretKind.SEED})
LIFE = (FRESH, DEALT, CHECKED, SPENT, TOLD)


@pytest.fixture
def memory(tmp_path: Path) -> MaskingMemory:
    return MaskingMemory(tmp_path / "masking")


def test_what_is_saved_is_there_for_that_attempt_only(memory: MaskingMemory) -> None:
    assert memory.load(ROUND) is None
    for stage in LIFE:
        memory.save(stage)
        assert MaskingMemory(memory.folder).load(ROUND) == stage
    assert memory.load(ROUND._replace(attempt=2)) is None
    assert memory.load(ROUND._replace(number=3)) is None
    assert memory.rounds() == MaskingMemory(memory.folder).rounds() == [ROUND]
    memory.forget(ROUND._replace(attempt=0))
    assert memory.load(ROUND) == LIFE[-1]
    memory.forget(ROUND)
    assert memory.load(ROUND) is None
    assert (list(memory.folder.iterdir()), memory.rounds()) == ([], [])
    memory.forget(ROUND)


def test_only_the_owner_of_the_node_can_read_it(memory: MaskingMemory) -> None:
    memory.save(FRESH)
    (path,) = memory.folder.iterdir()
    assert (path.stat().st_mode & 0o777, memory.folder.stat().st_mode & 0o777) == (0o600, 0o700)


def test_half_a_file_of_a_crash_is_swept_away(memory: MaskingMemory) -> None:
    (memory.folder / f".{REQUEST.hex()}.masking.0badcafe.tmp").write_bytes(b"half of a secret")
    MaskingMemory(memory.folder)
    assert list(memory.folder.iterdir()) == []


def test_a_damaged_file_is_lost_and_gone(memory: MaskingMemory) -> None:
    memory.save(CHECKED)
    (path,) = memory.folder.iterdir()
    whole = path.read_bytes()
    for at in range(0, len(whole), 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        assert memory.load(ROUND) is None, at
        assert not path.exists(), "a damaged secret is a secret still"
    path.write_bytes(whole)
    path.rename(path.with_name(f"{bytes(32).hex()}.masking"))
    assert memory.load(RoundId(bytes(32), 2, 1)) is None


def test_never_both_secrets_of_one_provider() -> None:
    assert TOLD.told == (Told(BOB, SecretKind.SEED),)
    assert TOLD.with_told({BOB: SecretKind.SEED, ALICE: SecretKind.MASK_KEY}).told == (
        Told(ALICE, SecretKind.MASK_KEY),
        Told(BOB, SecretKind.SEED),
    )
    with pytest.raises(BothSecrets, match="0202"):
        TOLD.with_told({ALICE: SecretKind.MASK_KEY, BOB: SecretKind.MASK_KEY})


def test_a_spent_record_holds_no_secret_of_our_own() -> None:
    assert SPENT.is_spent
    assert not CHECKED.is_spent
    for secret in (FRESH.mask_key, FRESH.exchange_key, FRESH.seed):
        assert secret not in (SPENT.mask_key, SPENT.exchange_key, SPENT.seed)
    assert (SPENT.dealt, SPENT.held) == ((), CHECKED.held)


@pytest.mark.parametrize("power", [0.0, 1.0], ids=["killed", "power cut"])
def test_whatever_write_a_crash_cuts_short_leaves_one_stage_and_never_an_older_than_what_was_said(power: float) -> None:
    """After each save that returned, something is said that rests on it: no crash may take it back."""
    folder = Path("/simulated")
    cuts = 0
    for seed in range(300):
        disk = SimDisk(Random(seed))
        disk.faults = DiskFaults(cut_short=0.2, power=power)
        saved = -1
        try:
            memory = MaskingMemory(folder, disk.files())
            for at, stage in enumerate(LIFE):
                memory.save(stage)
                saved = at
        except PowerCut:
            cuts += 1
        disk.faults = DiskFaults()
        found = MaskingMemory(folder, disk.files()).load(ROUND)
        assert (found in LIFE[max(saved, 0) : saved + 2]) or (saved == -1 and found is None), seed
    assert cuts > 100


def test_what_was_forgotten_does_not_come_back_with_the_power() -> None:
    folder = Path("/simulated")
    for seed in range(100):
        disk = SimDisk(Random(seed))
        memory = MaskingMemory(folder, disk.files())
        memory.save(FRESH)
        memory.forget(ROUND)
        disk.cut_power()
        assert MaskingMemory(folder, disk.files()).load(ROUND) is None, seed


def test_a_full_disk_leaves_what_was_there() -> None:
    disk = SimDisk(Random(1))
    memory = MaskingMemory(Path("/simulated"), disk.files())
    memory.save(FRESH)
    disk.faults = DiskFaults(full=True)
    with pytest.raises(OSError, match="space"):
        memory.save(DEALT)
    assert memory.load(ROUND) == FRESH
