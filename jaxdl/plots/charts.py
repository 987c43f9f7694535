"""Curves of runs, and lines in charts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

# Okabe and Ito's, which colour-blind people tell apart, without their yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "black")
STYLES = ("-", "--", ":", "-.")
ROOM = 4  # lines whose legend finds a place among them
COLUMNS = 3  # charts beside each other, at most
LEGEND = 1.7  # width of a legend beside a chart, in inches


def curves(history: Mapping[str, np.ndarray]) -> Figure:
    """Draws each metric of `history` over the epochs, its splits in one chart.

    `history` maps names such as "train/loss" to a value an epoch, as `fit` returns it;
    metrics that are no single number are left out. Of several models, named before the
    split as in "decay train/loss", each has a colour and each split a style.

    Raises:
      ValueError: no metric is a single number, one has no epochs, or a name no split.
    """
    given = ", ".join(history) or "nothing"
    history = {name: np.asarray(values) for name, values in history.items()}
    history = {name: values for name, values in history.items() if values.ndim == 1}
    if not history:
        raise ValueError(f"history holds {given}: no metric of one number an epoch")
    for name, values in history.items():
        if "/" not in name:
            raise ValueError(f"history names {name!r} without a split: 'train/{name}'")
        if not len(values):
            raise ValueError(f"history has no epochs of {name!r}")
    names = {name: tuple(name.split("/", 1)) for name in history}
    splits, tags = (
        list(dict.fromkeys(part)) for part in zip(*names.values(), strict=True)
    )
    looks, several = _looks(splits)
    columns = min(COLUMNS, len(tags))
    rows = -(-len(tags) // columns)
    figure = Figure(figsize=(5 * columns, 3.6 * rows), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in places[len(tags) :]:
        axes.remove()
    charts = dict(zip(tags, places, strict=False))
    for name, values in history.items():
        split, tag = names[name]
        look = looks[split] | {"marker": "o" if len(values) <= 20 else None}
        epochs = np.arange(1, len(values) + 1)
        charts[tag].plot(epochs, values, label=split, markersize=3, **look)
    for tag, axes in charts.items():
        axes.set(xlabel="epoch", ylabel=tag)
        drawn = np.concatenate([line.get_ydata() for line in axes.lines])
        if drawn.min() > 0 and drawn.max() > 1000 * drawn.min():
            axes.set_yscale("log")
        tidy(axes)
        if not several:
            axes.legend()
    if several:
        figure.set_figwidth(figure.get_figwidth() + LEGEND)
        fullest = max(charts.values(), key=lambda axes: len(axes.lines))
        figure.legend(handles=[*fullest.lines], loc="outside right upper")
    return figure


def _looks(splits: Sequence[str]) -> tuple[dict[str, dict[str, str]], bool]:
    """Returns how each split is drawn, and whether there are several models."""
    pairs = [split.rpartition(" ")[::2] for split in splits]
    models, parts = (list(dict.fromkeys(names)) for names in zip(*pairs, strict=True))
    several, looks = len(models) > 1, {}
    for split, (model, part) in zip(splits, pairs, strict=True):
        colour = models.index(model) if several else parts.index(part)
        style = parts.index(part) if several else 0
        looks[split] = {
            "color": COLOURS[colour % len(COLOURS)],
            "linestyle": STYLES[style % len(STYLES)],
        }
    return looks, several


def line_chart(lines: Mapping[str, Sequence[Any]], **settings: Any) -> Figure:
    """Draws lines in one chart: see `draw_lines`.

    >>> steps = np.arange(4)
    >>> figure = line_chart({"squares": (steps, steps**2, "o-")}, xlabel="step")
    """
    figure = Figure(figsize=(5.5, 3.8), layout="constrained")
    if len(lines) > ROOM:
        figure.set_figwidth(5.5 + LEGEND)
    draw_lines(figure.subplots(), lines, **settings)
    return figure


def draw_lines(axes: Axes, lines: Mapping[str, Sequence[Any]], **settings: Any) -> None:
    """Draws each of the named (x, y) or (x, y, style), and a legend.

    A style is matplotlib's, such as "k--" or "o". `settings` are those of `Axes.set`:
    `xlabel`, `yscale`, `title` and so on. The legend stands beside the chart where
    there are more than four lines.
    """
    axes.set_prop_cycle(color=COLOURS)
    for name, (x, y, *style) in lines.items():
        axes.plot(np.asarray(x), np.asarray(y), *style, label=name, markersize=3.5)
    axes.set(**settings)
    tidy(axes)
    beside = {"loc": "upper left", "bbox_to_anchor": (1.02, 1), "borderaxespad": 0}
    axes.legend(**beside if len(lines) > ROOM else {})


def tidy(axes: Axes) -> None:
    """Draws a grid, with ticks at whole numbers if all x are, and some on log axes."""
    axes.grid(alpha=0.3)
    x = [np.asarray(line.get_xdata()) for line in axes.lines]
    if axes.get_xscale() == "linear" and all(map(_are_whole, x)):
        tick_whole(axes)
    for axis, (low, high) in (
        (axes.xaxis, axes.get_xlim()),
        (axes.yaxis, axes.get_ylim()),
    ):
        if axis.get_scale() == "log" and high < 100 * low:  # powers of ten are too few
            subs = range(1, 10) if high < 10 * low else (1, 2, 5)
            axis.set_major_locator(LogLocator(subs=subs))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter("{x:g}")


def tick_whole(axes: Axes) -> None:
    """Puts ticks at whole numbers of x."""
    settings: dict[str, Any] = {"steps": [1, 2, 2.5, 5, 10], "integer": True}
    # Of one epoch there is one: more would be at parts of it.
    axes.xaxis.set_major_locator(MaxNLocator("auto", min_n_ticks=1, **settings))


def _are_whole(numbers: np.ndarray) -> bool:
    is_number = np.issubdtype(numbers.dtype, np.number)
    return is_number and bool((numbers == np.rint(numbers)).all())
