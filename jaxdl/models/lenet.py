"""LeNet, the convolutional network that read the digits on cheques.

LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document
Recognition", 1998, §II.B; in the form of today's courses: unpadded, max pooling, and a
plain linear layer at the end.
"""

import jax
from flax import linen as nn

from jaxdl.functional import max_pool2d
from jaxdl.layers import Conv, Linear
from jaxdl.models.cnn import SMALLEST_IMAGE, Images, Logits
from jaxdl.models.images import check_images
from jaxdl.models.inputs import flatten


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
    def __call__(self, x: Images) -> Logits:
        check_images("LeNet", x, SMALLEST_IMAGE)
        x = jax.nn.sigmoid(Conv(6, 5, name="conv1")(x))
        x = max_pool2d(x, 2)
        x = jax.nn.sigmoid(Conv(16, 5, name="conv2")(x))
        x = max_pool2d(x, 2)
        x = flatten(x)
        x = jax.nn.sigmoid(Linear(120, name="fc1")(x))
        x = jax.nn.sigmoid(Linear(84, name="fc2")(x))
        return Linear(self.num_classes, name="fc3")(x)
