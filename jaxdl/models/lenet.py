"""LeNet, the convolutional network that read the digits on cheques.

LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document
Recognition", 1998, §II.B; in the form of today's courses: unpadded, max pooling, and a
plain linear layer at the end.
"""

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from jaxdl.functional import max_pool2d
from jaxdl.layers import Conv, Linear

SMALLEST_IMAGE = 16  # 16 - 4 = 12, pooled 6, 6 - 4 = 2, pooled 1


class LeNet(nn.Module):
    """Two convolutions of 5×5, each with sigmoid and 2×2 max pooling; three layers.

    A 28×28 image gives features of 4×4×16 = 256. Any size from 16×16 will do, but the
    parameters belong to the size they were made for.

    Raises:
      ValueError: the images are smaller than 16×16, or of another size or number of
        channels than the parameters were made for.
    """

    num_classes: int = 10

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        if x.ndim != 4:
            raise ValueError(f"LeNet needs (batch, height, width, channels): {x.shape}")
        height, width = x.shape[1:3]
        if min(height, width) < SMALLEST_IMAGE:
            raise ValueError(f"LeNet needs 16x16 pixels or more, got {height}x{width}")
        x = jax.nn.sigmoid(Conv(6, 5, name="conv1")(x))
        x = max_pool2d(x, 2)
        x = jax.nn.sigmoid(Conv(16, 5, name="conv2")(x))
        x = max_pool2d(x, 2)
        x = x.reshape(len(x), -1)
        x = jax.nn.sigmoid(Linear(120, name="fc1")(x))
        x = jax.nn.sigmoid(Linear(84, name="fc2")(x))
        return Linear(self.num_classes, name="fc3")(x)
