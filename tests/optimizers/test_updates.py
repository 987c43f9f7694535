"""The optimisers against torch.optim in float64, step for step."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from hypothesis import given, strategies as st

from jaxdl import optimizers
from jaxdl.optimizers import adagrad, adam, adamw, rmsprop, sgd, step_lr
from jaxdl.training import init_state, make_train_step
from tests.oracle import EXACT, assert_trees_match, random, to_torch

SHAPES = {"kernel": (3, 4), "scale": (), "image": (2, 1, 3)}
TWINS = {
    sgd: torch.optim.SGD,
    adam: torch.optim.Adam,
    adamw: torch.optim.AdamW,
    rmsprop: torch.optim.RMSprop,
    adagrad: torch.optim.Adagrad,
}
# Every argument away from its default, so that none can be left out unnoticed.
BUSY = {
    sgd: {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1, "maximize": True},
    adam: {"betas": (0.8, 0.99), "eps": 1e-4, "weight_decay": 0.1, "amsgrad": True},
    adamw: {"betas": (0.8, 0.99), "eps": 1e-4, "weight_decay": 0.1, "maximize": True},
    rmsprop: {"alpha": 0.9, "eps": 1e-4, "momentum": 0.8, "centered": True},
    adagrad: {"lr_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3},
}
every_optimizer = pytest.mark.parametrize(
    "optimizer", TWINS, ids=lambda optimizer: optimizer.__name__
)


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def draws(seed, leading=()):
    """Arrays of all the shapes, of sizes from 1e-3 to 1e1, with zeros among them."""
    rng = np.random.default_rng(seed)
    draw = lambda shape: np.asarray(
        rng.normal(size=shape)
        * 10 ** rng.uniform(-3, 1, size=shape)
        * (rng.uniform(size=shape) < 0.9)
    )
    return {name: draw(leading + shape) for name, shape in SHAPES.items()}


def trajectory(optimizer, params, gradients):
    """The parameters after each step of a compiled scan over given gradients."""

    def step(carry, gradient):
        params, state = carry
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    params, gradients = jax.tree.map(jnp.asarray, (params, gradients))
    start = params, optimizer.init(params)
    return jax.lax.scan(step, start, gradients)[1]


def torch_trajectory(make, params, gradients, make_scheduler=None):
    """The same by an optimiser of PyTorch and, if given, a scheduler of rates."""
    tensors = {name: to_torch(p).requires_grad_() for name, p in params.items()}
    oracle = make(list(tensors.values()))
    scheduler = make_scheduler(oracle) if make_scheduler else None
    history = []
    for step in range(len(gradients["scale"])):
        for name, tensor in tensors.items():
            tensor.grad = to_torch(gradients[name][step])
        oracle.step()
        if scheduler:
            scheduler.step()
        history.append({n: t.detach().numpy().copy() for n, t in tensors.items()})
    return {name: np.stack([params[name] for params in history]) for name in params}


def assert_like_torch(optimizer, seed=0, steps=60, **arguments):
    """Steps one by one: nothing is compiled anew for other arguments."""
    params, gradients = draws(seed), draws(seed + 1, (steps,))
    ours = optimizer(**arguments)
    stepped, state, history = params, ours.init(params), []
    for step in range(steps):
        gradient = {name: jnp.asarray(g[step]) for name, g in gradients.items()}
        updates, state = ours.update(gradient, state, stepped)
        stepped = jax.tree.map(jnp.add, stepped, updates)
        history.append(stepped)
    twin = lambda tensors: TWINS[optimizer](tensors, **arguments)
    expected = torch_trajectory(twin, params, gradients)
    actual = {name: np.stack([step[name] for step in history]) for name in params}
    assert_trees_match(actual, expected)


seeds = st.integers(0, 1000)
rates = st.floats(1e-4, 0.5)
decays = st.sampled_from((0.0, 0.0)) | st.floats(1e-4, 0.5)
fractions = st.sampled_from((0.0, 0.9)) | st.floats(0, 0.99)
epsilons = st.sampled_from((1e-8, 1e-10, 1e-3, 0.5))
betas = st.tuples(fractions, fractions)


@given(seeds, rates, fractions, fractions, decays, st.booleans(), st.booleans())
def test_sgd(seed, lr, momentum, dampening, weight_decay, nesterov, maximize):
    nesterov = nesterov and momentum > 0
    arguments = {
        "lr": lr,
        "momentum": momentum,
        "dampening": 0.0 if nesterov else dampening,
        "weight_decay": weight_decay,
        "nesterov": nesterov,
        "maximize": maximize,
    }
    assert_like_torch(sgd, seed, **arguments)


@pytest.mark.parametrize("optimizer", [adam, adamw], ids=["adam", "adamw"])
@given(seeds, rates, betas, epsilons, decays, st.booleans(), st.booleans())
def test_adam(optimizer, seed, lr, betas, eps, weight_decay, amsgrad, maximize):
    arguments = {
        "lr": lr,
        "betas": betas,
        "eps": eps,
        "weight_decay": weight_decay,
        "amsgrad": amsgrad,
        "maximize": maximize,
    }
    assert_like_torch(optimizer, seed, **arguments)


# Below 0.3 most of a centred mean square is cancelled, and with it the digits.
@given(
    seeds, rates, st.floats(0.3, 0.999), epsilons, decays, fractions,
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_rmsprop(seed, lr, alpha, eps, weight_decay, momentum, centered, maximize):
    arguments = {
        "lr": lr,
        "alpha": alpha,
        "eps": eps,
        "weight_decay": weight_decay,
        "momentum": momentum,
        "centered": centered,
        "maximize": maximize,
    }
    assert_like_torch(rmsprop, seed, **arguments)


@given(seeds, rates, decays, decays, decays, epsilons, st.booleans())
def test_adagrad(seed, lr, lr_decay, weight_decay, initial, eps, maximize):
    arguments = {
        "lr": lr,
        "lr_decay": lr_decay,
        "weight_decay": weight_decay,
        "initial_accumulator_value": initial,
        "eps": eps,
        "maximize": maximize,
    }
    assert_like_torch(adagrad, seed, **arguments)


@every_optimizer
def test_all_arguments_away_from_their_defaults(optimizer):
    assert_like_torch(optimizer, lr=0.05, **BUSY[optimizer])


@every_optimizer
def test_without_arguments(optimizer):
    assert_like_torch(optimizer)


@every_optimizer
def test_names_order_and_defaults_are_torchs(optimizer):
    """All but what says how PyTorch computes; maximize is given by its name only."""
    theirs = inspect.signature(TWINS[optimizer]).parameters
    how = {"params", "foreach", "fused", "capturable", "differentiable"}
    expected = {
        name: parameter.default
        for name, parameter in theirs.items()
        if name not in how | {"decoupled_weight_decay"}
    }
    ours = inspect.signature(optimizer).parameters
    assert {name: p.default for name, p in ours.items()} == expected
    assert [n for n in ours if n != "maximize"] == [
        n for n in expected if n != "maximize"
    ]
    assert ours["maximize"].kind is inspect.Parameter.KEYWORD_ONLY


@every_optimizer
def test_scheduled_rate(optimizer):
    arguments = BUSY[optimizer]
    params, gradients = draws(2), draws(3, (50,))
    ours = optimizer(step_lr(0.1, 7, gamma=0.6), **arguments)
    expected = torch_trajectory(
        lambda tensors: TWINS[optimizer](tensors, 0.1, **arguments),
        params,
        gradients,
        lambda oracle: torch.optim.lr_scheduler.StepLR(oracle, 7, gamma=0.6),
    )
    assert_trees_match(
        jax.jit(trajectory, static_argnums=0)(ours, params, gradients), expected
    )


@every_optimizer
def test_a_network_trains_as_in_torch(optimizer):
    """Each gradient follows from the steps before it, through `make_train_step`."""
    x, y = random((20, 3), 0), random((20, 2), 1)
    params = {"hidden": random((3, 5), 2), "out": random((5, 2), 3)}

    def loss_fn(params, model_state, batch, key):
        prediction = jnp.tanh(batch["x"] @ params["hidden"]) @ params["out"]
        return jnp.mean((prediction - batch["y"]) ** 2), (model_state, {})

    arguments = BUSY[optimizer] | {"lr": 0.02, "maximize": False}
    ours = optimizer(**arguments)
    batch = {"x": jnp.asarray(x), "y": jnp.asarray(y)}
    step = make_train_step(loss_fn, ours)
    _, metrics = jax.jit(
        lambda state: jax.lax.scan(
            lambda state, _: step(state, batch, jax.random.key(0)), state, length=60
        )
    )(init_state(jax.tree.map(jnp.asarray, params), ours))

    hidden, out = (to_torch(p).requires_grad_() for p in params.values())
    oracle = TWINS[optimizer]([hidden, out], **arguments)
    for loss in metrics["loss"]:
        oracle.zero_grad()
        expected = ((to_torch(x) @ hidden).tanh() @ out - to_torch(y)).square().mean()
        np.testing.assert_allclose(loss, expected.detach(), **EXACT)
        expected.backward()
        oracle.step()
    assert metrics["loss"][-1] < 0.9 * metrics["loss"][0]


@every_optimizer
def test_many_learning_rates_under_vmap(optimizer):
    params, gradients, rates = draws(4), draws(5, (50,)), [1e-3, 0.1, 0.3]
    run = lambda lr: trajectory(optimizer(lr, **BUSY[optimizer]), params, gradients)
    together = jax.jit(jax.vmap(run))(jnp.array(rates))
    for i, lr in enumerate(rates):
        twin = lambda tensors, lr=lr: TWINS[optimizer](tensors, lr, **BUSY[optimizer])
        expected = torch_trajectory(twin, params, gradients)
        assert_trees_match(jax.tree.map(lambda t, i=i: t[i], together), expected)


@pytest.mark.parametrize(
    ("optimizer", "arguments"),
    [
        (sgd, {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
        (sgd, {"momentum": 0.0, "dampening": 0.3, "weight_decay": 0.0}),
        (adam, {"eps": 1e-4, "weight_decay": 0.1}),
        (rmsprop, {"alpha": 0.9, "momentum": 0.8, "weight_decay": 0.0}),
        (adagrad, {"lr_decay": 0.1, "initial_accumulator_value": 0.5}),
        (adagrad, {"lr_decay": 0.0, "eps": 1e-2}),
    ],
)
@pytest.mark.parametrize("way", ["jit", "inject"])
def test_every_number_may_be_traced(optimizer, arguments, way):
    """Also a zero that is not known to be one, as `optax.inject_hyperparams` makes."""
    params, gradients = draws(6), draws(7, (50,))
    arguments = {"lr": 0.05} | arguments
    if way == "jit":
        run = lambda arguments: trajectory(optimizer(**arguments), params, gradients)
        actual = jax.jit(run)(arguments)
    else:
        injected = optax.inject_hyperparams(optimizer)(**arguments)
        actual = jax.jit(trajectory, static_argnums=0)(injected, params, gradients)
    twin = lambda tensors: TWINS[optimizer](tensors, **arguments)
    assert_trees_match(actual, torch_trajectory(twin, params, gradients))


def test_nesterov_with_a_traced_momentum():
    params, gradients = draws(6), draws(7, (50,))
    actual = jax.jit(
        lambda m: trajectory(sgd(0.05, m, nesterov=True), params, gradients)
    )(0.9)
    twin = lambda tensors: torch.optim.SGD(tensors, 0.05, 0.9, nesterov=True)
    assert_trees_match(actual, torch_trajectory(twin, params, gradients))


@every_optimizer
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_params_and_state_keep_their_dtype(optimizer, dtype):
    ours = optimizer(lr=0.01, **BUSY[optimizer])
    params, gradients = jax.tree.map(
        lambda a: jnp.asarray(a, dtype), (draws(8), draws(9, (20,)))
    )
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(ours.init(params))}
    assert dtypes <= {jnp.dtype(dtype), jnp.dtype(jnp.int32)}
    # The scan itself refuses a state that changes its dtype.
    actual = jax.jit(trajectory, static_argnums=0)(ours, params, gradients)
    assert {leaf.dtype for leaf in jax.tree.leaves(actual)} == {jnp.dtype(dtype)}

    as_double = lambda tree: jax.tree.map(lambda a: np.asarray(a, np.float64), tree)
    twin = lambda tensors: TWINS[optimizer](tensors, lr=0.01, **BUSY[optimizer])
    expected = torch_trajectory(twin, as_double(params), as_double(gradients))
    # Parameters of up to 10 are rounded 20 times; a centred variance loses digits.
    limit = 400 * float(jnp.finfo(dtype).eps)
    assert_trees_match(as_double(actual), expected, rtol=0, atol=limit)


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("beta", [0.999, 0.9999])
def test_adam_keeps_float32s_digits(amsgrad, beta):
    """Of 1 - beta**count, too: as close to float64 as PyTorch's own float32."""
    gradients = np.random.default_rng(0).normal(size=(100, 50))
    ours = adam(1.0, (0.9, beta), amsgrad=amsgrad)

    def step(state, gradient):
        updates, state = ours.update(gradient, state)
        return state, updates

    with jax.enable_x64(False):
        start = ours.init(jnp.zeros(50))
        _, updates = jax.lax.scan(step, start, jnp.asarray(gradients, jnp.float32))
    tensor = torch.zeros(50, dtype=torch.float64, requires_grad=True)
    oracle = torch.optim.Adam([tensor], 1.0, (0.9, beta), amsgrad=amsgrad)
    for update, gradient in zip(np.asarray(updates), gradients, strict=True):
        with torch.no_grad():
            tensor.zero_()
        tensor.grad = to_torch(gradient)
        oracle.step()
        # Below the largest step by the rounding of the two means.
        np.testing.assert_allclose(update, tensor.detach(), rtol=0, atol=2e-6)


