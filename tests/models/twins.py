"""A model beside its PyTorch twin: outputs, gradients, statistics and training."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen as nn

from jaxdl.functional import cross_entropy
from jaxdl.layers import Dropout
from jaxdl.optimizers import sgd
from jaxdl.torch_weights import to_state_dict
from jaxdl.training import init_state, make_train_step, scan_steps
from tests.oracle import assert_close, to_torch

STEPS, BATCH, EXAMPLES = 100, 16, 48


def randomised_variables(rng, model, x, scale=0.3, **options):
    """Float64 parameters and statistics, far from initial zeros and ones."""
    variables = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.asarray(x), **options)
    )

    def draw(path, leaf):
        if leaf.dtype == jnp.int32:
            return jnp.int32(3)
        values = scale * rng.normal(size=leaf.shape)
        positive = path[-1].key in ("scale", "var")
        return jnp.asarray(np.exp(values) if positive else values)

    return jax.tree.map_with_path(draw, variables)


def as_torch(x):
    """A tensor with its channels first, if it is a batch of images."""
    tensor = to_torch(x)
    return tensor.permute(0, 3, 1, 2).contiguous() if tensor.ndim == 4 else tensor


def as_jax(tensor):
    tensor = tensor.detach()
    return (tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor).numpy()


def load(net, variables, flattened=None, tied=()):
    """Gives the twin these variables; every name has to be there, but those `tied`."""
    arrays = to_state_dict(variables, flattened=flattened) if variables else {}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    missing, unexpected = net.double().load_state_dict(tensors, strict=False)
    assert (sorted(missing), unexpected) == (sorted(tied), [])
    return net


def drawn_masks(model, variables, key, *inputs):
    """What the dropout layers of a module multiply by, for inputs and the step's key.

    Kept units are scaled as PyTorch does.
    """
    masks = []

    def record(call, args, kwargs, context):
        if not isinstance(context.module, Dropout):
            return call(*args, **kwargs)
        kept = call(jnp.ones_like(args[0]), **kwargs) > 0
        masks.append(kept / (1 - context.module.p))
        return args[0] * masks[-1]

    settings = {"rngs": {"dropout": key}, "mutable": [*variables.keys() - {"params"}]}
    with nn.intercept_methods(record):
        model.apply(variables, *inputs, train=True, **settings)
    return masks


def assert_is_twin(
    model, net, variables, x, *, train=None, flattened=None, tied=(), kwargs=None
):
    """Compares outputs, gradients of inputs and parameters, and new statistics.

    `train` is given to both unless it is None. `kwargs` are for both.
    """
    net = load(net, variables, flattened, tied)
    net.train(bool(train))
    given = {} if train is None else {"train": train}
    kwargs = kwargs or {}
    params = variables.get("params", {})
    state = {name: tree for name, tree in variables.items() if name != "params"}

    tensor = as_torch(x).requires_grad_()
    expected = net(tensor, **kwargs)
    rng = np.random.default_rng(5)
    cotangent = jnp.asarray(rng.normal(size=as_jax(expected).shape))
    expected.backward(as_torch(cotangent))

    @jax.jit
    def run(params, x):
        def outputs(params, x):
            return model.apply(
                {"params": params, **state}, x, mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(0)}, **given, **kwargs,
            )  # fmt: skip

        actual, pullback, changed = jax.vjp(outputs, params, x, has_aux=True)
        return actual, pullback(cotangent), changed

    actual, (params_grad, x_grad), changed = run(params, jnp.asarray(x))
    assert_close(actual, as_jax(expected))
    assert_close(x_grad, as_jax(tensor.grad))
    expected_grads = {
        name: np.zeros(p.shape) if p.grad is None else p.grad.numpy()
        for name, p in net.named_parameters()
    }
    if params:
        grads = to_state_dict({"params": params_grad}, flattened=flattened)
        assert grads.keys() == expected_grads.keys()
        for name, grad in grads.items():
            np.testing.assert_allclose(
                grad, expected_grads[name], rtol=1e-10, atol=1e-11, err_msg=name
            )
    buffers = dict(net.named_buffers())
    if changed:
        for name, value in to_state_dict(changed).items():
            assert_close(value, buffers[name])


def assert_trains_alike(model, net, variables, data, *, train=None, flattened=None):
    """Compares parameters and statistics after 100 steps of SGD.

    Rounding grows as a run goes on, for one side as for the other: what is allowed is
    measured by how far PyTorch comes from itself, started one unit in the last place
    away.
    """
    load(net, variables, flattened)
    net.train(bool(train))
    other = copy.deepcopy(net)
    with torch.no_grad():
        for p in other.parameters():
            p.copy_(torch.nextafter(p, torch.full_like(p, torch.inf)))
    batches = np.random.default_rng(6).integers(EXAMPLES, size=(STEPS, BATCH))
    for twin in (net, other):
        train_torch(twin, data, batches)

    given = {} if train is None else {"train": train}

    def loss_fn(params, model_state, batch, key):
        logits, changed = model.apply(
            {"params": params, **model_state},
            batch["x"],
            mutable=["batch_stats"],
            **given,
        )
        return cross_entropy(logits, batch["label"]), (model_state | changed, {})

    optimizer = sgd(0.01, momentum=0.9, weight_decay=1e-3)
    model_state = {name: tree for name, tree in variables.items() if name != "params"}
    state = init_state(variables["params"], optimizer, model_state)
    steps = jax.jit(scan_steps(make_train_step(loss_fn, optimizer)))
    state, _ = steps(
        state, jax.tree.map(jnp.asarray, data), jnp.asarray(batches), jax.random.key(0)
    )

    ours = to_state_dict(
        {"params": state.params, **state.model_state}, flattened=flattened
    )
    before = to_state_dict(variables, flattened=flattened)
    theirs, apart = (_numpy(twin.state_dict()) for twin in (net, other))
    limit = max(1e-8, 100 * max(np.abs(theirs[k] - apart[k]).max() for k in theirs))
    assert limit < 1e-4, "the run is too chaotic to tell anything"
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], rtol=0, atol=limit)
        assert np.abs(value - before[name]).max() > 100 * limit, f"{name} did not move"


def train_torch(net, data, batches):
    optimizer = torch.optim.SGD(
        net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-3
    )
    x, labels = as_torch(data["x"]), torch.tensor(data["label"]).long()
    for rows in batches:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x[rows]), labels[rows]).backward()
        optimizer.step()


def classification(rng, shape, classes):
    """Examples of a few classes that differ in their mean."""
    label = rng.integers(classes, size=EXAMPLES)
    x = rng.normal(size=(EXAMPLES, *shape)) + rng.normal(size=(classes, *shape))[label]
    return {"x": x, "label": label}


def _numpy(state_dict):
    return {name: tensor.numpy() for name, tensor in state_dict.items()}
