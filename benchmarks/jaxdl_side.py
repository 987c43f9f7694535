"""jaxdl as its users call it: `fit`, and members in one compiled program."""

from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.cases import Arrays, Case, folds_of
from jaxdl import loop
from jaxdl.classification import classification, init_model
from jaxdl.functional import binary_cross_entropy, mse_loss, sigmoid
from jaxdl.layers import Linear
from jaxdl.models.inception import InceptionCNN
from jaxdl.models.lenet import LeNet
from jaxdl.models.mlp import MLP
from jaxdl.models.recurrent import CharEmbeddingRNN, RecurrentClassifier
from jaxdl.models.residual_cnn import ResidualCNN
from jaxdl.models.resnet import resnet18, resnet50
from jaxdl.optimizers import sgd
from jaxdl.sweep import run_members
from jaxdl.torch_weights import from_state_dict
from jaxdl.training import (
    LossFn,
    TrainState,
    TrainStep,
    compiled,
    compute_in,
    epoch_batches,
    init_state,
    make_epoch,
    make_eval_step,
    make_evaluation,
    make_run,
    make_train_step,
    take,
)

NETWORKS = {
    "linear": Linear,
    "mlp": MLP,
    "lenet": LeNet,
    "residual_cnn": ResidualCNN,
    "inception": InceptionCNN,
    "resnet18": partial(resnet18, 10),
    "resnet50": partial(resnet50, 10),
    "names": partial(RecurrentClassifier, 18),
    "char_rnn": CharEmbeddingRNN,
}
KEY = jax.random.key(1)
LOSSES = {
    "squared_error": mse_loss,
    "binary": lambda outputs, y: binary_cross_entropy(sigmoid(outputs), y),
}
Begin = Callable[[], Callable[[], np.ndarray]]


def make_network(case: Case) -> Any:
    return NETWORKS[case.network](**case.options)


def make_loss(case: Case) -> LossFn:
    model = make_network(case)
    if case.loss == "cross_entropy":
        loss_fn = classification(model, case.inputs).loss_fn
        if case.dtype == "float32":
            return loss_fn
        return compute_in(case.dtype, loss_fn, case.inputs)

    def loss_fn(params, model_state, batch, key):
        outputs = model.apply({"params": params}, batch["x"])
        return LOSSES[case.loss](outputs, batch["y"]), (model_state, {})

    return loss_fn


def make_optimizer(case: Case, rate: Any) -> optax.GradientTransformation:
    if case.optimizer == "adam":
        return optax.adam(rate)
    return sgd(rate, case.momentum)


def make_step(case: Case) -> TrainStep:
    return make_train_step(make_loss(case), make_optimizer(case, case.learning_rate))


def initial(case: Case, data: Arrays, weights: Arrays | None = None) -> Any:
    """Returns the parameters and the model state: of these weights, or drawn."""
    params, model_state = init_model(
        make_network(case), jax.random.key(0), *(data[name][:1] for name in case.inputs)
    )
    if weights is None:
        return params, model_state
    variables = {"params": params, **dict(model_state)}
    variables = from_state_dict(weights, variables, flattened=case.flattened)
    return variables.pop("params"), variables or ()


def order(case: Case) -> np.ndarray:
    """The rows of every batch, (epochs, steps, batch), for the other sides."""
    n = folds_of(case).shape[1] if case.kind == "folds" else case.examples
    key = jax.random.split(KEY)[0]
    of_epoch = lambda epoch: epoch_batches(key, epoch, n, case.batch_size)[0]
    return np.asarray(jax.jit(jax.vmap(of_epoch))(jnp.arange(case.epochs)))


def build(
    case: Case,
    data: Arrays,
    weights: list[Arrays] | None = None,
    *,
    whole: bool = False,
) -> Begin:
    """Returns `begin() -> run() -> losses of the epochs`; what begins is not timed.

    Losses of members have a leading axis of members. `whole` runs all epochs as one
    program.
    """
    starts = [initial(case, data, given) for given in weights or [None]]
    if whole:
        return one_program(case, data, *starts[0])
    if case.kind == "train":
        return training(case, data, *starts[0])
    if case.kind == "evaluate":
        return evaluating(case, data, *starts[0])
    return members(case, data, starts)


def training(case: Case, data: Arrays, params: Any, model_state: Any) -> Begin:
    step = make_step(case)
    start = init_state(params, make_optimizer(case, case.learning_rate), model_state)
    start, data = jax.device_put((start, data))
    open_feed, feeds = loop.open_feed, []

    def open_once(*arguments, **settings):
        """As `fit` does, but what was compiled in an earlier turn stays."""
        feeds[:] = feeds or [open_feed(*arguments, **settings)]
        return feeds[0]

    def begin():
        for feed in feeds:
            for epoch in range(case.epochs):
                feed.parts(epoch, 1, 1)  # a part of it: what was run ahead is forgotten
        return run

    def run():
        with patch.object(loop, "open_feed", open_once):
            state, history = loop.fit(
                start, step, data, KEY,
                epochs=case.epochs, batch_size=case.batch_size, show=False,
            )  # fmt: skip
        jax.block_until_ready(state)
        return history["train/loss"]

    return begin


def one_program(case: Case, data: Arrays, params: Any, model_state: Any) -> Begin:
    epoch = make_epoch(make_step(case), case.batch_size)
    program = compiled(make_run(epoch, case.epochs))
    start = init_state(params, make_optimizer(case, case.learning_rate), model_state)
    start, data = jax.device_put((start, data))

    def run():
        metrics = jax.block_until_ready(program(start, data, KEY))[1]
        return np.asarray(metrics["loss"]).mean(axis=1)

    return lambda: run


def evaluating(case: Case, data: Arrays, params: Any, model_state: Any) -> Begin:
    functions = classification(make_network(case), case.inputs)
    eval_step = make_eval_step(functions.eval_fn)
    evaluate = compiled(make_evaluation(eval_step, case.batch_size))
    state = TrainState(jnp.int32(0), params, model_state, ())
    data = jax.device_put(data)

    def run():
        return np.array([evaluate(state, data)["loss"] for _ in range(case.epochs)])

    return lambda: run


def members(case: Case, data: Arrays, starts: list[Any]) -> Begin:
    loss_fn = make_loss(case)
    if case.kind == "ensemble":
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    [shared], rows = starts[:1], folds_of(case) if case.kind == "folds" else None

    def of_member(data, member):
        rate, start, rows = member
        params, model_state = shared if start is None else start
        optimizer = make_optimizer(case, rate)
        step = make_train_step(loss_fn, optimizer)
        epochs = make_run(make_epoch(step, case.batch_size), case.epochs)
        data = data if rows is None else take(data, rows)
        state, metrics = epochs(init_state(params, optimizer, model_state), data, KEY)
        return state.params, metrics["loss"].mean(axis=1)

    @compiled
    def program(data, members):
        return run_members(partial(of_member, data), members)

    rates = jnp.asarray(case.rates())
    start = stacked if case.kind == "ensemble" else None
    data, given = jax.device_put((data, (rates, start, rows)))

    def run():
        return np.asarray(jax.block_until_ready(program(data, given))[1])

    return lambda: run
