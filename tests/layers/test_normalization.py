"""BatchNorm and LayerNorm against PyTorch's modules in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import linen as nn
from jax import lax

from jaxdl.layers.dense import Linear
from jaxdl.layers.dropout import Dropout
from jaxdl.layers.normalization import BatchNorm, LayerNorm
from tests.oracle import assert_close, assert_trees_match, random, to_torch


def double(tree):
    is_float = lambda a: jnp.issubdtype(a.dtype, jnp.floating)
    return jax.tree.map(lambda a: a.astype("float64") if is_float(a) else a, tree)


def random_variables(layer, x):
    """Parameters and statistics far from their initial zeros and ones."""
    variables = double(layer.init(jax.random.key(0), x, train=False))
    leaves, tree = jax.tree.flatten(variables)
    leaves = [
        jnp.asarray(random(a.shape, seed) ** 2 + 0.1) if a.ndim else a
        for seed, a in enumerate(leaves)
    ]
    return jax.tree.unflatten(tree, leaves)


def torch_twin(variables, **settings):
    """PyTorch's module with these parameters and statistics."""
    state = {
        "weight": variables.get("params", {}).get("scale"),
        "bias": variables.get("params", {}).get("bias"),
        "running_mean": variables.get("batch_stats", {}).get("mean"),
        "running_var": variables.get("batch_stats", {}).get("var"),
        "num_batches_tracked": variables.get("batch_stats", {}).get(
            "num_batches_tracked"
        ),
    }
    oracle = torch.nn.BatchNorm1d(3, **settings).double()
    oracle.load_state_dict({k: to_torch(v) for k, v in state.items() if v is not None})
    return oracle


def assert_statistics_match(statistics, oracle):
    assert_close(statistics["mean"], oracle.running_mean)
    assert_close(statistics["var"], oracle.running_var)
    assert int(statistics["num_batches_tracked"]) == int(oracle.num_batches_tracked)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"momentum": 0.4, "eps": 0.1},
        {"momentum": None},
        {"affine": False},
        {"track_running_stats": False, "eps": 0.1},
    ],
    ids=str,
)
def test_batch_norm_equals_torch_over_steps_and_in_evaluation(x64, settings):
    layer = BatchNorm(**settings)
    batches = [jnp.asarray(random((5, 3), 10 + seed)) for seed in range(3)]
    variables = random_variables(layer, batches[0])
    oracle = torch_twin(variables, **settings)
    statistics = {k: v for k, v in variables.items() if k == "batch_stats"}
    for x in batches:
        given = variables | statistics
        output, statistics = layer.apply(given, x, train=True, mutable=["batch_stats"])
        assert_close(output, oracle(to_torch(x)).detach())
        if statistics:
            assert_statistics_match(statistics["batch_stats"], oracle)
    assert bool(statistics) == settings.get("track_running_stats", True)
    oracle.eval()
    output = layer.apply(variables | statistics, batches[0], train=False)
    assert_close(output, oracle(to_torch(batches[0])).detach())


@pytest.mark.parametrize(
    ("oracle", "shape"),
    [
        (torch.nn.BatchNorm1d, (4, 5, 3)),
        (torch.nn.BatchNorm2d, (4, 2, 5, 3)),
        (torch.nn.BatchNorm3d, (2, 2, 3, 4, 3)),
    ],
)
def test_one_batch_norm_serves_for_every_number_of_axes(x64, oracle, shape):
    x = jnp.asarray(random(shape, 0))
    variables = double(BatchNorm().init(jax.random.key(0), x, train=True))
    actual = BatchNorm().apply(variables, x, train=True, mutable=["batch_stats"])[0]
    expected = oracle(3).double()(to_torch(x).movedim(-1, 1)).movedim(1, -1)
    assert_close(actual, expected.detach())


@pytest.mark.parametrize("train", [True, False])
def test_initialisation_gives_torchs_values_and_updates_nothing(train):
    x = jnp.asarray(random((1, 3), 0), jnp.float32)  # one value is enough here
    variables = BatchNorm().init(jax.random.key(0), x, train=train)
    statistics = {
        "mean": jnp.zeros(3), "var": jnp.ones(3), "num_batches_tracked": jnp.int32(0)
    }  # fmt: skip
    expected = {
        "params": {"scale": jnp.ones(3), "bias": jnp.zeros(3)},
        "batch_stats": statistics,
    }
    assert_trees_match(variables, expected)
    types = lambda tree: jax.tree.map(lambda a: a.dtype, tree)
    assert types(variables) == types(expected)


