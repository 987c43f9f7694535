"""Models by name, with weights."""

from difflib import get_close_matches
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import PRNGKeyArray, PyTree

from jaxdl.models import densenet, resnet
from jaxdl.zoo.configs import Config, default_cfg
from jaxdl.zoo.drawing import draw
from jaxdl.zoo.weights import fetch, load


class Model(NamedTuple):
    """A module, its parameters, its batch statistics, and what its weights expect."""

    module: nn.Module
    params: PyTree
    model_state: PyTree
    cfg: Config

    @property
    def variables(self) -> dict[str, PyTree]:
        """What `module.apply`, `to_state_dict` and `checkpoint.save` take."""
        return {"params": self.params, **self.model_state}


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    pretrained: bool = False,
    checkpoint_path: str | Path | None = None,
    dtype: Any = jnp.float32,
    key: PRNGKeyArray | None = None,
    **unknown: Any,
) -> Model:
    """Returns a model with weights: drawn from `key`, timm's, or those of a file.

    `pretrained` fetches timm's weights once, from the Hugging Face Hub into its cache.
    `checkpoint_path` is a file that `jaxdl.torch_weights.read_weights` reads, of timm,
    torchvision or `write_weights`.

    `num_classes` and `in_chans` are 1000 and 3 unless given. Where the weights have
    another number than the one given, a warning says so, and the head is drawn anew
    from `key`, or the first convolution made to fit as by timm: one channel gets the
    sum over the weights' channels, more repeat them, scaled so that their sum stays.
    `num_classes=0` leaves the head out: features instead of logits.

    Drawn weights have the distribution of `module.init`, but not its values: one draw
    for all kernels takes a tenth of the time.

    Parameters are of the type `dtype`, batch statistics always float32. Inputs of the
    same type are computed in it: bfloat16 for inference. To train in bfloat16 leave
    the parameters float32 and use `training.compute_in`.

    Raises:
      ValueError: there is no such model, a number is too small, `dtype` is no floating
        type, `key` is missing where something is drawn, or the weights do not fit or
        are damaged.
      FileNotFoundError: there is no such file.
      OSError: the weights cannot be fetched; the message says what to bring from where.
      TypeError: there is no such argument.
    """
    _check_arguments(unknown)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"dtype={dtype} is no floating type")
    cfg = default_cfg(name)
    classes = cfg.num_classes if num_classes is None else num_classes
    channels = cfg.input_size[0] if in_chans is None else in_chans
    if classes < 0:
        raise ValueError(f"num_classes={classes} is below 0")
    if channels < 1:
        raise ValueError(f"in_chans={channels} is below 1")
    family = resnet if cfg.architecture.startswith("resnet") else densenet
    module = getattr(family, cfg.architecture)(num_classes=classes)
    image = jax.ShapeDtypeStruct((1, *cfg.input_size[1:], channels), jnp.float32)
    init = partial(module.init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), image)

    if pretrained and checkpoint_path is None:
        checkpoint_path = fetch(cfg)
    if checkpoint_path is None:
        variables = draw(key, shapes, cfg)
    else:
        variables = load(checkpoint_path, shapes, cfg, num_classes, in_chans, key)
    params = jax.tree.map(lambda p: p.astype(dtype), variables.pop("params"))
    return Model(module, params, variables, cfg)


def _check_arguments(unknown: dict[str, Any]) -> None:
    for argument in unknown:
        near = get_close_matches(argument, signature(create_model).parameters, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise TypeError(f"create_model has no argument {argument!r}{hint}")
