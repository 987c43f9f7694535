"""Data parallelism: do eight devices learn what one would?

    python -m experiments.data_parallel

To rounding: parameters are 2e-7 apart at most, and either names 90.6 % of the test
digits (seed 0; 7 s on two cores). Virtual devices share a CPU: no faster. PyTorch's
DataParallel normalises on each device by its own batch; here by that of all devices.
"""

from dataclasses import dataclass

import jax
import numpy as np
import optax

from jaxdl.classification import classification, init_model
from jaxdl.cli import run_main
from jaxdl.config import RunConfig
from jaxdl.data import load_images
from jaxdl.functional import relu
from jaxdl.layers import BatchNorm, Linear, Sequential
from jaxdl.loop import fit
from jaxdl.models.inputs import flatten
from jaxdl.plots import curves, line_chart
from jaxdl.run import open_run
from jaxdl.sharding import make_mesh, shard_batch, shard_step
from jaxdl.training import init_state, make_eval_step, make_train_step


@dataclass(frozen=True)
class Config(RunConfig):
    cpu_devices: int = 8
    """virtual devices that the CPU acts as; where JAX has been used already, as in a
    notebook, it keeps those that it has"""
    epochs: int = 10
    """passes over the training images"""
    batch_size: int = 64
    """images a step, on all devices together"""
    learning_rate: float = 0.1
    """of gradient descent, as for one device: it belongs to the whole batch"""


MODEL = Sequential([flatten, Linear(64), BatchNorm(), relu, Linear(10)])


def start_devices(count):
    """Has the CPU act as several devices; GPUs and TPUs stay as many as they are."""
    if count < 1:
        raise ValueError(f"cpu_devices={count} is below 1")
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        print("JAX has started already, with its devices")
    return make_mesh()  # all there are, along the axis "data"


def main(config: Config = Config()) -> dict[str, float]:
    """Returns the number of devices, how far parameters differ, and the accuracy."""
    mesh, size = start_devices(config.cpu_devices), config.batch_size
    images = load_images("digits", size=8)
    for shard in shard_batch(images.train["image"][:size], mesh).addressable_shards:
        print(f"{shard.device} has {len(shard.data)} images of a batch")

    init_key, run_key = jax.random.split(jax.random.key(config.seed))
    params, model_state = init_model(MODEL, init_key, images.train["image"][:1])
    _, eval_fn, loss_fn = classification(MODEL)
    optimizer = optax.sgd(config.learning_rate)
    step, measure = make_train_step(loss_fn, optimizer), make_eval_step(eval_fn)
    ways = {"one device": step, f"{mesh.size} devices": shard_step(step, mesh)}
    trained, lines, epochs = [], {}, range(1, 1 + config.epochs)
    with open_run("data_parallel", config) as run:
        for name, train_step in ways.items():
            state, history = fit(
                init_state(params, optimizer, model_state), train_step, images.train,
                run_key, epochs=config.epochs, batch_size=size, eval_step=measure,
                held_out={"test": images.test}, name=name, callbacks=[run.log_as(name)],
            )  # fmt: skip
            trained.append(state.params)
            lines[name] = epochs, history["train/loss"], "o" if lines else "-"
        losses = line_chart(lines, xlabel="epoch", ylabel="training loss")
        run.save(state.params, losses=losses, curves=curves(history))
    gap = lambda a, b: abs(np.asarray(a) - np.asarray(b)).max().item()
    apart = max(jax.tree.leaves(jax.tree.map(gap, *trained)))
    print(f"{mesh.size} devices and one: parameters {apart:.1g} apart at most")
    accuracy = history["test/accuracy"][-1].item()
    return {"devices": mesh.size, "apart": apart, "test/accuracy": accuracy}


if __name__ == "__main__":
    run_main(main, Config)
