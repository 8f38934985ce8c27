"""Outputs that are whole or absent, and the fingerprints of inputs."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bayeslmm.checks import InputError, check_readable


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; rename it to ``path`` if the block succeeds.

    A crash leaves either the old file or none, never half of one.

    Raises:
        InputError: if the folder does not exist or cannot be written, or the disk is full.
    """
    path = Path(path)
    try:
        folder = tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): choose another folder") from None
    with folder as name:
        temporary = Path(name) / path.name
        try:
            yield temporary
            temporary.replace(path)
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror or error}): make room for it") from None


def read_lines(path: str | Path) -> list[str]:
    """Return the lines of a text file.

    Raises:
        InputError: if it does not exist or is not UTF-8.
    """
    path = check_readable(path)
    try:
        with path.open(encoding="utf-8") as lines:
            return [line.rstrip("\n") for line in lines]
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise InputError(f"{path} line {line}: the text must be UTF-8, but it is not: convert it (iconv)") from None


def output_folder(path: str | Path) -> Path:
    """Make a folder for results, with its parents.

    Raises:
        InputError: if the name is taken by a file or cannot be made.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {path} cannot be made ({error.strerror}): choose another --out") from None
    return path


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with check_readable(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
