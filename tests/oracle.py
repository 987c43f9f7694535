"""PyTorch twins of the models, and the way from one side's arrays to the other's."""

import jax
import numpy as np
import torch

# Both sides compute in float64, so they differ by rounding only.
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def to_torch(x):
    return torch.tensor(np.asarray(x))


def random(shape, seed):
    return np.random.default_rng(seed).normal(size=shape)


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, **EXACT)


def assert_agrees(ours, theirs, *arrays, seed=0):
    """Compares values and, for a random cotangent, the gradients of all `arrays`.

    `ours` takes JAX arrays and `theirs` PyTorch tensors of the same shapes; both give
    an array or a tuple of them. Ours is compiled. Arrays of integers get no gradients.
    """
    tensors = [to_torch(a) for a in arrays]
    tensors = [t.requires_grad_() if t.is_floating_point() else t for t in tensors]
    expected = theirs(*tensors)
    expected = expected if isinstance(expected, tuple) else (expected,)
    cotangents = [random(tuple(e.shape), seed + i) for i, e in enumerate(expected)]

    floats = [i for i, t in enumerate(tensors) if t.is_floating_point()]
    scalar = sum(
        (e * to_torch(c)).sum() for e, c in zip(expected, cotangents, strict=True)
    )
    expected_gradients = torch.autograd.grad(
        scalar, [tensors[i] for i in floats], materialize_grads=True
    )

    @jax.jit
    def outputs_and_gradients(arrays, cotangents):
        def outputs(*differentiated):
            given = list(arrays)
            for i, array in zip(floats, differentiated, strict=True):
                given[i] = array
            output = ours(*given)
            return output if isinstance(output, tuple) else (output,)

        actual, pullback = jax.vjp(outputs, *(arrays[i] for i in floats))
        return actual, pullback(tuple(cotangents))

    arrays, cotangents = jax.tree.map(
        jax.numpy.asarray, ([np.asarray(a) for a in arrays], cotangents)
    )
    actual, gradients = outputs_and_gradients(arrays, cotangents)
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == tuple(e.shape)
        assert_close(a, e.detach())
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        assert_close(gradient, expected_gradient)


def assert_trees_match(actual, expected, **tolerance):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **(tolerance or EXACT)),
        actual,
        expected,
    )


def assert_same_bits(actual, expected):
    """Compares trees of arrays; keys by their kind and their numbers."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(*map(_numbers, (a, b))),
        actual,
        expected,
    )
    kinds = lambda tree: [leaf.dtype for leaf in jax.tree.leaves(tree) if _is_key(leaf)]
    assert kinds(actual) == kinds(expected)


def _numbers(leaf):
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _is_key(leaf):
    return jax.numpy.issubdtype(getattr(leaf, "dtype", int), jax.dtypes.prng_key)


def randomised(rng, params):
    """Replaces parameters by float64 draws, far from initial zeros."""
    return jax.tree.map(lambda p: jax.numpy.asarray(rng.normal(size=p.shape)), params)


class Permute(torch.nn.Module):
    """Puts channels last, so that flattening gives the order that jaxdl gives."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1)


def torch_lenet(params):
    """LeNet in PyTorch with these parameters."""
    pixels = params["fc1"]["kernel"].shape[0]
    net = torch.nn.Sequential(
        torch.nn.Conv2d(params["conv1"]["kernel"].shape[2], 6, 5),
        torch.nn.Sigmoid(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(6, 16, 5),
        torch.nn.Sigmoid(),
        torch.nn.MaxPool2d(2),
        Permute(),
        torch.nn.Flatten(),
        torch.nn.Linear(pixels, 120),
        torch.nn.Sigmoid(),
        torch.nn.Linear(120, 84),
        torch.nn.Sigmoid(),
        torch.nn.Linear(84, params["fc3"]["bias"].size),
    ).double()
    layers = [m for m in net if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    for layer, name in zip(
        layers, ["conv1", "conv2", "fc1", "fc2", "fc3"], strict=True
    ):
        kernel = to_torch(params[name]["kernel"])
        axes = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
        with torch.no_grad():
            layer.weight.copy_(kernel.permute(axes))
            layer.bias.copy_(to_torch(params[name]["bias"]))
    return net


def torch_lenet_grads(net):
    """The gradients of `torch_lenet`, named and laid out as jaxdl's parameters."""
    layers = [m for m in net if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    grads = {}
    for layer, name in zip(
        layers, ["conv1", "conv2", "fc1", "fc2", "fc3"], strict=True
    ):
        weight = layer.weight.grad
        axes = (2, 3, 1, 0) if weight.ndim == 4 else (1, 0)
        grads[name] = {"kernel": weight.permute(axes), "bias": layer.bias.grad}
    return jax.tree.map(lambda t: t.numpy(), grads)
