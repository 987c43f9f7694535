"""What feeds a run with batches: arrays in memory, or a stream read meanwhile."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from jaxdl.shuffling import epoch_order_by_numpy
from jaxdl.training import (
    Driver,
    Metrics,
    TrainState,
    TrainStep,
    choose_driver,
    compiled,
    cut_order,
    loop_steps,
    make_epoch,
    num_examples,
    scan_steps,
    stack_metrics,
    steps_per_epoch,
)

STEPS_A_REPORT = 100
"""steps between two updates of the progress bar"""
BLOCKS = 20
"""blocks of epochs of a run, at most; up to twice as many make blocks of one length"""
BLOCK_STEPS = 1000
"""steps that it puts into a block at least: a few milliseconds of small steps"""
BLOCK_NUMBERS = 2**24
"""how many numbers the states after each epoch of a block may hold together"""
SMALL_EPOCH = 10_000
"""steps of an epoch, times numbers in the state, up to which "auto" makes blocks"""

HostMetrics = dict[str, np.ndarray]
# Some steps that run together: they take the state to the next, and give metrics with a
# leading axis of steps.
Part = Callable[[TrainState], tuple[TrainState, HostMetrics]]


class HeldOut(NamedTuple):
    """Sets that are measured after each epoch, by `evaluate(state, examples)`."""

    evaluate: Callable[[TrainState, PyTree], Metrics]
    sets: dict[str, PyTree]

    def measure(self, state: TrainState, sets: dict[str, PyTree]) -> dict[str, Metrics]:
        """Measures sets, this object's or tracers in their place; uncompiled."""
        return {name: self.evaluate(state, sets[name]) for name in sets}

    def measured_by(self) -> Callable[[TrainState], dict[str, HostMetrics]]:
        """Returns what measures this object's sets, compiled."""
        if not self.sets:
            return lambda state: {}
        measure = compiled(self.measure)
        return lambda state: jax.device_get(measure(state, self.sets))


class Block(NamedTuple):
    """Epochs that ran as one program: the state after them, and their numbers.

    Arrays of `metrics` have axes of epochs and of steps, those of `measures`, which
    holds the metrics of every held-out set, one of epochs.
    """

    state: TrainState
    metrics: HostMetrics
    measures: dict[str, HostMetrics]


class Feed(NamedTuple):
    """The steps of a run, and how a state is measured after an epoch; both from 0.

    `parts(epoch, start, stop)` gives those of an epoch's steps, `measure(epoch, state)`
    the metrics of every held-out set. Both put metrics on the host. `sizes` tells how
    many examples each step of an epoch has, and `settings`, beside the data and the
    run's key, what the order of examples depends on.

    `block(epoch, stop, state)`, which not every feed has, runs whole epochs to before
    `stop` at most, for a run whose states between them nobody looks at.
    """

    sizes: list[int]
    parts: Callable[[int, int, int], Iterator[Part]]
    measure: Callable[[int, TrainState], dict[str, HostMetrics]]
    settings: dict[str, Any]
    block: Callable[[int, int, TrainState], Block] | None = None


@runtime_checkable
class BatchStream(Protocol):
    """Batches by number, over epochs: `jaxdl.data.streaming.Stream` is one."""

    batch_size: int
    remainder: Literal["mask", "drop"]

    @property
    def steps_per_epoch(self) -> int: ...
    def read(self, *, epochs: int, start: int, workers: int) -> Iterator[Any]: ...
    def state(self, position: int) -> dict[str, Any]: ...


