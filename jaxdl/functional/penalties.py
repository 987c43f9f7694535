"""Penalties on the size of parameters, to be added to a loss.

The caller chooses what is penalised: usually weights and not biases. PyTorch has no
such functions; its optimisers' `weight_decay` is the gradient of an L2 penalty.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxdl.functional.checks import at_least_float32


def l1_penalty(params: PyTree[Float[Array, "..."]]) -> Float[Array, ""]:
    """Σ|w| over all arrays; its gradient is sign(w), and 0 at w = 0.

    Added to a loss it drives weights to 0 and lets few remain (Tibshirani, "Regression
    Shrinkage and Selection via the Lasso", 1996).

    >>> l1_penalty({"kernel": jnp.array([[3.0, -4.0]])})
    Array(7., dtype=float32)
    """
    # Not jnp.abs, whose gradient at 0 is 1.
    return _total(lambda w: jnp.sum(at_least_float32(w * jnp.sign(w))), params)


def l2_penalty(params: PyTree[Float[Array, "..."]]) -> Float[Array, ""]:
    """½ Σw² over all arrays; its gradient is w.

    With the ½, descent on loss + λ · l2_penalty(params) is PyTorch's SGD with
    `weight_decay=λ`, momentum included, since both add λw to the gradient. Of a loss
    averaged over a batch it is added once; books that write λ‖w‖² mean half this λ.
    Under Adam a penalty is not AdamW's decay, which bypasses the adaptive step
    (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, §2).

    >>> l2_penalty({"kernel": jnp.array([[3.0, -4.0]])})
    Array(12.5, dtype=float32)
    """
    return _total(lambda w: jnp.sum(at_least_float32(w) ** 2), params) / 2


def _total(size, params):
    leaves = jax.tree.leaves(params)
    total = jnp.asarray(sum(map(size, leaves), start=0.0))
    return total.astype(jnp.result_type(*leaves)) if leaves else total
