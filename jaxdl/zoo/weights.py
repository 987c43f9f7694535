"""Weights of timm and torchvision: fetched, read, and made to fit."""

import re
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float, PRNGKeyArray, PyTree

from jaxdl.optional import import_optional
from jaxdl.torch_weights import MisfitError, from_state_dict, read_weights
from jaxdl.zoo.configs import Config
from jaxdl.zoo.drawing import draw

FILE = "model.safetensors"
SHOWN = 3


def fetch(cfg: Config) -> Path:
    """Returns the file of timm's weights, from the cache of the Hugging Face Hub.

    Raises:
      OSError: it is not there and cannot be fetched.
      ImportError: huggingface-hub is not installed.
    """
    hub = import_optional("huggingface_hub", "pretrained=True")
    try:
        return Path(hub.hf_hub_download(cfg.hf_hub_id, FILE))
    except Exception as error:  # of the hub, of HTTP, of sockets, of the file system
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OSError(
            f"{FILE} of {cfg.hf_hub_id} is not in the cache and cannot be fetched"
            f" ({reason}). Bring https://huggingface.co/{cfg.hf_hub_id}/resolve/main/"
            f"{FILE} from elsewhere and give its place as checkpoint_path"
        ) from error


def load(
    path: str | Path,
    shapes: PyTree,
    cfg: Config,
    num_classes: int | None,
    in_chans: int | None,
    key: PRNGKeyArray | None,
) -> PyTree:
    """Returns the weights of a file for what `init` gives as shapes.

    Head and first convolution are made to fit a number that is not None.

    Raises:
      ValueError: the weights do not fit, or are damaged.
    """
    state_dict = {_name(k): value for k, value in read_weights(path).items()}
    channels, classes = cfg.input_size[0], cfg.num_classes
    first, head = f"{cfg.first_conv}.weight", f"{cfg.classifier}.weight"
    wanted, ignore = shapes, list[str]()
    if not _fits(path, state_dict, first, 1, "in_chans", in_chans, channels):
        state_dict[first] = adapt_input_conv(in_chans or channels, state_dict[first])
        _warn(path, f"{first} is made to fit in_chans={in_chans}")
    if not _fits(path, state_dict, head, 0, "num_classes", num_classes, classes):
        ignore = [f"{cfg.classifier}.*"]
        if num_classes:
            fresh = {"params": {cfg.classifier: shapes["params"][cfg.classifier]}}
            fresh = draw(key, fresh, cfg)["params"]
            wanted = {**shapes, "params": {**shapes["params"], **fresh}}
            _warn(path, f"{cfg.classifier} is drawn anew for num_classes={num_classes}")
    try:
        return from_state_dict(state_dict, wanted, ignore=ignore)
    except MisfitError as error:
        _, *rows = str(error).splitlines()
        more = len(rows) - SHOWN
        lines = [f"{path} does not fit {cfg.architecture}:", *rows[:SHOWN]]
        lines += [f"  and {more} more"] if more > 0 else []
        raise ValueError("\n".join(lines)) from error


def adapt_input_conv(
    in_chans: int, weight: Float[np.ndarray, "out channels height width"]
) -> Float[np.ndarray, "out in_chans height width"]:
    """Makes PyTorch's kernel fit other channels, as timm's function of this name does.

    One channel gets the sum over all; more repeat them, times channels / in_chans, so
    that an image with equal channels gives what it gave before (where in_chans is a
    multiple of the channels).
    """
    channels = weight.shape[1]
    if in_chans == 1:
        return weight.astype(np.float32).sum(1, keepdims=True).astype(weight.dtype)
    repeated = np.take(weight, np.arange(in_chans) % channels, axis=1)
    return (repeated.astype(np.float32) * (channels / in_chans)).astype(weight.dtype)


def _name(name: str) -> str:
    """torchvision's older files have "denselayer1.norm.1" for "denselayer1.norm1"."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", name)


def _fits(
    path, state_dict, name: str, axis: int, argument: str, given, default
) -> bool:
    """Tells whether the weights of that name have the size that is given along an axis.

    What is not there, or is no weight of such a layer, is left to `from_state_dict`.

    Raises:
      ValueError: they have not the default, and nothing is given.
    """
    if name not in state_dict or state_dict[name].ndim <= axis:
        return True
    found = state_dict[name].shape[axis]
    if given is None and found != default:
        raise ValueError(
            f"{path} has {name} for {argument}={found}, not {default}: give that to"
            f" load it as it is, or {argument}={default} to change it"
        )
    return found == (default if given is None else given)


def _warn(path, what: str) -> None:
    warnings.warn(f"{path}: {what}", stacklevel=4)
