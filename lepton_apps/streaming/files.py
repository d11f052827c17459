"""Rows of files: lines, JSON lines, CSV and Parquet, plain or compressed. Reads as it goes."""

from __future__ import annotations

import csv
import gzip
import io
import sys
import zlib
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
PACKED_BYTES: Final = 16_384  # taken at once: little can unpack to much
LONGEST_LINE: Final = 16 << 20  # bytes; no file without line ends may fill the memory


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that could not be read; those after it can be."""

    why: str


Row = bytes | dict[str, Any] | Unreadable


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
    except zlib.error as exc:
        raise FileRefusedError(f"{name} is damaged: {exc}.") from exc
    except OSError as exc:
        raise FileRefusedError(f"{name}: {exc.strerror or exc}.") from exc


def check_there(name: str) -> None:
    """Raises ``FileRefusedError`` for a file that cannot be opened, before any work is done."""
    if name == STANDARD_INPUT:
        return
    try:
        with Path(name).open("rb"):
            pass
    except OSError as exc:
        raise FileRefusedError(f"{name}: {exc.strerror}.") from exc


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
        return cast(IO[bytes], io.BufferedReader(_Unpacked(raw), 1 << 20))
    return raw


class _Unpacked(io.RawIOBase):
    """zstd frames, one after the other. The library's own reader takes a torn end for the end.

    Raises:
        EOFError: the last frame is not whole.
        OSError: damage, as of every other file.
    """

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._frame: Any = None
        self._packed = b""  # behind the end of the frame before
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            packed = self._packed or self._source.read(PACKED_BYTES)
            self._packed = b""
            if not packed:
                if self._frame is not None:
                    raise EOFError
                return 0
            self._unpack(packed)
        taken = self._ready[: len(buffer)]
        self._ready = self._ready[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)

    def _unpack(self, packed: bytes) -> None:
        import zstandard

        if self._frame is None:
            self._frame = zstandard.ZstdDecompressor().decompressobj()
        try:
            self._ready = self._frame.decompress(packed)
        except zstandard.ZstdError as exc:
            raise OSError(f"damaged ({exc})") from exc
        if self._frame.eof:
            self._packed, self._frame = self._frame.unused_data, None


def _rows(
    name: str, stream: IO[bytes], format_: str, delimiter: str | None, *, header: bool
) -> Iterator[Row]:
    if format_ == "lines":
        return (row.rstrip(b"\r\n") if isinstance(row, bytes) else row for row in _bounded(stream))
    if format_ == "jsonl":
        return _json_rows(stream)
    separator = (delimiter or "").replace("\\t", "\t")
    separator = separator or ("\t" if ".tsv" in Path(name).name.lower() else ",")
    return _csv_rows(stream, separator, header=header)


def _bounded(stream: IO[bytes]) -> Iterator[bytes | Unreadable]:
    """Lines with their ends; what is longer than a line can be is passed over."""
    while line := stream.readline(LONGEST_LINE):
        if len(line) < LONGEST_LINE or line.endswith(b"\n"):
            yield line
            continue
        size = len(line)
        while (part := stream.readline(LONGEST_LINE)) and not part.endswith(b"\n"):
            size += len(part)
        yield Unreadable(f"the line has {size + len(part)} bytes, more than {LONGEST_LINE}")


def _json_rows(stream: IO[bytes]) -> Iterator[Row]:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    for line in _bounded(stream):
        if isinstance(line, Unreadable):
            yield line
        elif line.strip():
            try:
                yield decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
                yield Unreadable(f"no JSON object: {exc}")


def _csv_rows(stream: IO[bytes], separator: str, *, header: bool) -> Iterator[Row]:
    text = io.TextIOWrapper(cast(Any, stream), encoding="utf-8-sig", errors="replace", newline="")
    reader = csv.reader(text, delimiter=separator)
    names: list[str] | None = None
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as exc:
            yield Unreadable(f"no row of CSV: {exc}")
            continue
        if names is None:
            names = values if header else [f"c{place}" for place in range(len(values))]
            if header:
                continue
        if values and len(values) != len(names):
            yield Unreadable(f"{len(values)} fields, and {len(names)} columns")
        elif values:
            yield dict(zip(names, values, strict=True))


def _in_microseconds(batch: Any) -> Any:
    """Python's times hold no nanoseconds; the rest of one is left out."""
    import pyarrow as pa

    fields = [
        field.with_type(pa.timestamp("us", field.type.tz))
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns"
        else field
        for field in batch.schema
    ]
    return pa.Table.from_batches([batch]).cast(pa.schema(fields), safe=False)


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
                for row in _in_microseconds(batch).to_pylist()
            )
            yield Reading(name, "parquet", rows, 0)
    except pa.ArrowInvalid as exc:
        raise FileRefusedError(f"{name} is no Parquet file: {exc}.") from exc
