"""Files that are written whole, and words for what cannot be written."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def is_part(name: str) -> bool:
    """Tells whether `write_whole` was killed while it wrote a file of this name."""
    return re.fullmatch(r"\..+\.\d+\.part", name) is not None


@contextmanager
def saying(what: str) -> Iterator[None]:
    """Puts `what` in front of an OSError's reason: that of a full disk names no file.

    >>> with saying("the notes cannot be kept"):
    ...     open("/no/such/place")
    Traceback (most recent call last):
    FileNotFoundError: the notes cannot be kept: No such file or directory
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)  # one that has its words has no strerror
        raise type(error)(f"{what}: {reason}") from error


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file, words in UTF-8; one that is there is replaced at once, or stays.

    Raises:
      OSError: it cannot be written; the message names it.
    """
    data = content.encode() if isinstance(content, str) else content
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with saying(f"cannot write {path}"):
        try:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
