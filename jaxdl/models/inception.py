"""The course's Inception network.

Szegedy et al., "Going Deeper with Convolutions", 2014, and "Rethinking the Inception
Architecture", 2015, figure 5, in a small form without activations inside the block.
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxdl.functional import avg_pool2d, max_pool2d, relu
from jaxdl.layers import Conv, Linear
from jaxdl.models.cnn import SMALLEST_IMAGE, Images, Logits
from jaxdl.models.images import check_images
from jaxdl.models.inputs import flatten


class InceptionBlock(nn.Module):
    """Four branches side by side, their channels one after another.

    1×1; 1×1 and 5×5; 1×1, 3×3 and 3×3; an average pool and 1×1. The branches have
    `narrow`, and three times `wide`, channels: 16 + 3 · 24 = 88.
    """

    narrow: int = 16
    wide: int = 24

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width in"]
    ) -> Float[Array, "batch height width out"]:
        narrow, wide = self.narrow, self.wide
        branch1x1 = Conv(narrow, 1, name="branch1x1")(x)

        branch5x5 = Conv(narrow, 1, name="branch5x5_1")(x)
        branch5x5 = Conv(wide, 5, padding=2, name="branch5x5_2")(branch5x5)

        branch3x3 = Conv(narrow, 1, name="branch3x3_1")(x)
        branch3x3 = Conv(wide, 3, padding=1, name="branch3x3_2")(branch3x3)
        branch3x3 = Conv(wide, 3, padding=1, name="branch3x3_3")(branch3x3)

        branch_pool = avg_pool2d(x, 3, stride=1, padding=1)
        branch_pool = Conv(wide, 1, name="branch_pool")(branch_pool)
        branches = [branch1x1, branch5x5, branch3x3, branch_pool]
        return jnp.concatenate(branches, axis=-1)


class InceptionCNN(nn.Module):
    """Two convolutions of 5×5, each pooled, rectified and followed by a block.

    A 28×28 image gives features of 4×4×88 = 1408. `branches` are the widths of each
    `InceptionBlock`.

    Raises:
      ValueError: as `SimpleCNN`.
    """

    num_classes: int = 10
    channels: tuple[int, int] = (10, 20)
    branches: tuple[int, int] = (16, 24)

    @nn.compact
    def __call__(self, x: Images) -> Logits:
        check_images("InceptionCNN", x, SMALLEST_IMAGE)
        for i, features in enumerate(self.channels, 1):
            x = relu(max_pool2d(Conv(features, 5, name=f"conv{i}")(x), 2))
            x = InceptionBlock(*self.branches, name=f"incep{i}")(x)
        return Linear(self.num_classes, name="fc")(flatten(x))
