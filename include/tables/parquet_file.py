"""Parquet files: copied as they are, and read into columns that a model can use."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from include.errors import DataError
from include.stages.files import written_whole
from include.tables.words import require_names

if TYPE_CHECKING:
    import pandas as pd

# Small, and as fast as the default
COMPRESSION = "zstd"
CELLS = 4_000_000  # that are read at a time


def write_parquet(path: str | Path, frame: "pd.DataFrame") -> None:
    """Write a table without its index, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with written_whole(path) as part:
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), part, compression=COMPRESSION)


def read_parquet(path: str | Path | BinaryIO, leave_out: Collection[str] = ()) -> "pd.DataFrame":
    """Read a Parquet file of any origin; columns that pandas once kept as an index are left out.

    :raises DataError: it is not such a file, or two columns have one name. The message lacks the file's name.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        names = [name for name in column_names(file.schema_arrow) if name not in leave_out]
        # A few columns at a time: all at once, the table would be there twice.
        step = max(1, CELLS // max(1, file.metadata.num_rows))
        columns: dict[str, pd.Series] = {}
        for start in range(0, len(names), step):
            table = file.read(columns=names[start : start + step], use_pandas_metadata=False)
            columns |= dict(table.to_pandas(ignore_metadata=True, types_mapper=_pandas_type, split_blocks=True).items())
        return pd.DataFrame(columns, copy=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"is not a Parquet file: {error}") from None


def columns_of(path: str | Path) -> list[str]:
    """The names of a Parquet file's columns.

    :raises DataError: as for `read_parquet`.
    """
    import pyarrow.parquet as pq

    return column_names(pq.read_schema(path))


def copy_parquet(source: Path, target: str | Path) -> tuple[int, int]:
    """Copy a Parquet file piece by piece, without the index that pandas may have left in it.

    :return: its rows and columns.
    :raises DataError: as for `read_parquet`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(source)
        found = file.schema_arrow  # made anew each time that one asks for it
        names = column_names(found)
        schema = pa.schema([found.field(name) for name in names])
        with written_whole(target) as part, pq.ParquetWriter(part, schema, compression=COMPRESSION) as writer:
            for batch in file.iter_batches(columns=names):
                writer.write_batch(batch.select(names).replace_schema_metadata(None))
        return file.metadata.num_rows, len(names)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"is not a Parquet file: {error}") from None


def column_names(schema: Any) -> list[str]:
    """The columns but for an index of pandas.

    :param schema: of pyarrow.
    :raises DataError: two have one name.
    """
    index = [one for one in (schema.pandas_metadata or {}).get("index_columns", []) if isinstance(one, str)]
    names = [name for name in schema.names if name not in index]
    require_names(names)
    return names


def _pandas_type(kind: Any) -> Any:
    """Integers and booleans that may be missing, instead of floats and objects."""
    import pandas as pd
    import pyarrow as pa

    if pa.types.is_boolean(kind):
        return pd.BooleanDtype()
    return None
