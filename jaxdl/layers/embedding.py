"""A table of vectors with PyTorch's default initialisation."""

from dataclasses import KW_ONLY

from flax import linen as nn
from jaxtyping import Array, Float, Int

from jaxdl.functional.embedding import embedding
from jaxdl.initializers import normal


class Embedding(nn.Module):
    """Looks up the vector of each index in the parameter `embedding`.

    Vectors start from N(0, 1), Flax's `Embed` from N(0, 1/features); that of
    `padding_idx` starts from 0, and `jaxdl.functional.embedding` gives it no gradient.

    Raises:
      ValueError: as `jaxdl.functional.embedding`.
    """

    num_embeddings: int
    features: int
    _: KW_ONLY
    padding_idx: int | None = None

    @nn.compact
    def __call__(self, x: Int[Array, "*batch"]) -> Float[Array, "*batch features"]:
        def init(key):
            shape = self.num_embeddings, self.features
            weight = normal()(key, shape)
            if self.padding_idx is None:
                return weight
            return weight.at[self.padding_idx].set(0)

        return embedding(x, self.param("embedding", init), self.padding_idx)
