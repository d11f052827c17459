"""Rows of files: lines, JSON lines, CSV and Parquet, plain or compressed. Reads as it goes."""

from __future__ import annotations

import csv
import gzip
import io
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

import msgspec

from lepton_apps.common.errors import LeptonError

FORMATS: Final = ("lines", "jsonl", "csv", "parquet")
STANDARD_INPUT: Final = "-"
SUFFIXES: Final = {
    ".log": "lines",
    ".txt": "lines",
    ".json": "jsonl",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
COMPRESSED: Final = (".gz", ".zst")
PARQUET_ROWS: Final = 8_192  # in memory at once

Row = bytes | dict[str, Any]


class FileRefusedError(LeptonError):
    """A file that cannot be read as it was said to be."""

    code = "file_refused"


@dataclass(slots=True)
class Reading:
    """A file being read, and how far it has come."""

    name: str
    format: str
    rows: Iterator[Row]
    size: int  # bytes on disk; 0: not known
    _raw: IO[bytes] | None = None

    @property
    def position(self) -> int:
        """Bytes of the file that have been read."""
        if self._raw is None or self._raw.closed:
            return self.size
        return self._raw.tell() if self._raw.seekable() else 0


def format_of(name: str) -> str:
    """What a file's name says. Raises ``FileRefusedError`` where it says nothing."""
    path = Path(name)
    suffixes = [s.lower() for s in path.suffixes if s.lower() not in COMPRESSED]
    found = SUFFIXES.get(suffixes[-1]) if suffixes else None
    if found is None:
        raise FileRefusedError(
            f"{name}: its name does not say what it holds. Say it: --format {'|'.join(FORMATS)}."
        )
    return found


@contextmanager
def opened(
    name: str, format_: str, *, delimiter: str | None = None, header: bool = True
) -> Iterator[Reading]:
    """Open a file and read its rows.

    Raises:
        FileRefusedError: it is not there, or not what its name or ``format_`` says.
    """
    try:
        if format_ == "parquet":
            with _parquet(name) as reading:
                yield reading
            return
        with _raw(name) as raw:
            stream = _decompressed(name, raw)
            rows = _rows(name, stream, format_, delimiter, header=header)
            size = Path(name).stat().st_size if name != STANDARD_INPUT else 0
            yield Reading(name, format_, rows, size, raw)
    except EOFError as exc:
        raise FileRefusedError(f"{name} ends in the middle.") from exc
    except OSError as exc:
        raise FileRefusedError(f"{name}: {exc.strerror or exc}.") from exc


def _raw(name: str) -> AbstractContextManager[IO[bytes]]:
    if name == STANDARD_INPUT:
        return _left_open(sys.stdin.buffer)
    return Path(name).open("rb")


@contextmanager
def _left_open(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    yield stream


def _decompressed(name: str, raw: IO[bytes]) -> IO[bytes]:
    suffix = Path(name).suffix.lower()
    if suffix == ".gz":
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    if suffix == ".zst":
        import zstandard

        unpacked = zstandard.ZstdDecompressor().stream_reader(raw)
        return cast(IO[bytes], io.BufferedReader(cast(io.RawIOBase, unpacked), 1 << 20))
    return raw


def _rows(
    name: str, stream: IO[bytes], format_: str, delimiter: str | None, *, header: bool
) -> Iterator[Row]:
    if format_ == "lines":
        return (line.rstrip(b"\r\n") for line in stream)
    if format_ == "jsonl":
        return _json_rows(name, stream)
    separator = delimiter or ("\t" if ".tsv" in Path(name).name.lower() else ",")
    return _csv_rows(stream, separator, header=header)


def _json_rows(name: str, stream: IO[bytes]) -> Iterator[Row]:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            yield decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
            raise FileRefusedError(f"{name}, line {number} is no JSON object: {exc}.") from exc


def _csv_rows(stream: IO[bytes], separator: str, *, header: bool) -> Iterator[Row]:
    text = io.TextIOWrapper(cast(Any, stream), encoding="utf-8-sig", errors="replace", newline="")
    reader = csv.reader(text, delimiter=separator)
    names = next(reader, None) if header else None
    for values in reader:
        if names is None:
            names = [f"c{place}" for place in range(len(values))]
        yield dict(zip(names, values, strict=False))


@contextmanager
def _parquet(name: str) -> Iterator[Reading]:
    if name == STANDARD_INPUT:
        raise FileRefusedError("Parquet cannot be read from standard input.")
    # Imported here: it is large, and only these files need it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(name) as file:
            rows = (
                row
                for batch in file.iter_batches(batch_size=PARQUET_ROWS)
                for row in batch.to_pylist()
            )
            yield Reading(name, "parquet", rows, 0)
    except pa.ArrowInvalid as exc:
        raise FileRefusedError(f"{name} is no Parquet file: {exc}.") from exc
