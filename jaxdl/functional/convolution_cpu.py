"""Convolution and its gradients as XLA's CPU backend computes them fast.

XLA's CPU backend hands plain convolutions, images (N, *sizes, C) and kernels
(*sizes, I, O), to a fast library. The gradients that autodiff writes have their axes
permuted; XLA rewrites some into the plain form, but none inside of loops, where they
take 10 to 250 times as long. And some shapes are faster as matrix products or as sums.
docs/performance.md says what was measured.
"""

from functools import partial
from itertools import product
from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from jaxdl.functional.convolution_columns import by_columns
from jaxdl.functional.convolution_xla import (
    Sliding,
    convolve,
    output_sizes,
    pad_images,
)
from jaxdl.functional.products import matmul_of_weight, sum_of_tangents
from jaxdl.functional.windows import shifts

# Up to so many input channels products of blocks of columns beat XLA's gradient for the
# input; with more of them too, where the images have so many times the output's places,
# all of which XLA computes.
FEW_CHANNELS, WASTE = 12, 2
# Up to here, in pairs of a pixel and an output's place, one matrix product beats XLA's
# convolution where the kernel is larger than the image.
FEW_PAIRS = 1024
# Groups are joined until they have as many channels: XLA's own grouping is slow.
GROUP_CHANNELS = 32


# Compiled, for those who call it outside of jit: dozens of small operations otherwise.
@partial(jax.jit, static_argnums=2, inline=True)
def convolve_cpu(images, weight, sliding: Sliding):
    """Cross-correlates images (N, *sizes, C) with a kernel (*sizes, I, O)."""
    if sliding.groups == 1:
        return _convolve(images, weight, sliding)
    if weight.shape[-2] == 1:
        return _depthwise(images, weight, sliding)
    return _grouped(images, weight, sliding)


def _grouped(images, weight, sliding: Sliding):
    """Convolves as many groups at once as fill GROUP_CHANNELS, with zeros between."""
    group_channels = weight.shape[-2]
    joined = max(
        n
        for n in range(1, sliding.groups + 1)
        if not sliding.groups % n and (n == 1 or n * group_channels <= GROUP_CHANNELS)
    )
    sections = sliding.groups // joined
    outputs = [
        _convolve(x, _block_diagonal(w, joined), sliding._replace(groups=1))
        for x, w in zip(
            jnp.split(images, sections, -1),
            jnp.split(weight, sections, -1),
            strict=True,
        )
    ]
    return jnp.concatenate(outputs, -1)


