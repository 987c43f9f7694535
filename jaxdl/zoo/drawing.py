"""Initial weights of a whole model from one draw.

XLA compiles one program for each shape that is drawn, and in DenseNet-121 nearly every
kernel has a shape of its own: `init` takes longer than the first training step. Here
all kernels are cut, on the host, from one vector.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from jaxdl.initializers import fan_in_and_fan_out, fan_in_uniform
from jaxdl.params import paths
from jaxdl.zoo.configs import Config


def draw(key: PRNGKeyArray | None, shapes: PyTree, cfg: Config) -> PyTree:
    """Returns weights of the distribution of `init`, for what it gives as shapes.

    Raises:
      ValueError: there is no key.
    """
    if key is None:
        raise ValueError(
            f"{cfg.architecture} draws weights: give it a key, such as"
            " key=jax.random.key(0)"
        )
    kernel_key, *head_keys = jax.random.split(key, 3)
    named = paths(shapes)
    kernels = {p: leaf.shape for p, leaf in named.items() if len(leaf.shape) == 4}
    values = _kernels(kernel_key, kernels, fan_out=cfg.classifier == "fc")
    values |= _head(head_keys, named, cfg)
    # The last normalisation of a residual block starts from 0, the block as identity.
    last = "bn3/scale" if any(p.endswith("/bn3/scale") for p in named) else "bn2/scale"
    for path, leaf in named.items():
        ones = path.endswith(("/scale", "/var")) and not path.endswith(last)
        values.setdefault(path, np.full(leaf.shape, ones, leaf.dtype))
    tree = jax.tree.structure(shapes)
    return jax.device_put(jax.tree.unflatten(tree, [values[path] for path in named]))


def _kernels(
    key: PRNGKeyArray, shapes: dict[str, tuple[int, ...]], fan_out: bool
) -> dict[str, Any]:
    """Draws from N(0, 2 / fan)."""
    noise = np.asarray(_normal(key, sum(math.prod(s) for s in shapes.values())))
    drawn, start = {}, 0
    for path, shape in shapes.items():
        end = start + math.prod(shape)
        std = math.sqrt(2 / fan_in_and_fan_out(shape)[fan_out])
        drawn[path] = noise[start:end].reshape(shape) * np.float32(std)
        start = end
    return drawn


def _head(keys: list[PRNGKeyArray], named: dict[str, Any], cfg: Config) -> dict:
    """Draws the linear layer as PyTorch does; DenseNet's bias starts from 0."""
    kernel, bias = (f"params/{cfg.classifier}/{name}" for name in ("kernel", "bias"))
    if kernel not in named:
        return {}
    shape = named[kernel].shape
    drawn = {kernel: fan_in_uniform()(keys[0], shape)}
    if cfg.classifier == "fc":
        drawn[bias] = fan_in_uniform(shape[0])(keys[1], named[bias].shape)
    return drawn


@partial(jax.jit, static_argnums=1)
def _normal(key, count):
    return jax.random.normal(key, (count,), jnp.float32)
