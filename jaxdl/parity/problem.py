"""What both sides are given: inputs, targets, a loss and how many steps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.parity.report import layouts

Loss = Callable[[Any], Any]


class Problem(NamedTuple):
    """One comparison. Arrays are NumPy's, in Flax's layout."""

    inputs: tuple[np.ndarray, ...]
    targets: list[np.ndarray]
    channels_first: bool | None
    losses: tuple[Loss, Loss] | None
    make_torch_optimizer: Callable[[Any], Any]
    optimizer: optax.GradientTransformation
    rename: Mapping[str, str] | None
    flattened: Mapping[str, Sequence[int]] | None

    def for_torch(self, array: np.ndarray) -> np.ndarray:
        """Moves channels to where PyTorch has them, as a copy."""
        moved = array.ndim > 3 if self.channels_first is None else self.channels_first
        moved = moved and array.ndim > 2
        return np.array(np.moveaxis(array, -1, 1) if moved else array, order="C")

    def targets_like(self, outputs: Sequence[Any]) -> list[np.ndarray] | None:
        """Returns the targets as PyTorch's outputs are laid out, or None if none fits.

        A module may well give channels last where it gets them first.
        """
        if len(outputs) != len(self.targets):
            return None
        found = []
        for target, output in zip(self.targets, outputs, strict=True):
            readings = [self.for_torch(target), *layouts(target)]
            fitting = [r for r in readings if r.shape == tuple(output.shape)]
            if not fitting:
                return None
            found.append(np.array(fitting[0], order="C"))
        return found


def as_inputs(inputs: Any) -> tuple[np.ndarray, ...]:
    """Returns one array or several as a tuple, floats in float64.

    Raises ValueError for what is none.
    """
    arrays = inputs if isinstance(inputs, tuple | list) else (inputs,)
    for array in arrays:
        if not hasattr(array, "dtype"):
            kind = type(array).__name__
            raise ValueError(f"inputs hold a {kind}: give an array or a tuple of them")
    arrays = tuple(np.asarray(array) for array in arrays)
    return tuple(
        a.astype(np.float64) if jnp.issubdtype(a.dtype, jnp.floating) else a
        for a in arrays
    )


def floats(tree: Any) -> list[Any]:
    """Returns the leaves of an output that have gradients, JAX's or PyTorch's."""
    return [leaf for leaf in jax.tree.leaves(tree) if "float" in str(leaf.dtype)]


def squared_error(outputs: Any, targets: Sequence[Any]) -> Any:
    """Half the mean square, summed over the outputs, for arrays of either library."""
    pairs = zip(floats(outputs), targets, strict=True)
    return sum(0.5 * ((output - target) ** 2).mean() for output, target in pairs)
