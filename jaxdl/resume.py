"""What lets a run that was killed go on: its state, its history and the best state.

The position of a run is `state.step`: batches, dropout and all other randomness follow
from the run's key and from it. So a run that goes on from any step ends with the bits
of one that never stopped.
"""

import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from jaxdl.checkpoint import Checkpoints, Saved, check_savable, lock, to_jax
from jaxdl.files import saying
from jaxdl.params import paths
from jaxdl.training import TrainState

SAMPLE = 1000
"""rows of an array that are compared, when a run goes on"""

Record = dict[str, Any]


class Progress(NamedTuple):
    """Where a run stands: metrics of past epochs, and those met in the present one.

    `met` holds an array for each metric, with a value for each step of the epoch.
    """

    state: TrainState
    records: list[Record]
    met: dict[str, np.ndarray]


class Saves:
    """The checkpoints of one run in a directory, `latest` and `best`.

    `settings` are what the run's numbers depend on beside its state. A save is
    due when the last is `seconds` old.
    """

    def __init__(
        self, directory: str | Path, settings: dict[str, Any], seconds: float | int
    ):
        if seconds < 0:
            raise ValueError(f"save_seconds={seconds} is below 0")
        self.directory = Path(directory)
        self._latest = Checkpoints(self.directory / "latest")
        self._best = Checkpoints(self.directory / "best", keep=1)
        self._settings = json.loads(json.dumps(settings))  # as they come back
        self._seconds = seconds
        self._saved: int | None = None
        self._lock: int | None = None
        self._best_state: TrainState | None = None
        self.interrupted = False

    def restore(self, state: TrainState) -> tuple[Progress, int] | None:
        """Returns the newest progress saved, and how many steps are done again.

        Clears away what a killed run left half written, and locks the directory until
        `finish`.

        Raises:
          ValueError: the run was saved with other settings, its state has another
            structure or cannot be saved, no checkpoint can be read, or the directory is
            another process's.
          OSError: the directory cannot be made.
        """
        check_savable(state)
        if jax.process_index() == 0:  # of several that train together
            with self._writing():
                self.directory.mkdir(parents=True, exist_ok=True)
                self._lock = lock(self.directory, f"checkpoint_dir {self.directory}")
        try:
            return self._restored(state)
        except BaseException:
            self.finish()
            raise

    def _restored(self, state: TrainState) -> tuple[Progress, int] | None:
        for checkpoints in (self._latest, self._best):
            checkpoints.clean()
        saved = self._latest.latest({"state": state})
        if saved is None:
            self._best.discard_others(self._settings)
            return None
        _check_same(self.directory, saved.note, self._settings)
        records, met = (
            _records(saved.tree.get("history", {})),
            saved.tree.get("met", {}),
        )
        step = int(saved.tree["state"].step)
        self._saved = step
        return Progress(saved.tree["state"], records, met), self.reached() - step

    def keep_best(self, state: TrainState) -> None:
        """Copies the state, to be written with the next save."""
        self._best_state = jax.tree.map(jnp.copy, state)

    def save(self, progress: Progress, *, now: bool = False) -> None:
        """Begins to write if a save is due, or `now`, or the run was interrupted.

        Raises:
          FloatingPointError: the parameters are not finite.
          OSError: this or the save before cannot be written.
          KeyboardInterrupt: the run was interrupted.
        """
        step = int(progress.state.step)
        self._note_reached(step)
        late = self._latest.seconds_since_save >= self._seconds
        if step != self._saved and (late or now or self.interrupted):
            self._write(step, progress)
        if self.interrupted:
            raise KeyboardInterrupt(f"saved at step {step}: the same call goes on")

    def _write(self, step: int, progress: Progress) -> None:
        check_params(progress.state)
        if self._best_state is not None:  # first, so that `latest` implies it
            best = int(self._best_state.step)
            self._best.save(best, {"state": self._best_state}, self._settings)
            self._best.wait()
            self._best_state = None
        parts = {
            "state": progress.state,
            "history": stack_records(progress.records),
            "met": progress.met,
        }
        filled = {name: part for name, part in parts.items() if len(part)}
        self._latest.save(step, filled, self._settings)
        self._saved = step

    def finish(self) -> None:
        """Waits for what is still being written, and unlocks the directory."""
        try:
            self._latest.wait()
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _note_reached(self, step: int) -> None:
        with self._writing():
            self.directory.mkdir(parents=True, exist_ok=True)
            (self.directory / "reached").write_text(str(step))

    def _writing(self) -> AbstractContextManager[None]:
        return saying(f"the run cannot be saved to {self.directory}")

    def reached(self) -> int:
        """Returns how many steps the run had done, saved or not, when it was killed."""
        try:
            return int((self.directory / "reached").read_text())
        except (OSError, ValueError):  # a kill can leave it empty
            return self._saved or 0