@every_optimizer
def test_state_is_arrays(optimizer):
    ours, params = optimizer(lr=step_lr(0.1, 3), **BUSY[optimizer]), draws(10)
    state = ours.init(params)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    copied = jax.tree.map(jnp.copy, state)
    assert jax.tree.structure(copied) == jax.tree.structure(state)
    _, after = ours.update(params, copied, params)
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_sgd_keeps_no_more_than_it_needs():
    assert len(jax.tree.leaves(sgd(0.1, 0.9).init(draws(0)))) == len(SHAPES)
    assert jax.tree.leaves(sgd(0.1, weight_decay=0.1).init(draws(0))) == []
    assert len(jax.tree.leaves(sgd(step_lr(0.1, 3)).init(draws(0)))) == 1


def test_no_parameters_at_all():
    updates, _ = adam().update({}, adam().init({}), {})
    assert updates == {}


def test_nan_gradients_reach_their_parameter_only():
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    gradients = {"a": jnp.array([jnp.nan, 1.0]), "b": jnp.ones(2)}
    updates, _ = adam(amsgrad=True).update(gradients, adam(amsgrad=True).init(params))
    assert np.isnan(updates["a"]).tolist() == [True, False]
    assert np.isfinite(updates["b"]).all()


@pytest.mark.parametrize(
    ("optimizer", "arguments", "message"),
    [
        *[
            (optimizer, {name: -0.1}, f"^{name}=-0.1 is not at least 0$")
            for optimizer in TWINS
            for name in inspect.signature(optimizer).parameters
            if name
            not in {"betas", "dampening", "nesterov", "amsgrad", "centered", "maximize"}
        ],
        *[
            (optimizer, {"betas": betas}, rf"^{message} is not within \[0, 1\)$")
            for optimizer in (adam, adamw)
            for betas, message in [
                ((1.0, 0.9), r"betas\[0\]=1.0"),
                ((0.9, 1.0), r"betas\[1\]=1.0"),
                ((-0.1, 0.9), r"betas\[0\]=-0.1"),
            ]
        ],
        (sgd, {"lr": float("nan")}, "lr=nan"),
        (
            sgd,
            {"nesterov": True},
            "needs a momentum and no dampening, got momentum=0.0",
        ),
        (sgd, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "dampening=0.1"),
    ],
)
def test_impossible_arguments(optimizer, arguments, message):
    with pytest.raises(ValueError, match=message):
        optimizer(**arguments)
    if "nan" not in message:
        with pytest.raises(ValueError):  # noqa: PT011
            TWINS[optimizer]([torch.ones(1)], **arguments)


