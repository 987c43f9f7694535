"""Windows that slide over the spatial axes of channels-last arrays: sizes and checks.

Convolution and pooling share them. Both see each axis the same way: windows of
`kernel_size` values, `dilation` apart, start every `stride` values of the padded axis.
"""

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jax import lax

from jaxdl.functional.checks import check_floating

Sizes = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]

AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


@runtime_checkable
class HasWindow(Protocol):
    """Anything that slides a window: a `Window`, or a layer such as `Conv`."""

    @property
    def kernel_size(self) -> int | Sizes: ...
    @property
    def stride(self) -> int | Sizes: ...
    @property
    def padding(self) -> Any: ...
    @property
    def dilation(self) -> int | Sizes: ...


class Window(NamedTuple):
    """The window of a pooling layer or of a convolution."""

    kernel_size: int | Sizes
    stride: int | Sizes = 1
    padding: Any = 0
    dilation: int | Sizes = 1


def output_size(size: int | Sizes, layers: Sequence[HasWindow]) -> int | Sizes:
    """Returns the size that an axis, or each of several, has after `layers`.

    Each makes ⌊(size + 2 padding - dilation (kernel - 1) - 1) / stride⌋ + 1 of it.

    Raises ValueError where a window does not fit, with the layer's number.

    >>> output_size((28, 20), [Window(5), Window(2, stride=2)])
    (12, 8)
    """
    sizes = as_sizes("size", size, np.size(size))
    for number, layer in enumerate(layers):
        window = as_window(layer, len(sizes))
        sizes = tuple(
            count_windows(*along_axis)
            for along_axis in zip(sizes, *window, strict=True)
        )
        if min(sizes) < 1:
            raise ValueError(f"layer {number}, {layer}, leaves sizes {sizes} of {size}")
    return sizes if np.ndim(size) else sizes[0]


def count_windows(n: int, kernel: int, stride: int, pads: Any, dilation: int) -> int:
    """Returns how many windows lie within an axis of `n` values and its padding."""
    return (n + sum(pads) - dilation * (kernel - 1) - 1) // stride + 1


def receptive_field(layers: Sequence[HasWindow]) -> int | Sizes:
    """Returns how many inputs along each axis one output of `layers` depends on.

    A layer adds dilation (kernel - 1) steps, each as long as the product of the strides
    before it (Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional
    Neural Networks", Distill, 2019). An int where every layer has ints only.

    >>> receptive_field([Window(5), Window(2, stride=2), Window(5)])
    14
    """
    settings = [(f.kernel_size, f.stride, f.dilation) for f in layers]
    lengths = {np.size(v) for f in settings for v in f if np.ndim(v)}
    axes = max(lengths, default=1)
    fields, steps = (1,) * axes, (1,) * axes
    for layer in layers:
        kernel, stride, _, dilation = as_window(layer, axes)
        fields = tuple(
            f + step * d * (k - 1)
            for f, step, d, k in zip(fields, steps, dilation, kernel, strict=True)
        )
        steps = tuple(map(operator.mul, steps, stride))
    return fields if lengths else fields[0]


def as_window(layer: HasWindow, axes: int) -> tuple[Sizes, Sizes, Pads, Sizes]:
    """Returns a layer's kernel, stride, padding and dilation along each of `axes`."""
    kernel = as_sizes("kernel_size", layer.kernel_size, axes)
    stride = as_sizes("stride", layer.stride, axes)
    dilation = as_sizes("dilation", layer.dilation, axes)
    return kernel, stride, as_pads(layer.padding, kernel, stride, dilation), dilation


def as_sizes(name: str, value: Any, axes: int, minimum: int = 1) -> Sizes:
    """Returns an int once for each of `axes`, or as many ints as there are.

    Raises ValueError, under the argument's `name`, for anything else, and for an int
    below `minimum`.
    """
    many = {1: "or one in a tuple", 2: "or a pair of them", 3: "or three of them"}
    rule = (
        f"{name}={value!r} must be an integer of at least {minimum}, "
        f"{many.get(axes, f'or {axes} of them')}"
    )
    values = value if isinstance(value, tuple | list) else (value,) * axes
    try:
        sizes = tuple(map(operator.index, values))
    except TypeError:
        raise ValueError(rule) from None
    if len(sizes) != axes or min(sizes) < minimum:
        raise ValueError(rule)
    return sizes


