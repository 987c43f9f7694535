"""Pytrees of arrays on disk, through orbax: read whole and undamaged, or not at all.

Orbax writes a checkpoint beside its place and renames it when it is complete. What it
does not notice is a flipped bit, so each array is saved with a digest of its bytes.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxdl.params import paths

WRITING = ".orbax-checkpoint-tmp"
"""what orbax adds to the name of a checkpoint that it writes"""
DELETING = "deleted-"
"""what the name of a checkpoint that is being deleted begins with"""


class Saved(NamedTuple):
    """What a checkpoint holds: arrays, and a note of numbers and words."""

    tree: PyTree
    note: dict[str, Any]


def save(
    directory: str | Path, tree: PyTree, note: Mapping[str, Any] | None = None
) -> None:
    """Writes a pytree of arrays to a new directory: all of it or, on failure, nothing.

    `note` is what JSON can hold, kept beside the arrays. Random keys are saved as their
    numbers, and Python's numbers in the type that JAX gives them.

    Raises:
      ValueError: there is no array, a leaf is none of numbers, or an empty one; the
        message names it.
      FileExistsError: the directory exists already.
      OSError: it cannot be made.
    """
    path = Path(directory).absolute()
    if path.exists():
        raise FileExistsError(f"{directory} exists already")
    path.parent.mkdir(parents=True, exist_ok=True)  # orbax hangs where it cannot
    _begin_save(path, tree, note or {}).result()


def replace(directory: str | Path, tree: PyTree) -> None:
    """Saves in the place of what is there, which stays until the new is complete.

    Where a kill left the old aside and nothing in its place, it is put back first.
    """
    path = Path(directory).absolute()
    fresh, old = (path.with_name(f"{path.name}.{word}") for word in ("new", "old"))
    if old.exists() and not path.exists():
        old.rename(path)
    for leftover in fresh, old:
        shutil.rmtree(leftover, ignore_errors=True)
    save(fresh, tree)
    if path.exists():
        path.rename(old)
    fresh.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def load(directory: str | Path, like: PyTree) -> PyTree:
    """Reads a pytree that has the structure, shapes and dtypes of `like`.

    `like` holds arrays, or what `jax.eval_shape` makes of them. Nothing is cast.

    Raises:
      FileNotFoundError: there is no checkpoint in `directory`.
      ValueError: what is there is damaged, or differs from `like` in names, shapes,
        dtypes (float64 needs jax_enable_x64) or kinds of keys; the message lists every
        difference.
    """
    return to_jax(directory, _read(directory, lambda found: like).tree, like)


def load_any(directory: str | Path) -> Saved:
    """Reads whatever `save` wrote: dictionaries and lists of arrays, and the note.

    Arrays are NumPy's, of the type that was saved; keys are their numbers. Tuples come
    back as lists and named tuples as dictionaries. Raises as `load`.
    """
    return _read(directory, lambda found: found)


def lock(directory: Path, name: str) -> int:
    """Locks the directory for this process, until what is returned is closed.

    The end of the process, even by a kill, unlocks it. Raises ValueError where another
    has it, with the directory's `name`.
    """
    file = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(file, 20, 0).decode(errors="replace").strip()
        os.close(file)
        raise ValueError(f"{name} is in use by process {holder or 'unknown'}") from None
    os.truncate(file, 0)
    os.pwrite(file, str(os.getpid()).encode(), 0)
    return file


class Checkpoints:
    """The newest checkpoints of a run, in one directory, each named by its step.

    Saving goes on in the background while training does. The checkpoint before is
    deleted when the next is complete, so a kill at any moment leaves a whole one.
    """

    def __init__(self, directory: str | Path, keep: int = 2):
        """Keeps the `keep` newest. Makes the directory when it first saves."""
        if keep < 1:
            raise ValueError(f"keep={keep} is below 1")
        self.directory = Path(directory)
        self._keep = keep
        self._pending: tuple[int, Any] | None = None
        self._saved_at = time.monotonic()

    @property
    def steps(self) -> list[int]:
        """The steps of the complete checkpoints, in order."""
        if not self.directory.is_dir():
            return []
        names = (p.name for p in self.directory.iterdir() if p.is_dir())
        return sorted(int(name) for name in names if name.isdecimal())

    @property
    def seconds_since_save(self) -> float:
        """How long ago a checkpoint was begun, or this object made."""
        return time.monotonic() - self._saved_at

    def save(self, step: int, tree: PyTree, note: Mapping[str, Any]) -> None:
        """Copies the arrays and begins to write them; the save before must have ended.

        Raises:
          OSError: this or the save before cannot be written; what was complete stays.
        """
        self.wait()
        path = (self.directory / str(step)).absolute()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():  # a newer run of the same steps: the same bits
                self._remove(path)
            self._pending = step, _begin_save(path, tree, note)
        except Exception as error:
            raise self._failure(step, error) from error
        self._saved_at = time.monotonic()

    def wait(self) -> None:
        """Waits until what was begun is complete, then deletes what is too old."""
        if self._pending is None:
            return
        step, response = self._pending
        self._pending = None
        try:
            response.result()
        except Exception as error:  # orbax and its file formats have many
            raise self._failure(step, error) from error
        for old in self.steps[: -self._keep]:
            self._remove(self.directory / str(old))

    def latest(self, like: Mapping[str, PyTree]) -> Saved | None:
        """Reads the newest checkpoint; entries beside those of `like` as `load_any`.

        A damaged one is passed over with a warning, for the one before it.

        Raises:
          ValueError: checkpoints are there and all are damaged, or the newest differs
            from `like`.
        """
        saved = self.newest(lambda found: {**found, **like})
        if saved is None:
            return None
        wanted = {
            name: to_jax(self.directory, saved.tree[name], part)
            for name, part in like.items()
        }
        return Saved(saved.tree | wanted, saved.note)

    def newest(self, as_wanted: Callable[[dict[str, Any]], PyTree]) -> Saved | None:
        """As `latest`, but in NumPy's arrays and for what is wanted of what is there.

        `as_wanted` gets a description of the checkpoint, dictionaries of shapes and
        dtypes, and returns what `load` calls `like`.
        """
        damages: dict[int, str] = {}
        while steps := [step for step in self.steps if step not in damages]:
            path = self.directory / str(steps[-1])
            try:
                return _read(path, as_wanted)
            except (DamagedError, FileNotFoundError) as error:
                if not path.exists():  # another process has saved a newer meanwhile
                    continue
                damages[steps[-1]] = str(error)
                warnings.warn(f"{error}; the one before it is tried", stacklevel=2)
        if damages:
            reasons = "\n".join(damages.values())
            raise ValueError(f"no checkpoint can be read:\n{reasons}")
        return None

    def discard_others(self, note: Mapping[str, Any]) -> None:
        """Deletes what was saved with another note, as by another run before."""
        for step in self.steps:
            path = self.directory / str(step)
            if _note_of(path) != note:
                self._remove(path)

    def clean(self) -> None:
        """Deletes what killed runs left half written or half deleted.

        For who will save here, before any process does: what looks so to one that only
        reads is being written.
        """
        for pattern in (f"*{WRITING}*", f"{DELETING}*"):
            for path in self.directory.glob(pattern):
                shutil.rmtree(path, ignore_errors=True)

    def _remove(self, path: Path) -> None:
        # Renamed first: half deleted it would still look like a checkpoint.
        grave = path.with_name(f"{DELETING}{path.name}")
        shutil.rmtree(grave, ignore_errors=True)
        path.rename(grave)
        shutil.rmtree(grave, ignore_errors=True)

    def _failure(self, step: int, error: Exception) -> OSError:
        shutil.rmtree(self.directory / str(step), ignore_errors=True)
        kept = f"step {self.steps[-1]} is kept" if self.steps else "there is none"
        return OSError(
            f"the checkpoint of step {step} cannot be written to {self.directory}"
            f" ({_first_line(error)}); the checkpoint before: {kept}"
        )


def _note_of(path: Path) -> Any:
    """Returns the note of a checkpoint, None if it cannot be read."""
    from orbax.checkpoint import v1 as ocp

    try:
        return (ocp.metadata(path).custom_metadata or {}).get("note")
    except Exception:  # of damaged files, orbax has many
        return None


class DamagedError(ValueError):
    """A checkpoint that cannot be read, or whose arrays are not those saved."""


def _begin_save(path: Path, tree: PyTree, note: Mapping[str, Any]) -> Any:
    from orbax.checkpoint import v1 as ocp

    check_savable(tree)
    kinds = _kinds_of_keys(tree)
    tree = jax.tree.map(np.asarray, jax.device_get(_numbers(_arrays(tree))))
    about = {"note": dict(note), "digests": _digests(tree, note), "keys": kinds}
    return ocp.save_async(path, tree, custom_metadata=about)


def check_savable(tree: PyTree) -> None:
    """Raises ValueError if a leaf is no array of numbers or keys, or an empty one.

    Or if there is none, or if two have one path.
    """
    if not jax.tree.leaves(tree):
        raise ValueError("the tree holds no arrays: there is nothing to save")
    for path, leaf in jax.tree.leaves_with_path(tree):
        name = jax.tree_util.keystr(path)
        dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
        kinds = jnp.number, jnp.bool_, jax.dtypes.prng_key
        if not any(jnp.issubdtype(dtype, kind) for kind in kinds):
            raise ValueError(f"{name} has dtype {dtype}: only numbers can be saved")
        if 0 in np.shape(leaf):
            shape = np.shape(leaf)
            raise ValueError(f"{name} has shape {shape}: there is nothing to save")
    of_files: set[str] = set()
    for name in paths(tree):
        if (file := name.replace("/", ".")) in of_files:  # as orbax joins names
            raise ValueError(f"two arrays would be the file {file}: a name holds a .")
        of_files.add(file)


def _arrays(tree: PyTree) -> PyTree:
    """Returns the tree with arrays for Python's numbers, as JAX makes them."""
    as_array = lambda leaf: leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)
    return jax.tree.map(as_array, tree)


