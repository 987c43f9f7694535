"""Convolution as XLA computes it."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxdl.functional.windows import Pads, Sizes, count_windows


class Sliding(NamedTuple):
    """How a kernel slides over images along their spatial axes."""

    stride: Sizes
    pads: Pads
    dilation: Sizes
    groups: int


def convolve(
    images, weight, sliding: Sliding, layout: tuple[str, str, str] | None = None
):
    """Cross-correlates images (N, *sizes, C) with a kernel (*sizes, I, O).

    `layout` names other orders of axes as `lax.conv_general_dilated` does, with "1",
    "2" and "3" for the spatial ones.
    """
    axes = "123"[: len(sliding.stride)]
    return lax.conv_general_dilated(
        images,
        weight,
        window_strides=sliding.stride,
        padding=sliding.pads,
        rhs_dilation=sliding.dilation,
        dimension_numbers=layout or (f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        feature_group_count=sliding.groups,
    )


def pad_images(images, sliding: Sliding):
    """Returns images (N, *sizes, C) with the zeros around them that `sliding` says."""
    return jnp.pad(images, ((0, 0), *sliding.pads, (0, 0)))


def output_sizes(images, weight, sliding: Sliding) -> Sizes:
    """Returns how many places the kernel has along each axis of the padded images."""
    axes = zip(images.shape[1:-1], weight.shape, *sliding[:3], strict=False)
    return tuple(count_windows(*along_axis) for along_axis in axes)
