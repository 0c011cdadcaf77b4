"""Proof bundles on the command line: to a file, from a file, in words. The check is `ledger/bundles.py`'s."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_fields

if TYPE_CHECKING:
    from ledger.bundles import DisputeBundle
    from ledger.genesis import Genesis

# What became of a record, and who is right about it.
SAID = {
    "untouched": "is as it was anchored: its owner wins the dispute",
    "record_changed": "was changed after it was anchored: its owner loses the dispute",
    "record_missing": "was anchored and is gone from the store: its owner loses the dispute",
    "record_added": "was added after the period was anchored: its owner loses the dispute",
    "period_changed": "was changed after it was anchored, in its records and in the leaves kept: its owner loses",
}


def subject(finding: str, period: int, index: int) -> str:
    """The sentence about a finding."""
    what = f"period {period}" if finding == "period_changed" else f"record {index} of period {period}"
    return f"{what} {SAID[finding]}"


def write_bundle_file(path: Path, bundle: dict[str, Any]) -> None:
    """Never writes over a file. Raises CliError."""
    from node.disk import publish_file

    try:
        publish_file(path, (json.dumps(bundle, indent=1) + "\n").encode(), replace=False)
    except FileExistsError:
        raise CliError(Exit.CONFIGURATION, f"{path}: there is a file already; it is left as it is") from None


def read_bundle_file(path: Path) -> "DisputeBundle":
    """Raises CliError naming the file and what is wrong in it."""
    from ledger.bundles import bundle_from_json
    from ledger.errors import InvalidBytes

    try:
        return bundle_from_json(read_text(path))
    except InvalidBytes as error:
        # A bundle that cannot be read proves nothing, whatever it was meant to prove.
        raise CliError(Exit.NOT_VERIFIED, f"{path}: {error}") from None


def read_text(path: Path) -> str:
    """The text of a proof's file, no more of it than a proof may have. Raises CliError, InvalidBytes."""
    from ledger.errors import InvalidBytes
    from ledger.proof_parts import FILE_BYTES_MAX

    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1).decode()
    except OSError as error:
        raise CliError(Exit.CONFIGURATION, f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidBytes(f"not UTF-8: {error.reason} at byte {error.start}") from None


def read_genesis_file(path: Path) -> "Genesis":
    """Raises CliError, InvalidGenesis."""
    from ledger.genesis import genesis_from_json

    try:
        return genesis_from_json(path.read_text())
    except OSError as error:
        raise CliError(Exit.CONFIGURATION, f"{path}: {error.strerror}; name the genesis file") from None


def print_proof(bundle: "DisputeBundle") -> None:
    """The record as it lies in the store now, and what it is held against."""
    from ledger.codec import decode
    from ledger.entries import Anchor
    from ledger.errors import InvalidBytes
    from ledger.merkle import leaf_hash
    from ledger.records import parse_record

    statement = bundle.statement
    shown: dict[str, object] = {}
    if statement.record:
        try:
            record = parse_record(statement.record)
            shape = "x".join(map(str, record.shape))
            shown["record now"] = f"{record.values_type.name.lower()} {shape}, label {record.label}, time {record.time}"
        except InvalidBytes as error:
            shown["record now"] = f"{len(statement.record)} bytes that are no record: {error}"
        shown["leaf now"] = leaf_hash(statement.record).hex()
    if statement.anchored_leaf:
        shown["leaf anchored"] = statement.anchored_leaf.hex()
        shown["proof"] = tuple(each.hex() for each in bundle.inclusion) or "the record is alone in its period"
    anchor, header = decode(Anchor, bundle.anchor.value or b""), bundle.path[-1].header
    print_fields(
        {
            **shown,
            "root now": statement.found_root.hex(),
            "root anchored": anchor.root.hex(),
            "anchored at": f"height {anchor.height}, {anchor.record_count} records",
            "shown under": f"height {header.height}, state root {header.state_root.hex()}",
        }
    )


def bundle_option(function: Any) -> Any:
    """-o FILE for verbs that make a bundle."""
    return click.option(
        "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write the bundle here."
    )(function)
