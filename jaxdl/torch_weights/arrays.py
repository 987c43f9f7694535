"""NumPy arrays of whatever a state dict holds."""

from typing import Any

import jax.numpy as jnp
import numpy as np


def as_numpy(name: str, value: Any) -> np.ndarray:
    """Returns a tensor or an array as NumPy's, of the same type; bfloat16 too.

    Raises:
      ValueError: it is no array of numbers.
    """
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        return _of_tensor(name, value.detach().cpu())
    array = np.asarray(value)
    if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool):
        raise ValueError(f"{name} is no array of numbers but {type(value).__name__}")
    return array


def _of_tensor(name: str, tensor: Any) -> np.ndarray:
    try:
        if str(tensor.dtype) == "torch.bfloat16":  # which NumPy itself lacks
            return tensor.float().numpy().astype(jnp.bfloat16)
        return tensor.numpy()
    except (TypeError, RuntimeError) as error:  # quantised, sparse, 8 bits
        raise ValueError(
            f"{name}, {tensor.dtype}, has no NumPy form: {error}"
        ) from error
