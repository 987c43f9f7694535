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
    check_shapes,
    choose_driver,
    compiled,
    cut_order,
    loop_steps,
    made_of,
    make_epoch,
    num_examples,
    scan_steps,
    stack_metrics,
    steps_per_epoch,
    uncompiled,
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
Evaluate = Callable[[TrainState, PyTree], Metrics]
Part = Callable[[TrainState], tuple[TrainState, HostMetrics]]


class HeldOut(NamedTuple):
    """Sets measured after each epoch, by a compiled `evaluate(state, examples)`."""

    evaluate: jax.stages.Wrapped
    sets: dict[str, PyTree]

    def measure(self, state: TrainState) -> dict[str, HostMetrics]:
        """Measures the sets."""
        measures = {name: self.evaluate(state, self.sets[name]) for name in self.sets}
        return jax.device_get(measures)

    def trace(self, state: TrainState) -> None:
        """Traces what `measure` runs, which shows the mistakes in it."""
        for examples in self.sets.values():
            self.evaluate.trace(state, examples)


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
    the metrics of every held-out set. Both put metrics on the host. `trace(state)`
    traces what an epoch runs, so that mistakes in its end show at its beginning.
    `sizes` tells how many examples each step of an epoch has, and `settings`, beside
    the data and the run's key, what the order of examples depends on.

    `block(epoch, stop, state)`, which not every feed has, runs whole epochs to before
    `stop` at most, for a run whose states between them nobody looks at.
    """

    sizes: list[int]
    parts: Callable[[int, int, int], Iterator[Part]]
    measure: Callable[[int, TrainState], dict[str, HostMetrics]]
    trace: Callable[[TrainState], None]
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
    rest = 0 if drop_last else n % batch_size
    scan = made_of(train_step, _compiled_scan)
    steps = made_of(train_step, loop_steps) if driver == "loop" else scan

    def cut(order):
        full, last = cut_order(order, batch_size)
        return _cut(full, last[:rest])

    def parts(epoch, start, stop):
        order = epoch_order_by_numpy(order_key, epoch, n)
        for batches in _between(start, stop, cut(order)):
            yield partial(run, batches)

    def run(batches, state):
        state, metrics = steps(state, data, batches, step_key)
        return state, jax.device_get(metrics)

    def trace(state):
        if driver == "scan":
            shapes = {rows.shape: rows for rows in cut(np.arange(n, dtype=np.int32))}
            traced = [scan.trace(state, data, x, step_key) for x in shapes.values()]
            full, last = (traced[i].out_info[1] for i in (0, -1))
            check_shapes(full, last)
        held_out.trace(state)

    sizes = [batch_size] * (n // batch_size) + [rest] * bool(rest)
    settings: dict[str, Any] = {
        "examples": n,
        "batch_size": batch_size,
        "drop_last": drop_last,
        "driver": driver,
    }
    measure = lambda epoch, state: held_out.measure(state)
    return Feed(sizes, parts, measure, trace, settings)


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
    evaluate = uncompiled(held_out.evaluate)
    run = made_of(train_step, _compiled_epochs, batch_size, drop_last, evaluate)
    ahead: dict[int, tuple[TrainState, Metrics, dict[str, Metrics]]] = {}

    def run_block(epoch, stop, state, *, keeps=False):
        length = min(block - epoch % block, stop - epoch)
        last, outcomes = run(state, data, held_out.sets, key, length, keeps)
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
            state, metrics, _ = ahead[epoch]
            return jax.device_put(state), metrics

        if (start, stop) == (0, len(one_by_one.sizes)):
            return iter([whole])
        ahead.pop(epoch, None)  # there it was run to its end
        return one_by_one.parts(epoch, start, stop)

    def measure(epoch, state):
        if epoch in ahead:
            return ahead[epoch][2]
        return one_by_one.measure(epoch, state)

    unseen = lambda epoch, stop, state: run_block(epoch, stop, state)[0]
    return one_by_one._replace(
        parts=parts, measure=measure, trace=held_out.trace, block=unseen
    )


def _compiled_scan(train_step: TrainStep) -> Any:
    return compiled(scan_steps(train_step), donate_argnums=0)


def _compiled_epochs(
    train_step: TrainStep, batch_size: int, drop_last: bool, evaluate: Evaluate
) -> Any:
    """Compiles `run(state, data, sets, key, length, keeps)`: epochs, each measured.

    What follows each epoch is its state, if that is kept, its metrics, and those of the
    sets.
    """
    epoch_of = make_epoch(train_step, batch_size, drop_last=drop_last)

    def run(state, data, sets, key, length, keeps):
        def body(state, _):
            state, metrics = epoch_of(state, data, key)
            measures = {name: evaluate(state, sets[name]) for name in sets}
            return state, (state if keeps else None, metrics, measures)

        return jax.lax.scan(body, state, length=length)

    return compiled(run, static_argnums=(4, 5))


def feed_stream(
    train_step: TrainStep,
    stream: BatchStream,
    key: PRNGKeyArray,
    held_out: HeldOut,
    *,
    epochs: int,
    workers: int,
) -> Feed:
    """Feeds from a stream: a loop of compiled steps, each on a batch read meanwhile.

    Raises ValueError if the stream fills its last batch up.
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
    measure = lambda epoch, state: held_out.measure(state)
    return Feed(sizes, parts, measure, held_out.trace, settings)


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
