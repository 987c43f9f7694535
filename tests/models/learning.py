"""How well a model reads digits after a few steps."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data import load_images
from jaxdl.functional import cross_entropy
from jaxdl.optimizers import adam
from jaxdl.training import compiled, init_state, loop_steps, make_train_step


def accuracy_on_digits(model, steps, *, modes=False):
    """The share of test digits that are named, after steps of Adam at 0.003.

    `modes` tells that the model takes `train`.
    """
    images = load_images("digits", size=16)
    init_key, run_key = jax.random.split(jax.random.key(0))
    given, evaluated = ({"train": True}, {"train": False}) if modes else ({}, {})
    init = jax.jit(lambda key, x: model.init(key, x, **evaluated))
    variables = init(init_key, images.train["image"][:1])
    params = variables.pop("params")

    def loss_fn(params, model_state, batch, key):
        logits, changed = model.apply(
            {"params": params, **model_state}, batch["image"],
            mutable=["batch_stats"], rngs={"dropout": key}, **given,
        )  # fmt: skip
        return cross_entropy(logits, batch["label"]), (model_state | changed, {})

    optimizer = adam(0.003)
    n = len(images.train["label"])
    batches = np.random.default_rng(0).integers(n, size=(steps, 64))
    state, _ = loop_steps(make_train_step(loss_fn, optimizer))(
        init_state(params, optimizer, variables), images.train, batches, run_key
    )

    @compiled
    def predict(state, images):
        variables = {"params": state.params, **state.model_state}
        return model.apply(variables, images, **evaluated).argmax(axis=-1)

    guesses = predict(state, jnp.asarray(images.test["image"]))
    return np.mean(np.asarray(guesses) == images.test["label"])
