"""Images, arrays and confusion matrices as pictures."""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Int, Num
from matplotlib.figure import Figure

RIGHT, WRONG = "#1a7f37", "#cf222e"
ROOM = 19  # letters of a title over an image
FEW = 8  # arrays that have room for what explains their colours


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
    else red with the true one below. Long names are wrapped, and cut off.

    Raises:
      ValueError: there is nothing to show, there are more predictions than images, what
        is given is no images, or a class to show has no name.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    shown = labels if predictions is None else np.asarray(predictions)
    if not 0 < len(shown) <= len(images) or len(images) != len(labels):
        raise ValueError(
            f"{len(images)} images have {len(labels)} labels and {len(shown)} to show"
        )
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"images have shape {images.shape}: expected (n, height, width, 1 or 3);"
            " `jaxdl.data.to_nhwc` moves channels last"
        )
    if class_names is not None:
        for label in (*labels[: len(shown)].tolist(), *shown.tolist()):
            if not 0 <= label < len(class_names):
                raise ValueError(
                    f"class {label} has no name: class_names={class_names}"
                )
    name_of = str if class_names is None else class_names.__getitem__
    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    # In inches: matplotlib's own layout of so many axes takes longer than drawing.
    side, titles, heading = 1.35, 0.4, 0.3 * (predictions is not None)
    height = rows * (side + titles) + heading
    figure = Figure(figsize=(1.4 * columns, height))
    top = 1 - (titles + heading) / height
    spaces = {"left": 0.01, "right": 0.99, "wspace": 0.03, "hspace": titles / side}
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    figure.subplots_adjust(bottom=0, top=top, **spaces)
    for axes in cells:
        axes.axis("off")
    white = 255 if images.dtype == np.uint8 else 1
    for axes, image, label, name in zip(cells, images, labels, shown, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=white)
        title = _fitted(name_of(name), 1 if name != label else 2)
        colour = "black" if predictions is None else RIGHT if name == label else WRONG
        if name != label:
            title += "\n" + _fitted(f"(is {name_of(label)})", 1)
        axes.set_title(title, fontsize=8, color=colour, pad=3, parse_math=False)
    if predictions is not None:
        right = int((shown == labels[: len(shown)]).sum())
        text = f"{right} of {len(shown)} named right"
        figure.suptitle(text, y=1 - 0.07 / height, fontsize=10)
    return figure


def _fitted(title: str, lines: int) -> str:
    """Wraps a title to the width of an image, and cuts it off after some lines."""
    whole = wrap(title, ROOM)
    if len(whole) > lines:
        whole[lines - 1 :] = [" ".join(whole[lines - 1 :])[: ROOM - 1] + "…"]
    return "\n".join(whole)


def show_arrays(
    arrays: Mapping[str, Num[ArrayLike, "..."]],
    columns: int = 8,
    *,
    numbers: bool = False,
    title: str = "",
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
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def show_confusion(
    counts: Int[ArrayLike, "classes classes"], class_names: Sequence[str] | None = None
) -> Figure:
    """Shows a confusion matrix: each row is a true class, as shares of its examples.

    `counts` is that of `jaxdl.metrics.confusion_matrix`. Shares that would be written
    as 0.00 are left out, and so are all where there are more than 20 classes.

    Raises:
      ValueError: there is not one name for each class.
    """
    counts = np.asarray(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = list(map(str, range(len(counts)) if class_names is None else class_names))
    if len(names) != len(counts):
        raise ValueError(f"{len(names)} class_names for {len(counts)} classes")
    side = 1.6 + 0.42 * len(counts)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    figure.colorbar(image, label="share of the true class")
    words: dict[str, Any] = {"fontsize": 8, "parse_math": False}  # a name may hold a $
    axes.set_xticks(range(len(counts)), names, rotation=45, ha="right", **words)
    axes.set_yticks(range(len(counts)), names, **words)
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
