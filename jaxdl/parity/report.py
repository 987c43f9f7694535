"""What a comparison found, as rows and in words."""

from itertools import groupby
from typing import NamedTuple

import numpy as np

Key = tuple[str, str]  # a stage, such as "gradients", and what is compared in it
Values = dict[Key, np.ndarray]

OUTPUT = "(output)"  # of the whole module
# Stages in which both sides have layouts of their own: channels last, channels first.
LAYERS = ("evaluation", "training", "input gradients")


class Row(NamedTuple):
    """One comparison: max|flax - torch| over the size of torch's values.

    Where there is nothing to subtract, the difference is infinite and `note` says why.
    """

    stage: str
    name: str
    difference: float
    limit: float
    note: str = ""

    @property
    def agrees(self) -> bool:
        return self.difference <= self.limit


class Cause(NamedTuple):
    """A known trap, and where: with this change of the PyTorch side both agree."""

    trap: str
    where: str
    explanation: str

    def __str__(self) -> str:
        return f"{self.trap} ({self.where}): {self.explanation}"


class Report(NamedTuple):
    """All that was compared, in the order of computation, and why it differs.

    `causes` explain the first differences, one after another; `explained` tells that
    with all of them undone nothing differs. `misfit` says why weights cannot be
    carried over at all; there are no rows then.
    """

    title: str
    rows: tuple[Row, ...]
    causes: tuple[Cause, ...] = ()
    explained: bool = True
    misfit: str = ""

    @property
    def agrees(self) -> bool:
        return not self.misfit and self.first is None

    @property
    def first(self) -> Row | None:
        """The first row that differs."""
        return next((row for row in self.rows if not row.agrees), None)

    def check(self) -> None:
        """Raises AssertionError, with the whole report, unless both sides agree."""
        if not self.agrees:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        first = self.first
        verdict = "agree" if self.agrees else "differ"
        where = f", first in {first.stage}: {first.name}" if first else ""
        lines = [f"{self.title} {verdict}{where}"]
        lines += [f"  {line}" for line in self.misfit.splitlines()]
        for stage, rows in groupby(self.rows, lambda row: row.stage):
            lines += _stage(
                stage, list(rows), first is not None and first.stage == stage
            )
        lines += [f"cause: {cause}" for cause in self.causes]
        if not self.agrees and not self.explained:
            lines.append(
                "cause: another besides" if self.causes else "cause: no trap known here"
            )
        return "\n".join(lines)


def rows_of(
    ours: Values, theirs: Values, tolerance: float, channels_first: bool | None = None
) -> tuple[Row, ...]:
    """Compares what both sides have, in the order of PyTorch's side.

    What a layer gives may have its channels first or last, whichever fits better; with
    `channels_first=False` as in Flax, unless only the other shape fits.

    Modules of one side alone, and what optimisers keep, are passed over. An output, a
    gradient or a statistic of one side alone is infinitely far off.
    """
    sizes: dict[Key, float] = {}
    for key, array in theirs.items():
        kind = _kind(*key)
        sizes[kind] = max(sizes.get(kind, 0.0), float(np.abs(array).max(initial=0)))
    rows = []
    outputs = [key for key in ours if key[1].startswith(OUTPUT)]
    for key in dict.fromkeys([*theirs, *outputs]):
        stage, name = key
        note = ""
        if key in ours and key in theirs:
            readings = [ours[key]]
            as_it_is = channels_first is False and ours[key].shape == theirs[key].shape
            if stage in LAYERS and not as_it_is:
                readings = layouts(ours[key])
            note = _misfit(stage, readings, theirs[key])
            small = 0.0 if stage in LAYERS else 1e-3 * sizes[_kind(*key)]
            difference = _difference(readings, theirs[key], small)
        elif name.startswith(OUTPUT) or stage.endswith(("gradients", "statistics")):
            difference = np.inf
            note = f"in {'Flax' if key in ours else 'PyTorch'} alone"
        else:
            continue
        rows.append(Row(stage, name, difference, _limit(stage, tolerance), note))
    return tuple(rows)


def layouts(array: np.ndarray) -> list[np.ndarray]:
    """Returns an array of channels last as it is and, if a map, with channels first."""
    return [array, np.moveaxis(array, -1, 1)] if array.ndim > 2 else [array]


def _kind(stage: str, name: str) -> Key:
    """Which values have a common size: "fc.bias exp_avg" is one of "exp_avg"."""
    return stage, name.partition(" ")[2]


def _difference(readings: list[np.ndarray], theirs: np.ndarray, small: float) -> float:
    """max|ours - theirs| / max|theirs|, where ours is read as it fits best.

    `small` is added below: what is 0 but for rounding, as the gradient of a bias before
    a batch norm, differs by as much as it is.
    """
    scale = np.abs(theirs).max(initial=0) + small
    differences = [
        np.abs(reading - theirs).max(initial=0) / (scale or 1)
        for reading in readings
        if reading.shape == theirs.shape
    ]
    finite = [float(d) for d in differences if not np.isnan(d)]
    return min(finite, default=np.inf)


def _misfit(stage: str, readings: list[np.ndarray], theirs: np.ndarray) -> str:
    """Says how shapes differ, or nothing where they fit in one of the layouts."""
    if any(reading.shape == theirs.shape for reading in readings):
        return ""
    ours = readings[0]
    note = f"shape {ours.shape} in Flax, {theirs.shape} in PyTorch"
    if stage in LAYERS and sorted(ours.shape) == sorted(theirs.shape):
        note += (
            ", the same sizes in another order: channels_first says where PyTorch has"
            " the channels"
        )
    return note


def _limit(stage: str, tolerance: float) -> float:
    """Steps amplify rounding: Adam divides by the root of a small number."""
    kind, _, number = stage.partition(" ")
    return 10 * int(number) * tolerance if kind == "step" else tolerance


def _stage(stage: str, rows: list[Row], in_full: bool) -> list[str]:
    """One line, and with `in_full` the first rows that differ."""
    bad = [row for row in rows if not row.agrees]
    count = f"{len(rows) - len(bad)} of {len(rows)} agree"
    line = f"  {stage:<16} {count:<18}"
    compared = [row.difference for row in rows if not row.note]
    if compared:
        line += f" largest difference {max(compared):.1e}"
    lines = [line.rstrip()]
    if in_full:
        width = max(len(row.name) for row in bad)
        lines += [
            f"    {row.name:<{width}}  {row.note or format(row.difference, '.1e')}"
            for row in bad[:8]
        ]
        lines += [f"    and {len(bad) - 8} more"] if len(bad) > 8 else []
    return lines