def _numbers(tree: PyTree) -> PyTree:
    """Returns the tree with the numbers of its keys, or with their shapes and types."""

    def of(leaf):
        if not _is_key(leaf):
            return leaf
        if isinstance(leaf, jax.Array):
            return jax.random.key_data(leaf)
        return jax.eval_shape(jax.random.key_data, leaf)

    return jax.tree.map(of, tree)


def _kinds_of_keys(tree: PyTree) -> dict[str, str]:
    """Returns the types of the keys by path: numbers of some fit others too."""
    return {k: str(leaf.dtype) for k, leaf in paths(tree).items() if _is_key(leaf)}


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _read(directory: str | Path, as_wanted: Callable[[Any], PyTree]) -> Saved:
    """Reads what `as_wanted` makes of a description of all that is there."""
    from orbax.checkpoint import v1 as ocp

    path = Path(directory).absolute()
    if not path.is_dir() or not ocp.is_orbax_checkpoint(path):
        raise FileNotFoundError(f"{directory} holds no checkpoint")
    try:
        metadata = ocp.metadata(path)
        about = metadata.custom_metadata or {}
        if metadata.metadata is None:
            raise ValueError("a file of it is damaged or missing")
        wanted = _arrays(as_wanted(metadata.metadata))
        like, kinds = _numbers(wanted), _kinds_of_keys(wanted)
        differences = _differences(_leaves(metadata.metadata), _leaves(like))
        saved = {**kinds, **about.get("keys", {})}  # plain numbers may become any key
        differences += _differences({name: saved[name] for name in kinds}, kinds)
        if not differences:
            target = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
            tree = ocp.load(path, target)
            note = about.get("note", {})
            _check_digests(about.get("digests"), _digests(tree, note))
    except Exception as error:  # orbax has many, with reasons of many lines
        reason = f"{directory} cannot be read: {_first_line(error)}"
        raise DamagedError(reason) from error
    if differences:
        raise ValueError("\n".join([f"{directory} does not fit:", *differences]))
    return Saved(tree, note)