def test_defaults_are_torchs():
    ours, oracle = BatchNorm(), torch.nn.BatchNorm2d(3)
    for name in ("momentum", "eps", "affine", "track_running_stats"):
        assert getattr(ours, name) == getattr(oracle, name)


def test_variables_that_a_setting_switches_off_do_not_exist():
    x = jnp.ones((2, 3))
    init = lambda **settings: BatchNorm(**settings).init(
        jax.random.key(0), x, train=True
    )
    assert set(init(affine=False)) == {"batch_stats"}
    assert set(init(track_running_stats=False)) == {"params"}


def test_evaluation_updates_nothing():
    x = jnp.asarray(random((4, 3), 0), jnp.float32)
    variables = BatchNorm().init(jax.random.key(0), x, train=False)
    _, updated = BatchNorm().apply(variables, x, train=False, mutable=["batch_stats"])
    assert_trees_match(updated["batch_stats"], variables["batch_stats"])


def test_one_value_per_channel_raises_in_training():
    variables = BatchNorm().init(jax.random.key(0), jnp.ones((2, 3)), train=True)
    with pytest.raises(ValueError, match=r"\(1, 3\) has one value per channel"):
        BatchNorm().apply(
            variables, jnp.ones((1, 3)), train=True, mutable=["batch_stats"]
        )


def test_bfloat16_is_promoted_to_the_parameters_type_and_statistics_keep_theirs():
    x = jnp.asarray(random((4, 3), 0), jnp.bfloat16)
    variables = BatchNorm().init(jax.random.key(0), x, train=True)
    apply = lambda variables: BatchNorm().apply(
        variables, x, train=True, mutable=["batch_stats"]
    )
    output, updated = apply(variables)
    assert output.dtype == jnp.float32
    assert updated["batch_stats"]["mean"].dtype == jnp.float32
    low = jax.tree.map(lambda a: a.astype(jnp.bfloat16), variables["params"])
    output, updated = apply(variables | {"params": low})
    assert output.dtype == jnp.bfloat16
    assert updated["batch_stats"]["var"].dtype == jnp.float32


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return BatchNorm(name="norm")(x, train=train)


@pytest.mark.parametrize("without", [None, "affine", "track_running_stats"])
def test_other_channels_than_the_layer_was_made_for_are_named(without):
    layer = BatchNorm(**{without: False} if without else {})
    variables = layer.init(jax.random.key(0), jnp.ones((2, 3)), train=True)
    with pytest.raises(
        ValueError, match="BatchNorm was made for 3 channels and is given 4"
    ):
        layer.apply(variables, jnp.ones((2, 4)), train=False)


def test_a_layer_inside_a_model_is_named_by_its_path():
    variables = Block().init(jax.random.key(0), jnp.ones((2, 3)), True)
    with pytest.raises(ValueError, match=r"^norm was made for 3 channels"):
        Block().apply(variables, jnp.ones((2, 4)), False)


