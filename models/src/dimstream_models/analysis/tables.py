"""Tables that are written row by row: as CSV for people and spreadsheets, as Parquet for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet


class TableWriter:
    """Writes one table as NAME.csv and NAME.parquet; both files appear when it is closed without an error.

    Parameters
    ----------
    path : Path
        Path without suffix.
    columns : mapping of str to pyarrow.DataType
        Names and types, in order.
    about : mapping of str to str
        Stored in the Parquet file's metadata.
    """

    def __init__(self, path: Path, columns: Mapping[str, Any], about: Mapping[str, str]) -> None:
        self._schema = pa.schema(list(columns.items()), metadata=dict(about))
        self._files = {ending: path.with_suffix(f".{ending}") for ending in ("csv", "parquet")}
        self._parts = {ending: file.with_name(f"{file.name}.partial") for ending, file in self._files.items()}
        self._csv = csv.CSVWriter(str(self._parts["csv"]), self._schema)
        self._parquet = parquet.ParquetWriter(self._parts["parquet"], self._schema)

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows; missing values are empty."""
        table = pa.Table.from_pylist([dict(row) for row in rows], self._schema)
        self._csv.write_table(table)
        self._parquet.write_table(table)

    def close(self) -> None:
        """Finish both files."""
        self._csv.close()
        self._parquet.close()

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.close()
        for ending, part in self._parts.items():
            if kind is None:
                part.replace(self._files[ending])
            else:
                part.unlink(missing_ok=True)


def read_columns(path: Path) -> dict[str, list[Any]]:
    """Return the columns of a Parquet file by name."""
    columns: dict[str, list[Any]] = parquet.read_table(path).to_pydict()
    return columns
