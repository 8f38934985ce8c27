"""Outputs that are whole or absent, and the fingerprints of inputs."""

import fcntl
import gzip
import hashlib
import io
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from bayeslmm.base.checks import InputError, check_readable

_TEMPORARY = ".bayeslmm-"
_PIECES, _PIECE = 64, 4096  # of a sketch: how many, and their bytes


class WriteError(InputError):
    """An output that cannot be written."""


class Fingerprint(NamedTuple):
    """What identifies the state of a file: its content, and its entry in the file system."""

    sha256: str
    stamp: tuple[int, ...] | None


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; rename it to ``path`` if the block succeeds.

    A crash leaves either the old file or none, never half of one.

    Raises:
        WriteError: if the folder does not exist or cannot be written, or the disk is full.
    """
    path = Path(path)
    try:
        folder = tempfile.TemporaryDirectory(dir=path.parent, prefix=_TEMPORARY)
    except OSError as error:
        raise WriteError(f"{path} cannot be written ({error.strerror}): choose another folder") from None
    with folder as name, _held(Path(name)):
        temporary = Path(name) / path.name
        try:
            yield temporary
            temporary.replace(path)
        except OSError as error:
            raise WriteError(f"{path} cannot be written ({error.strerror or error}): make room for it") from None


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Lock a folder within a block, as a sign that it is in use; yield whether that could be done."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        locked = True
    except OSError:  # in use, or on a file system without locks
        locked = False
    try:
        yield locked
    finally:
        os.close(descriptor)


def remove_stale(folder: str | Path) -> None:
    """Remove the temporary folders that runs which were killed left in a folder; those in use stay."""
    for left in Path(folder).glob(f"{_TEMPORARY}*"):
        with suppress(OSError), _held(left) as unused:  # another run may remove it at the same time
            if unused:
                shutil.rmtree(left)


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Turn what goes wrong while a file is read into one line about it.

    Raises:
        InputError: the disk or the permissions, a compressed file that is damaged or cut off.
    """
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        cut = isinstance(error, EOFError)
        raise InputError(
            f"{path} is a compressed file that is {'cut off' if cut else f'damaged ({error})'}: copy it again"
        ) from None
    except OSError as error:
        damaged = "" if error.errno else ": it is damaged or cut off, copy it again"  # not of the system: of a codec
        raise InputError(f"{path} cannot be read ({error.strerror or error}){damaged}") from None
    except MemoryError:
        raise InputError(f"{path} does not fit into memory: use a machine with more, or fewer individuals") from None


class _Text(io.BufferedReader):
    """Bytes of a text: it has no NUL, at which C readers silently stop."""

    def __init__(self, raw: io.IOBase, path: Path) -> None:
        super().__init__(cast(io.RawIOBase, raw), buffer_size=2**16)
        self._path, self.line_ends = path, 0

    def read(self, size: int | None = -1, /) -> bytes:
        return self._checked(super().read(size))

    def read1(self, size: int = -1, /) -> bytes:
        return self._checked(super().read1(size))

    def _checked(self, read: bytes) -> bytes:
        if (at := read.find(b"\0")) >= 0:
            line = self.line_ends + read.count(b"\n", 0, at) + 1
            raise InputError(
                f"{self._path} line {line}: this is not UTF-8 text: it holds a byte 0, as damaged files and UTF-16 "
                "do; copy it again, or convert it (iconv)"
            )
        self.line_ends += read.count(b"\n")
        return read


def _decompressed(file: io.BufferedReader) -> Any:
    """Return what reads the content of a file, which begins with the mark of its compression, if any."""
    mark = file.peek(4)[:4]
    if mark == b"\x28\xb5\x2f\xfd":
        import pyarrow as pa  # not to wait for it where there is none

        return pa.CompressedInputStream(file, "zstd")
    return gzip.GzipFile(fileobj=file) if mark[:2] == b"\x1f\x8b" else file


