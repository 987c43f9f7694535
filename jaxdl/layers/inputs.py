"""What layers check of their inputs."""

from flax import linen as nn


def check_inputs(module: nn.Module, what: str, given: int) -> None:
    """Says in words what Flax would report as a shape mismatch of parameters."""
    if not module.has_variable("params", "kernel"):
        return
    made_for: int = module.get_variable("params", "kernel").shape[-2]
    if made_for != given:
        name = "/".join(module.path) or type(module).__name__
        raise ValueError(f"{name} was made for {made_for} {what} and is given {given}")
