"""Dropout as a layer."""

from dataclasses import KW_ONLY

from flax import linen as nn
from jaxtyping import Array, Float

from jaxdl.functional.checks import Number
from jaxdl.functional.dropout import dropout, drops


class Dropout(nn.Module):
    """Zeroes elements with probability `p` during training: `jaxdl.functional.dropout`.

    The key comes from the collection "dropout": apply with rngs={"dropout": key}. It is
    asked for with `train` and p > 0 only.

    Raises:
      ValueError: as `jaxdl.functional.dropout`.
    """

    p: Number = 0.5
    _: KW_ONLY  # of what Flax adds

    @nn.compact
    def __call__(
        self, x: Float[Array, "*shape"], *, train: bool
    ) -> Float[Array, "*shape"]:
        key = self.make_rng("dropout") if train and drops(self.p) else None
        return dropout(x, self.p, train=train, key=key)
