"""Saving: does a run that was stopped and goes on end with the same numbers?

    python -m experiments.save_and_load

With the same bits, from a checkpoint that a flipped bit makes unreadable, not wrong
(5 s on two CPU cores). The notes save whole models: today's `torch.load` refuses them.
"""

from dataclasses import dataclass
from tempfile import mkdtemp

import jax
import numpy as np

from jaxdl import checkpoint
from jaxdl.classification import classification, init_model
from jaxdl.cli import run_main
from jaxdl.config import RunConfig
from jaxdl.loop import fit
from jaxdl.models.mlp import MLP
from jaxdl.optimizers import adam
from jaxdl.plots import line_chart
from jaxdl.resume import load_trained
from jaxdl.run import open_run
from jaxdl.training import init_state, make_train_step


@dataclass(frozen=True)
class Config(RunConfig):
    epochs: int = 10
    """passes over 200 examples; a second run stops half way"""


def is_refused(directory, params):
    """Flips a bit of the largest saved file and tells whether loading notices."""
    checkpoint.replace(directory, params)
    file = max(directory.rglob("*"), key=lambda path: path.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    try:
        return not checkpoint.load(directory, params)
    except ValueError as error:
        print(error)
        return True


def main(config: Config = Config()) -> dict[str, float]:
    """Returns 1 for each thing that came back as it was, else 0, and the last loss."""
    model, keys = MLP((256, 10)), jax.random.split(jax.random.key(config.seed), 3)
    x = jax.random.normal(keys[0], (200, 20))
    params, _ = init_model(model, keys[1], x)
    logits_of, _, loss_fn = classification(model, inputs=("x",))
    data = {"x": x, "label": x[:, :10].argmax(axis=1)}
    state, step = init_state(params, adam()), make_train_step(loss_fn, adam())

    alike = lambda a, b: all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))
    a, b, result = np.arange(4), np.zeros(4), {}
    arrays = {"array": a, "list": [a, b], "dict": {"a": a, "b": b}}
    with open_run("save_and_load", config) as run:

        def train(name, epochs, place):
            settings = {"epochs": epochs, "batch_size": 20, "checkpoint_dir": place}
            settings |= {"name": name, "callbacks": [run.log_as(name)]}
            trained, history = fit(state, step, data, keys[2], **settings)
            return trained, history["train/loss"]

        for name, saved in arrays.items():
            checkpoint.replace(run.directory / name, saved)
            result[name] = alike(saved, checkpoint.load_any(run.directory / name).tree)
        whole, losses = train("never stopped", config.epochs, None)
        stopped = mkdtemp(prefix="stopped-", dir=run.directory)
        _, half = train("stopped", config.epochs // 2, stopped)
        resumed, again = train("gone on", config.epochs, stopped)
        result["resumed"] = alike((whole, losses), (resumed, again))
        trained = load_trained(stopped, params)  # for inference: no optimiser
        logits = [logits_of(p, (), x) for p in (whole.params, trained.params)]
        result["inference"] = alike(*logits)
        result["refused"] = is_refused(run.directory / "damaged", whole.params)
        epochs, n = 1 + np.arange(config.epochs), len(half)
        lines = {"never stopped": (epochs, losses), "stopped": (epochs[:n], half, "o")}
        lines["gone on"] = epochs[n:], again[n:], "s"
        run.save(whole.params, losses=line_chart(lines, xlabel="epoch", ylabel="loss"))
    print(result)
    return {name: float(right) for name, right in result.items()} | {"loss": losses[-1]}


if __name__ == "__main__":
    run_main(main, Config)
