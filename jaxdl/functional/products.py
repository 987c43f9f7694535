"""The matrix product of layers, with gradients that XLA's CPU backend computes fast.

For the gradient of `weight` in x · weight autodiff multiplies xᵀ by the output's
gradient. Where that has a few columns, XLA's CPU backend is faster at the transpose of
it, gradientᵀ · x; docs/performance.md says what was measured.
"""

from functools import partial
from math import prod

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from jaxdl.backend import on_cpu

# Below, XLA's own product is as fast. And where `jax.jit` drops the barrier, XLA 0.10
# aborts over a batch of turned products of two or three rows.
SMALL_SIDE = 8
# Up to here gradientᵀ · x, a few rows, is faster.
FEW_OUTPUTS = 16


def affine(x, weight, bias):
    """Computes x · weight + bias; None is no bias."""
    product = matmul(x, weight)
    return product if bias is None else product + spread(bias, product.shape)


def spread(array, shape):
    """Broadcasts a half-precision parameter: its gradient is added up in float32.

    Others broadcast themselves.
    """
    wide = jnp.promote_types(array.dtype, jnp.float32)
    if wide == array.dtype:
        return array
    return jnp.broadcast_to(array.astype(wide), shape).astype(array.dtype)


# Compiled, for those who call it outside of jit: several small operations otherwise.
@partial(jax.jit, inline=True)
def matmul(x, weight):
    """Computes x · weight, for x (..., in) and weight (in, out)."""
    if x.ndim < 2 or not on_cpu():
        return x @ weight
    rows = _matmul(x.reshape(prod(x.shape[:-1]), x.shape[-1]), weight)
    return rows.reshape(*x.shape[:-1], weight.shape[1])


# A custom JVP, not a custom VJP: reverse mode transposes it, and forward mode remains.
@jax.custom_jvp
def _matmul(x, weight):
    return x @ weight


@partial(_matmul.defjvp, symbolic_zeros=True)
def _matmul_jvp(primals, tangents):
    output = _matmul(*primals)
    of_each = jnp.matmul, matmul_of_weight
    return output, sum_of_tangents(output, primals, tangents, of_each)


def sum_of_tangents(output, primals, tangents, of_each):
    """Adds up the tangents of a product of x and weight; either may not be given.

    `of_each` has a function of (dx, weight) and one of (x, dweight).
    """
    (x, weight), (dx, dweight), (of_x, of_weight) = primals, tangents, of_each
    tangent = jnp.zeros_like(output)
    if not isinstance(dx, SymbolicZero):
        tangent += of_x(dx, weight)
    if not isinstance(dweight, SymbolicZero):
        tangent += of_weight(x, dweight)
    return tangent


def matmul_of_weight(x, dweight):
    """Computes x · dweight, of matrices, to be transposed to the gradient for it."""
    if min(x.shape) < SMALL_SIDE or dweight.shape[1] > FEW_OUTPUTS:
        return x @ dweight
    turned = lax.optimization_barrier(dweight.T)
    return lax.dot_general(x, turned, (((1,), (1,)), ((), ())))
