"""Deep learning as PyTorch courses teach it, in JAX.

Import what you use from its own module, for example
`from jaxdl.training import make_train_step`: nothing else is loaded with it.
"""

__version__ = "0.1.0"