def test_a_rate_that_yaml_has_read_as_text(unchecked):
    with pytest.raises(ValueError, match="lr='1e-3' is no number"):
        sgd("1e-3")


def test_everything_is_exported():
    names = {name for name in dir(optimizers) if not name.startswith("_")}
    assert names >= {optimizer.__name__ for optimizer in TWINS}


@pytest.mark.parametrize(
    ("make", "like"),
    [
        (adam, torch.optim.Adam),
        (adamw, torch.optim.AdamW),
        (
            lambda lr: adam(lr, amsgrad=True),
            lambda p, lr: torch.optim.Adam(p, lr, amsgrad=True),
        ),
        (rmsprop, torch.optim.RMSprop),
    ],
)
def test_a_large_gradient_in_float16_does_not_stop_all_others(make, like):
    """Its square is infinite in float16."""
    optimizer, ours = make(0.1), jnp.ones(1, jnp.float16)
    theirs = torch.ones(1, dtype=torch.float16, requires_grad=True)
    oracle = like([theirs], lr=0.1)
    state = optimizer.init(ours)
    for gradient in (300.0, 1.0, 1.0, 1.0):
        updates, after = optimizer.update(
            jnp.array([gradient], jnp.float16), state, ours
        )
        jax.tree.map(
            lambda a, b: np.testing.assert_equal(a.dtype, b.dtype), after, state
        )
        ours, state = optax.apply_updates(ours, updates), after
        theirs.grad = torch.tensor([gradient], dtype=torch.float16)
        oracle.step()
        assert ours.dtype == jnp.float16
        np.testing.assert_allclose(ours, theirs.detach(), atol=4e-3)


@pytest.mark.parametrize("make", [sgd, adam])
def test_a_rate_of_jax_is_known_inside_jit(make):
    rate, params = jnp.float32(0.1), jnp.ones(2)

    def step(gradient, rate=rate):
        optimizer = make(rate)
        return optimizer.update(gradient, optimizer.init(params), params)[0]

    np.testing.assert_array_equal(jax.jit(step)(params), jax.jit(step)(params, rate))
    with pytest.raises(ValueError, match=r"lr=-0\.1\d* is not at least 0"):
        make(-rate)


def test_betas_are_numbers(unchecked):
    with pytest.raises(ValueError, match=r"betas\[0\]='0.9' is no number"):
        adam(1e-3, betas=("0.9", 0.999))