class Network(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        x = jnp.tanh(BatchNorm()(Linear(6)(x), train=train))
        x = Dropout(0.0)(x, train=train)
        return Linear(2)(BatchNorm(momentum=None)(x, train=train))


def load(modules, variables):
    """Gives PyTorch's modules what `Network` starts from."""
    params, statistics = variables["params"], variables["batch_stats"]
    with torch.no_grad():
        for i, linear in enumerate(modules[::3]):
            linear.weight.copy_(to_torch(params[f"Linear_{i}"]["kernel"]).T)
            linear.bias.copy_(to_torch(params[f"Linear_{i}"]["bias"]))
        for i, norm in enumerate((modules[1], modules[2])):
            norm.weight.copy_(to_torch(params[f"BatchNorm_{i}"]["scale"]))
            norm.bias.copy_(to_torch(params[f"BatchNorm_{i}"]["bias"]))
            norm.running_mean.copy_(to_torch(statistics[f"BatchNorm_{i}"]["mean"]))
            norm.running_var.copy_(to_torch(statistics[f"BatchNorm_{i}"]["var"]))


def test_a_network_trained_in_a_scan_equals_its_torch_twin(x64):
    """Six steps: parameters, running statistics and evaluation."""
    data = jnp.asarray(random((6, 8, 4), 0)), jnp.asarray(random((6, 8, 2), 1))
    variables = random_variables(Network(), data[0][0])
    optimizer = optax.sgd(0.01, momentum=0.9)

    def step(state, batch):
        (params, statistics), opt_state = state

        def loss(params):
            output, updated = Network().apply(
                {"params": params, "batch_stats": statistics}, batch[0],
                train=True, mutable=["batch_stats"],
            )  # fmt: skip
            return jnp.mean((output - batch[1]) ** 2), updated["batch_stats"]

        gradients, statistics = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer.update(gradients, opt_state)
        params = optax.apply_updates(params, updates)
        return ((params, statistics), opt_state), None

    start = (variables["params"], variables["batch_stats"])
    scan = jax.jit(lambda state, data: lax.scan(step, state, data)[0])
    (params, statistics), _ = scan((start, optimizer.init(start[0])), data)

    modules = torch.nn.ModuleList(
        [
            torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6),
            torch.nn.BatchNorm1d(6, momentum=None), torch.nn.Linear(6, 2),
        ]
    ).double()  # fmt: skip
    load(modules, variables)
    twin = lambda x: modules[3](modules[2](torch.tanh(modules[1](modules[0](x)))))
    sgd = torch.optim.SGD(modules.parameters(), 0.01, momentum=0.9)
    for x, y in zip(*map(to_torch, data), strict=True):
        sgd.zero_grad()
        ((twin(x) - y) ** 2).mean().backward()
        sgd.step()

    for i, linear in enumerate(modules[::3]):
        assert_close(params[f"Linear_{i}"]["kernel"], linear.weight.detach().T)
        assert_close(params[f"Linear_{i}"]["bias"], linear.bias.detach())
    for i, norm in enumerate(modules[1:3]):
        assert_close(params[f"BatchNorm_{i}"]["scale"], norm.weight.detach())
        assert_close(params[f"BatchNorm_{i}"]["bias"], norm.bias.detach())
        assert_statistics_match(statistics[f"BatchNorm_{i}"], norm)
    modules.eval()
    trained = {"params": params, "batch_stats": statistics}
    output = Network().apply(trained, data[0][0], train=False)
    assert_close(output, twin(to_torch(data[0][0])).detach())


class Stack(nn.Module):
    @nn.compact
    def __call__(self, x):
        scan = nn.scan(
            lambda layer, x, _: (layer(x, train=True), None),
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True},
            length=3,
        )
        return scan(BatchNorm(name="norms"), x, None)[0]


def test_layers_in_nn_scan_equal_a_loop(x64):
    x = jnp.asarray(random((4, 3), 0))
    variables = double(Stack().init(jax.random.key(0), x))
    numbered = lambda a: (a.T + jnp.arange(3, dtype=a.dtype)).T
    variables = jax.tree.map(numbered, variables)
    output, updated = Stack().apply(variables, x, mutable=["batch_stats"])
    layer = lambda tree, i: jax.tree.map(lambda a: a[i], tree["norms"])
    for i in range(3):
        given = {name: layer(tree, i) for name, tree in variables.items()}
        x, new = BatchNorm().apply(given, x, train=True, mutable=["batch_stats"])
        assert_trees_match(layer(updated["batch_stats"], i), new["batch_stats"])
    assert_close(output, x)


def test_vmap_over_members_equals_a_loop(x64):
    x = jnp.asarray(random((2, 4, 3), 0))
    members = [random_variables(BatchNorm(), x[0]) for _ in range(2)]
    members[1] = jax.tree.map(lambda a: a + 1, members[1])
    apply = jax.jit(
        lambda v, x: BatchNorm().apply(v, x, train=True, mutable=["batch_stats"])
    )
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *members)
    mapped = jax.vmap(apply)(stacked, x)
    looped = [apply(v, a) for v, a in zip(members, x, strict=True)]
    assert_trees_match(mapped, jax.tree.map(lambda *a: jnp.stack(a), *looped))


