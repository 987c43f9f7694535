"""Blocks made of layers and of other blocks, as Dive into Deep Learning makes them.

Its MySequential is `jaxdl.layers.Sequential`, and its MLP is
`MLP((256, 10), names=("hidden", "out"))` of `jaxdl.models.mlp`.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxdl.functional import relu
from jaxdl.initializers import uniform
from jaxdl.layers import Linear, Sequential

Features = Float[Array, "*batch features"]


def halve_until_small(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Halves `x` until Σ|x| is no more than 1: `while x.abs().sum() > 1: x /= 2`.

    Reverse mode does not go through a `while_loop` of unknown length. So the loop only
    counts, and the gradient goes through the one product that follows: it is that of
    the halvings made, as in PyTorch. An infinity, which no halving makes small, is left
    as it is; PyTorch's loop would not end.

    >>> halve_until_small(jnp.array([3.0, -2.0]))
    Array([ 0.375, -0.25 ], dtype=float32)
    """

    def too_large(state):
        halved, _ = state
        return (jnp.abs(halved).sum() > 1) & jnp.isfinite(halved).all()

    def halve(state):
        halved, count = state
        return halved / 2, count + 1

    state = jax.lax.stop_gradient(x), jnp.int32(0)
    _, count = jax.lax.while_loop(too_large, halve, state)
    return jnp.ldexp(x, -count)


class FixedHiddenMLP(nn.Module):
    """A layer, a product with constants, the same layer again, halvings and a sum.

    The constants are `rand_weight` of the collection "constants", drawn from U(0, 1):
    they get no gradient and no updates, and are saved with the model (the book's plain
    attribute is not). The result is a scalar: the sum after `halve_until_small`.

    Raises:
      ValueError: `x` has not `features` features.
    """

    features: int = 20

    @nn.compact
    def __call__(self, x: Features) -> Float[Array, ""]:
        if x.shape[-1] != self.features:
            raise ValueError(
                f"FixedHiddenMLP({self.features}) is given {x.shape[-1]} features"
            )
        linear = Linear(self.features, name="linear")
        fixed = self.variable("constants", "rand_weight", self._draw)
        x = linear(x)
        x = relu(x @ jax.lax.stop_gradient(fixed.value) + 1)
        return halve_until_small(linear(x)).sum()

    def _draw(self) -> Array:
        shape = (self.features, self.features)
        return uniform()(self.make_rng("params"), shape, jnp.float32)


class NestMLP(nn.Module):
    """A block in a block: the sublayer `net` of 64 and 32 units, and `linear` of 16."""

    @nn.compact
    def __call__(self, x: Features) -> Float[Array, "*batch 16"]:
        net = Sequential([Linear(64), relu, Linear(32), relu], name="net")
        return Linear(16, name="linear")(net(x))


def chimera() -> Sequential:
    """A nested block, a layer and one with control flow, one after another."""
    return Sequential([NestMLP(), Linear(20), FixedHiddenMLP()])


def rgnet() -> Sequential:
    """Four blocks by the names "block 0" to "block 3" inside a block, and a layer.

    >>> params = rgnet().init(jax.random.key(0), jnp.ones((2, 4)))["params"]
    >>> params["0"]["block 1"]["0"]["bias"].shape
    (8,)
    """

    def block():
        return Sequential([Linear(8), relu, Linear(4), relu])

    blocks = Sequential({f"block {i}": block() for i in range(4)})
    return Sequential([blocks, Linear(1)])


def tied_mlp() -> Sequential:
    """Three hidden layers of 8 units, the last two of them one layer, and an output.

    The shared layer has one array of weights, under its first name, "2", and its
    gradient is the sum over both uses.

    >>> params = tied_mlp().init(jax.random.key(0), jnp.ones((2, 4)))["params"]
    >>> list(params)
    ['0', '2', '6']
    """
    shared = Linear(8)
    return Sequential([Linear(8), relu, shared, relu, shared, relu, Linear(1)])
