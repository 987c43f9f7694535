"""Packed sequences as in torch.nn.utils.rnn, and the check of lengths.

Packing shows what PyTorch's recurrent layers work on. `rnn`, `gru` and `lstm` need no
packing here: they take the padded sequences and their lengths.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped

from jaxdl.functional.checks import check_values, is_traced


class PackedSequence(NamedTuple):
    """Sequences without padding: all first steps, then all second steps, and so on.

    The examples of each step come longest first; `batch_sizes` counts them. Sorted
    example i is the given example `sorted_indices[i]`, and `unsorted_indices` is the
    inverse permutation; both are None where the examples were given sorted.
    """

    data: Shaped[Array, "tokens *features"]
    batch_sizes: Int[Array, " time"]
    sorted_indices: Int[Array, " batch"] | None = None
    unsorted_indices: Int[Array, " batch"] | None = None


def pack_padded_sequence(
    input: Shaped[Array, "first second *features"],
    lengths: Int[Array, " batch"] | Sequence[int],
    batch_first: bool = False,
    enforce_sorted: bool = True,
) -> PackedSequence:
    """Removes the padding of `input`, (time, batch, *) or (batch, time, *).

    Raises:
      ValueError: `lengths` do not fit, are traced (the shape of the result depends on
        their values, so not inside jit), lie outside of 1..time, or increase although
        `enforce_sorted`.

    >>> x = jnp.array([[1, 2, 0], [3, 0, 0], [4, 5, 6]])
    >>> packed = pack_padded_sequence(x, [2, 1, 3], True, enforce_sorted=False)
    >>> packed.data, packed.batch_sizes
    (Array([4, 1, 3, 5, 2, 6], dtype=int32), Array([3, 2, 1], dtype=int32))
    """
    if input.ndim < 2:
        raise ValueError(f"input has shape {input.shape}; expected at least two axes")
    padded = jnp.swapaxes(input, 0, 1) if batch_first else input
    values = _concrete("lengths", lengths)
    check_lengths(values, *padded.shape[:2])
    if not values.size:
        raise ValueError("there are no sequences to pack")
    if enforce_sorted and (values[1:] > values[:-1]).any():
        raise ValueError(
            f"lengths {values.tolist()} increase: sort them, or pass"
            " enforce_sorted=False"
        )
    order = np.argsort(-values, stable=True)
    within = np.arange(values.max())[:, None] < values[order]
    time, example = np.nonzero(within)
    data = padded[time, order[example]]
    with jax.ensure_compile_time_eval():  # known inside jit too, where lengths are
        batch_sizes = jnp.asarray(within.sum(axis=1))
    if enforce_sorted:
        return PackedSequence(data, batch_sizes)
    inverse = jnp.asarray(np.argsort(order))
    return PackedSequence(data, batch_sizes, jnp.asarray(order), inverse)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float | int = 0.0,
    total_length: int | None = None,
) -> tuple[Shaped[Array, "first second *features"], Int[Array, " batch"]]:
    """Returns the padded sequences, in the order they were given in, and their lengths.

    There are as many steps as the longest sequence has, or `total_length`.

    Raises:
      ValueError: `total_length` is below the longest length, or the sizes are traced.

    >>> padded, lengths = pad_packed_sequence(
    ...     PackedSequence(jnp.array([4, 1, 3, 5, 2, 6]), jnp.array([3, 2, 1]))
    ... )
    >>> padded.T, lengths
    (Array([[4, 5, 6],
           [1, 2, 0],
           [3, 0, 0]], dtype=int32), Array([3, 2, 1], dtype=int32))
    """
    batch_sizes = _concrete("batch_sizes", sequence.batch_sizes)
    steps = len(batch_sizes) if total_length is None else total_length
    if steps < len(batch_sizes):
        raise ValueError(
            f"total_length={total_length} is below the longest length"
            f" {len(batch_sizes)}"
        )
    within = np.arange(batch_sizes[0]) < batch_sizes[:, None]
    time, example = np.nonzero(within)
    column = jnp.asarray(example)
    lengths = jnp.asarray(within.sum(axis=0))
    data = sequence.data
    if sequence.sorted_indices is not None:
        column = sequence.sorted_indices[column]
        lengths = lengths[sequence.unsorted_indices]
    shape = (steps, int(batch_sizes[0]), *data.shape[1:])
    padded = jnp.full(shape, padding_value, data.dtype).at[time, column].set(data)
    return jnp.swapaxes(padded, 0, 1) if batch_first else padded, lengths


def check_lengths(lengths, steps: int, batch: int):
    """Returns whether each of `batch` integers lies within 1..`steps`.

    Raises ValueError as `checks.check_values`.
    """
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise ValueError(f"lengths have dtype {lengths.dtype}; expected integers")
    if lengths.shape != (batch,):
        raise ValueError(f"lengths {lengths.shape} do not fit {batch} sequences")
    within = (lengths >= 1) & (lengths <= steps)
    return check_values("length", lengths, within, f"1..{steps}")


def _concrete(name: str, values) -> np.ndarray:
    if is_traced(values):
        raise ValueError(
            f"{name} are traced, and the shape of the result depends on their values:"
            " call this outside of jit, or give rnn, gru or lstm the padded sequences"
            " and lengths"
        )
    return np.asarray(values)
