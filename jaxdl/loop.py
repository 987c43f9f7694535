"""The training loop that most runs need, made of the parts in `jaxdl.training`.

Another loop is as easily written from the same parts: this one is meant to be read.
"""

import operator
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxdl.feeds import BatchStream, Feed, HeldOut, HostMetrics, open_feed
from jaxdl.metrics import goal_of
from jaxdl.progress import Report, Show, is_due, reporting, spell
from jaxdl.resume import (
    Progress,
    Record,
    Saves,
    check_params,
    finishing,
    record_at,
    samples_of,
    settings_of,
    stack_records,
)
from jaxdl.training import (
    EvalStep,
    Metrics,
    TrainState,
    TrainStep,
    check_arrays,
    check_batch_size,
    check_named,
    check_shapes,
    compiled,
    made_of,
    make_evaluation,
    noting,
    num_examples,
    steps_per_epoch,
)

Callback = Callable[[int, TrainState, Record], None]
History = dict[str, np.ndarray]

CALLS = (
    "If that is no mistake within them: fit calls train_step(state, batch, key) and"
    " eval_step(state, batch, mask), as make_train_step and make_eval_step make them."
)


class Watch(NamedTuple):
    """The metric of a run's records by which an epoch is the best; NaN never is.

    "min" looks for the smallest value, as it does for a loss if nothing is said, "max"
    for the largest; of equal ones the first is the best. With `patience`, a run stops
    after as many epochs that are no better.
    """

    metric: str
    goal: Literal["min", "max"] | None = None
    patience: int | None = None

    def best(self, records: Sequence[Record]) -> int | None:
        """Returns the index of the best record; None if there is none.

        Raises:
          ValueError: the metric is not among the records, or the settings are wrong.
        """
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience={self.patience} is below 1")
        if records and self.metric not in records[0]:
            names = ", ".join(records[0])
            raise ValueError(f"watch={self.metric!r} is not among the metrics: {names}")
        goal = goal_of(self.metric, self.goal)
        if records and (shape := np.shape(records[0][self.metric])):
            raise ValueError(f"watch={self.metric!r} has shape {shape}, is no number")
        values = np.array([float(record[self.metric]) for record in records])
        losses = values if goal == "min" else -values
        losses = np.where(np.isnan(losses), np.inf, losses)
        return int(np.argmin(losses)) if np.isfinite(losses).any() else None

    def is_best(self, records: Sequence[Record]) -> bool:
        """Tells whether the last record is the best so far."""
        return self.best(records) == len(records) - 1

    def is_over(self, records: Sequence[Record]) -> bool:
        """Tells whether patience has run out."""
        best = self.best(records)
        waited = len(records) - 1 - (-1 if best is None else best)
        return self.patience is not None and waited >= self.patience


