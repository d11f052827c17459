"""The file of a backup: a zip of tables, each compressed by zstd, with a manifest as its last member.

A zip, so that any tool can list it; its directory comes last, so a file that was cut off is known
by its end. Nothing is held as a whole: memory does not grow with the database.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, ClassVar

import msgspec
import zstandard

from lepton_apps.common.errors import LeptonError
from lepton_apps.verticals.contract import Progress

FORMAT_VERSION = 1
MARK = "lepton-backup.txt"  # the first member: what the file is, for who finds it
MANIFEST = "manifest.json"  # the last one
MARK_TEXT = "A backup of Lepton. It is read by `manage.py restore FILE`: docs/operations.md.\n"
CHUNK_BYTES = 262_144
LEVEL = 3  # of zstd: a slower one saves a twentieth of the space and doubles the time
# Through no link: in a folder of everybody's somebody could have put one there.
FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
MAX_MANIFEST_BYTES = 64 * 2**20


class BackupRefusedError(LeptonError):
    """The file cannot be written, or is not a whole backup of ours."""

    code: ClassVar[str] = "backup_refused"


class Table(msgspec.Struct, frozen=True):
    """One table as it is in the file."""

    name: str
    columns: tuple[tuple[str, str], ...]  # name and type, in the order of the rows
    rows: int
    size: int  # bytes in the file, compressed
    sha256: str  # of these bytes

    @property
    def member(self) -> str:
        return member_of(self.name)


class Sequence(msgspec.Struct, frozen=True):
    """Where a sequence of numbers was."""

    name: str
    last_value: int
    is_called: bool


class Manifest(msgspec.Struct, frozen=True, tag_field="format", tag="lepton-backup"):
    """What a backup holds, and of which database."""

    version: int
    lepton: str  # the release that made it
    created_at: str
    server_version: int  # of PostgreSQL, as 180000
    with_decisions: bool
    migrations: tuple[tuple[str, str], ...]  # app and name
    tables: tuple[Table, ...]  # in the order in which they are loaded
    sequences: tuple[Sequence, ...]
    days: dict[str, tuple[str, ...]]  # of the tables partitioned by day

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)


def member_of(table: str) -> str:
    return f"tables/{table}.zst"


class Written:
    """Takes the bytes of one table; size and hash are known after ``finish``."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self._packer = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
        self._hash = hashlib.sha256()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self.size = 0

    def write(self, data: bytes) -> None:
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= CHUNK_BYTES:
            self._pack()

    def finish(self) -> None:
        self._pack()
        self._put(self._packer.flush())

    def _pack(self) -> None:
        self._put(self._packer.compress(b"".join(self._waiting)))
        self._waiting.clear()
        self._waiting_bytes = 0

    def _put(self, packed: bytes) -> None:
        self._target.write(packed)
        self._hash.update(packed)
        self.size += len(packed)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