@contextmanager
def open_text(path: str | Path) -> Iterator[io.TextIOWrapper]:
    """Open a text file for reading, through gzip or Zstandard if it is compressed; line ends are those of any system.

    Raises:
        InputError: no such file, or as `reading` inside the block; or a byte 0, or text that is not UTF-8.
    """
    path = check_readable(path)
    with reading(path), path.open("rb") as file:
        plain = _decompressed(file)
        text = _Text(plain, path)
        with io.TextIOWrapper(cast(IO[bytes], text), encoding="utf-8-sig") as stream:
            try:
                yield stream
            except UnicodeDecodeError as error:
                part = error.object  # the last bytes that were read
                line = text.line_ends - part.count(b"\n") + part.count(b"\n", 0, error.start) + 1
                raise InputError(
                    f"{path} line {line}: the text must be UTF-8, but it holds the byte 0x{part[error.start]:02x} "
                    f"({error.reason}): convert it (iconv)"
                ) from None


def read_lines(path: str | Path) -> list[str]:
    """Return the lines of a text file, which may be compressed.

    Raises:
        InputError: as `open_text` does.
    """
    with open_text(path) as stream:
        return stream.read().split("\n")


def output_folder(path: str | Path) -> Path:
    """Make a folder for results, with its parents.

    Raises:
        WriteError: if the name is taken by a file or cannot be made.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"the folder {path} cannot be made ({error.strerror}): choose another folder") from None
    return path


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal; of a folder, that of the names and sums of its files."""
    if Path(path).is_dir():
        sums = "".join(f"{file.relative_to(path).as_posix()} {sha256(file)}\n" for file in _files_in(path))
        return hashlib.sha256(sums.encode()).hexdigest()
    path = check_readable(path)
    with reading(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sketch(path: str | Path) -> str:
    """Return a checksum of the size of a file and of pieces of it; of a folder, of the names and sizes of its files.

    It is that of any copy, and takes no time: what it tells apart is other data, not a single other byte.

    Raises:
        InputError: if there is no such file.
    """
    if Path(path).is_dir():
        names = "".join(f"{one.relative_to(path).as_posix()} {one.stat().st_size}\n" for one in _files_in(path))
        return hashlib.sha256(names.encode()).hexdigest()
    path = check_readable(path)
    with reading(path), path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        found = hashlib.sha256(f"{size}\n".encode())
        for number in range(_PIECES):
            stream.seek(number * max(0, size - _PIECE) // (_PIECES - 1))
            found.update(stream.read(_PIECE))
    return found.hexdigest()


def fingerprints(paths: Iterable[str | Path]) -> dict[str, Fingerprint]:
    """Return the fingerprint of each file.

    Raises:
        InputError: if there is no such file.
    """
    # The stamp first: a file that changes while it is hashed must differ from it.
    return {str(path): Fingerprint(stamp=stamp(path), sha256=sha256(path)) for path in paths}


def changed(before: Mapping[str, Fingerprint]) -> list[str]:
    """Return the files that were changed or removed since their fingerprints were taken."""
    return [path for path, fingerprint in before.items() if stamp(path) != fingerprint.stamp]


def stamp(path: str | Path) -> tuple[int, ...] | None:
    """Return what the file system says of a file or a folder, which changes when it does; None if it is not there."""
    try:
        if os.path.isdir(path):
            stats = [os.stat(file) for file in _files_in(path)]
            return len(stats), sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0)
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _files_in(folder: str | Path) -> list[Path]:
    return sorted(file for file in Path(folder).rglob("*") if file.is_file())


def write_sealed(path: str | Path, content: bytes) -> None:
    """Write bytes below a line with their checksum, for `read_sealed`.

    Raises:
        WriteError: as `replacing`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(_seal(content) + b"\n" + content)


def read_sealed(path: str | Path, *, advice: str = "delete it, and start again") -> bytes:
    """Return the bytes of a file of `write_sealed`.

    Args:
        path: of the file.
        advice: what to do if it is damaged.

    Raises:
        InputError: if a single bit of it has changed, or it cannot be read.
    """
    try:
        seal, _, content = Path(path).read_bytes().partition(b"\n")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): {advice}") from None
    if seal != _seal(content):
        raise InputError(f"{path} is damaged, it does not match its checksum: {advice}")
    return content


def _seal(content: bytes) -> bytes:
    return f"sha256 {hashlib.sha256(content).hexdigest()}".encode()
