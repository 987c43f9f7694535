"""PyTorch's state dicts and Flax's variables, each made of the other; and their files.

No PyTorch is needed, save to read its pickles.

>>> import jax, numpy as np
>>> from jaxdl.layers import Linear
>>> wanted = jax.eval_shape(Linear(2).init, jax.random.key(0), jax.numpy.ones((1, 3)))
>>> state_dict = {"weight": np.ones((2, 3), np.float32), "bias": np.zeros(2)}
>>> variables = from_state_dict(state_dict, wanted)
>>> variables["params"]["kernel"].shape
(3, 2)
>>> to_state_dict(variables)["weight"].shape
(2, 3)
"""

from jaxdl.torch_weights.conversion import (
    MisfitError as MisfitError,
    from_state_dict as from_state_dict,
    to_state_dict as to_state_dict,
)
from jaxdl.torch_weights.files import (
    read_weights as read_weights,
    write_weights as write_weights,
)
