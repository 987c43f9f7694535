"""Stochastic gradient descent with momentum."""

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxdl.optimizers.arguments import LearningRate, check_at_least, gradient, is_zero


def sgd(
    lr: LearningRate = 1e-3,
    momentum: ArrayLike = 0.0,
    dampening: ArrayLike = 0.0,
    weight_decay: ArrayLike = 0.0,
    nesterov: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformation:
    """Steps by -lr · b, b = momentum · b + (1 - dampening) · g, as torch.optim.SGD.

    g is the gradient plus weight_decay · params, before momentum. The first b is g,
    undampened. With `nesterov` the step is -lr · (g + momentum · b); Sutskever et al.
    ("On the importance of initialization and momentum in deep learning", 2013) and many
    books put lr inside of b, which differs where lr changes.

    Raises:
      ValueError: `lr`, `momentum` or `weight_decay` is negative, or `nesterov` is set
        without momentum or with dampening.

    >>> optimizer = sgd(0.1, weight_decay=0.5)
    >>> params = jnp.array([2.0])
    >>> optimizer.update(jnp.array([1.0]), optimizer.init(params), params)[0]
    Array([-0.2], dtype=float32)
    """
    check_at_least(0, lr=lr, momentum=momentum, weight_decay=weight_decay)
    numbers = isinstance(momentum, int | float) and isinstance(dampening, int | float)
    if nesterov and numbers and (momentum == 0 or dampening != 0):
        raise ValueError(
            "nesterov=True needs a momentum and no dampening,"
            f" got momentum={momentum}, dampening={dampening}"
        )
    steps = gradient(weight_decay, maximize)
    if not is_zero(momentum):
        if not is_zero(dampening):
            steps.append(optax.scale_by_schedule(_dampened(momentum, dampening)))
        steps.append(optax.trace(momentum, nesterov))
    return optax.chain(*steps, optax.scale_by_learning_rate(lr))


def _dampened(momentum: ArrayLike, dampening: ArrayLike) -> optax.Schedule:
    """Weighs the gradients that go into b: in full without momentum, or at first."""
    return lambda count: jnp.where(
        (count == 0) | (momentum == 0), 1, 1 - jnp.asarray(dampening)
    )
