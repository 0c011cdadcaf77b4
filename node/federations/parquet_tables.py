"""The result tables as Parquet files. pyarrow (the extra `data`) is imported here, when one is written."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from node.disk import publish_file
from node.federations.rows import TABLES, Row


def parquet_writable() -> bool:
    """Whether the library is installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        return False
    return True


def write_parquet(path: Path, table: str, rows: Iterable[Row]) -> None:
    """Rows of one of TABLES. Each column says what it means, in the file itself. The same rows give the same bytes."""
    import pyarrow as pa
    from pyarrow import parquet

    kinds: dict[str, Any] = {
        "whole": pa.int64(),
        "number": pa.float64(),
        "text": pa.string(),
        "flag": pa.bool_(),
        "numbers": pa.list_(pa.float64()),
    }
    schema = pa.schema(
        [
            pa.field(each.name, kinds[each.kind], nullable=each.optional, metadata={"meaning": each.meaning})
            for each in TABLES[table]
        ]
    )
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(list(rows), schema=schema), sink, compression="zstd")
    publish_file(path, sink.getvalue().to_pybytes())
