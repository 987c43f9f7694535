"""The model library: what do nine networks of one library have in common?

    python -m experiments.model_library
    python -m experiments.model_library --weights model.safetensors --image cat.jpg

ResNets and DenseNets by timm's names, with the settings that timm's weights expect. One
is drawn, or read from a file of timm or torchvision, written and read again, and looks
at an image. DenseNet-121 has 31 % of ResNet-50's parameters and 70 % of its FLOPs
(which are two for each multiplication and addition). 12 s on two CPU cores.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_sample_image

from jaxdl import zoo
from jaxdl.cli import run_main
from jaxdl.config import RunConfig
from jaxdl.data import decode_image
from jaxdl.models import densenet, resnet
from jaxdl.params import get
from jaxdl.plots import line_chart, show_arrays
from jaxdl.run import open_run
from jaxdl.summary import summarize
from jaxdl.torch_weights import to_state_dict, write_weights


@dataclass(frozen=True)
class Config(RunConfig):
    model: str = "resnet18"
    """the model that looks at the image; the list shows all"""
    filter: str = "*"
    """which models are listed, such as *resnet*"""
    weights: str | None = None
    """safetensors or .pth file of its weights; by default they are drawn"""
    image: str | None = None
    """JPEG or PNG file; by default a flower of scikit-learn's"""


def measure(name: str) -> tuple[float, float]:
    """Millions of parameters, and billions of FLOPs for an image of 224×224."""
    module = getattr(resnet if name.startswith("resnet") else densenet, name)()
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    table = summarize(module, image, train=False)
    return table.rows[0].parameters / 1e6, table.rows[0].flops / 1e9


def main(config: Config = Config()) -> dict[str, float]:
    """Returns each model's millions of parameters, and what a file loses: 0."""
    with open_run("model_library", config) as run:
        sizes = {name: measure(name) for name in zoo.list_models(config.filter)}
        if not sizes:
            raise ValueError(f"filter={config.filter!r} matches no model")
        for name, (parameters, flops) in sizes.items():
            print(f"{name:12} {parameters:6.2f} M parameters {flops:6.2f} GFLOPs")
        marks = {name: (*size, "os"["dense" in name]) for name, size in sizes.items()}
        labels = {"xlabel": "parameters, millions", "ylabel": "GFLOPs at 224×224"}

        key = jax.random.key(config.seed)
        model = zoo.create_model(config.model, checkpoint_path=config.weights, key=key)
        print(model.cfg)
        pixels = load_sample_image("flower.jpg")
        if config.image:
            pixels = decode_image(Path(config.image).read_bytes())
        image = jnp.asarray(zoo.preprocess(model.cfg)(pixels))[None]
        apply = jax.jit(partial(model.module.apply, train=False))
        logits = apply(model.variables, image)
        print("classes with the largest logits:", np.argsort(logits[0])[:-6:-1])

        path = run.directory / "model.safetensors"
        write_weights(path, to_state_dict(model.variables))
        again = zoo.create_model(config.model, checkpoint_path=path)
        lost = float(abs(apply(again.variables, image) - logits).max())
        print(f"written, read and applied again: logits differ by {lost}")
        kernels = get(model.params, model.cfg.first_conv.replace(".", "/") + "/kernel")
        first = {str(i): kernels[..., i].mean(axis=2) for i in range(32)}
        first = show_arrays(first, title=f"{config.model}'s first kernels")
        run.save(models=line_chart(marks, **labels), kernels=first)
    return {name: size[0] for name, size in sizes.items()} | {"lost": lost}


if __name__ == "__main__":
    run_main(main, Config)