@pytest.mark.parametrize(
    ("settings", "oracle_settings", "trailing"),
    [
        ({}, {}, (6,)),
        ({"epsilon": 0.1}, {"eps": 0.1}, (6,)),
        ({"use_bias": False}, {"bias": False}, (6,)),
        ({"use_scale": False, "use_bias": False}, {"elementwise_affine": False}, (6,)),
        ({"reduction_axes": (-2, -1), "feature_axes": (-2, -1)}, {}, (5, 6)),
    ],
    ids=str,
)
def test_layer_norm_equals_torchs(x64, settings, oracle_settings, trailing):
    layer, x = LayerNorm(**settings), random((4, 5, 6), 0)
    shapes = layer.init(jax.random.key(0), jnp.asarray(x)).get("params", {})
    params = {k: random(v.shape, i) for i, (k, v) in enumerate(shapes.items(), 1)}
    oracle = torch.nn.LayerNorm(trailing, **oracle_settings).double()
    names = {"scale": "weight", "bias": "bias"}
    oracle.load_state_dict({names[k]: to_torch(v) for k, v in params.items()})
    output = layer.apply({"params": params}, jnp.asarray(x))
    assert_close(output, oracle(to_torch(x)).detach())


@pytest.mark.parametrize("shape", [64, (4, 64)])
def test_layer_norm_takes_no_shape(unchecked, shape):
    """Its first setting would be Flax's dtype."""
    with pytest.raises(ValueError, match=r"LayerNorm\(.*64.*the input tells its last"):
        LayerNorm(shape)


def test_gradients_of_layer_norm_equal_torchs(x64):
    x, weight, bias, cotangent = (
        random(s, i) for i, s in enumerate([(4, 6), 6, 6, (4, 6)])
    )
    apply = lambda x, scale, bias: LayerNorm().apply(
        {"params": {"scale": scale, "bias": bias}}, x
    )
    _, pullback = jax.vjp(apply, *map(jnp.asarray, (x, weight, bias)))
    tensors = [to_torch(a).requires_grad_() for a in (x, weight, bias)]
    expected = torch.nn.functional.layer_norm(tensors[0], (6,), *tensors[1:])
    gradients = torch.autograd.grad(expected, tensors, to_torch(cotangent))
    for a, e in zip(pullback(jnp.asarray(cotangent)), gradients, strict=True):
        assert_close(a, e)


def test_layer_norm_keeps_a_small_variance_beside_a_large_mean():
    x = np.random.default_rng(0).normal(1000, 0.1, size=(4, 512)).astype(np.float32)
    layer = LayerNorm()
    output = layer.apply(layer.init(jax.random.key(0), jnp.asarray(x)), jnp.asarray(x))
    exact = x.astype(np.float64)
    centered = exact - exact.mean(-1, keepdims=True)
    expected = centered / np.sqrt(exact.var(-1, keepdims=True) + 1e-5)
    # Three roundings of the mean, 2e-4, are 0.002 of these outputs.
    np.testing.assert_allclose(output, expected, atol=2e-3)


@pytest.mark.usefixtures("unchecked")
def test_statistics_that_are_numpy_arrays_stay_as_they_were():
    """A counter counted in place would change what the caller holds."""
    x, layer = jnp.ones((4, 3)), BatchNorm()
    variables = layer.init(jax.random.key(0), x, train=False)
    held = jax.tree.map(np.array, variables)
    _, changed = layer.apply(held, x, train=True, mutable=["batch_stats"])
    assert held["batch_stats"]["num_batches_tracked"] == 0
    assert changed["batch_stats"]["num_batches_tracked"] == 1


def test_layer_norm_is_a_class_and_names_what_flaxs_names():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return LayerNorm()(x)

    assert isinstance(LayerNorm(), LayerNorm)
    params = Net().init(jax.random.key(0), jnp.ones((2, 3)))["params"]
    assert jax.tree.map(jnp.shape, params) == {
        "LayerNorm_0": {"scale": (3,), "bias": (3,)}
    }
