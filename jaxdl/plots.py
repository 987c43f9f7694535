"""Figures of runs and of what models see.

Each function returns a matplotlib `Figure` of its own, which no window or global state
knows of: save it with `figure.savefig(path)`, or show it in a notebook by naming it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Int, Num, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

RIGHT, WRONG = "#1a7f37", "#cf222e"
FEW = 8  # arrays that have room for what explains their colours


def to_array(figure: Figure) -> UInt8[np.ndarray, "height width 3"]:
    """Draws a figure into an array of pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def curves(history: Mapping[str, np.ndarray]) -> Figure:
    """Draws each metric of `history` over the epochs, its splits in one chart.

    `history` maps names such as "train/loss" to a value an epoch, as `fit` returns it;
    metrics that are no single number are left out.
    """
    history = {name: values for name, values in history.items() if values.ndim == 1}
    tags = list(dict.fromkeys(name.split("/", 1)[1] for name in history))
    figure = Figure(figsize=(5 * len(tags), 3.6), layout="constrained")
    for axes, tag in zip(
        figure.subplots(1, len(tags), squeeze=False)[0], tags, strict=True
    ):
        for name, values in history.items():
            split, its_tag = name.split("/", 1)
            if its_tag == tag:
                marker = "o" if len(values) <= 20 else None
                epochs = np.arange(1, len(values) + 1)
                axes.plot(epochs, values, label=split, marker=marker, markersize=3)
        axes.set(xlabel="epoch", ylabel=tag)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        drawn = np.concatenate([line.get_ydata() for line in axes.lines])
        if drawn.min() > 0 and drawn.max() > 1000 * drawn.min():
            axes.set_yscale("log")
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def line_chart(lines: Mapping[str, Sequence[Any]], **settings: Any) -> Figure:
    """Draws lines in one chart: see `draw_lines`.

    >>> steps = np.arange(4)
    >>> figure = line_chart({"squares": (steps, steps**2, "o-")}, xlabel="step")
    """
    figure = Figure(figsize=(5.5, 3.8), layout="constrained")
    draw_lines(figure.subplots(), lines, **settings)
    return figure


def draw_lines(axes: Axes, lines: Mapping[str, Sequence[Any]], **settings: Any) -> None:
    """Draws each of the named (x, y) or (x, y, style), under a legend.

    A style is matplotlib's, such as "k--" or "o". `settings` are those of `Axes.set`:
    `xlabel`, `yscale`, `title` and so on.
    """
    for name, (x, y, *style) in lines.items():
        axes.plot(np.asarray(x), np.asarray(y), *style, label=name, markersize=3.5)
    axes.set(**settings)
    axes.grid(alpha=0.3)
    axes.legend()