def open_feed(
    train_step: TrainStep,
    state: TrainState,
    data: PyTree,
    key: PRNGKeyArray,
    held_out: HeldOut,
    batch_size: int,
    *,
    drop_last: bool,
    epochs: int,
    driver: Literal["auto", "run", "scan", "loop"],
    workers: int,
) -> Feed:
    """Feeds from a stream or from arrays, by the driver named or the fastest.

    "auto" takes "scan" or "loop" as `choose_driver` says, and blocks of epochs where
    starting the programs of an epoch would take longer than running them: where an
    epoch of a small model is a few steps.

    Raises:
      ValueError: there is no such driver, or a stream fills its last batch up; training
        has no mask for that.
    """
    if driver not in ("auto", "run", "scan", "loop"):
        raise ValueError(f"driver={driver!r} is not 'auto', 'run', 'scan' or 'loop'")
    if isinstance(data, BatchStream):
        return feed_stream(
            train_step, data, key, held_out, epochs=epochs, workers=workers
        )
    data, block = jax.device_put(data), epochs
    size = sum(np.size(leaf) for leaf in jax.tree.leaves(state))
    if driver == "auto":
        batch = jax.tree.map(lambda x: x[:batch_size], data)
        driver = choose_driver(train_step, state, batch, key)
        steps = steps_per_epoch(num_examples(data), batch_size, drop_last)
        small = steps * size <= SMALL_EPOCH and jax.process_count() == 1
        if driver == "scan" and small:
            driver = "run"
            block = max(-(-epochs // BLOCKS), -(-BLOCK_STEPS // steps))
    arguments = train_step, data, key, held_out, batch_size
    if driver != "run":
        return feed_arrays(*arguments, drop_last=drop_last, driver=driver)
    block = max(1, min(block, BLOCK_NUMBERS // size))
    block = -(-epochs // _even_parts(epochs, -(-epochs // block)))
    return feed_blocks(*arguments, drop_last=drop_last, epochs=epochs, block=block)


def feed_arrays(
    train_step: TrainStep,
    data: PyTree,
    key: PRNGKeyArray,
    held_out: HeldOut,
    batch_size: int,
    *,
    drop_last: bool,
    driver: Driver,
) -> Feed:
    """Feeds from arrays on the device, in another order each epoch."""
    n = num_examples(data)
    order_key, step_key = jax.random.split(key)
    measured = held_out.measured_by()
    if driver == "loop":
        steps = loop_steps(train_step)
    else:
        steps = compiled(scan_steps(train_step), donate_argnums=0)

    def parts(epoch, start, stop):
        order = epoch_order_by_numpy(order_key, epoch, n)
        full, last = cut_order(order, batch_size)
        cut = _cut(full, last[: 0 if drop_last else None])
        for batches in _between(start, stop, cut):
            yield partial(run, batches)

    def run(batches, state):
        state, metrics = steps(state, data, batches, step_key)
        return state, jax.device_get(metrics)

    sizes = [batch_size] * (n // batch_size)
    sizes += [n % batch_size] if n % batch_size and not drop_last else []
    settings: dict[str, Any] = {
        "examples": n,
        "batch_size": batch_size,
        "drop_last": drop_last,
        "driver": driver,
    }
    return Feed(sizes, parts, lambda epoch, state: measured(state), settings)


def feed_blocks(
    train_step: TrainStep,
    data: PyTree,
    key: PRNGKeyArray,
    held_out: HeldOut,
    batch_size: int,
    *,
    drop_last: bool,
    epochs: int,
    block: int,
) -> Feed:
    """Feeds as a scan does, but runs `block` epochs ahead, in one program.

    It measures inside that program too. Who looks at the state after each epoch sees
    nothing of the blocks: it keeps them. Less than an epoch is run as in a scan.
    """
    one_by_one = feed_arrays(
        train_step, data, key, held_out, batch_size,
        drop_last=drop_last, driver="scan",
    )  # fmt: skip
    epoch_of = make_epoch(train_step, batch_size, drop_last=drop_last)
    ahead: dict[int, tuple[TrainState, Metrics, dict[str, Metrics]]] = {}

    @partial(compiled, static_argnums=(3, 4))
    def run(state, data, sets, length, keeps):
        def body(state, _):
            state, metrics = epoch_of(state, data, key)
            kept = state if keeps else None
            return state, (kept, metrics, held_out.measure(state, sets))

        return jax.lax.scan(body, state, length=length)

    def run_block(epoch, stop, state, *, keeps=False):
        length = min(block - epoch % block, stop - epoch)
        last, outcomes = run(state, data, held_out.sets, length, keeps)
        kept, *numbers = jax.device_get(outcomes)
        return Block(last, *numbers), kept

    def run_ahead(epoch, state):
        (last, *numbers), kept = run_block(epoch, epochs, state, keeps=True)
        ahead.clear()
        arrays, tree = jax.tree.flatten((kept, *numbers))
        length = len(arrays[0])
        for i in range(length):
            each = [array[i] for array in arrays]
            state, *measures = jax.tree.unflatten(tree, each)
            ahead[epoch + i] = (last if i + 1 == length else state, *measures)

    def parts(epoch, start, stop):
        def whole(state):
            if epoch not in ahead:
                run_ahead(epoch, state)
            return ahead[epoch][:2]

        if (start, stop) == (0, len(one_by_one.sizes)):
            return iter([whole])
        ahead.pop(epoch, None)  # there it was run to its end
        return one_by_one.parts(epoch, start, stop)

    def measure(epoch, state):
        if epoch in ahead:
            return ahead[epoch][2]
        return one_by_one.measure(epoch, state)

    unseen = lambda epoch, stop, state: run_block(epoch, stop, state)[0]
    return one_by_one._replace(parts=parts, measure=measure, block=unseen)


def feed_stream(
    train_step: TrainStep,
    stream: BatchStream,
    key: PRNGKeyArray,
    held_out: HeldOut,
    *,
    epochs: int,
    workers: int,
) -> Feed:
    """Feeds from a stream: a loop of compiled steps, each on a batch read meanwhile."""
    if stream.remainder != "drop":
        raise ValueError(
            f"a stream to train on needs remainder='drop', not {stream.remainder!r}:"
            " what only fills a batch up would be trained on"
        )
    step_key = jax.random.split(key)[1]
    step = compiled(train_step, donate_argnums=0)
    measured = held_out.measured_by()
    length = stream.steps_per_epoch
    opened: list[Iterator[Any]] = []  # once: worker processes take seconds to start

    def parts(epoch, start, stop):
        if not opened:
            first = epoch * length + start
            opened.append(stream.read(epochs=epochs, start=first, workers=workers))
        for first in range(start, stop, STEPS_A_REPORT):
            steps = min(STEPS_A_REPORT, stop - first)
            yield lambda state, steps=steps: run(state, islice(opened[0], steps))

    def run(state, batches):
        history = []
        for batch, _ in batches:
            state, metrics = step(state, batch, step_key)
            history.append(metrics)
        return state, jax.device_get(stack_metrics(history))

    settings = {k: v for k, v in stream.state(0).items() if k != "position"}
    sizes = [stream.batch_size] * length
    return Feed(sizes, parts, lambda epoch, state: measured(state), settings)


def _cut(full: np.ndarray, last: np.ndarray) -> Iterator[np.ndarray]:
    """Cuts an epoch into runs of steps to report between."""
    parts = _even_parts(len(full), -(-len(full) // STEPS_A_REPORT))
    yield from np.array_split(full, parts)
    if len(last):
        yield last[None]


def _even_parts(total: int, few: int) -> int:
    """Returns how many parts of one length there are, `few` or more; else `few`.

    Every length is compiled once more, so somewhat shorter parts are cheaper.
    """
    even = (parts for parts in range(few, 2 * few) if total % parts == 0)
    return next(even, few)


def _between(
    start: int, stop: int, parts: Iterable[np.ndarray]
) -> Iterator[np.ndarray]:
    """Keeps the steps from `start` to before `stop`."""
    first = 0
    for batches in parts:
        kept = batches[max(0, start - first) : max(0, stop - first)]
        if len(kept):
            yield kept
        first += len(batches)
