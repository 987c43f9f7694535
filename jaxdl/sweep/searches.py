"""Searches and cross-validation, made of `run_members`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Key, PyTree

from jaxdl.data.splits import Folds
from jaxdl.progress import Show, reporting
from jaxdl.sweep.members import How, run_members
from jaxdl.sweep.results import Sweep, warn_of_failures
from jaxdl.sweep.settings import as_points, by_static
from jaxdl.sweep.train import Settings, Train, check_keys, is_finite, trained
from jaxdl.training import (
    EvalStep,
    check_arrays,
    check_named,
    compiled,
    make_evaluation,
    num_examples,
    take,
)

# name: examples, and which of them count
HeldOut = dict[str, tuple[PyTree, Bool[Array, " n"]]]


def search(
    train: Train,
    settings: Settings,
    data: PyTree,
    held_out: Mapping[str, PyTree],
    key: Key[Array, "..."],
    *,
    eval_step: EvalStep,
    eval_batch_size: int = 256,
    static: Sequence[str] = (),
    how: How = "auto",
    block_size: int | None = None,
    show: Show = "bar",
) -> Sweep:
    """Trains every point on `data`, and measures it on each set of `held_out`.

    One key is that of all points: they start from the same weights and share their
    batches, which is fast and leaves less to chance when they are compared. Keys of
    shape (s,) do so for each of s seeds; of shape (points, s), every member draws its
    own.

    Settings that change shapes or that Python has to know, such as widths or names,
    are named in `static`. `train` gets them as Python values, and each combination of
    theirs has a program of its own; all points that agree in them are in one program.

    Args:
      settings: values for the points, as of `grid` or `random_search`; a single value
        is that of all points.
      eval_step: sums of metrics over a masked batch, as of `make_eval_step`.
      how: whether members run at once or in turn, see `run_members`.
      block_size: how many members run at once, at most.
      show: a bar on a terminal, which moves as programs end; or False.

    Returns:
      metrics by names such as "validation/loss", of shape (points, seeds).

    Raises:
      ValueError: settings that differ in length, have no values, or are neither static
        nor numbers that JAX's types hold; keys of another shape; no `held_out`, or one
        that is a set without a name; examples that are not arrays of numbers, as a
        stream is not; or see `run_members`.
    """
    check_named(held_out, data)
    if not held_out:
        raise ValueError("held_out names no set of examples to measure on")
    check_arrays({"data": data, "held_out": dict(held_out)}, "search", "run_members")

    def split(examples, _):
        data, held_out = examples
        return data, {name: (part, _all(part)) for name, part in held_out.items()}

    member = _make_member(train, eval_step, eval_batch_size)
    repeats = np.arange(np.shape(key)[-1] if np.ndim(key) else 1)
    examples = data, dict(held_out)
    return _sweep(
        member, settings, examples, split, repeats, key, static, how, block_size, show
    )


def cross_validate(
    train: Train,
    settings: Settings,
    data: PyTree,
    folds: Folds,
    key: Key[Array, "..."],
    *,
    eval_step: EvalStep,
    eval_batch_size: int = 256,
    static: Sequence[str] = (),
    how: How = "auto",
    block_size: int | None = None,
    show: Show = "bar",
) -> Sweep:
    """Trains every point on all folds but one, which is held out; measures it on both.

    `folds` are those of `jaxdl.data.k_folds`. If they are masked, every example is held
    out once, and where a fold has one example more to train on than another, it leaves
    that one out: all train on equally many, and no row that stands for none is used.
    The settings may be `{}`, which is one point. Folds that run at once each hold
    their copy of the data.

    The key and all other arguments are as in `search`, with folds for seeds: one key is
    that of all folds, too.

    Returns:
      metrics by the names "train/..." and "validation/...", of shape (points, folds),
      all of the trained state.

    Raises:
      ValueError: as in `search`; or `folds` has rows that `data` has not or are of
        fewer examples, rows that stand for none elsewhere than at the end, a fold that
        trains on an example it holds out, or one that trains on none or holds none out.
    """
    check_arrays({"data": data}, "cross_validate", "run_members")
    n = num_examples(data)
    train_rows = _checked_rows(folds, n)

    def split(data, rows):
        train_rows, validation_rows = rows
        train_part = take(data, train_rows)
        return train_part, {
            "train": (train_part, _all(train_part)),
            "validation": (take(data, validation_rows), validation_rows < n),
        }

    member = _make_member(train, eval_step, eval_batch_size)
    repeats = train_rows, folds.validation
    return _sweep(
        member, settings, data, split, repeats, key, static, how, block_size, show
    )


def _sweep(
    member, settings, data, split, repeats, key, static, how, block_size, show
) -> Sweep:
    """Runs `member(settings, key, *split(data, repeat))` for all points and repeats."""
    points, n = as_points(settings)
    times = len(jax.tree.leaves(repeats)[0])
    check_keys(key, (), (times,), (n, times))
    keys = key.T if key.ndim == 2 else jnp.broadcast_to(key, (times,))
    groups = list(by_static(points, n, static))

    def started(constants, traced, rows):
        def program(rows, traced, repeats, keys, data):
            def of_repeat(repeat):
                repeat, keys = repeat
                examples = split(data, repeat)

                def of_point(point):
                    row, settings = point
                    key = keys[row] if keys.ndim else keys
                    return member(constants | settings, key, *examples)

                return run_members(
                    of_point, (rows, traced), how=how, block_size=block_size
                )

            repeats_at_once = block_size and max(1, block_size // len(rows))
            return run_members(
                of_repeat, (repeats, keys), how=how, block_size=repeats_at_once
            )

        return compiled(program)(rows, traced, repeats, keys, data)

    parts: list[dict[str, Array]] = []
    sizes = [0, *(len(rows) * times for *_, rows in groups)]
    with reporting(n * times, show=show, unit="members") as report:
        for size_before, group in zip(sizes, groups, strict=False):
            parts.append(started(*group))  # compiled while the one before runs
            jax.block_until_ready(parts[:-1])
            report.advance(size_before, "training")
        jax.block_until_ready(parts)
        report.advance(sizes[-1], "training")
    done = np.concatenate([rows for *_, rows in groups])
    order = np.argsort(done)
    metrics = jax.tree.map(
        lambda *values: np.concatenate(values, axis=1).swapaxes(0, 1)[order], *parts
    )
    loss_first = sorted(metrics, key=lambda name: not name.endswith("/loss"))
    sweep = Sweep(points, {name: metrics[name] for name in loss_first})
    warn_of_failures(sweep)
    return sweep


def _make_member(train: Train, eval_step: EvalStep, batch_size: int) -> Callable:
    """Returns what each member does: train, and measure all that is held out."""

    def masked_step(state, batch, mask):
        examples, counts = batch
        sums = eval_step(state, examples, mask & counts)
        return {"sums": sums, "examples": jnp.sum(mask & counts)}

    evaluate = make_evaluation(masked_step, batch_size)

    def member(settings, key, data, held_out):
        state = trained(train, settings, key, data)
        metrics = {}
        for split, examples in held_out.items():
            means: dict[str, Any] = evaluate(state, examples)
            for name, value in means["sums"].items():
                metrics[f"{split}/{name}"] = value / means["examples"]
        if not metrics:
            raise ValueError("eval_step gives no metrics")
        finite = is_finite(state)
        return jax.tree.map(lambda value: jnp.where(finite, value, jnp.nan), metrics)

    return member


def _all(data: PyTree) -> Bool[Array, " n"]:
    return jnp.ones(num_examples(data), bool)


def _checked_rows(folds: Folds, n: int) -> np.ndarray:
    """Returns the rows to train on: as many for each fold, and none that is missing."""
    train, validation = map(np.asarray, folds)
    for rows in (train, validation):
        # Row n stands for none, but only behind those of examples.
        wrong = (rows < 0) | (rows > n)
        wrong[:, :-1] |= (rows[:, :-1] == n) & (rows[:, 1:] != n)
        if wrong.any():
            row = rows[wrong][0]
            raise ValueError(f"folds hold row {row}, but data has {n} examples")
    for fold, parts in enumerate(zip(train, validation, strict=True)):
        for part, verb in zip(parts, ("trains on", "holds out"), strict=True):
            if (part == n).all():
                raise ValueError(f"fold {fold} {verb} no example")
        common = np.setdiff1d(np.intersect1d(*parts), [n])
        if len(common):
            raise ValueError(
                f"fold {fold} trains on row {common[0]}, which it holds out"
            )
    held_out = np.unique(validation[validation < n])
    used = np.union1d(held_out, train[train < n])
    # As k_folds makes them of fewer; a division of its own may leave examples out.
    if len(held_out) == used[-1] + 1 < n - len(train):
        raise ValueError(
            f"folds hold each of {len(held_out)} examples out, but data has {n}"
        )
    return train[:, (train < n).all(axis=0)]