class ArchiveWriter:
    """Writes ``<file>.partial``, which only its owner may read, and renames it when all is on disk.

    Leaving the block without ``finish`` removes it. Raises BackupRefusedError.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._partial = file.with_name(f"{file.name}.partial")
        self._is_finished = False

    def __enter__(self) -> ArchiveWriter:
        if self._file.exists():
            raise BackupRefusedError(f"{self._file} is there already. Choose another name.")
        with told(self._partial):
            descriptor = os.open(self._partial, FLAGS, 0o600)
            self._raw = os.fdopen(descriptor, "w+b")
        try:
            fcntl.flock(self._raw, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._raw.close()
            raise BackupRefusedError(f"Another backup is writing {self._partial}.") from None
        self._raw.truncate()  # what a killed backup has left
        os.fchmod(self._raw.fileno(), 0o600)
        self._zip = zipfile.ZipFile(self._raw, "w", zipfile.ZIP_STORED, allowZip64=True)
        self._zip.writestr(MARK, MARK_TEXT)
        return self

    @contextmanager
    def table(self, name: str) -> Iterator[Written]:
        with (
            told(self._partial),
            self._zip.open(member_of(name), "w", force_zip64=True) as member,
        ):
            written = Written(member)
            yield written
            written.finish()

    def finish(self, manifest: Manifest) -> None:
        with told(self._partial):
            self._zip.writestr(MANIFEST, msgspec.json.encode(manifest))
            self._zip.close()
            self._raw.flush()
            os.fsync(self._raw.fileno())
            self._partial.rename(self._file)
            self._is_finished = True
            folder = os.open(self._file.absolute().parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def __exit__(self, *_: object) -> None:
        if not self._is_finished:
            self._partial.unlink(missing_ok=True)  # before it is let go, so nobody else has it
            self._zip.fp = None  # or it would write its directory when it is collected
        with suppress(OSError):  # no room for what was still in memory
            self._raw.close()


class ArchiveReader:
    """A backup that is there. Raises BackupRefusedError where the file is none, or not whole."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> ArchiveReader:
        with told(self._file):
            self._raw = self._file.open("rb")
        try:
            self._open()
        except BaseException:
            self._raw.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def _open(self) -> None:
        is_ours = MARK.encode() in self._raw.read(100)
        try:
            self._zip = zipfile.ZipFile(self._raw)
            info = self._zip.getinfo(MANIFEST)
            if info.file_size > MAX_MANIFEST_BYTES:
                raise zipfile.BadZipFile
            content = self._zip.read(info)
        except (zipfile.BadZipFile, KeyError, OSError, EOFError):
            if is_ours:
                raise self._damaged("it does not end as it should, so it was cut off") from None
            raise BackupRefusedError(f"{self._file} is no backup of Lepton.") from None
        if not is_ours:
            raise BackupRefusedError(f"{self._file} is no backup of Lepton.")
        try:
            found = msgspec.json.decode(content, type=dict[str, Any])
            if isinstance(found.get("version"), int) and found["version"] > FORMAT_VERSION:
                raise BackupRefusedError(
                    f"{self._file} is a backup of format {found['version']}, made by Lepton "
                    f"{found.get('lepton')}; this release reads format {FORMAT_VERSION}."
                )
            self.manifest = msgspec.convert(found, Manifest)
        except msgspec.MsgspecError as exc:
            raise self._damaged(f"its manifest cannot be read ({exc})") from exc

    def verify(self, progress: Progress) -> None:
        """Read everything once and compare size and hash of every table."""
        whole = sum(table.size for table in self.manifest.tables)
        done = 0
        for table in self.manifest.tables:
            digest, size = hashlib.sha256(), 0
            try:
                with self._zip.open(table.member) as member:
                    while chunk := member.read(CHUNK_BYTES):
                        digest.update(chunk)
                        size += len(chunk)
                        progress("checking the file", done + size, whole)
            except (zipfile.BadZipFile, KeyError, OSError, EOFError, ValueError) as exc:
                raise self._damaged(f"the table {table.name} cannot be read ({exc})") from exc
            if (size, digest.hexdigest()) != (table.size, table.sha256):
                raise self._damaged(f"the table {table.name} is not what was written")
            done += size

    @contextmanager
    def chunks(self, table: Table) -> Iterator[Iterator[tuple[bytes, float]]]:
        """The unpacked bytes of a table in pieces, each with the share that was read so far."""
        try:
            with self._zip.open(table.member) as member:
                unpacker = zstandard.ZstdDecompressor()
                with unpacker.stream_reader(member, read_across_frames=True) as stream:
                    pieces = iter(lambda: stream.read(CHUNK_BYTES), b"")
                    yield ((piece, member.tell() / table.size) for piece in pieces)
        except (zipfile.BadZipFile, zstandard.ZstdError, EOFError) as exc:
            raise self._damaged(f"the table {table.name} cannot be unpacked ({exc})") from exc

    def _damaged(self, why: str) -> BackupRefusedError:
        return BackupRefusedError(
            f"{self._file} is damaged: {why}. Nothing was changed; take another backup."
        )


@contextmanager
def told(file: Path) -> Iterator[None]:
    """A failure of the file system as a sentence: no room, no right, no folder."""
    try:
        yield
    except OSError as exc:
        raise BackupRefusedError(f"{file}: {exc.strerror or exc}.") from exc
