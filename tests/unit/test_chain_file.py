"""A chain in a file: what was written is read, cut or changed anywhere it is refused; what is executed must fit."""

from dataclasses import replace
from pathlib import Path

import pytest

from ledger.blocks import FinalBlock
from ledger.certificates import Subject, VoteKind, cast, certify
from ledger.chain import Chain
from ledger.chain_rows import BARE_HEADER, BLOCK, CHANGE, ChainRows, drop_blocks, height_key
from ledger.codec import encode
from ledger.entries import Account, account_key
from ledger.memory_store import MemoryStore
from ledger.store import WriteBatch
from node.chain_file import MAGIC, ChainFile, ChainFileHead, InvalidChainFile, write_chain_file
from node.ledger_check import ROW_NAMES, SAME_ROWS, SeldomSynced, WrongLedger, check_store, execute
from tests.support.league import League, genesis_of
from tests.support.proven_league import ProvenLeague, proven_league, rows_of


def unseen(height: int) -> None:
    """Nobody watches the progress."""


@pytest.fixture(scope="module")
def lived() -> ProvenLeague:
    return proven_league(changes=1)


@pytest.fixture
def exported(lived, tmp_path) -> Path:
    league = lived.league
    head = ChainFileHead(league.genesis, 1, league.chain.height)
    write_chain_file(tmp_path / "chain.hanse", head, rows_of(league, 1, head.last))
    return tmp_path / "chain.hanse"


def read_all(path: Path) -> list[FinalBlock]:
    file = ChainFile(path)
    file.check_digest()
    return list(file.blocks())


def test_what_was_exported_is_read_again(lived, exported):
    chain = lived.league.chain
    assert ChainFile(exported).head.genesis == lived.league.genesis
    assert read_all(exported) == [chain.final_block(height) for height in range(1, chain.height + 1)]


def test_an_export_is_never_written_over_a_file_and_never_left_half(lived, tmp_path):
    league, path = lived.league, tmp_path / "chain.hanse"
    head = ChainFileHead(league.genesis, 1, 3)

    def broken():
        yield from rows_of(league, 1, 2)
        raise OSError("the node went away")

    with pytest.raises(OSError, match="went away"):
        write_chain_file(path, head, broken())
    assert list(tmp_path.iterdir()) == []
    write_chain_file(path, head, rows_of(league, 1, 3))
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        write_chain_file(path, head, rows_of(league, 1, 3))
    assert [path] == list(tmp_path.iterdir())
    assert path.read_bytes() == before


