"""Why PyTorch refuses to read a file: it holds code, or it is damaged."""

import pickletools
import re
import zipfile
from pathlib import Path
from pickle import UnpicklingError

# Before zip files torch.save wrote a number, a version, a system and the object.
MOST_PICKLES = 4


def refusal(path: Path, error: Exception) -> str:
    """Says in one line why `torch.load` raised an error; runs nothing of the file.

    What is damaged may well read like the name of a function, so that damage is looked
    for first: by the checksums that zip files have and `torch.load` does not compare,
    and by whether pickles can be read to their ends.
    """
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    if is_zip and (damage := _damage(path)):
        return f"{path} is damaged: {damage}"
    kind = "is damaged" if is_zip else "is damaged, or torch.save did not write it"
    try:
        names = [] if is_zip else _names(path)
    except Exception:  # pickletools raises errors of every kind
        return f"{path} {kind}: {_reason(error)}"
    code = re.search(r"(?<=GLOBAL )\S+|TorchScript", str(error))
    names = [code[0]] if code else names
    if names:
        return f"{path} holds no weights that are safe: to read it is to run {names[0]}"
    return f"{path} {kind}: {_reason(error)}"


def _damage(path: Path) -> str | None:
    """Says what part of a zip file is damaged, if any is."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.testzip()
    except Exception as error:  # of every kind
        return f"it cannot be read as the zip file that it begins as: {error}"
    return member and f"{member} in it has not the checksum it had"


def _names(path: Path) -> list[str]:
    """Returns what pickles name by an opcode at which `torch.load` stops."""
    names, strings = [], [""]
    with path.open("rb") as file:
        for _ in range(MOST_PICKLES):
            if not file.peek(1):
                break
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name == "STACK_GLOBAL":
                    names.append(".".join(strings[-2:]))
                elif isinstance(argument, str):
                    strings.append(argument)
    return names


def _reason(error: Exception) -> str:
    """Returns the sentence of a long message that says what was found."""
    inner = re.search(r"(\S.*)\s+Check the documentation", str(error))
    text = inner[1] if inner else re.split(r"\. |\n", str(error).strip())[0]
    if isinstance(error, RuntimeError | UnpicklingError):
        return text
    return " ".join([type(error).__name__, text]).strip()
