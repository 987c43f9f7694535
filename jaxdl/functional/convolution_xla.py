"""Convolution as XLA computes it."""

from typing import NamedTuple

from jax import lax

from jaxdl.functional.windows import Pads, Sizes


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
