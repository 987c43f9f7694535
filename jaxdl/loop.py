"""The training loop that most runs need, made of the parts in `jaxdl.training`.

Another loop is as easily written from the same parts: this one is meant to be read.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxdl.progress import is_due, reporting, spell
from jaxdl.training import (
    Metrics,
    Steps,
    TrainState,
    TrainStep,
    check_batch_size,
    choose_driver,
    compiled,
    epoch_batches,
    loop_steps,
    make_evaluation,
    num_examples,
    scan_steps,
    steps_per_epoch,
)

EvalStep = Callable[[TrainState, PyTree, Array], Metrics]
Record = dict[str, Any]
Callback = Callable[[int, TrainState, Record], None]
History = dict[str, np.ndarray]
HostMetrics = dict[str, np.ndarray]

STEPS_A_REPORT = 100
"""compiled steps between two updates of the progress bar"""


def fit(
    state: TrainState,
    train_step: TrainStep,
    data: PyTree,
    key: PRNGKeyArray,
    *,
    epochs: int,
    batch_size: int,
    eval_step: EvalStep | None = None,
    held_out: Mapping[str, PyTree] | None = None,
    drop_last: bool = False,
    driver: Literal["auto", "scan", "loop"] = "auto",
    callbacks: Sequence[Callback] = (),
    show: bool = True,
) -> tuple[TrainState, History]:
    """Trains until `epochs` passes over `data` are done, counted from step 0.

    After each epoch `eval_step` measures every set of `held_out`, and each callback
    gets the epoch (from 1), the state and the epoch's record: means over its examples,
    by names such as "train/loss" and "test/accuracy". The training metrics are those
    met on the way, each before its own update; they hold "loss", as those of
    `make_train_step` do. A callback that keeps the state must copy it, since the next
    epoch takes over its memory.

    The result is that of `make_epoch(train_step, batch_size)` called `epochs` times
    with this key: the same bits, for the same driver.

    Returns:
      the trained state, and the records as arrays over epochs.

    Raises:
      ValueError: `epochs` or `batch_size` below 1, `batch_size` above the number of
        examples, `held_out` without `eval_step`, empty or named "train", a state in the
        middle of an epoch or past the last, a driver that does not exist.
      FloatingPointError: a loss that is NaN or infinite; the message tells the step.
    """
    n = num_examples(data)
    check_batch_size(batch_size, n)
    epoch_steps = steps_per_epoch(n, batch_size, drop_last)
    done, position = divmod(int(state.step), epoch_steps)
    if epochs < 1:
        raise ValueError(f"epochs={epochs} is below 1")
    if position:
        raise ValueError(f"step {state.step} is {position} steps into an epoch")
    if done >= epochs:
        raise ValueError(f"epochs={epochs}, but the state has had {done} already")
    if held_out and eval_step is None:
        raise ValueError(f"held_out={list(held_out)} needs an eval_step")
    if "train" in (held_out or {}):
        raise ValueError("held_out cannot hold a set named 'train'")
    for examples in (held_out or {}).values():
        num_examples(examples)

    state, data = jax.device_put((state, data))
    held_out = {name: jax.device_put(d) for name, d in (held_out or {}).items()}
    state = jax.tree.map(jnp.copy, state)  # steps are given theirs: keep the caller's
    order_key, step_key = jax.random.split(key)
    order = compiled(epoch_batches, static_argnums=(2, 3))
    steps = _compile(train_step, driver, state, data, batch_size, key)
    evaluate = compiled(make_evaluation(eval_step or _nothing, batch_size))

    records: list[Record] = []
    with reporting((epochs - done) * epoch_steps, show=show) as report:
        for epoch in range(done + 1, epochs + 1):
            full, last = jax.device_get(order(order_key, epoch - 1, n, batch_size))
            met: list[tuple[int, HostMetrics]] = []
            for batches in _parts(full, last[: 0 if drop_last else None]):
                state, metrics = steps(state, data, batches, step_key)
                metrics = jax.device_get(metrics)
                _check_finite(metrics["loss"], epoch, int(state.step) - len(batches))
                met.append((batches.shape[1], metrics))
                so_far = _means(met)
                text = f"epoch {epoch}/{epochs}  {spell(so_far)}"
                report.advance(len(batches), text)

            measured = {"train": so_far}
            for split, examples in held_out.items():
                measured[split] = jax.device_get(evaluate(state, examples))
            record = {
                f"{split}/{name}": values[name]
                for split, values in measured.items()
                for name in _loss_first(values)
            }
            records.append(record)
            if is_due(epoch, epochs):
                report.line(f"epoch {epoch}/{epochs}  {spell(record)}")
            for callback in callbacks:
                callback(epoch, state, record)

    return state, {name: np.stack([r[name] for r in records]) for name in records[0]}


def _compile(
    train_step: TrainStep,
    driver: Literal["auto", "scan", "loop"],
    state: TrainState,
    data: PyTree,
    batch_size: int,
    key: PRNGKeyArray,
) -> Steps:
    if driver == "auto":
        batch = jax.tree.map(lambda x: x[:batch_size], data)
        driver = choose_driver(train_step, state, batch, key)
    if driver not in ("scan", "loop"):
        raise ValueError(f"driver={driver!r} is not 'auto', 'scan' or 'loop'")
    if driver == "loop":
        return loop_steps(train_step)
    return compiled(scan_steps(train_step), donate_argnums=0)


def _parts(full: np.ndarray, last: np.ndarray) -> Iterator[np.ndarray]:
    """Cuts an epoch into runs of steps to report between, of equal lengths if it can.

    Every length is compiled once more, so a few more or fewer steps a run are cheaper.
    """
    few = -(-len(full) // STEPS_A_REPORT)
    even = (parts for parts in range(few, 2 * few) if len(full) % parts == 0)
    yield from np.array_split(full, next(even, few))
    if len(last):
        yield last[None]


def _nothing(state: TrainState, batch: PyTree, mask: Array) -> Metrics:
    return {}


def _means(met: list[tuple[int, HostMetrics]]) -> Record:
    """Means over examples, of means over batches of the sizes given."""
    weights = np.concatenate(
        [np.full(len(metrics["loss"]), size) for size, metrics in met]
    )

    def mean(name):
        values = np.concatenate([metrics[name] for _, metrics in met], dtype=float)
        return np.average(values, axis=0, weights=weights)

    return {name: mean(name) for name in _loss_first(met[0][1])}


def _loss_first(names: Iterable[str]) -> list[str]:
    """Orders the names, which jit returns by the alphabet, as people read them."""
    return sorted(names, key=lambda name: name != "loss")


def _check_finite(losses: np.ndarray, epoch: int, first_step: int) -> None:
    bad = np.flatnonzero(~np.isfinite(losses))
    if len(bad):
        raise FloatingPointError(
            f"the loss is {losses[bad[0]]} at step {first_step + bad[0]} of the run, in"
            f" epoch {epoch}: try a smaller learning rate, and look for labels out of"
            " range or inputs that are not finite"
        )
