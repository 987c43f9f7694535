"""Linear functions whose transpose is computed by a function of its own."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Linear = Callable[[Any], Any]

_add = partial(jax.tree.map, jnp.add)
_subtract = partial(jax.tree.map, jnp.subtract)


def with_transpose(linear: Linear, transpose: Linear, x: Any) -> Any:
    """Computes `linear(x)`; reverse mode calls `transpose` instead of transposing it.

    Forward mode, vmap and higher derivatives see `linear` alone, so `transpose` may
    hold what cannot be differentiated, such as a loop of unknown length. Both take and
    return pytrees. To JAX this is a solution of the linear system

        x = b,  y - linear(x) = c,

    with c = 0, for which it accepts a solution of the transposed system as well.
    """
    zeros = jax.tree.map(
        lambda y: jnp.zeros(y.shape, y.dtype), jax.eval_shape(linear, x)
    )

    def system(xy):
        x, y = _tied(xy)
        return _tied((x, _subtract(y, linear(x))))

    def solve(_, bc):
        b, c = bc
        return b, _add(c, linear(b))

    def solve_transposed(_, bc):
        b, c = bc
        return _add(b, transpose(c)), c

    right = _tied((x, zeros))
    solution = lax.custom_linear_solve(system, right, solve, solve_transposed)
    return _tied(solution)[1]


def _tied(tree):
    """Returns the same; to JAX each array depends on all of them.

    It transposes a system only if all of its right side depends on what is sought.
    """
    nothing = sum(jnp.where(False, a.sum(), 0) for a in jax.tree.leaves(tree))
    return jax.tree.map(lambda a: a + jnp.asarray(nothing, a.dtype), tree)