def _block_diagonal(weight, groups: int):
    """Returns the kernel without groups that computes what `weight` does with them."""
    *kernel, inputs, outputs = weight.shape
    blocks = weight.reshape(*kernel, inputs, groups, outputs // groups)
    diagonal = jnp.eye(groups, dtype=weight.dtype)[:, None, :, None]
    blocks = jnp.expand_dims(blocks, -4) * diagonal
    return blocks.reshape(*kernel, groups * inputs, outputs)


# Custom JVPs, not custom VJPs: reverse mode transposes them, and forward mode remains.
@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _convolve(images, weight, sliding: Sliding):
    if _is_product(weight):
        return _product(images, weight, sliding)
    axes, inputs = len(sliding.stride), weight.shape[-2]
    if _exceeds(weight, images.shape, sliding):
        if _few_pairs(images, weight, sliding):
            return _by_matrix(images, weight, sliding)
        # Padded before: XLA's convolution with its own padding is slow there.
        images = lax.optimization_barrier(pad_images(images, sliding))
        return convolve(images, weight, sliding._replace(pads=((0, 0),) * axes))
    if inputs == 1 and max(sliding.stride) == 1 and not _rounds_sums(weight):
        # Kept, or XLA computes it again in each place that reads it.
        return lax.optimization_barrier(_sum_of_shifts(images, weight, sliding))
    return convolve(images, weight, sliding)


@partial(_convolve.defjvp, symbolic_zeros=True)
def _convolve_jvp(sliding: Sliding, primals, tangents):
    """Computes conv(x, dw) + conv(dx, w) so that what JAX makes of it is fast.

    JAX transposes a convolution by exchanging the roles of its axes. So each tangent is
    written with the roles exchanged already, on operands permuted to match: its
    transpose comes out plain.
    """
    output = _convolve(*primals, sliding)
    of_each = partial(_of_images, sliding=sliding), partial(_of_kernel, sliding=sliding)
    return output, sum_of_tangents(output, primals, tangents, of_each)


def _of_images(dx, w, sliding: Sliding):
    """Returns conv(dx, w), to be transposed to the gradient for the images."""
    if _is_product(w):
        return _product(dx, w, sliding)
    sizes = output_sizes(dx, w, sliding)
    # Transposed, images and outputs change places.
    small = any(_exceeds(w, shape, sliding) for shape in (dx.shape, (0, *sizes)))
    if small and _few_pairs(dx, w, sliding):
        return _by_matrix(dx, w, sliding)
    plain, times = max(sliding.stride) == 1, prod(dx.shape[1:-1]) / prod(sizes)
    few = w.shape[-2] <= FEW_CHANNELS or (plain and times >= WASTE)
    if few and not _rounds_sums(w):
        return by_columns(dx, w, sliding)
    if not plain and max(sliding.dilation) == 1:
        return _by_phases(dx, w, sliding)
    return _swapped(dx, w, sliding)


def _swapped(dx, w, sliding: Sliding):
    axes = "123"[: len(sliding.stride)]
    layout = (f"N{axes}C", f"{axes}OI", f"N{axes}C")
    return convolve(dx, jnp.swapaxes(w, -1, -2), sliding, layout)


def _by_phases(dx, w, sliding: Sliding):
    """Adds up one convolution without stride for each way to start within a stride."""
    sizes = output_sizes(dx, w, sliding)
    axes = range(1, len(sizes) + 1)
    padded = pad_images(dx, sliding)
    plain = Sliding((1,) * len(sizes), ((0, 0),) * len(sizes), sliding.dilation, 1)
    tangent = jnp.zeros((), dx.dtype)
    for phase in product(*map(range, map(min, sliding.stride, w.shape))):
        kernel, images = w, padded
        for axis, start, step, size in zip(
            axes, phase, sliding.stride, sizes, strict=True
        ):
            kernel = lax.slice_in_dim(kernel, start, None, step, axis - 1)
            images = lax.slice_in_dim(images, start, None, step, axis)
            wanted = size + kernel.shape[axis - 1] - 1
            images = lax.slice_in_dim(images, 0, wanted, axis=axis)
        tangent += _swapped(images, kernel, plain)
    return tangent


def _of_kernel(x, dw, sliding: Sliding):
    """Returns conv(x, dw), to be transposed to the gradient for the kernel."""
    if _is_product(dw):
        return _product(x, dw, sliding, matmul_of_weight)
    if _exceeds(dw, x.shape, sliding) and _few_pairs(x, dw, sliding):
        return _by_matrix(x, dw, sliding)
    rank = len(sliding.stride)
    spatial, axes = tuple(range(1, rank + 1)), "123"[:rank]
    # Kept before: what makes the images would be computed along with the transposition.
    x = lax.optimization_barrier(x)
    x = x.transpose(rank + 1, *spatial, 0)
    dw = dw.transpose(rank, *range(rank), rank + 1)
    by_row = convolve(x, dw, sliding, (f"C{axes}N", f"I{axes}O", f"{axes}NC"))
    return by_row.transpose(rank, *range(rank), rank + 1)


def _is_product(weight) -> bool:
    """Whether a kernel has one position only, which makes it one matrix product."""
    return max(weight.shape[:-2]) == 1


def _product(images, weight, sliding: Sliding, matmul=jnp.matmul):
    (seen,) = _seen(images, weight, sliding)
    # Of two axes: the transposed product is slow with more.
    rows = seen.reshape(prod(seen.shape[:-1]), seen.shape[-1])
    output = matmul(rows, weight.reshape(weight.shape[-2:]))
    return output.reshape(*seen.shape[:-1], weight.shape[-1])  # seen may be empty


def _exceeds(weight, shape, sliding: Sliding) -> bool:
    """Whether the kernel is larger than images of this shape, along any axis.

    There XLA's convolution takes 3 to 300 times as long, padded as they may be.
    """
    axes = zip(shape[1:], weight.shape[:-2], sliding.dilation, strict=False)
    return any(1 + step * (kernel - 1) > size for size, kernel, step in axes)


def _rounds_sums(weight) -> bool:
    """Whether it is of half precision, where sums of many numbers would be rounded."""
    return weight.dtype.itemsize < 4


def _few_pairs(images, weight, sliding: Sliding) -> bool:
    places = prod(output_sizes(images, weight, sliding))
    return prod(images.shape[1:-1]) * places <= FEW_PAIRS


def _by_matrix(images, weight, sliding: Sliding):
    """Multiplies whole images by a matrix of the number from each pixel to each place.

    XLA's convolution is slow where kernels are larger than images, as they are in the
    last stages of a ResNet for small ones; and there the matrix has few zeros.
    """
    matrix, axes = weight, range(len(sliding.stride))
    sizes = output_sizes(images, weight, sliding)
    settings = zip(axes, *sliding[:3], sizes, strict=True)
    for axis, step, (low, _), dilation, count in settings:
        size, kernel = images.shape[axis + 1], weight.shape[axis]
        end = dilation * (kernel - 1) + 1
        # Where the image starts on the kernel, for each place of the output.
        starts = [low - step * place for place in range(count)]
        before, after = max(0, -starts[-1]), max(0, starts[0] + size - end)
        pads = [(0, 0, 0)] * matrix.ndim
        pads[axis] = (before, after, dilation - 1)
        padded = lax.pad(matrix, jnp.zeros((), matrix.dtype), pads)
        seen = [
            lax.slice_in_dim(padded, start + before, start + before + size, axis=axis)
            for start in starts
        ]
        matrix = jnp.stack(seen, -2)
    pixels = images.reshape(len(images), prod(images.shape[1:]))
    output = pixels @ matrix.reshape(pixels.shape[1], prod((*sizes, weight.shape[-1])))
    return output.reshape(len(images), *sizes, weight.shape[-1])


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _depthwise(images, weight, sliding: Sliding):
    return _sum_of_shifts(images, weight, sliding)


@partial(_depthwise.defjvp, symbolic_zeros=True)
def _depthwise_jvp(sliding: Sliding, primals, tangents):
    output = _depthwise(*primals, sliding)
    of_each = (
        partial(_sum_of_shifts, sliding=sliding),
        partial(_image_by_image, sliding=sliding),
    )
    return output, sum_of_tangents(output, primals, tangents, of_each)


def _sum_of_shifts(images, weight, sliding: Sliding):
    """Adds up what each kernel position sees, times the numbers that it has there."""
    images, wide = _widened(images, weight)
    seen = _seen(images, weight, sliding)
    numbers = weight.astype(wide).reshape(len(seen), -1)
    output = sum(s * n for s, n in zip(seen, numbers, strict=True))
    return output.astype(weight.dtype)


def _image_by_image(x, dw, sliding: Sliding):
    """Does the same in a loop, with a copy of the kernel for each place.

    Transposed, the loop adds up the images' gradients for each place and channel, and
    sums over places once at the end: XLA's own sum over all but the channels is slow.
    """
    images, wide = _widened(x, dw)
    numbers = dw.astype(wide).reshape(-1, dw.shape[-1])
    place = (*output_sizes(images, dw, sliding), dw.shape[-1])
    numbers = [jnp.broadcast_to(n, place) for n in numbers]

    # Checkpointed, or JAX would keep what each position sees of every image.
    @partial(jax.checkpoint, prevent_cse=False)
    def one(numbers, image):
        seen = _seen(image[None], dw, sliding)
        return numbers, sum(s[0] * n for s, n in zip(seen, numbers, strict=True))

    return lax.scan(one, numbers, images)[1].astype(dw.dtype)


def _widened(images, weight):
    """Returns images with a channel for each of the outputs, and the type to add in.

    A single channel is left to broadcasting.
    """
    wide = jnp.promote_types(images.dtype, jnp.float32)
    channels = images.shape[-1]
    copies = 1 if channels == 1 else weight.shape[-1] // channels
    return jnp.repeat(images.astype(wide), copies, -1), wide


def _seen(images, weight, sliding: Sliding):
    """Returns what each kernel position sees, row by row, as images of output size."""
    padded = pad_images(images, sliding)
    sizes = output_sizes(images, weight, sliding)
    return shifts(padded, weight.shape[:-2], sliding.stride, sliding.dilation, sizes)
