"""What models check of the images that they are given."""

from jaxtyping import Array


def check_images(model: str, x: Array, smallest: int = 1) -> None:
    """Raises ValueError unless `x` holds images, `smallest` high and wide at least."""
    if x.ndim != 4:
        raise ValueError(
            f"{model} needs (batch, height, width, channels), got {x.shape}"
        )
    height, width = x.shape[1:3]
    if min(height, width) < smallest:
        raise ValueError(
            f"{model} needs {smallest}x{smallest} pixels or more, got {height}x{width}"
        )
