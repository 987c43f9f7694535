"""Parameter groups against PyTorch's, and what becomes of frozen parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx
from flax.core import FrozenDict

from jaxdl import checkpoint
from jaxdl.optimizers import adam, clip_grad_norm, frozen, param_groups, sgd
from jaxdl.params import paths
from tests.oracle import assert_same_bits, assert_trees_match, random, to_torch


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def network():
    return {
        "features": {"kernel": jnp.asarray(random((2, 3), 0)), "bias": -jnp.zeros(3)},
        "fc1": {
            "kernel": jnp.asarray(random((3, 4), 1)),
            "bias": jnp.asarray(random(4, 2)),
        },
        "fc2": {
            "kernel": jnp.asarray(random((4, 2), 3)),
            "bias": jnp.asarray(random(2, 4)),
        },
    }


def gradients_of(params, step):
    return jax.tree.map(lambda p: jnp.asarray(random(p.shape, 100 + step)), params)


def trained(optimizer, params, steps=50):
    update = jax.jit(optimizer.update)
    state = optimizer.init(params)
    for step in range(steps):
        updates, state = update(gradients_of(params, step), state, params)
        params = optax.apply_updates(params, updates)
    return params


def torch_trained(params, make_groups, max_norm=None, steps=50):
    tensors = {path: to_torch(p).requires_grad_() for path, p in paths(params).items()}
    oracle = torch.optim.SGD(make_groups(tensors), lr=0.1)
    for step in range(steps):
        for path, gradient in paths(gradients_of(params, step)).items():
            tensors[path].grad = to_torch(gradient)
        if max_norm:
            moved = [t for path, t in tensors.items() if "features" not in path]
            torch.nn.utils.clip_grad_norm_(moved, max_norm)
        oracle.step()
    return {path: tensor.detach() for path, tensor in tensors.items()}


def torch_groups(tensors):
    return [
        {"params": [tensors["fc2/kernel"]], "lr": 0.3, "momentum": 0.5},
        {"params": [tensors["fc1/bias"], tensors["fc2/bias"]]},
        {"params": [tensors["fc1/kernel"]], "weight_decay": 0.2},
    ]


OUR_GROUPS = {
    "fc2/kernel": sgd(0.3, momentum=0.5),
    "*/bias": sgd(0.1),
    "*": sgd(0.1, weight_decay=0.2),
}


def test_groups_equal_torchs():
    ours = param_groups({"features/*": frozen(), **OUR_GROUPS})
    params = network()
    expected = torch_trained(params, torch_groups)
    assert_trees_match(paths(trained(ours, params)), expected)


def test_clipping_that_groups_share_counts_no_frozen_parameter():
    inner = optax.chain(clip_grad_norm(1.5), param_groups(OUR_GROUPS))
    ours = param_groups({"features/*": frozen(), "*": inner})
    params = network()
    expected = torch_trained(params, torch_groups, max_norm=1.5)
    assert_trees_match(paths(trained(ours, params)), expected)


def test_clipping_before_the_groups_counts_every_gradient():
    ours = optax.chain(
        clip_grad_norm(1.0), param_groups({"a": sgd(1.0), "*": frozen()})
    )
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    gradients = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    updates, _ = ours.update(gradients, ours.init(params), params)
    np.testing.assert_allclose(updates["a"], -0.6, rtol=1e-6)


def test_a_frozen_parameter_keeps_its_bits_and_has_no_state():
    params = {"a": jnp.array([-0.0, 0.0, 1e-300, jnp.inf, -1.5]), "b": jnp.ones(2)}
    gradients = {"a": jnp.array([1.0, jnp.nan, jnp.inf, 1.0, 0.0]), "b": jnp.ones(2)}
    ours = param_groups({"a": frozen(), "b": adam(weight_decay=0.1)})
    alone = adam().init({"b": params["b"]})
    state = ours.init(params)
    assert len(jax.tree.leaves(state)) == len(jax.tree.leaves(alone))
    step = lambda p, s: optax.apply_updates(p, ours.update(gradients, s, p)[0])
    for run in (step, jax.jit(step)):
        after = run(params, state)["a"]
        np.testing.assert_array_equal(
            np.asarray(after).view(np.uint64), np.asarray(params["a"]).view(np.uint64)
        )


def test_a_frozen_gradient_is_not_computed_under_jit():
    ours = param_groups({"a": frozen(), "b": sgd(0.1)})
    loss = lambda p, x: jnp.sum(jnp.tanh(x @ p["a"]) @ p["b"])

    def products(optimizer):
        def step(params, x):
            gradients = jax.grad(loss)(params, x)
            updates, _ = optimizer.update(gradients, optimizer.init(params), params)
            return optax.apply_updates(params, updates)

        params = {"a": jnp.ones((4, 5)), "b": jnp.ones((5, 6))}
        text = jax.jit(step).lower(params, jnp.ones((3, 4))).compile().as_text()
        return text.count(" dot(")

    assert products(ours) < products(sgd(0.1))


def test_the_first_pattern_wins():
    ours = param_groups({"fc1/*": sgd(1.0), "*/bias": sgd(2.0), "*": frozen()})
    params = jax.tree.map(jnp.zeros_like, network())
    ones = jax.tree.map(jnp.ones_like, params)
    updates, _ = ours.update(ones, ours.init(params), params)
    steps = {path: float(u.ravel()[0]) for path, u in paths(updates).items()}
    assert steps == {
        "features/kernel": 0.0,
        "features/bias": -2.0,
        "fc1/kernel": -1.0,
        "fc1/bias": -1.0,
        "fc2/kernel": 0.0,
        "fc2/bias": -2.0,
    }


@pytest.mark.parametrize(
    "wrap",
    [
        FrozenDict,
        lambda params: [params["fc1"], (params["fc2"],)],
        lambda params: params["fc1"]["kernel"],
        lambda params: nnx.split(
            nnx.Linear(3, 1, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
        )[1],
    ],
    ids=["FrozenDict", "list", "array", "nnx"],
)
def test_any_tree_of_parameters(wrap):
    params = wrap(network())
    ours = param_groups({"*": sgd(0.1, momentum=0.9)})
    assert_trees_match(trained(ours, params, 3), trained(sgd(0.1, 0.9), params, 3))


def test_states_go_through_a_checkpoint(tmp_path):
    ours = param_groups({"*/bias": adam(0.1), "fc[12]/*": sgd(0.1, 0.9), "*": frozen()})
    params = network()
    _, state = ours.update(gradients_of(params, 0), ours.init(params), params)
    checkpoint.save(tmp_path / "state", state)
    loaded = checkpoint.load(tmp_path / "state", ours.init(params))
    assert_same_bits(loaded, state)


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (
            ["*/kernel"],
            r"none of \['\*/kernel'\] matches fc1/bias, fc2/bias, features/bias$",
        ),
        (["*/kernal", "*"], r"'\*/kernal' matches none of .*fc1/bias"),
        (["*", "*/bias"], r"'\*/bias' matches only what patterns before it do"),
    ],
)
def test_groups_that_do_not_fit(patterns, message):
    ours = param_groups({pattern: sgd(0.1) for pattern in patterns})
    with pytest.raises(ValueError, match=message):
        ours.init(network())
