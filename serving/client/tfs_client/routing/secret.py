"""The secret that turns a caller's key into a pseudonym; the processes of a service share it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Final, TypeAlias

from tfs_client.errors import RequestError

Secret: TypeAlias = bytes | str | os.PathLike[str]
"""A secret as bytes, or the path of a file that holds one."""

SHORTEST: Final = 16
"""Bytes of a secret: fewer can be found by trying."""


def hash_key(secret: Secret) -> bytes:
    """The key of the hash: BLAKE2b-512 of the secret.

    Args:
        secret: at least SHORTEST bytes, or the path of a file of so many (white space at its ends
            does not count). A file that is missing is made, with a random secret, for its owner
            alone; processes that do so at the same time get the same one.

    Raises:
        RequestError: it is too short, or the file can be neither read nor made. The message does
            not quote the secret.
    """
    if isinstance(secret, bytes):
        held, where = secret, "secret"
    elif isinstance(secret, (str, os.PathLike)) and os.fspath(secret):
        held, where = _in_file(Path(secret)), str(secret)
    else:
        raise RequestError(
            "Expected secret as bytes, or as the path of a file. "
            f"Received: {type(secret).__name__}; give one of them"
        )
    if len(held) < SHORTEST:
        raise RequestError(
            f"Expected a secret of at least {SHORTEST} bytes. Received: {where} of {len(held)} "
            "bytes; make one with os.urandom(32)"
        )
    return hashlib.blake2b(held).digest()


def _in_file(path: Path) -> bytes:
    try:
        if not path.exists():
            _make(path)
        return path.read_bytes().strip()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise RequestError(
            "Expected a file with a secret, or a folder to make it in. "
            f"Received: secret={str(path)!r} ({error}); give another path, or the secret as bytes"
        ) from error


def _make(path: Path) -> None:
    """Writes a new secret, unless another process has: whole, or not at all."""
    aside = path.with_name(f"{path.name}.{os.urandom(8).hex()}")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(os.urandom(32).hex().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink()
