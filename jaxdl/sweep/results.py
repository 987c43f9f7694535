"""What a sweep has measured, as arrays and as a table."""

import warnings
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool

from jaxdl.metrics import goal_of
from jaxdl.sweep.settings import value_at

SHOWN = 5
"""how many points a warning names"""


class Sweep(NamedTuple):
    """Metrics of all points and repeats of a sweep; printed, it is a table.

    A point is one choice of settings; its repeats are the folds or seeds it was tried
    with. All metrics of a member whose parameters are not finite are NaN.
    """

    settings: dict[str, np.ndarray]
    """name: a value for each point"""
    metrics: dict[str, np.ndarray]
    """name such as "validation/loss": (points, repeats, ...)"""

    @property
    def mean(self) -> dict[str, np.ndarray]:
        """Each metric's mean over the repeats."""
        with np.errstate(invalid="ignore"):  # infinity less infinity is NaN
            return {name: values.mean(axis=1) for name, values in self.metrics.items()}

    @property
    def std(self) -> dict[str, np.ndarray]:
        """Its standard deviation over them, by n - 1; NaN where there is only one."""
        return {name: _std(values) for name, values in self.metrics.items()}

    @property
    def finite(self) -> Bool[np.ndarray, "points repeats"]:
        """Tells for which members all metrics are finite."""
        each = [
            np.isfinite(values).reshape(*values.shape[:2], -1).all(axis=2)
            for values in self.metrics.values()
        ]
        return np.all(np.stack(each), axis=0)

    def best(
        self, metric: str, goal: Literal["min", "max"] | None = None
    ) -> dict[str, Any]:
        """Returns the settings with the smallest or largest mean of a metric.

        Without a `goal` a loss is best where it is smallest; other metrics need one.
        A point that is not finite in all its repeats is never the best. Of equal points
        the first is.

        Raises:
          ValueError: there is no such goal, or no such metric that is a single number.
          FloatingPointError: no point is finite.
        """
        goal = goal_of(metric, goal)
        if metric not in _columns(self):
            names = ", ".join(_columns(self))
            raise ValueError(f"metric={metric!r} is not among the metrics: {names}")
        usable = np.all(self.finite, axis=1)
        if not usable.any():
            raise FloatingPointError(
                f"none of the {usable.size} points is finite: try a smaller learning"
                " rate"
            )
        losses = self.mean[metric] * (1 if goal == "min" else -1)
        best = np.argmin(np.where(usable, losses, np.inf))
        settings = self.settings.items()
        return {name: value_at(values, int(best)) for name, values in settings}

    def __str__(self) -> str:
        rows = [[*self.settings, *_columns(self)]]
        rows += [_cells(self, point) for point in range(len(self.finite))]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        return "\n".join(lines)


def warn_of_failures(sweep: Sweep) -> None:
    """Warns if members are not finite, and tells which points they belong to."""
    finite = sweep.finite
    failed = np.flatnonzero(~finite.all(axis=1))
    if len(failed):
        points = [
            ", ".join(f"{name}={_short(v[i])}" for name, v in sweep.settings.items())
            or "the only one"
            for i in failed[:SHOWN]
        ]
        more = ["..."] if len(failed) > SHOWN else []
        warnings.warn(
            f"{(~finite).sum()} of {finite.size} members have parameters or metrics"
            " that are not finite, and their points are never the best: "
            + "; ".join([*points, *more]),
            RuntimeWarning,
            stacklevel=4,  # the caller of search or cross_validate
        )


def _std(values: np.ndarray) -> np.ndarray:
    if values.shape[1] == 1:
        return np.full_like(values[:, 0], np.nan)
    with np.errstate(invalid="ignore"):
        return values.std(axis=1, ddof=1)


def _columns(sweep: Sweep) -> list[str]:
    """The metrics that are single numbers."""
    return [name for name, values in sweep.metrics.items() if values.ndim == 2]


def _cells(sweep: Sweep, point: int) -> list[str]:
    names, failed = _columns(sweep), ~sweep.finite[point]
    settings = [_short(values[point]) for values in sweep.settings.values()]
    if failed.any():
        told = f"not finite in {failed.sum()} of {len(failed)}"
        return settings + [told, *[""] * len(names)][: len(names)]
    return settings + [
        f"{sweep.mean[name][point]:.4g}"
        + (f" ± {sweep.std[name][point]:.2g}" if len(failed) > 1 else "")
        for name in names
    ]


def _short(value: Any) -> str:
    if isinstance(value, np.floating):
        return f"{value:.4g}"
    return getattr(value, "__name__", str(value))
