"""State dicts on disk: safetensors, and PyTorch's pickles without running them."""

import os
from collections.abc import Mapping
from contextlib import suppress
from errno import EINVAL  # of PyTorch's reader, for some lengths of a cut file
from importlib import import_module
from pathlib import Path
from typing import Any
from warnings import catch_warnings

import numpy as np

from jaxdl.torch_weights.arrays import as_numpy
from jaxdl.torch_weights.refusals import refusal

# Where checkpoints keep the weights beside an epoch and an optimiser's state.
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model")
PICKLES = (".pth", ".pt", ".bin")


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Reads a state dict from a .safetensors file, or from .pth, .pt or .bin.

    The latter need PyTorch and are pickles: only arrays and plain containers are
    unpickled, never code (torch.load with weights_only). Of a checkpoint that keeps
    the weights under "state_dict", "model_state_dict", "model_state" or "model" these
    are returned, and a "module." that DataParallel put before every name is taken off.

    Checksums of arrays are not looked at, and safetensors has none: a changed byte of
    an array makes another number.

    Raises:
      FileNotFoundError: there is no such file.
      OSError: it cannot be read.
      ValueError: it is damaged, holds code or no weights, or is of another kind.
      ImportError: the library that reads it is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file")
    if path.suffix == ".safetensors":
        entries = _read_safetensors(path)
    elif path.suffix in PICKLES:
        entries = _read_pickle(path)
    else:
        raise ValueError(f"{path} is not named .safetensors, {', '.join(PICKLES)}")
    names = [name for name in entries if not isinstance(name, str)]
    if names:
        raise ValueError(f"{path} holds no state dict: {names[0]!r} is no name")
    entries = _without_prefix(entries, "module.")
    try:
        return {name: as_numpy(name, value) for name, value in entries.items()}
    except ValueError as error:
        raise ValueError(f"{path} holds no weights alone: {error}") from error


def write_weights(path: str | Path, state_dict: Mapping[str, Any]) -> None:
    """Writes arrays or tensors as safetensors: all of it or, on failure, nothing.

    The directory is made where it is missing. safetensors.torch and timm read the file
    as PyTorch's.

    Raises:
      ValueError: the name does not end in .safetensors, a value is no array of numbers,
        or safetensors has not its type.
      OSError: it cannot be written.
      ImportError: safetensors is not installed.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} is not named .safetensors, which is what it would be")
    safetensors = _import("safetensors.numpy", path)
    arrays = {
        name: np.asarray(as_numpy(name, value), order="C")
        for name, value in state_dict.items()
    }
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        safetensors.save_file(arrays, part, metadata={"format": "pt"})
        part.replace(path)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error}") from error
    except Exception as error:  # SafetensorError, of any reason
        kind = OSError if "I/O error" in str(error) else ValueError
        raise kind(f"{path} cannot be written: {error}") from error
    finally:
        with suppress(OSError):
            part.unlink()


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    safetensors = _import("safetensors.numpy", path)
    try:
        return safetensors.load_file(path)
    except OSError as error:
        raise OSError(f"{path} cannot be read: {error}") from error
    except AttributeError as error:  # what NumPy says of a strange type
        raise ValueError(f"{path} holds what NumPy cannot: {error}") from error
    except Exception as error:  # SafetensorError
        reason = f"is damaged, or no safetensors file: {error}"
        raise ValueError(f"{path} {reason}") from error


def _read_pickle(path: Path) -> Mapping[Any, Any]:
    torch = _import("torch", path)
    try:
        with catch_warnings(action="ignore"):  # the errors say what is refused
            entries = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles raise errors of every kind
        if isinstance(error, OSError) and error.errno != EINVAL:
            raise OSError(f"{path} cannot be read: {error}") from error
        raise ValueError(refusal(path, error)) from error
    while isinstance(entries, Mapping):
        wrapped = [entries[key] for key in WRAPPERS if key in entries]
        if not wrapped or not isinstance(wrapped[0], Mapping):
            return entries
        entries = wrapped[0]
    raise ValueError(f"{path} holds a {type(entries).__name__} and no state dict")


def _without_prefix(entries: Mapping[str, Any], prefix: str) -> Mapping[str, Any]:
    if not all(name.startswith(prefix) for name in entries):
        return entries
    return {name.removeprefix(prefix): value for name, value in entries.items()}


def _import(module: str, path: Path) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f"{path} needs {package}: run pip install {package}"
        ) from error
