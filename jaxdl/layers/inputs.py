"""What layers check of their inputs."""

from flax import linen as nn


def check_inputs(
    module: nn.Module,
    what: str,
    given: int,
    name: str = "kernel",
    axis: int = -2,
    collection: str = "params",
) -> None:
    """Says in words what Flax would report as a shape mismatch of parameters.

    Raises ValueError where the array `name` was made for another number than `given`
    along `axis`. An array that is not there yet fits.
    """
    if not module.has_variable(collection, name):
        return
    made_for: int = module.get_variable(collection, name).shape[axis]
    if made_for != given:
        layer = "/".join(module.path) or type(module).__name__
        raise ValueError(f"{layer} was made for {made_for} {what} and is given {given}")
