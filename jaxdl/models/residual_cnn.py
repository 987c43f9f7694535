"""The course's residual network.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2015, §3,
without batch normalisation.
"""

from flax import linen as nn
from jaxtyping import Array, Float

from jaxdl.functional import max_pool2d, relu
from jaxdl.layers import Conv, Linear
from jaxdl.models.cnn import SMALLEST_IMAGE, Images, Logits
from jaxdl.models.images import check_images
from jaxdl.models.inputs import flatten

Maps = Float[Array, "batch height width channels"]


class ResidualBlock(nn.Module):
    """Adds to `x` two convolutions of 3×3 of it, and then rectifies.

    Without its `shortcut` it is those convolutions alone, for comparison.
    """

    shortcut: bool = True

    @nn.compact
    def __call__(self, x: Maps) -> Maps:
        channels = x.shape[-1]
        y = relu(Conv(channels, 3, padding=1, name="conv1")(x))
        y = Conv(channels, 3, padding=1, name="conv2")(y)
        return relu(x + y if self.shortcut else y)


class ResidualCNN(nn.Module):
    """Two convolutions of 5×5, each rectified, pooled and followed by a block.

    A 28×28 image gives features of 4×4×32 = 512.

    Raises:
      ValueError: as `SimpleCNN`.
    """

    num_classes: int = 10
    channels: tuple[int, int] = (16, 32)

    @nn.compact
    def __call__(self, x: Images) -> Logits:
        check_images("ResidualCNN", x, SMALLEST_IMAGE)
        for i, features in enumerate(self.channels, 1):
            x = max_pool2d(relu(Conv(features, 5, name=f"conv{i}")(x)), 2)
            x = ResidualBlock(name=f"r_block{i}")(x)
        return Linear(self.num_classes, name="fc")(flatten(x))
