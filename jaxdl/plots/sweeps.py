"""What a sweep found, over the settings that it tried."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from jaxdl.plots.charts import COLOURS, tick_whole
from jaxdl.plots.images import WRONG

ROOM = 12  # ticks that a chart has room for


def sweep_figure(
    settings: Mapping[str, np.ndarray], metrics: Mapping[str, np.ndarray], name: str
) -> Figure:
    """Draws a metric of a sweep over each setting that varies: mean and spread.

    The first two arguments are those of a `jaxdl.sweep.Sweep`, which unpacks to them:
    `sweep_figure(*sweep, "validation/loss")`. Bars reach a standard deviation over the
    repeats to each side. Points that agree in all other settings are joined. Points
    with a repeat that is not finite are crosses at the lower edge. Where no setting
    varies, the metric is drawn over the repeats.

    Raises:
      ValueError: there is no such metric, or it is no single number.
    """
    if name not in metrics or metrics[name].ndim != 2:
        raise ValueError(f"name={name!r} is no single number of {', '.join(metrics)}")
    settings = {name: _drawable(column) for name, column in settings.items()}
    values, repeats = metrics[name], metrics[name].shape[1]
    varying = {k: v for k, v in settings.items() if len(np.unique(v)) > 1}
    if not varying:
        varying, values = {"repeat": np.arange(1, repeats + 1)}, values[0][:, None]
    figure = Figure(figsize=(5 * len(varying), 3.6), layout="constrained")
    charts = figure.subplots(1, len(varying), squeeze=False, sharey=True)[0]
    for axes, (setting, x) in zip(charts, varying.items(), strict=True):
        axes.set_prop_cycle(color=COLOURS)
        others = {k: v for k, v in varying.items() if k != setting}
        for label, rows in _lines(others, len(x)).items():
            line = "o-" if label or not others else "o"
            _draw_points(axes, x[rows], values[rows], fmt=line, label=label or None)
        positive = np.issubdtype(x.dtype, np.number) and x.min() > 0
        if positive and x.max() >= 20 * x.min():
            axes.set_xscale("log")
        if np.issubdtype(x.dtype, np.integer):
            _tick_values(axes, np.unique(x))
        failed = x[~np.isfinite(values).all(axis=1)]
        if len(failed):
            edge = axes.get_xaxis_transform()  # x of the data, y of the chart
            height = np.full(len(failed), 0.03)
            axes.plot(failed, height, "x", c=WRONG, transform=edge, label="not finite")
        axes.set(xlabel=setting)
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[1]:
            axes.legend()
    charts[0].set_ylabel(name)
    return figure


def _tick_values(axes: Axes, values: np.ndarray) -> None:
    """Puts ticks at the values of a whole number, or at some where there is no room."""
    log = axes.get_xscale() == "log"
    places = np.log(values) if log else values.astype(float)
    if np.ptp(places) <= ROOM * np.diff(places).min(initial=np.inf):
        axes.set_xticks(values, map(str, values))
        axes.xaxis.set_minor_locator(NullLocator())
    elif not log:
        tick_whole(axes)


def _lines(others: Mapping[str, np.ndarray], points: int) -> dict[str, list[int]]:
    """Returns the points to join, by what they agree in; all if none agree."""
    lines: dict[str, list[int]] = {}
    for point in range(points):
        label = ", ".join(f"{name}={_short(v[point])}" for name, v in others.items())
        lines.setdefault(label, []).append(point)
    alone = len(lines) == points
    return {"": list(range(points))} if alone else lines


def _drawable(column: np.ndarray) -> np.ndarray:
    """Words for values that are no numbers, nor words."""
    if column.dtype != object:
        return column
    return np.array([_short(value) for value in column])


def _short(value) -> str:
    if isinstance(value, np.floating):
        return f"{value:.4g}"
    return getattr(value, "__name__", str(value))


def _draw_points(axes, x: np.ndarray, values: np.ndarray, **style) -> None:
    """Draws means over the second axis, with bars of a standard deviation."""
    finite = np.isfinite(values).all(axis=1)
    rows = np.flatnonzero(finite)[np.argsort(x[finite], kind="stable")]
    mean = values[rows].mean(axis=1)
    std = values[rows].std(axis=1, ddof=1) if values.shape[1] > 1 else None
    axes.errorbar(x[rows], mean, std, markersize=4, capsize=3, **style)
