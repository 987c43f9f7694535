"""Streams: batches of a source too large for memory, read while the device computes.

    def transform(rng, example):
        return example | {"image": random_horizontal_flip(rng, example["image"])}

    source = image_folder("train").resized((224, 224))
    stream = Stream(source, 64, remainder="drop", key=key, transform=transform)
    batches = stream.read(epochs=10, start=int(state.step), workers=4)
    for batch, mask in prefetch(batches):
        state, metrics = train_step(state, batch, step_key)

Batch number i, counted over all epochs, is a function of the stream's description and
of i alone. So a run resumes exactly from a number, whoever reads: this process, or any
number of worker processes, which Grain starts and feeds.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from operator import itemgetter
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Bool, PRNGKeyArray, PyTree

from jaxdl.data.splits import count_examples
from jaxdl.data.workers import read_ahead, travels

Transform = Callable[[np.random.Generator | None, Any], Any]
Batch = tuple[PyTree, Bool[np.ndarray, " rows"]]


@runtime_checkable
class Source(Protocol):
    """Examples by number: a list, `ImageFiles`, `tfds.data_source`."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


class Stream:
    """The batches of a source over any number of epochs; nothing is read yet.

    Args:
        source: its examples are pytrees of numbers and arrays. A mapping is one of
            arrays that share their leading axis, as `fit` takes it.
        batch_size: examples in a batch, those of all hosts together.
        remainder: what becomes of the last examples of an epoch, where they fill no
            batch. "mask" fills it up with copies, which the mask leaves out; "drop"
            leaves them for another epoch.
        key: of the order, which is another in each epoch, and of the transform. None
            reads in the source's order, as evaluation does.
        transform: `transform(rng, example)` makes an example of the form to be stacked.
            `rng` is a `np.random.Generator` of the example's own in this epoch, or None
            without a key. In worker processes it must be NumPy only: JAX would start
            there, and take the device's memory.
        shard: (index, count) of this host, such as (jax.process_index(),
            jax.process_count()). It reads its rows of each batch, so that all hosts
            together train on the same batches, and as many, whatever their number.

    Raises:
        ValueError: `source` is empty or its arrays differ in length, `batch_size` is
            below 1, exceeds the source where the remainder is dropped, or is no
            multiple of the hosts, or `remainder` or `shard` are none of the above.

    >>> stream = Stream(range(5), 2, remainder="mask")
    >>> for batch, mask in stream.read(epochs=1):
    ...     print(batch, mask)
    [0 1] [ True  True]
    [2 3] [ True  True]
    [4 4] [ True False]
    """

    def __init__(
        self,
        source: Source | Mapping[str, Any],
        batch_size: int,
        *,
        remainder: Literal["mask", "drop"],
        key: PRNGKeyArray | None = None,
        transform: Transform | None = None,
        shard: tuple[int, int] = (0, 1),
    ):
        if isinstance(source, Mapping):
            source = _Rows(source)
        examples = len(source)
        if examples == 0:
            raise ValueError("source holds no examples")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} is below 1")
        if remainder not in ("mask", "drop"):
            raise ValueError(f"remainder={remainder!r} is not 'mask' or 'drop'")
        if remainder == "drop" and batch_size > examples:
            raise ValueError(f"batch_size={batch_size} exceeds the {examples} examples")
        index, count = shard
        if not 0 <= index < count:
            raise ValueError(f"shard={shard} is not (index, count), index below count")
        if batch_size % count:
            raise ValueError(f"batch_size={batch_size} does not split over {count}")
        self.source = source
        self.batch_size = batch_size
        self.remainder = remainder
        self.transform = transform
        self.shard = shard
        # Numbers, not the key: that is an array on the device.
        self._seed = None if key is None else tuple(jax.random.key_data(key).tolist())

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        full, rest = divmod(len(self.source), self.batch_size)
        return full + (rest > 0 and self.remainder == "mask")

    def read(self, *, epochs: int, start: int = 0, workers: int = 0) -> Iterator[Batch]:
        """Batches number `start` up to the end of epoch number `epochs`, in order.

        Each is a pair: the examples, stacked, and a mask, True for the first rows and
        False for those that only fill up. They are NumPy arrays.

        With `workers` other processes read ahead. They take a second or two to start,
        once for all epochs, and need the script to be guarded by
        `if __name__ == "__main__":`. Without, a thread of this process reads ahead.

        Raises:
            ValueError: `epochs` is below 1, `workers` below 0, or `start` is none of
                their batches.
            Exception: what the source or the transform raise, with a note of the
                example; `RuntimeError` in the stead of what no other process could get.
        """
        stop = epochs * self.steps_per_epoch
        if epochs < 1:
            raise ValueError(f"epochs={epochs} is below 1")
        if not 0 <= start <= stop:
            raise ValueError(f"start={start}, but {epochs} epochs have {stop} batches")
        if workers < 0:
            raise ValueError(f"workers={workers} is below 0")
        return read_ahead(self.batch, range(start, stop), workers)

    def batch(self, position: int) -> Batch:
        """Reads batch number `position`."""
        epoch, step = divmod(position, self.steps_per_epoch)
        index, count = self.shard
        size = self.batch_size // count
        first = step * self.batch_size + index * size
        order = _order(self._seed, epoch, len(self.source))
        rows = order[first : first + size]
        if not len(rows):  # all of this host's rows are filled up: in what shape?
            rows = order[-1:]
        examples = [self._example(epoch, int(row)) for row in rows]
        examples += examples[-1:] * (size - len(examples))
        mask = np.arange(first, first + size) < len(self.source)
        return _stack(examples), mask

    def state(self, position: int) -> dict[str, Any]:
        """What to keep, as JSON or in a checkpoint, to read on at `position`."""
        return {
            "position": position,
            "seed": self._seed and list(self._seed),
            "batch_size": int(self.batch_size),
            "examples": len(self.source),
            "remainder": self.remainder,
        }

    def position(self, state: Mapping[str, Any]) -> int:
        """The position in a state that was kept, for `start`.

        Workers and hosts may be others in number, and the transform is not compared.

        Raises:
            ValueError: the state is of another stream, where that batch is another; the
                message tells what differs.
        """
        position = state.get("position")
        if not isinstance(position, int) or position < 0:
            raise ValueError(f"position={position!r} is no number of batches")
        differences = [
            f"{name}={state.get(name)!r}, not {value!r}"
            for name, value in self.state(position).items()
            if state.get(name) != value
        ]
        if differences:
            raise ValueError(
                f"the position is that of another stream: {', '.join(differences)}"
            )
        return position

    def _example(self, epoch: int, row: int) -> Any:
        try:
            example = self.source[row]
            if self.transform is None:
                return example
            rng = None
            if self._seed is not None:
                rng = np.random.default_rng(_entropy(self._seed, epoch, row))
            return self.transform(rng, example)
        except Exception as error:
            if not travels(error):
                raise RuntimeError(
                    f"example {row}: {type(error).__name__}: {error}"
                ) from error
            error.add_note(f"This was example {row} of the source.")
            raise