@contextmanager
def finishing(saves: Saves | None) -> Iterator[None]:
    """Waits at the end, however it comes, for what is still being written.

    The first Ctrl-C waits for the next save, of which it makes one that is due: in the
    middle of a step there is no whole state. The second does not wait.
    """
    if saves is None:
        yield
        return

    def interrupt(*_: object) -> None:
        saves.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.write(2, b"\ninterrupted: saves first; once more ends at once\n")

    waits = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if waits:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if waits:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        saves.finish()
    if saves.interrupted:
        raise KeyboardInterrupt


def check_params(state: TrainState) -> None:
    """Raises FloatingPointError if a parameter is not finite; it tells which, and when.

    A loss is that of the parameters before its step: it does not tell.
    """
    for path, leaf in paths(state.params).items():
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            shards = getattr(leaf, "addressable_shards", None)
            parts = [leaf] if shards is None else [shard.data for shard in shards]
            if not all(np.isfinite(np.asarray(part)).all() for part in parts):
                raise FloatingPointError(
                    f"parameter {path!r} is not finite after step {int(state.step)} of"
                    " the run: try a smaller learning rate, and look for functions"
                    " without a derivative, such as a root at 0"
                )


def load_best(directory: str | Path, like: Mapping[str, PyTree]) -> Saved:
    """Reads the best state of a run; `like` describes what is wanted of it.

    Raises:
      FileNotFoundError: the run has saved no best state.
      ValueError: it is damaged, or differs from `like`.
    """
    saved = Checkpoints(Path(directory) / "best").latest(like)
    if saved is None:
        raise FileNotFoundError(f"{directory} holds no best state")
    return saved


class Trained(NamedTuple):
    """What evaluation needs of a run, and of which step it is."""

    params: PyTree
    model_state: PyTree
    step: int


def load_trained(
    directory: str | Path, params: PyTree, model_state: PyTree = ()
) -> Trained:
    """Reads the best state of a run, or its latest where none was watched for.

    No optimiser is needed: `params` and `model_state` describe what is wanted.

    Raises:
      FileNotFoundError: the run has saved nothing.
      ValueError: what is there is damaged, or differs from what is wanted.
    """

    def as_wanted(found):
        wanted = {"params": params, "model_state": model_state}
        wanted = {name: part for name, part in wanted.items() if jax.tree.leaves(part)}
        return found | {"state": found["state"] | wanted}

    for kind in ("best", "latest"):
        saved = Checkpoints(Path(directory) / kind).newest(as_wanted)
        if saved is not None:
            found = {"model_state": (), **saved.tree["state"]}
            if not jax.tree.leaves(model_state):
                model_state = found["model_state"]
            return Trained(
                to_jax(directory, found["params"], params),
                to_jax(directory, found["model_state"], model_state),
                int(found["step"]),
            )
    raise FileNotFoundError(f"{directory} holds no state of a run")


def settings_of(key: PRNGKeyArray, **settings: Any) -> dict[str, Any]:
    """Returns settings that JSON can hold, the run's key and JAX's own among them."""
    numbers = np.asarray(jax.random.key_data(key)).tolist()
    names = "jax_enable_x64", "jax_threefry_partitionable"
    jax_settings = {name: getattr(jax.config, name) for name in names}
    kind = str(jax.random.key_impl(key))
    return {"key": numbers, "key_impl": kind, **jax_settings, **settings}


def samples_of(data: PyTree) -> dict[str, str]:
    """Returns the type, shape and a checksum of each array of examples, by its path.

    The checksum is that of some rows, the first and the last among them: enough to tell
    data apart that were prepared otherwise. It is left out where other processes hold
    some of the rows.

    >>> samples_of({"x": np.arange(6.0).reshape(2, 3)})
    {'x': 'float64[2,3], checksum f12b0119'}
    """

    def of(array):
        text = f"{array.dtype}[{','.join(map(str, array.shape))}]"
        if not getattr(array, "is_fully_addressable", True):
            return text
        if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            array = jax.random.key_data(array)
        rows = np.linspace(0, len(array) - 1, SAMPLE).round().astype(int)
        checksum = crc32(np.asarray(array[np.unique(rows)]).tobytes())
        return f"{text}, checksum {checksum:08x}"

    return {path: of(array) for path, array in paths(data).items()}


def stack_records(records: list[Record]) -> dict[str, np.ndarray]:
    """Returns an array over epochs for each name."""
    if not records:
        return {}
    return {name: np.stack([r[name] for r in records]) for name in records[0]}


def record_at(history: Mapping[str, np.ndarray], epoch: int) -> Record:
    """Returns an epoch's part of arrays over epochs."""
    return {name: values[epoch] for name, values in history.items()}


def _records(history: dict[str, np.ndarray]) -> list[Record]:
    epochs = len(next(iter(history.values()), ()))
    return [record_at(history, i) for i in range(epochs)]


def _check_same(directory: Path, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    differences = [
        f"  {name}: was {saved.get(name)}, is {wanted.get(name)}"
        for name in sorted(saved | wanted)
        if saved.get(name) != wanted.get(name)
    ]
    if differences:
        raise ValueError(
            "\n".join([f"the run in {directory} had other settings:", *differences])
        )