def as_pads(padding: Any, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Pads:
    """Returns what `padding`, with PyTorch's meaning, adds before and after each axis.

    Raises ValueError for names other than "valid" and "same", and for "same" with a
    stride.
    """
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "same":
        if max(stride) > 1:
            raise ValueError(f'padding="same" needs stride=1, got stride={stride}')
        spans = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return tuple((span // 2, span - span // 2) for span in spans)
    if isinstance(padding, str):
        raise ValueError(
            f'padding={padding!r} must be "valid", "same", or how many zeros to add'
        )
    return tuple((p, p) for p in as_sizes("padding", padding, len(kernel), minimum=0))


def as_batch(input, axes: int):
    """Returns `input` with a batch axis, and whether that had to be added.

    Raises ValueError for other numbers of axes, and for integers.
    """
    if input.ndim not in (axes + 1, axes + 2):
        shape = ", ".join((*AXES[axes], "channels"))
        raise ValueError(
            f"input has shape {input.shape}; expected ({shape}) or (batch, {shape})"
        )
    check_floating(input=input)
    single = input.ndim == axes + 1
    return (input[None] if single else input), single


def shifts(padded, kernel: Sizes, stride: Sizes, dilation: Sizes, sizes: Sizes):
    """Returns what each position of the kernel sees, row by row, as arrays of `sizes`.

    `padded` is (batch, *axes, channels).
    """
    seen = []
    for position in np.ndindex(*kernel):
        start = [d * i for d, i in zip(dilation, position, strict=True)]
        stop = [
            first + (size - 1) * step + 1
            for first, size, step in zip(start, sizes, stride, strict=True)
        ]
        first, last = (0, *start, 0), (len(padded), *stop, padded.shape[-1])
        seen.append(lax.slice(padded, first, last, (1, *stride, 1)))
    return seen


class Pooling(NamedTuple):
    """How pooling slides: the window, the zeros on each side, and what sizes it leaves.

    All are along the spatial axes, and hashable, as `jax.custom_jvp` wants them.
    """

    kernel: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes
    sizes: Sizes

    def pads(self, sizes: Sizes) -> Pads:
        """Returns what to add to `sizes` so that every window is within."""
        ends = (
            (size - 1) * s + d * (k - 1) + 1 - p
            for k, s, p, d, size in zip(*self, strict=True)
        )
        return tuple(
            (p, max(0, end - n))
            for p, end, n in zip(self.padding, ends, sizes, strict=True)
        )


def pooling(
    sizes: Sizes, kernel_size, stride, padding, dilation=1, ceil_mode: bool = False
) -> Pooling:
    """Checks the settings of a pooling function against the `sizes` of its input.

    With `ceil_mode` a window may end beyond the padding, but not start there
    (aten/src/ATen/native/Pool.h, pooling_output_shape).

    Raises ValueError for windows that do not fit.
    """
    kernel = as_sizes("kernel_size", kernel_size, len(sizes))
    settings = (
        kernel,
        kernel if stride is None else as_sizes("stride", stride, len(sizes)),
        as_sizes("padding", padding, len(sizes), minimum=0),
        as_sizes("dilation", dilation, len(sizes)),
    )
    pooled = []
    for axis, n, k, s, p, d in zip(AXES[len(sizes)], sizes, *settings, strict=True):
        if p > k // 2:
            raise ValueError(f"padding={p} exceeds half of kernel_size={k} in {axis}")
        spare = n + 2 * p - d * (k - 1) - 1
        size = (-(-spare // s) if ceil_mode else spare // s) + 1
        if ceil_mode and (size - 1) * s >= n + p:
            size -= 1
        if size < 1:
            raise ValueError(
                f"kernel_size={k} (dilation={d}) exceeds input's padded {axis} "
                f"{n + 2 * p}"
            )
        starts = range(-p, min(0, (size - 1) * s - p + 1), s)
        if any(start % d >= n for start in starts):
            raise ValueError(
                f"dilation={d} with padding={p} lets a window see nothing of {axis} {n}"
            )
        pooled.append(size)
    return Pooling(*settings, tuple(pooled))


def along(axis: int, sizes: Sizes, window: Pooling) -> Pooling:
    """Returns the part of `window` that pools one axis of an input of `sizes`."""
    only = lambda rest, values: (*rest[:axis], values[axis], *rest[axis + 1 :])
    ones, zeros = (1,) * len(sizes), (0,) * len(sizes)
    return Pooling(*map(only, (ones, ones, zeros, ones, sizes), window))


def adaptive_windows(sizes: Sizes, output_size) -> list[list[slice]]:
    """Returns the windows that part each axis into as many as `output_size` says.

    Window i of n goes from ⌊i size / n⌋ to ⌈(i + 1) size / n⌉, as in
    aten/src/ATen/native/AdaptivePooling.h; None keeps the axis.

    Raises ValueError where `output_size` is none, and for an axis without values.
    """
    if 0 in sizes:
        raise ValueError(
            f"input has {AXES[len(sizes)][sizes.index(0)]} 0, not 1 or more"
        )
    given = output_size if isinstance(output_size, tuple | list) else (output_size,) * 2
    if len(given) == len(sizes):
        given = [
            n if wanted is None else wanted
            for n, wanted in zip(sizes, given, strict=True)
        ]
    parts = as_sizes("output_size", tuple(given), len(sizes))
    return [
        [slice(i * size // n, -(-(i + 1) * size // n)) for i in range(n)]
        for size, n in zip(sizes, parts, strict=True)
    ]
