"""What all losses share: how losses become one, and what may be compared."""

from typing import Literal

from jaxtyping import Array, Float

from jaxdl.functional.checks import check_floating

Reduction = Literal["none", "mean", "sum"]


def reduce_losses(
    losses: Float[Array, "*shape"], reduction: Reduction
) -> Float[Array, "..."]:
    """The losses as they are, their mean or their sum.

    The mean of no losses is NaN and their sum 0, as in PyTorch.

    Raises:
      ValueError: `reduction` is none of the three.
    """
    match reduction:
        case "none":
            return losses
        case "mean":
            return losses.mean()
        case "sum":
            return losses.sum()
    raise ValueError(f"reduction={reduction!r} is not 'none', 'mean' or 'sum'")


def check_pair(input: Array, target: Array) -> None:
    """Raises ValueError unless both are floating and of one shape.

    PyTorch broadcasts in some losses, with a warning, and so makes n² errors of a (n,)
    target beside an (n, 1) input.
    """
    check_floating(input=input, target=target)
    if input.shape != target.shape:
        raise ValueError(f"input {input.shape} and target {target.shape} differ")