def test_a_file_that_was_cut_or_changed_anywhere_is_refused(lived, tmp_path):
    league, path = lived.league, tmp_path / "chain.hanse"
    write_chain_file(path, ChainFileHead(league.genesis, 1, 2), rows_of(league, 1, 2))
    whole = path.read_bytes()
    assert len(whole) > 2_000
    broken = [whole[:cut] for cut in range(0, len(whole), 37)]
    broken += [whole + b"\0", whole + whole, b"", whole[len(MAGIC) :]]
    for at in range(0, len(whole), 11):
        broken.append(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
    for content in broken:
        path.write_bytes(content)
        with pytest.raises(InvalidChainFile):
            read_all(path)


def test_frames_are_bounded_and_blocks_are_those_that_the_head_names(lived, tmp_path):
    league, path = lived.league, tmp_path / "chain.hanse"
    path.write_bytes(MAGIC + b"\xff\xff\xff\xff" + bytes(100))
    with pytest.raises(InvalidChainFile, match="at most"):
        ChainFile(path)
    path.unlink()
    # The digest is right, the content is not.
    for rows in (rows_of(league, 2, 3), [rows_of(league, 1, 1)[0]] * 2, [b"", b""], [b"\x90", b"\x90"]):
        write_chain_file(path, ChainFileHead(league.genesis, 1, 2), rows)
        file = ChainFile(path)
        file.check_digest()
        with pytest.raises(InvalidChainFile):
            list(file.blocks())
        path.unlink()


def test_an_exported_chain_executes_to_the_same_state(lived, exported):
    again = MemoryStore()
    chain = Chain(again, lived.league.genesis)
    assert execute(chain, read_all(exported), unseen) == lived.league.chain.height
    assert dict(again.scan()) == dict(lived.league.store.scan())


def test_an_interrupted_import_goes_on_where_it_stopped(lived, exported):
    whole, height = read_all(exported), lived.league.chain.height
    for stop in range(0, height + 1, 5):
        store = MemoryStore()
        execute(Chain(SeldomSynced(store), lived.league.genesis), whole[:stop], unseen)
        # What a killed import leaves is opened anew.
        assert execute(Chain(store, lived.league.genesis), whole, unseen) == height - stop
        assert dict(store.scan()) == dict(lived.league.store.scan())


def test_a_block_that_the_rules_refuse_is_named_by_its_height(lived, exported):
    league, blocks = lived.league, read_all(exported)
    at = 9
    final = blocks[at - 1]
    seats = [league.key(org) for org in league.chain.committee_at(at).members]
    header = replace(final.block.header, state_root=bytes(32))
    subject = Subject(at, header.committee, header.view, VoteKind.FINALIZE, header.id)
    signed = certify([cast(key, league.chain.chain_id, subject) for key in seats])
    short = replace(final.certificate, signatures=final.certificate.signatures[1:])
    for wrong, reason in (
        (FinalBlock(replace(final.block, header=header), signed), "state root"),
        (replace(final, certificate=short), "votes, want"),
        (replace(final, block=replace(final.block, transactions=())), "transactions_root"),
    ):
        chain = Chain(MemoryStore(), league.genesis)
        with pytest.raises(WrongLedger, match=reason) as caught:
            execute(chain, [*blocks[: at - 1], wrong, *blocks[at:]], unseen)
        assert caught.value.height == at == chain.height + 1


def test_blocks_that_contradict_the_ledger_here_are_named(lived, exported):
    other = League(7)
    other.say()
    with pytest.raises(WrongLedger) as caught:
        execute(other.chain, read_all(exported), unseen)
    assert caught.value.height == 1


def copy_of(lived: ProvenLeague) -> MemoryStore:
    return MemoryStore(dict(lived.league.store.scan()))


def test_a_whole_ledger_is_executed_again(lived):
    checked = check_store(copy_of(lived), lived.league.genesis, MemoryStore(), unseen)
    chain = lived.league.chain
    assert (checked.height, checked.executed) == (chain.height, chain.height)
    assert (checked.head_id, checked.state_root) == (chain.head_id, chain.state_root)
    assert checked.entries == sum(1 for _ in lived.league.store.scan(b"S"))


@pytest.mark.parametrize("prefix", SAME_ROWS, ids=ROW_NAMES.values())
def test_a_row_that_was_changed_lost_or_slipped_in_is_found(lived, prefix):
    rows = list(copy_of(lived).scan(prefix))
    assert rows
    key, value = rows[len(rows) // 2]
    slipped = key[:-1] + bytes([key[-1] ^ 1])
    for changes in ({key: None}, {key: value[:-1] + bytes([value[-1] ^ 1])}, {slipped + b"\1": value}):
        store = copy_of(lived)
        store.write(WriteBatch(dict(changes)))
        with pytest.raises(WrongLedger) as caught:
            check_store(store, lived.league.genesis, MemoryStore(), unseen)
        if prefix == BLOCK and key in changes:
            assert caught.value.height == int.from_bytes(key[1:9], "big")


def test_a_balance_that_was_raised_on_the_disk_is_found(lived):
    store, owner = copy_of(lived), lived.owner.org
    row = b"S" + account_key(owner)
    account = lived.league.chain.read(Account, account_key(owner))
    store.write(WriteBatch({row: encode(replace(account, balance=account.balance + 1))}))
    with pytest.raises(WrongLedger, match="not the one under its root"):
        check_store(store, lived.league.genesis, MemoryStore(), unseen)


def test_a_damaged_tree_and_a_missing_block_are_found(lived):
    store = copy_of(lived)
    node = next(key for key, _ in store.scan(b"N"))
    store.write(WriteBatch({node: bytes(65)}))
    with pytest.raises(WrongLedger, match="tree"):
        check_store(store, lived.league.genesis, MemoryStore(), unseen)
    store = copy_of(lived)
    store.write(WriteBatch({BLOCK + height_key(4): None}))
    with pytest.raises(WrongLedger) as caught:
        check_store(store, lived.league.genesis, MemoryStore(), unseen)
    assert caught.value.height == 4


def test_another_leagues_ledger_is_refused(lived):
    with pytest.raises(Exception, match="holds chain"):
        check_store(copy_of(lived), genesis_of(lived.league.keys[:5]), MemoryStore(), unseen)


def pruned(lived: ProvenLeague, below: int) -> MemoryStore:
    """The ledger without the bodies of its lowest blocks."""
    store = copy_of(lived)
    while (batch := drop_blocks(ChainRows(store), below)).changes:
        store.write(batch)
    return store


def test_of_a_pruned_ledger_headers_committees_and_state_are_checked(lived):
    store = pruned(lived, 9)
    checked = check_store(store, lived.league.genesis, MemoryStore(), unseen)
    assert (checked.height, checked.executed) == (lived.league.chain.height, 0)
    account, row = lived.league.chain.value(account_key(lived.owner.org)), b"S" + account_key(lived.owner.org)
    final = lived.league.chain.final_header(4)
    forged = replace(final, header=replace(final.header, time=final.header.time + 1))
    for changes in (
        {row: account[:-1] + bytes([account[-1] ^ 1])},
        {BARE_HEADER + height_key(4): None},
        {BARE_HEADER + height_key(4): encode(forged)},
        {BARE_HEADER + height_key(4): encode(lived.league.chain.final_header(5))},
        {BLOCK + height_key(12): None},
        {next(key for key, _ in store.scan(CHANGE)): b"\x90"},
    ):
        store = pruned(lived, 9)
        store.write(WriteBatch(dict(changes)))
        with pytest.raises(WrongLedger):
            check_store(store, lived.league.genesis, MemoryStore(), unseen)