def fit(
    state: TrainState,
    train_step: TrainStep,
    data: PyTree,
    key: PRNGKeyArray,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    eval_step: EvalStep | None = None,
    held_out: Mapping[str, PyTree] | None = None,
    drop_last: bool = False,
    driver: Literal["auto", "run", "scan", "loop"] = "auto",
    callbacks: Sequence[Callback] = (),
    watch: Watch | None = None,
    checkpoint_dir: str | Path | None = None,
    save_seconds: float | int = 30,
    workers: int = 0,
    show: Show = True,
    name: str = "",
) -> tuple[TrainState, History]:
    """Trains until `epochs` passes over `data`, or `steps`, are done, counted from 0.

    `data` is a pytree of arrays that share a leading axis of examples, or a
    `jaxdl.data.streaming.Stream`, which has a batch size of its own and is read by as
    many `workers`; these need a script guarded by `if __name__ == "__main__":`.

    After each epoch `eval_step` measures every set of `held_out`, and each callback
    gets the epoch (from 1), the state and the epoch's record: means over its examples,
    by names such as "train/loss" and "test/accuracy". The training metrics are those
    met on the way, each before its own update; they hold "loss", as those of
    `make_train_step` do. A callback that keeps the state must copy it, since the next
    epoch takes over its memory. Where `steps` end within an epoch, what was done of it
    is measured and recorded as an epoch is. `eval_step` is traced before the first
    step: a mistake in it does not wait for the end of an epoch.

    `watch` names the metric by which an epoch is the best, and may stop the run early.

    With `checkpoint_dir` the run saves itself there, in the background, when the last
    save is `save_seconds` old and a program ends, at Ctrl-C and at its end: `latest`,
    and `best`, of whole epochs, if there is a `watch`. If it is killed, the same call
    goes on from the last save and ends with the same bits. Ctrl-C waits for the steps
    that run; pressed twice it does not. One run at a time may use the directory.

    What is compiled for a `train_step` and an `eval_step`, which have to be pure,
    serves later calls with these functions, and data and states of these shapes.

    A program that trains several models gives the `name` of each, which stands before
    what is shown. With `show="bar"` that is a bar on a terminal and nothing else.

    `driver` is "loop" (a Python loop of steps), "scan" (one program for some 100 steps
    of an epoch), "run" (one for all the epochs, if their states fit into memory) or
    "auto", which takes the one that should be fastest (`jaxdl.feeds`). The result is
    that of `make_epoch(train_step, batch_size)` called `epochs` times with this key:
    the same bits, for the same driver.

    Returns:
      the trained state, and the records as arrays over epochs.

    Raises:
      ValueError: `epochs`, `steps` or `batch_size` below 1, both of the first two or
        none, `batch_size` above the number of examples, `held_out` without `eval_step`,
        empty or named "train", a state in the middle of an epoch or past the last, a
        driver or a watched metric that does not exist, a `checkpoint_dir` of another
        run or a state that cannot be saved there, or a `key` or `data` of other types.
      FloatingPointError: a loss that is NaN or infinite, or parameters that are, at the
        end or before they are saved; the message tells the step.
        What was saved before stays.
      OSError: a checkpoint cannot be written.

    A metric that is NaN or infinite is warned of once: `held_out` may hold a label out
    of range.
    """
    _check_state(state)
    if callable(callbacks):
        raise ValueError("callbacks is one function: give [function]")
    held_out = {} if held_out is None else held_out
    _check_sets(held_out, data, eval_step)
    _check_key(key)
    held_out = dict(held_out)
    sets = held_out if isinstance(data, BatchStream) else {"train": data, **held_out}
    # In its own types, for good: those of Python's numbers do not come back when saved.
    state = jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), state)
    held_out = {name: jax.device_put(part) for name, part in held_out.items()}
    splits = ["train", *held_out]
    if watch and not isinstance(watch, Watch):
        raise ValueError(f"watch={watch!r} is no Watch: write Watch({watch!r})")
    if watch and not any(watch.metric.startswith(f"{split}/") for split in splits):
        begin = " or ".join(f"{split}/" for split in splits)
        raise ValueError(f"watch={watch.metric!r} does not begin with {begin}")
    drop_last = bool(drop_last)
    batch_size, length = _sizes(data, batch_size, drop_last)
    last_step = _last_step(epochs, steps, length)
    epochs = -(-last_step // length)

    evaluate = made_of(eval_step or _nothing, _compiled_evaluation, batch_size)
    with noting(CALLS):
        feed = open_feed(
            train_step, state, data, key, HeldOut(evaluate, held_out), batch_size,
            drop_last=drop_last, epochs=epochs, driver=driver, workers=workers,
        )  # fmt: skip
    saves = None
    if checkpoint_dir == "":
        raise ValueError("checkpoint_dir='' names no directory: '.' is this one")
    if checkpoint_dir is not None:
        settings = settings_of(key, held_out=sorted(held_out), **feed.settings)
        settings["watch"] = watch and [watch.metric, goal_of(watch.metric, watch.goal)]
        saves = Saves(checkpoint_dir, settings | samples_of(sets), save_seconds)
    restored = saves.restore(state) if saves else None
    (state, records, met), unsaved = restored or (Progress(state, [], {}), 0)
    records = [_in_order(record, splits) for record in records]
    done, position = divmod(int(state.step), length)
    try:
        if position and not restored:
            raise ValueError(
                f"step {state.step} is {position} steps into an epoch of {length}: for"
                " other data or batches, init_state(state.params, optimizer,"
                " state.model_state) begins anew, at step 0"
            )
        if int(state.step) + (not restored) > last_step:
            raise ValueError(
                f"the run ends at step {last_step}, the state is at {state.step}"
            )
    except ValueError:
        if saves:
            saves.finish()
        raise

    def save(now: bool = False) -> None:
        """What was done of an epoch cut short is its middle: more may follow."""
        if saves:
            finished = records[: int(state.step) // length]
            saves.save(Progress(state, finished, met), now=now)

    state = jax.tree.map(jnp.copy, state)  # steps are given theirs
    with reporting(last_step, show=show, name=name) as report, finishing(saves):
        report.advance(int(state.step), "compiling")
        if restored:
            ended = int(state.step) == last_step
            report.line(_resumed(int(state.step), done + 1, unsaved, ended))
        elif saves and (lost := saves.reached()):
            report.line(f"begins again: {lost} steps had been done, and none saved")
        if int(state.step) < last_step:
            with noting(CALLS):
                feed.trace(state)
        history: History = {}
        noticed: set[str] = set()
        if feed.block and not (callbacks or watch or saves):
            until = last_step // length
            state, history = _run_blocks(
                feed, state, done, until, noticed,
                epochs=epochs, splits=splits, report=report,
            )  # fmt: skip
            done = until
        for epoch in range(done + 1, epochs + 1):
            if watch and watch.is_over(records):
                report.line(f"stopped: no better {watch.metric} for {watch.patience}")
                break
            stop = min(length, last_step - (epoch - 1) * length)
            for part in feed.parts(epoch - 1, position, stop):
                first_step = int(state.step)
                state, metrics = part(state)
                _check_loss(metrics)
                _check_finite(metrics["loss"], first_step, length)
                met = _joined(met, metrics)
                if report.moves:
                    so_far = _spell_epoch(epoch, epochs, _means(met, feed.sizes))
                    report.advance(len(metrics["loss"]), so_far)
                if len(met["loss"]) < stop:
                    save()

            measured = {"train": _means(met, feed.sizes)}
            measured |= feed.measure(epoch - 1, state)
            records.append(_record(measured, splits))
            _check_names(records[0], records[-1])
            _warn_of_numbers(stack_records(records[-1:]), epoch, noticed)
            if is_due(epoch, epochs):
                report.line(_spell_epoch(epoch, epochs, records[-1]))
            for callback in callbacks:
                callback(epoch, state, records[-1])
            is_best = watch and stop == length and watch.is_best(records)
            if saves and is_best:
                saves.keep_best(state)
            position, met = 0, met if stop < length else {}
            save()
        if saves:
            save(now=True)
        else:
            check_params(state)
    return state, _joined(history, stack_records(records))


def _run_blocks(
    feed: Feed,
    state: TrainState,
    done: int,
    until: int,
    noticed: set[str],
    *,
    epochs: int,
    splits: Sequence[str],
    report: Report,
) -> tuple[TrainState, History]:
    """Trains to the end of epoch `until`, if nobody looks at the states on the way."""
    history: History = {}
    while feed.block and done < until:
        first_step = int(state.step)
        state, metrics, measures = feed.block(done, until, state)
        _check_loss(metrics)
        losses = metrics["loss"]
        means = _means(metrics, feed.sizes, axis=1)
        new = _record({"train": means} | measures, splits)
        finite = int(np.isfinite(losses).all(axis=1).cumprod().sum())
        for i, epoch in enumerate(range(done + 1, done + finite + 1)):
            if is_due(epoch, epochs):
                report.line(_spell_epoch(epoch, epochs, record_at(new, i)))
        _check_finite(losses.ravel(), first_step, losses.shape[1])
        _warn_of_numbers(new, done + 1, noticed)
        done += len(losses)
        so_far = _spell_epoch(done, epochs, record_at(means, -1))
        report.advance(losses.size, so_far)
        history = _joined(history, new)
    return state, history


def _sizes(data: PyTree, batch_size: int | None, drop_last: bool) -> tuple[int, int]:
    """Returns the size of a batch and the number of steps of an epoch."""
    if isinstance(data, BatchStream):
        if batch_size not in (None, data.batch_size):
            raise ValueError(f"batch_size={batch_size}, the stream's {data.batch_size}")
        return int(data.batch_size), data.steps_per_epoch
    if batch_size is None:
        raise ValueError("batch_size is missing: arrays have none of their own")
    batch_size = operator.index(batch_size)
    n = num_examples(data)
    check_batch_size(batch_size, n)
    return batch_size, steps_per_epoch(n, batch_size, drop_last)


def _last_step(epochs: int | None, steps: int | None, length: int) -> int:
    for name, value in {"epochs": epochs, "steps": steps}.items():
        if value is not None and not isinstance(value, int | np.integer):
            raise ValueError(f"{name}={value!r} is no whole number")
    if epochs is None and steps is not None and steps >= 1:
        return steps
    if steps is None and epochs is not None and epochs >= 1:
        return epochs * length
    given = {"epochs": epochs, "steps": steps}
    given = {name: value for name, value in given.items() if value is not None}
    if len(given) == 1:
        [(name, value)] = given.items()
        raise ValueError(f"{name}={value} is below 1")
    raise ValueError(f"one of epochs and steps is needed, {given or 'none'} given")


def _check_state(state: TrainState) -> None:
    if not isinstance(state, TrainState):
        kind = type(state).__name__
        raise ValueError(f"state is a {kind}: expected what init_state returns")


def _check_sets(
    held_out: Mapping[str, PyTree], data: PyTree, eval_step: EvalStep | None
) -> None:
    check_named(held_out, data)
    if held_out and eval_step is None:
        raise ValueError(f"held_out={list(held_out)} needs an eval_step")
    if "train" in held_out:
        raise ValueError("held_out cannot hold a set named 'train'")
    if not isinstance(data, BatchStream):
        check_arrays({"data": data}, "fit", "make_epoch")
    check_arrays({"held_out": dict(held_out)}, "fit", "make_epoch")
    for examples in held_out.values():
        num_examples(examples)


def _check_key(key: PRNGKeyArray) -> None:
    kind = getattr(key, "dtype", int)
    if not (kind == np.uint32 or jnp.issubdtype(kind, jax.dtypes.prng_key)):
        raise ValueError(f"key={key!r} is no random key: jax.random.key makes them")


def _compiled_evaluation(eval_step: EvalStep, batch_size: int) -> jax.stages.Wrapped:
    return compiled(make_evaluation(eval_step, batch_size))


def _nothing(state: TrainState, batch: PyTree, mask: Array) -> Metrics:
    return {}


def _spell_epoch(epoch: int, epochs: int, record: Record) -> str:
    return f"epoch {epoch}/{epochs}  {spell(record)}"


def _joined(first: HostMetrics, then: HostMetrics) -> HostMetrics:
    if not first or not then:
        return first or then
    _check_names(first, then)
    check_shapes(first, then)
    return {name: np.concatenate([first[name], then[name]]) for name in first}


def _means(met: HostMetrics, sizes: Sequence[int], axis: int = 0) -> Record:
    """Means over examples, of means over batches of the sizes given, along `axis`."""
    weights = np.array(sizes[: met["loss"].shape[axis]], float)
    means = {}
    for name in _loss_first(met):
        values = met[name].astype(float)
        each = weights.reshape(-1, *[1] * (values.ndim - 1 - axis))
        means[name] = (each * values).sum(axis) / weights.sum()
    return means


def _record(measured: Mapping[str, Record], splits: Sequence[str]) -> Record:
    return {
        f"{split}/{name}": measured[split][name]
        for split in splits
        for name in _loss_first(measured[split])
    }


def _in_order(record: Record, splits: Sequence[str]) -> Record:
    """Puts what was saved, by the alphabet, into the order of a record."""

    def place(name):
        split = max((s for s in splits if name.startswith(f"{s}/")), key=len)
        return splits.index(split), name != f"{split}/loss", name

    return {name: record[name] for name in sorted(record, key=place)}


def _resumed(step: int, epoch: int, unsaved: int, ended: bool) -> str:
    if ended:
        return f"had ended at step {step} and was saved: nothing to train"
    text = f"goes on from step {step}, in epoch {epoch}"
    return text + (f"; {unsaved} more had not been saved" if unsaved > 0 else "")


def _loss_first(names: Iterable[str]) -> list[str]:
    """Orders the names, which jit returns by the alphabet, as people read them."""
    return sorted(names, key=lambda name: name != "loss")


def _check_names(before: Iterable[str], now: Iterable[str]) -> None:
    names = [", ".join(sorted(names)) for names in (before, now)]
    if names[0] != names[1]:
        raise ValueError(f"metrics of the run were {names[0]}; they are {names[1]}")


def _warn_of_numbers(history: History, epoch: int, noticed: set[str]) -> None:
    """Warns once of each metric that is NaN or infinite; `epoch` is the first of these.

    What a held-out set holds cannot stop a run that may have trained for long.
    """
    for name, values in history.items():
        finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        if name not in noticed and not finite.all():
            noticed.add(name)
            first = int(np.argmin(finite))
            warnings.warn(
                f"{name} is {values[first]} in epoch {epoch + first}: look there for"
                " labels out of range and inputs that are not finite",
                RuntimeWarning,
                stacklevel=3,
            )


def _check_loss(metrics: HostMetrics) -> None:
    if "loss" not in metrics:
        names = ", ".join(metrics) or "nothing"
        raise ValueError(f"train_step returned metrics without a 'loss': {names}")


def _check_finite(losses: np.ndarray, first_step: int, length: int) -> None:
    finite = np.isfinite(losses)
    if not finite.all():
        bad = np.argmin(finite)
        step, epoch = first_step + bad, (first_step + bad) // length + 1
        raise FloatingPointError(
            f"the loss is {losses[bad]} at step {step} of the run, in epoch {epoch}:"
            " try a smaller learning rate, and look for labels out of range or inputs"
            " that are not finite"
        )