def show_images(
    images: Num[ArrayLike, "n height width channels"],
    labels: Int[ArrayLike, " n"],
    predictions: Int[ArrayLike, " shown"] | None = None,
    class_names: Sequence[str] | None = None,
    columns: int = 8,
) -> Figure:
    """Shows images under the names of their classes, or their numbers.

    Images are grey or RGB, uint8 or within [0, 1]. With predictions for the first of
    them only those are shown, under the predicted name: green where it is the true one,
    else red with the true one below.

    Raises:
      ValueError: there is nothing to show, or there are more predictions than images.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    shown = labels if predictions is None else np.asarray(predictions)
    if not 0 < len(shown) <= len(images) or len(images) != len(labels):
        raise ValueError(
            f"{len(images)} images have {len(labels)} labels and {len(shown)} to show"
        )
    name_of = str if class_names is None else class_names.__getitem__
    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(1.4 * columns, 1.7 * rows), layout="constrained")
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in cells:
        axes.axis("off")
    white = 255 if images.dtype == np.uint8 else 1
    for axes, image, label, name in zip(cells, images, labels, shown, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=white)
        title = name_of(name)
        colour = "black" if predictions is None else RIGHT if name == label else WRONG
        if name != label:
            title += f"\n(is {name_of(label)})"
        axes.set_title(title, fontsize=8, color=colour)
    return figure


def show_arrays(
    arrays: Mapping[str, Num[ArrayLike, "..."]],
    columns: int = 8,
    *,
    numbers: bool = False,
) -> Figure:
    """Shows arrays of two axes under their names, each in its own range of colours.

    With `numbers` each is written; without, the colours of up to 8 arrays are explained
    beside them. What is not finite has no colour.

    Raises:
      ValueError: there is nothing to show, or an array has not two axes.
    """
    shown = {name: np.asarray(array) for name, array in arrays.items()}
    if not shown or any(array.ndim != 2 for array in shown.values()):
        raise ValueError(f"arrays have shapes {[a.shape for a in shown.values()]}")
    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    few = len(shown) <= FEW
    side = 2.4 if numbers or few else 1.4
    size = (side * columns, (side + 0.3) * rows)
    figure = Figure(figsize=size, layout="constrained")
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in cells:
        axes.axis("off")
    for axes, (name, array) in zip(cells, shown.items(), strict=False):
        finite = np.ma.masked_invalid(array.astype(float))
        image = axes.imshow(finite, cmap="viridis")
        if few and not numbers:
            figure.colorbar(image, ax=axes, shrink=0.6)
        axes.set_title(name, fontsize=8)
        for place in np.ndindex(array.shape if numbers else 0):
            dark = np.isfinite(array[place]) and image.norm(array[place]) < 0.5
            colour = "white" if dark else "black"
            axes.text(
                *place[::-1], f"{array[place]:.3g}",
                ha="center", va="center", fontsize=7, color=colour,
            )  # fmt: skip
    return figure


def show_confusion(
    counts: Int[ArrayLike, "classes classes"], class_names: Sequence[str] | None = None
) -> Figure:
    """Shows a confusion matrix: each row is a true class, as shares of its examples.

    `counts` is that of `jaxdl.metrics.confusion_matrix`. Shares that would be written
    as 0.00 are left out, and so are all where there are more than 20 classes.
    """
    counts = np.asarray(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = list(map(str, range(len(counts)) if class_names is None else class_names))
    side = 1.6 + 0.42 * len(counts)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class")
    axes.set_xticks(range(len(counts)), names, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(counts)), names, fontsize=8)
    axes.set(xlabel="predicted class", ylabel="true class")
    if len(counts) <= 20:
        for row, column in np.argwhere(shares >= 0.005):
            share = shares[row, column]
            colour = "white" if share > 0.5 else "black"
            axes.text(
                column, row, f"{share:.2f}".removeprefix("0"),
                ha="center", va="center", fontsize=7, color=colour,
            )  # fmt: skip
    return figure


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
    values, repeats = metrics[name], metrics[name].shape[1]
    varying = {k: v for k, v in settings.items() if len(np.unique(v)) > 1}
    if not varying:
        varying, values = {"repeat": np.arange(1, repeats + 1)}, values[0][:, None]
    figure = Figure(figsize=(5 * len(varying), 3.6), layout="constrained")
    charts = figure.subplots(1, len(varying), squeeze=False, sharey=True)[0]
    for axes, (setting, x) in zip(charts, varying.items(), strict=True):
        others = {k: v for k, v in varying.items() if k != setting}
        for label, rows in _lines(others, len(x)).items():
            line = "o-" if label or not others else "o"
            _draw_points(axes, x[rows], values[rows], fmt=line, label=label or None)
        positive = np.issubdtype(x.dtype, np.number) and x.min() > 0
        if positive and x.max() >= 20 * x.min():
            axes.set_xscale("log")
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


def _lines(others: Mapping[str, np.ndarray], points: int) -> dict[str, list[int]]:
    """Returns the points to join, by what they agree in; all if none agree."""
    lines: dict[str, list[int]] = {}
    for point in range(points):
        label = ", ".join(f"{name}={_short(v[point])}" for name, v in others.items())
        lines.setdefault(label, []).append(point)
    alone = len(lines) == points
    return {"": list(range(points))} if alone else lines


def _short(value) -> str:
    return f"{value:.4g}" if isinstance(value, np.floating) else str(value)


def _draw_points(axes, x: np.ndarray, values: np.ndarray, **style) -> None:
    """Draws means over the second axis, with bars of a standard deviation."""
    finite = np.isfinite(values).all(axis=1)
    rows = np.flatnonzero(finite)[np.argsort(x[finite], kind="stable")]
    mean = values[rows].mean(axis=1)
    std = values[rows].std(axis=1, ddof=1) if values.shape[1] > 1 else None
    axes.errorbar(x[rows], mean, std, markersize=4, capsize=3, **style)
