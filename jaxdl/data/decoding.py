"""Encoded images, such as JPEG and PNG, as arrays of pixels."""

import io
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from jaxdl.data.png import SIGNATURE, check_png
from jaxdl.data.resize import new_size
from jaxdl.optional import import_optional

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")


def decode_image(
    data: bytes, size: int | tuple[int, int] | None = None
) -> UInt8[np.ndarray, "height width 3"]:
    """The pixels of an encoded image as RGB, whatever its mode.

    As Pillow's `convert("RGB")`, which torchvision's `ImageFolder` calls: grey is
    repeated, a palette looked up, opacity dropped and not blended, CMYK inverted
    without a colour profile, only the first frame read; the orientation that EXIF tells
    is not applied. Unlike it, of 16 bits the upper 8 are kept: Pillow sets greys
    above 255 to white.

    Args:
        size: what to `resize` it to, by bilinear interpolation; None leaves it.

    Raises:
        ValueError: it is no image, is damaged or cut short, has more pixels than Pillow
            trusts (twice `PIL.Image.MAX_IMAGE_PIXELS`), or values of no known range; or
            `size` makes a side below 1.
    """
    pil_image = import_optional("PIL.Image", "decoding images")
    try:
        if data.startswith(SIGNATURE):  # Pillow does not look at checksums
            check_png(data)
        with pil_image.open(io.BytesIO(data), formats=FORMATS) as encoded:
            image = _to_rgb(encoded)
    # Damaged files surface in Pillow as many unrelated exception types.
    except Exception as error:
        if isinstance(error, pil_image.UnidentifiedImageError):
            reason = f"{len(data)} bytes of no format among {', '.join(FORMATS)}"
        else:
            reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"cannot be decoded as an image: {reason}") from error
    if size is not None:
        height, width = new_size((image.height, image.width), size)
        image = image.resize((width, height), pil_image.Resampling.BILINEAR)
    return np.array(image)


def _to_rgb(image: "Image") -> "Image":
    image.load()
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        grey = import_optional("PIL.Image", "decoding images").fromarray(
            (np.asarray(image) >> 8).astype(np.uint8)
        )
        return grey.convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"its values (Pillow's mode {image.mode}) have no known range")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # or Pillow warns
    return image.convert("RGB")
