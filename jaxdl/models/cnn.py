"""The course's first convolutional network."""

from flax import linen as nn
from jaxtyping import Array, Float

from jaxdl.functional import max_pool2d, relu
from jaxdl.layers import Conv, Linear
from jaxdl.models.images import check_images
from jaxdl.models.inputs import flatten

Images = Float[Array, "batch height width channels"]
Logits = Float[Array, "batch classes"]

SMALLEST_IMAGE = 16  # 16 - 4 = 12, pooled 6, 6 - 4 = 2, pooled 1


class SimpleCNN(nn.Module):
    """Two convolutions of 5×5, each pooled and then rectified, and a linear layer.

    A 28×28 image gives features of 4×4×20 = 320.

    Raises:
      ValueError: the images are smaller than 16×16, or of another size or number of
        channels than the parameters were made for.
    """

    num_classes: int = 10
    channels: tuple[int, int] = (10, 20)

    @nn.compact
    def __call__(self, x: Images) -> Logits:
        check_images("SimpleCNN", x, SMALLEST_IMAGE)
        for i, features in enumerate(self.channels, 1):
            x = relu(max_pool2d(Conv(features, 5, name=f"conv{i}")(x), 2))
        return Linear(self.num_classes, name="fc")(flatten(x))
