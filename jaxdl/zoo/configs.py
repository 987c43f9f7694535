"""Which models there are, and what their weights were made with."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Literal, NamedTuple

from jaxdl.data.images import normalize
from jaxdl.data.resize import resize
from jaxdl.data.transforms import center_crop, compose, to_float

TAGS = {
    "resnet18": "a1_in1k",
    "resnet34": "a1_in1k",
    "resnet50": "a1_in1k",
    "resnet101": "a1h_in1k",
    "resnet152": "a1h_in1k",
    "densenet121": "ra_in1k",
    "densenet161": "tv_in1k",
    "densenet169": "tv_in1k",
    "densenet201": "tv_in1k",
}


class Config(NamedTuple):
    """What timm's weights of an architecture were made with: timm's `default_cfg`.

    `input_size` is (channels, height, width) and `first_conv` and `classifier` are
    joined by dots, as timm writes them.
    """

    architecture: str
    tag: str
    first_conv: str
    classifier: str
    crop_pct: float
    num_classes: int = 1000
    input_size: tuple[int, int, int] = (3, 224, 224)
    pool_size: tuple[int, int] = (7, 7)
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    license: str = "apache-2.0"

    @property
    def hf_hub_id(self) -> str:
        """The repository on the Hugging Face Hub that holds the weights."""
        return f"timm/{self.architecture}.{self.tag}"


def list_models(
    filter: str | Sequence[str] = "*", *, pretrained: bool = False
) -> list[str]:
    """Returns the names that match a pattern of `fnmatch`, or any of several.

    All of them have weights, so `pretrained` leaves none out. timm appends the tag of
    the weights then, as in "resnet18.a1_in1k"; `create_model` and `default_cfg` take
    that name too.

    >>> list_models("*resnet*", pretrained=True)
    ['resnet18', 'resnet34', 'resnet50', 'resnet101', 'resnet152']
    """
    patterns = [filter] if isinstance(filter, str) else filter
    return [name for name in TAGS if any(fnmatchcase(name, p) for p in patterns)]


def default_cfg(name: str) -> Config:
    """Returns what the weights of a model were made with.

    Raises:
      ValueError: there is no such model, or it has not the weights of that tag.

    >>> default_cfg("resnet34").classifier
    'fc'
    """
    architecture, _, tag = name.partition(".")
    if architecture not in TAGS:
        near = get_close_matches(architecture, TAGS, n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(f"unknown model {name!r}: {hint}There are {', '.join(TAGS)}")
    own = TAGS[architecture]
    if tag not in ("", own):
        raise ValueError(
            f"{architecture} has the weights {own!r} here, not {tag!r}: the file of"
            " others can be given by checkpoint_path"
        )
    if architecture.startswith("resnet"):
        return Config(architecture, own, "conv1", "fc", crop_pct=0.95)
    return Config(architecture, own, "features.conv0", "classifier", crop_pct=0.875)


def preprocess(cfg: Config) -> Callable[[Any], Any]:
    """Returns the transform that the weights were evaluated with.

    It takes a uint8 image, (height, width, 3): the shorter side is resized to that of
    the input over `crop_pct`, the middle cut out, scaled to [0, 1] and normalised.
    """
    size = cfg.input_size[-1]
    return compose(
        partial(resize, size=int(size / cfg.crop_pct), method=cfg.interpolation),
        partial(center_crop, size=size),
        to_float,
        partial(normalize, mean=cfg.mean, std=cfg.std),
    )
