"""Plain Flax and optax, as Flax's own linen MNIST example trains.

`TrainState.create`, one jitted step in a Python loop over a permutation, batches
indexed on the device. Modules have PyTorch's names, so that weights find their place.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.training import train_state

from benchmarks.cases import Arrays, Case, folds_of
from jaxdl.torch_weights import from_state_dict


class MLP(nn.Module):
    widths: tuple[int, ...]
    dropout: tuple[float, ...] = ()

    @nn.compact
    def __call__(self, x, train=False):
        x, step = x.reshape(len(x), -1), 3 if self.dropout else 2
        for i, width in enumerate(self.widths):
            x = nn.Dense(width, name=str(1 + step * i))(x)
            if i < len(self.widths) - 1:
                x = nn.relu(x)
                if self.dropout:
                    x = nn.Dropout(self.dropout[i], deterministic=not train)(x)
        return x


class LeNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        for i, features in enumerate((6, 16), 1):
            x = nn.sigmoid(nn.Conv(features, (5, 5), padding=0, name=f"conv{i}")(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.sigmoid(nn.Dense(120, name="fc1")(x.reshape(len(x), -1)))
        x = nn.sigmoid(nn.Dense(84, name="fc2")(x))
        return nn.Dense(10, name="fc3")(x)


class ResidualBlock(nn.Module):
    @nn.compact
    def __call__(self, x):
        y = nn.relu(nn.Conv(x.shape[-1], (3, 3), padding=1, name="conv1")(x))
        return nn.relu(x + nn.Conv(x.shape[-1], (3, 3), padding=1, name="conv2")(y))


class ResidualCNN(nn.Module):
    @nn.compact
    def __call__(self, x):
        for i, features in enumerate((16, 32), 1):
            x = nn.relu(nn.Conv(features, (5, 5), padding=0, name=f"conv{i}")(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
            x = ResidualBlock(name=f"r_block{i}")(x)
        return nn.Dense(10, name="fc")(x.reshape(len(x), -1))


class InceptionBlock(nn.Module):
    @nn.compact
    def __call__(self, x):
        def conv(features, size, name):
            return nn.Conv(features, (size, size), padding=size // 2, name=name)

        wide = conv(24, 5, "branch5x5_2")(conv(16, 1, "branch5x5_1")(x))
        deep = conv(24, 3, "branch3x3_2")(conv(16, 1, "branch3x3_1")(x))
        deep = conv(24, 3, "branch3x3_3")(deep)
        pooled = nn.avg_pool(x, (3, 3), padding=((1, 1), (1, 1)))
        pooled = conv(24, 1, "branch_pool")(pooled)
        plain = conv(16, 1, "branch1x1")(x)
        return jnp.concatenate([plain, wide, deep, pooled], axis=-1)


class InceptionCNN(nn.Module):
    @nn.compact
    def __call__(self, x):
        for i, features in enumerate((10, 20), 1):
            x = nn.Conv(features, (5, 5), padding=0, name=f"conv{i}")(x)
            x = nn.relu(nn.max_pool(x, (2, 2), (2, 2)))
            x = InceptionBlock(name=f"incep{i}")(x)
        return nn.Dense(10, name="fc")(x.reshape(len(x), -1))


class Downsample(nn.Module):
    width: int
    stride: int
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x):
        strides = self.stride, self.stride
        return self.norm(name="1")(self.conv(self.width, (1, 1), strides, name="0")(x))


class Block(nn.Module):
    """Two 3×3 convolutions, or 1×1, 3×3 and 1×1."""

    width: int
    stride: int
    deep: bool
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x):
        sizes = (1, 3, 1) if self.deep else (3, 3)
        out, y = self.width * (4 if self.deep else 1), x
        strided = sizes.index(3)
        for i, size in enumerate(sizes):
            last = i == len(sizes) - 1
            stride = self.stride if i == strided else 1
            conv = self.conv(
                out if last else self.width, (size, size), (stride, stride),
                padding=size // 2, name=f"conv{i + 1}",
            )  # fmt: skip
            y = self.norm(name=f"bn{i + 1}")(conv(y))
            y = y if last else nn.relu(y)
        if x.shape != y.shape:
            stage = Downsample(out, self.stride, self.conv, self.norm)
            x = stage.clone(name="downsample", parent=self)(x)
        return nn.relu(x + y)


class Stage(nn.Module):
    blocks: tuple[Any, ...]

    @nn.compact
    def __call__(self, x):
        for i, block in enumerate(self.blocks):
            x = block.clone(name=str(i), parent=self)(x)
        return x


class ResNet(nn.Module):
    depths: tuple[int, ...]
    deep: bool
    width: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, train=False):
        conv = partial(nn.Conv, use_bias=False, dtype=self.dtype)
        norm = partial(
            nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5,
            dtype=self.dtype,
        )  # fmt: skip
        x = conv(self.width, (7, 7), (2, 2), padding=3, name="conv1")(x)
        x = nn.relu(norm(name="bn1")(x))
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        for stage, depth in enumerate(self.depths):
            blocks = tuple(
                Block(
                    self.width * 2**stage, 2 if stage and not i else 1, self.deep,
                    conv, norm, parent=None,
                )
                for i in range(depth)
            )  # fmt: skip
            x = Stage(blocks, name=f"layer{stage + 1}")(x)
        return nn.Dense(10, dtype=self.dtype, name="fc")(x.mean((1, 2)))


class Names(nn.Module):
    @nn.compact
    def __call__(self, x, lengths):
        x = nn.Embed(128, 100, name="embedding")(x)
        for i in range(2):
            layer = nn.Bidirectional(
                nn.RNN(nn.GRUCell(100, name=f"forward{i}")),
                nn.RNN(nn.GRUCell(100, name=f"backward{i}")),
                return_carry=True,
            )
            (forward, backward), x = layer(x, seq_lengths=lengths)
        return nn.Dense(18, name="fc")(jnp.concatenate([backward, forward], axis=-1))


class CharRNN(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Embed(4, 10, name="emb")(x)
        for i in range(2):
            x = nn.RNN(nn.SimpleCell(8, name=f"cell{i}"))(x)
        return nn.Dense(4, name="fc")(x)


NETWORKS = {
    "linear": nn.Dense,
    "mlp": MLP,
    "lenet": LeNet,
    "residual_cnn": ResidualCNN,
    "inception": InceptionCNN,
    "resnet18": partial(ResNet, (2, 2, 2, 2), False),
    "resnet50": partial(ResNet, (3, 4, 6, 3), True),
    "names": Names,
    "char_rnn": CharRNN,
}


def renamed(case: Case, weights: Arrays) -> Arrays:
    """PyTorch's gates by the names of Flax's cells, which have one bias for a gate."""
    cells = {
        "names": [("gru", i, way) for i in range(2) for way in ("", "_reverse")],
        "char_rnn": [("rnn", i, "") for i in range(2)],
    }.get(case.network, [])
    weights = dict(weights)
    for layer, i, way in cells:
        taken = {
            kind: weights.pop(f"{layer}.{kind}_l{i}{way}")
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        if layer == "rnn":
            cell, gates = f"cell{i}", ("",)
        else:
            cell, gates = f"{'backward' if way else 'forward'}{i}", ("r", "z", "n")
        for number, gate in enumerate(gates):
            w_i, w_h, b_i, b_h = (
                np.split(array, len(gates))[number] for array in taken.values()
            )
            if gate == "n":
                weights[f"{cell}.hn.bias"] = b_h
            else:
                b_i = b_i + b_h
            weights[f"{cell}.i{gate}.weight"] = w_i
            weights[f"{cell}.i{gate}.bias"] = b_i
            weights[f"{cell}.h{gate}.weight"] = w_h
    return weights


def takes_train(model: nn.Module) -> bool:
    return isinstance(model, MLP | ResNet)


class TrainState(train_state.TrainState):
    batch_stats: Any


def make_network(case: Case) -> nn.Module:
    dtypes = {} if case.dtype == "float32" else {"dtype": jnp.dtype(case.dtype)}
    return NETWORKS[case.network](**case.options, **dtypes)


def make_optimizer(case: Case) -> optax.GradientTransformation:
    if case.kind == "rates":  # the learning rate is a leaf, not a compiled constant
        return optax.inject_hyperparams(optax.sgd)(case.learning_rate)
    if case.optimizer == "adam":
        return optax.adam(case.learning_rate)
    return optax.sgd(case.learning_rate, case.momentum or None)


def create_states(case: Case, model: nn.Module, data: Arrays, weights) -> list[Any]:
    """Returns a state for each of the members."""
    drawn = jax.jit(model.init)(
        jax.random.key(0), *(data[name][:1] for name in case.inputs)
    )

    def start(given):
        if given is None:
            return drawn
        return from_state_dict(renamed(case, given), drawn, flattened=case.flattened)

    optimizer, starts = make_optimizer(case), [start(given) for given in weights]
    return [
        TrainState.create(
            apply_fn=model.apply,
            params=variables["params"],
            batch_stats=variables.get("batch_stats", {}),
            tx=optimizer,
        )
        for variables in (starts[i % len(starts)] for i in range(case.members))
    ]


def make_step(case: Case, model: nn.Module):
    mode = {"train": True} if takes_train(model) else {}

    def loss_of(outputs, batch):
        if case.loss == "cross_entropy":
            losses = optax.softmax_cross_entropy_with_integer_labels
            return losses(outputs.astype(jnp.float32), batch["label"]).mean()
        if case.loss == "binary":
            return optax.sigmoid_binary_cross_entropy(outputs, batch["y"]).mean()
        return jnp.mean((outputs - batch["y"]) ** 2)

    @jax.jit
    def train_step(state, batch, key):
        def loss_fn(params):
            outputs, updates = state.apply_fn(
                {"params": params, "batch_stats": state.batch_stats},
                *(batch[name] for name in case.inputs),
                rngs={"dropout": jax.random.fold_in(key, state.step)},
                mutable=["batch_stats"],
                **mode,
            )
            return loss_of(outputs, batch), updates.get("batch_stats", {})

        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, batch_stats), grads = grad_fn(state.params)
        return state.apply_gradients(grads=grads, batch_stats=batch_stats), loss

    return train_step


def build(case: Case, data: Arrays, weights: list[Arrays] | None = None):
    """Returns `begin() -> run() -> losses`, as `jaxdl_side.build`.

    Members are trained one after another; one that has another learning rate or start
    runs the same compiled step.
    """
    order_key = jax.random.split(jax.random.key(1))[0]  # that of jaxdl's side
    rates, model = case.rates(), make_network(case)
    states = create_states(case, model, data, weights or [None])
    train_step, data = make_step(case, model), jax.device_put(data)
    key = jax.random.key(2)
    parts = folds_of(case) if case.kind == "folds" else [None] * case.members

    def epochs_of(state, data):
        n, means = len(next(iter(data.values()))), []
        steps = n // case.batch_size
        for epoch in range(case.epochs):
            epoch_key = jax.random.fold_in(order_key, epoch)
            perms = jax.random.permutation(epoch_key, n)[: steps * case.batch_size]
            losses = []
            for perm in perms.reshape(steps, case.batch_size):
                batch = {name: array[perm] for name, array in data.items()}
                state, loss = train_step(state, batch, key)
                losses.append(loss)
            means.append(np.mean(jax.device_get(losses)))
        return np.array(means)

    def run():
        losses = []
        for state, rate, part in zip(states, rates, parts, strict=True):
            if case.kind == "rates":
                state.opt_state.hyperparams["learning_rate"] = jnp.float32(rate)
            mine = data if part is None else {k: v[part] for k, v in data.items()}
            losses.append(epochs_of(state, mine))
        return losses[0] if case.kind == "train" else np.stack(losses)

    @jax.jit
    def eval_step(state, batch):
        outputs = state.apply_fn(
            {"params": state.params, "batch_stats": state.batch_stats},
            *(batch[name] for name in case.inputs),
        )
        losses = optax.softmax_cross_entropy_with_integer_labels
        right = outputs.argmax(-1) == batch["label"]
        return losses(outputs, batch["label"]).mean(), right.mean()

    def evaluate():
        means, size = [], case.batch_size
        for _ in range(case.epochs):
            starts = range(0, case.examples, size)
            parts = ({k: v[i : i + size] for k, v in data.items()} for i in starts)
            met = [eval_step(states[0], part) for part in parts]
            means.append(np.mean([loss for loss, _ in jax.device_get(met)]))
        return np.array(means)

    return lambda: evaluate if case.kind == "evaluate" else run
