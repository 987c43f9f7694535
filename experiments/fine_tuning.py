"""Fine-tuning: what does a network that knows seven digits need to learn three more?

    python -m experiments.fine_tuning
    python -m experiments.fine_tuning --weights model.safetensors

A ResNet-18 learns the digits 0 to 6, or `--weights` names a file of one. With 60 images
of 7, 8 and 9 its new head alone then names 74.5 % of those in the test set, all of it
tuned 88.7 %, a network that starts from scratch 51.9 % (seed 0; 22 s, two cores).
"""

import warnings
from dataclasses import dataclass

import jax
import numpy as np

from jaxdl import zoo
from jaxdl.classification import classification
from jaxdl.cli import run_main
from jaxdl.config import RunConfig
from jaxdl.data import load_images
from jaxdl.loop import fit
from jaxdl.optimizers import frozen, param_groups, sgd
from jaxdl.plots import line_chart
from jaxdl.run import open_run
from jaxdl.torch_weights import to_state_dict, write_weights
from jaxdl.training import init_state, make_eval_step, make_train_step


@dataclass(frozen=True)
class Config(RunConfig):
    weights: str | None = None
    """safetensors or .pth file of a ResNet-18; by default one is trained first"""
    epochs: int = 30
    """passes over the 60 images of 7, 8 and 9: a step each"""


def select(data, classes, limit=None):
    """The examples of some classes, at most so many of each, numbered from 0."""
    rows = [np.flatnonzero(data["label"] == label)[:limit] for label in classes]
    label = np.repeat(np.arange(len(classes), dtype=np.int32), list(map(len, rows)))
    return {"image": data["image"][np.concatenate(rows)], "label": label}


def main(config: Config = Config()) -> dict[str, float]:
    """Returns the share of the test images of 7, 8 and 9 that each way ends with."""
    create_key, head_key, run_key = jax.random.split(jax.random.key(config.seed), 3)
    digits = load_images("digits", size=16)
    create = lambda **settings: zoo.create_model("resnet18", in_chans=1, **settings)

    def train(run, name, model, optimizer, data, test, epochs, batch_size):
        _, eval_fn, loss_fn = classification(model.module)
        if name == "head":  # the body's batch norm evaluates, too
            loss_fn = lambda *a: (eval_fn(*a[:3])["loss"].mean(), (a[1], {}))
        state = init_state(model.params, optimizer, model.model_state)
        return fit(
            state, make_train_step(loss_fn, optimizer), data, run_key,
            epochs=epochs, batch_size=batch_size,
            eval_step=make_eval_step(eval_fn), held_out={"test": test},
            name=name, callbacks=[run.log_as(name)],
        )  # fmt: skip

    with open_run("fine_tuning", config) as run:
        weights, whole = config.weights, sgd(0.01, momentum=0.9)
        if weights is None:
            model = create(num_classes=7, key=create_key)
            parts = [select(part, range(7)) for part in digits[:2]]
            state, _ = train(run, "seven digits", model, whole, *parts, 6, 64)
            weights = run.directory / "resnet18.safetensors"
            model = model._replace(params=state.params, model_state=state.model_state)
            write_weights(weights, to_state_dict(model.variables))

        new, test = select(digits.train, (7, 8, 9), 20), select(digits.test, (7, 8, 9))
        with warnings.catch_warnings(action="ignore"):  # that there is a new head
            tuned = create(num_classes=3, checkpoint_path=weights, key=head_key)
        head = param_groups({"fc/*": sgd(0.1, momentum=0.9), "*": frozen()})
        ways = {"head": (tuned, head), "all": (tuned, whole)}
        ways["scratch"] = create(num_classes=3, key=head_key), whole
        shares = {}
        for name, (model, optimizer) in ways.items():
            settings = new, test, config.epochs, 60
            _, history = train(run, name, model, optimizer, *settings)
            shares[name] = np.arange(config.epochs) + 1, history["test/accuracy"]
        run.save(accuracy=line_chart(shares, xlabel="step", ylabel="test accuracy"))
    return {name: float(values[-1]) for name, (_, values) in shares.items()}


if __name__ == "__main__":
    run_main(main, Config)
