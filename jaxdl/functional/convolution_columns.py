"""Convolution as one product of what blocks of the output's columns see."""

from math import prod

import jax.numpy as jnp
from jax import lax

from jaxdl.functional.convolution_xla import Sliding, output_sizes, pad_images

# Adding a number up takes about as long as so many multiplications inside of a product.
MULTIPLICATIONS = 64


def by_columns(images, weight, sliding: Sliding):
    """Cross-correlates images (N, *sizes, C) with a kernel (*sizes, I, O).

    A block of neighbouring columns sees little more than one of them does, and one
    matrix holds the kernel once for each column, with zeros between: fewer, larger
    products than place by place. Transposed, to the gradient for the images, they are
    added up along the last axis first and then along each of the others.
    """
    sizes = output_sizes(images, weight, sliding)
    block = _best_block(weight, sliding, sizes[-1])
    # Barriers, or XLA would compute all that a place sees at once, axes and all.
    found = _seen_by_blocks(
        lax.optimization_barrier(pad_images(images, sliding)),
        weight, sliding, sizes, block,
    )  # fmt: skip
    for axis in reversed(range(1, len(sizes))):
        found = _seen_along(
            lax.optimization_barrier(found), axis, weight, sliding, sizes
        )
    rows = lax.optimization_barrier(found).reshape(-1, found.shape[-1])
    output = rows @ _matrix(weight, sliding, block)
    columns = found.shape[-2] * block
    output = output.reshape(*found.shape[:-2], columns, weight.shape[-1])
    return lax.slice_in_dim(output, 0, sizes[-1], axis=len(sizes))


def _best_block(weight, sliding: Sliding, columns: int) -> int:
    """Returns how many columns to a block should take least time.

    Larger blocks have more zeros in their matrix, smaller ones overlap more.
    """

    def costs(block):
        blocks = -(-columns // block)
        each = block * weight.shape[-1] + MULTIPLICATIONS
        return blocks * _columns_seen(weight, sliding, block) * each

    return min(range(min(2, columns), columns + 1), key=costs)


def _seen_by_blocks(images, weight, sliding: Sliding, sizes, block: int):
    """Returns the columns that each block sees: (N, *sizes, blocks, columns · C)."""
    axis, channels = len(sizes), images.shape[-1]
    step, seen = block * sliding.stride[-1], _columns_seen(weight, sliding, block)
    blocks, parts = -(-sizes[-1] // block), -(-seen // step)
    # A whole number of steps, of which each block sees as many parts.
    steps = blocks - 1 + parts
    missing = [(0, 0)] * images.ndim
    missing[axis] = (0, max(0, steps * step - images.shape[axis]))
    whole = lax.slice_in_dim(jnp.pad(images, missing), 0, steps * step, axis=axis)
    whole = whole.reshape(*images.shape[:axis], steps, step * channels)
    each = [
        whole[..., part : part + blocks, : min(step, seen - part * step) * channels]
        for part in range(parts)
    ]
    return jnp.concatenate(each, -1)


def _seen_along(found, axis: int, weight, sliding: Sliding, sizes):
    """Appends what the kernel's other positions along an axis see to each place."""
    stride, dilation = sliding.stride[axis - 1], sliding.dilation[axis - 1]
    end = (sizes[axis - 1] - 1) * stride + 1
    starts = range(0, dilation * weight.shape[axis - 1], dilation)
    each = [lax.slice_in_dim(found, s, s + end, stride, axis) for s in starts]
    return jnp.concatenate(each, -1)


def _matrix(weight, sliding: Sliding, block: int):
    """Returns the kernel of every column of a block: (numbers seen, columns · O)."""
    axis, stride = len(sliding.stride) - 1, sliding.stride[-1]
    copies = []
    for column in range(block):
        pads = [(0, 0, 0)] * weight.ndim
        before, after = column * stride, (block - 1 - column) * stride
        pads[axis] = (before, after, sliding.dilation[-1] - 1)
        copies.append(lax.pad(weight, jnp.zeros((), weight.dtype), pads))
    matrix = jnp.stack(copies, -2)
    return matrix.reshape(prod(matrix.shape[:-2]), block * weight.shape[-1])


def _columns_seen(weight, sliding: Sliding, block: int) -> int:
    kernel = sliding.dilation[-1] * (weight.shape[-3] - 1) + 1
    return (block - 1) * sliding.stride[-1] + kernel
