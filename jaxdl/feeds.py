"""What feeds a run with batches: arrays in memory, or a stream read meanwhile."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from jaxdl.training import (
    Driver,
    Metrics,
    TrainState,
    TrainStep,
    check_batch_size,
    choose_driver,
    compiled,
    epoch_batches,
    loop_steps,
    num_examples,
    scan_steps,
    stack_metrics,
)

STEPS_A_REPORT = 100
"""steps between two updates of the progress bar"""

# Some steps that run together: they take the state to the next, and give metrics with a
# leading axis of steps.
Part = Callable[[TrainState], tuple[TrainState, Metrics]]


class Feed(NamedTuple):
    """The steps of a run: `parts(epoch, position)` gives those of an epoch, from 0.

    `sizes` tells how many examples each step of an epoch has, and `settings`, beside
    the data and the run's key, what the order of examples depends on.
    """

    sizes: list[int]
    parts: Callable[[int, int], Iterator[Part]]
    settings: dict[str, Any]


@runtime_checkable
class BatchStream(Protocol):
    """Batches by number, over epochs: `jaxdl.data.streaming.Stream` is one."""

    batch_size: int
    remainder: Literal["mask", "drop"]

    @property
    def steps_per_epoch(self) -> int: ...
    def read(self, *, epochs: int, start: int, workers: int) -> Iterator[Any]: ...
    def state(self, position: int) -> dict[str, Any]: ...


def feed_arrays(
    train_step: TrainStep,
    state: TrainState,
    data: PyTree,
    key: PRNGKeyArray,
    batch_size: int,
    *,
    drop_last: bool,
    driver: Literal["auto", "scan", "loop"],
) -> Feed:
    """Feeds from arrays on the device, in another order each epoch.

    Raises:
      ValueError: `batch_size` is below 1 or above the number of examples, or there is
        no such driver.
    """
    n = num_examples(data)
    check_batch_size(batch_size, n)
    data = jax.device_put(data)
    driver = _choose(driver, train_step, state, data, batch_size, key)
    order_key, step_key = jax.random.split(key)
    order = compiled(epoch_batches, static_argnums=(2, 3))
    if driver == "loop":
        steps = loop_steps(train_step)
    else:
        steps = compiled(scan_steps(train_step), donate_argnums=0)

    def parts(epoch, position):
        full, last = jax.device_get(order(order_key, epoch, n, batch_size))
        for batches in _from(position, _cut(full, last[: 0 if drop_last else None])):
            yield lambda state, batches=batches: steps(state, data, batches, step_key)

    sizes = [batch_size] * (n // batch_size)
    sizes += [n % batch_size] if n % batch_size and not drop_last else []
    settings = {"examples": n, "batch_size": batch_size, "drop_last": drop_last}
    return Feed(sizes, parts, settings | {"driver": driver})


def feed_stream(
    train_step: TrainStep,
    stream: BatchStream,
    key: PRNGKeyArray,
    *,
    epochs: int,
    workers: int,
) -> Feed:
    """Feeds from a stream: a loop of compiled steps, each on the batch read meanwhile.

    Raises:
      ValueError: the stream fills its last batch up; training has no mask for that.
    """
    if stream.remainder != "drop":
        raise ValueError(
            f"a stream to train on needs remainder='drop', not {stream.remainder!r}:"
            " what only fills a batch up would be trained on"
        )
    step_key = jax.random.split(key)[1]
    step = compiled(train_step, donate_argnums=0)
    length = stream.steps_per_epoch
    opened: list[Iterator[Any]] = []  # once: worker processes take seconds to start

    def parts(epoch, position):
        if not opened:
            start = epoch * length + position
            opened.append(stream.read(epochs=epochs, start=start, workers=workers))
        for first in range(position, length, STEPS_A_REPORT):
            steps = min(STEPS_A_REPORT, length - first)
            yield lambda state, steps=steps: run(state, islice(opened[0], steps))

    def run(state, batches):
        history = []
        for batch, _ in batches:
            state, metrics = step(state, batch, step_key)
            history.append(metrics)
        return state, stack_metrics(history)

    settings = {k: v for k, v in stream.state(0).items() if k != "position"}
    return Feed([stream.batch_size] * length, parts, settings)


def _choose(
    driver: Literal["auto", "scan", "loop"],
    train_step: TrainStep,
    state: TrainState,
    data: PyTree,
    batch_size: int,
    key: PRNGKeyArray,
) -> Driver:
    if driver not in ("auto", "scan", "loop"):
        raise ValueError(f"driver={driver!r} is not 'auto', 'scan' or 'loop'")
    if driver != "auto":
        return driver
    batch = jax.tree.map(lambda x: x[:batch_size], data)
    return choose_driver(train_step, state, batch, key)


def _cut(full: np.ndarray, last: np.ndarray) -> Iterator[np.ndarray]:
    """Cuts an epoch into runs of steps to report between, of equal lengths if it can.

    Every length is compiled once more, so a few more or fewer steps a run are cheaper.
    """
    few = -(-len(full) // STEPS_A_REPORT)
    even = (parts for parts in range(few, 2 * few) if len(full) % parts == 0)
    yield from np.array_split(full, next(even, few))
    if len(last):
        yield last[None]


def _from(position: int, parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Leaves out the first `position` steps."""
    for batches in parts:
        if position < len(batches):
            yield batches[position:]
        position = max(0, position - len(batches))
