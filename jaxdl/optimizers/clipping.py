"""Gradient clipping, to be chained before an optimiser.

Chained first, it sees the gradients of all parameters, as PyTorch's functions do when
they are given `net.parameters()`. PyTorch clips before weight decay and `maximize`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxdl.optimizers.arguments import check_at_least, widened


def clip_grad_norm(
    max_norm: ArrayLike, norm_type: float | int = 2.0
) -> optax.GradientTransformation:
    """Scales gradients by min(1, max_norm / (norm + 1e-6)), as clip_grad_norm_.

    The norm is that of all gradients as one vector: (Σ|g|^norm_type)^(1/norm_type), or
    the largest |g| for `jnp.inf`. `optax.clip_by_global_norm` has no 1e-6. As in
    PyTorch, one gradient that is NaN makes all of them NaN, and an infinite one makes
    itself NaN and the others 0; `optax.apply_if_finite` passes over such steps.

    Raises:
      ValueError: `max_norm` is negative or `norm_type` is not above 0.

    >>> gradient = jnp.array([30.0, 40.0])
    >>> clip_grad_norm(5.0).update(gradient, optax.EmptyState())[0].round(4)
    Array([3., 4.], dtype=float32)
    """
    check_at_least(0, max_norm=max_norm)
    if not norm_type > 0:
        raise ValueError(f"norm_type={norm_type} is not above 0")
    order: Any = norm_type  # JAX's types differ from version to version

    def norm(x):
        x = widened(x)  # squares of float16 from 256 on are infinite
        return jnp.linalg.vector_norm(x, ord=order)

    def clip(gradients, params=None):
        norms = jnp.array([norm(g) for g in jax.tree.leaves(gradients)])
        scale = jnp.minimum(1, max_norm / (norm(norms) + 1e-6))

        def scaled(g):
            wide = widened(g)
            return (wide * scale.astype(wide.dtype)).astype(jnp.result_type(g))

        return jax.tree.map(scaled, gradients)

    return optax.stateless(clip)


def clip_grad_value(clip_value: ArrayLike) -> optax.GradientTransformation:
    """Limits every component of the gradients to ±clip_value, as clip_grad_value_.

    Raises:
      ValueError: `clip_value` is negative.

    >>> clip_grad_value(0.5).update(jnp.array([2.0, -3.0]), optax.EmptyState())[0]
    Array([ 0.5, -0.5], dtype=float32)
    """
    check_at_least(0, clip_value=clip_value)
    return optax.clip(clip_value)