def to_jax(directory: str | Path, tree: PyTree, like: PyTree) -> PyTree:
    """Puts arrays on the default device, and makes keys where `like` has them.

    Raises ValueError for an array that JAX would cut, as float64 without x64.
    """
    arrays, like = jax.tree.map(jnp.asarray, tree), _arrays(like)
    differences = _differences(_leaves(arrays), _leaves(tree))
    if differences:
        raise ValueError("\n".join([f"{directory} does not fit:", *differences]))

    def as_like(array, leaf):
        if not _is_key(leaf):
            return array
        kind = jax.random.key_impl(jnp.zeros((), leaf.dtype))
        return jax.random.wrap_key_data(array, impl=kind)

    return jax.tree.map(as_like, arrays, like)


def _digests(tree: PyTree, note: Mapping[str, Any]) -> dict[str, str]:
    def digest(data):
        return hashlib.blake2b(data, digest_size=16).hexdigest()

    def of_array(leaf):
        if np.ndim(leaf):
            return digest(np.ascontiguousarray(leaf).view(np.uint8).data)
        return digest(np.asarray(leaf).tobytes())

    words = json.dumps(note, sort_keys=True).encode()
    arrays = {name: of_array(leaf) for name, leaf in paths(tree).items()}
    return {**arrays, "the note": digest(words)}


def _check_digests(saved: dict[str, str] | None, found: dict[str, str]) -> None:
    if saved is None:
        raise ValueError("it has no digests, so it was not saved by jaxdl")
    wrong = [name for name in found | saved if found.get(name) != saved.get(name)]
    if wrong:
        raise ValueError(
            f"the bytes of {', '.join(wrong)} are not those that were saved"
        )


def _differences(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    return [
        f"  {name or 'the tree'}: wanted {wanted.get(name, 'nothing')},"
        f" found {found.get(name, 'nothing')}"
        for name in sorted(found | wanted)
        if found.get(name) != wanted.get(name)
    ]


def _leaves(tree: PyTree) -> dict[str, str]:
    arrays = paths(tree).items()
    return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in arrays}


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