class _Rows:
    """Examples that lie along the leading axis of arrays."""

    def __init__(self, arrays: Mapping[str, Any]):
        self._length = count_examples(arrays)
        # Not JAX's: each row would be read from the device.
        self._arrays = jax.tree.map(np.asarray, arrays)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        return jax.tree.map(itemgetter(index), self._arrays)


def prefetch(
    batches: Iterable[Any], put: Callable[[Any], Any] = jax.device_put
) -> Iterator[Any]:
    """The batches on the device, each put there while the one before it is used.

    Args:
        put: what places a batch; over a mesh, for instance,
            `partial(jax.device_put, device=sharding)`.
    """
    batches = iter(batches)
    ahead = deque(map(put, islice(batches, 2)))
    while ahead:
        yield ahead.popleft()
        ahead.extend(map(put, islice(batches, 1)))


@lru_cache(maxsize=2)
def _order(seed: tuple[int, ...] | None, epoch: int, n: int) -> np.ndarray:
    """Which example comes when, in this epoch."""
    if seed is None:
        return np.arange(n)
    return np.random.default_rng(_entropy(seed, epoch)).permutation(n)


def _entropy(seed: tuple[int, ...], *path: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=path)


def _stack(examples: list[Any]) -> PyTree:
    forms = [jax.tree.map(_form, example) for example in examples]
    for form in forms:
        if form != forms[0]:
            raise ValueError(
                f"examples of one batch differ: {forms[0]} and {form}; let `transform` "
                "give them one form (shape and dtype)"
            )
    return jax.tree.map(lambda *leaves: np.stack(leaves), *examples)


def _form(leaf: Any) -> str:
    array = np.asarray(leaf)
    return f"{array.dtype}{list(array.shape)}"
