import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.functional import cross_entropy, mse_loss
from tests.oracle import EXACT, to_torch

REDUCTIONS = ["none", "mean", "sum"]


@pytest.fixture(autouse=True)
def _float64(x64):
    pass


def check_against_torch(rng, ours, theirs, inputs):
    """Compares values, and gradients by `inputs` under a random cotangent."""
    tensors = [to_torch(x).requires_grad_() for x in inputs]
    value, pullback = jax.vjp(ours, *map(jnp.asarray, inputs))
    expected = theirs(*tensors)
    np.testing.assert_allclose(value, expected.detach(), **EXACT)
    cotangent = rng.normal(size=value.shape)
    expected.backward(to_torch(cotangent))
    for grad, tensor in zip(pullback(jnp.asarray(cotangent)), tensors, strict=True):
        np.testing.assert_allclose(grad, tensor.grad, **EXACT)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_mse_loss(rng, reduction):
    inputs = rng.normal(size=(2, 7, 3))
    check_against_torch(
        rng,
        lambda x, y: mse_loss(x, y, reduction),
        lambda x, y: torch.nn.functional.mse_loss(x, y, reduction=reduction),
        inputs,
    )


def test_mse_loss_refuses_to_broadcast():
    with pytest.raises(ValueError, match=r"input \(4, 1\) and target \(4,\) differ"):
        mse_loss(jnp.zeros((4, 1)), jnp.zeros(4))


def channels_second(x):
    return x.movedim(-1, 1) if x.ndim > 2 else x


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    batch=st.sampled_from([(1,), (7,), (3, 2), (2, 3, 2), ()]),
    classes=st.integers(1, 6),
    weighted=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    reduction=st.sampled_from(REDUCTIONS),
    ignored=st.sampled_from([-100, 0, 255]),
    seed=st.integers(0, 99),
)
def test_cross_entropy_of_indices(
    batch, classes, weighted, smoothing, reduction, ignored, seed
):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(*batch, classes))
    labels = rng.integers(classes, size=batch)
    labels = np.where(rng.random(batch) < 0.3, ignored, labels)
    weight = rng.uniform(0.5, 2, size=classes) if weighted else None
    if reduction == "mean" and (labels == ignored).all():
        return  # 0 / 0, tested on its own
    settings = {
        "ignore_index": ignored,
        "reduction": reduction,
        "label_smoothing": smoothing,
    }

    check_against_torch(
        rng,
        lambda x: cross_entropy(
            x,
            jnp.asarray(labels),
            None if weight is None else jnp.asarray(weight),
            **settings,
        ),
        lambda x: torch.nn.functional.cross_entropy(
            channels_second(x),
            torch.tensor(labels),
            None if weight is None else to_torch(weight),
            **settings,
        ),
        [logits],
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("batch", [(5,), (3, 2)])
def test_cross_entropy_of_probabilities(rng, batch, weighted, smoothing, reduction):
    logits = rng.normal(size=(*batch, 4))
    target = rng.dirichlet(np.ones(4), size=batch)
    weight = rng.uniform(0.5, 2, size=4) if weighted else None
    settings = {"reduction": reduction, "label_smoothing": smoothing}
    check_against_torch(
        rng,
        lambda x, t: cross_entropy(
            x, t, None if weight is None else jnp.asarray(weight), **settings
        ),
        lambda x, t: torch.nn.functional.cross_entropy(
            channels_second(x),
            channels_second(t),
            None if weight is None else to_torch(weight),
            **settings,
        ),
        [logits, target],
    )


@pytest.mark.parametrize("scale", [1e3, 1e5, 1e300])
def test_cross_entropy_of_large_logits(rng, scale):
    labels = rng.integers(5, size=8)
    check_against_torch(
        rng,
        lambda x: cross_entropy(x, jnp.asarray(labels)),
        lambda x: torch.nn.functional.cross_entropy(x, torch.tensor(labels)),
        [scale * rng.normal(size=(8, 5))],
    )


def test_cross_entropy_of_classes_ruled_out(rng):
    """A logit of -inf is a class that cannot be, and no reason for a NaN."""
    logits = rng.normal(size=(3, 4))
    logits[:, 2] = -np.inf
    labels = np.array([0, 1, 3])
    check_against_torch(
        rng,
        lambda x: cross_entropy(x, jnp.asarray(labels)),
        lambda x: torch.nn.functional.cross_entropy(x, torch.tensor(labels)),
        [logits],
    )


@pytest.mark.parametrize(
    ("target", "weight"),
    [
        (np.zeros(1, int), None),
        (np.zeros((4, 1), int), None),
        (np.zeros((4, 3), int), None),
        (np.zeros(4), None),
        (np.zeros((4, 1)), None),
        (np.zeros(4, int), np.ones(1)),
    ],
    ids=["one", "column", "integers", "floats", "float-column", "weight"],
)
def test_cross_entropy_does_not_broadcast(unchecked, target, weight):
    weight = None if weight is None else jnp.asarray(weight)
    with pytest.raises(ValueError, match=r"fit|dtype"):
        cross_entropy(jnp.zeros((4, 3)), jnp.asarray(target), weight)


def test_mean_over_ignored_labels_only_is_nan():
    loss = cross_entropy(jnp.zeros((2, 3)), jnp.array([-100, -100]))
    assert np.isnan(loss)


@pytest.mark.parametrize("label", [-1, 3, 10**6, -(10**6)])
def test_label_out_of_range_is_an_error(label):
    with pytest.raises(
        ValueError, match=rf"label {label} at \(1,\) lies outside of 0..2"
    ):
        cross_entropy(jnp.zeros((2, 3)), jnp.array([0, label]))


@pytest.mark.parametrize("label", [-1, 3, 10**6, -(10**6)])
def test_label_out_of_range_is_nan_inside_jit(label):
    losses = jax.jit(lambda x, y: cross_entropy(x, y, reduction="none"))(
        jnp.zeros((2, 3)), jnp.array([0, label])
    )
    np.testing.assert_array_equal(np.isnan(losses), [False, True])


@pytest.mark.parametrize("smoothing", [-0.1, 1.5])
def test_label_smoothing_out_of_range(smoothing):
    with pytest.raises(ValueError, match=f"label_smoothing={smoothing} is not within"):
        cross_entropy(jnp.zeros((2, 3)), jnp.array([0, 1]), label_smoothing=smoothing)


def test_reduction_unknown(unchecked):
    with pytest.raises(ValueError, match="reduction='average' is not"):
        cross_entropy(jnp.zeros((2, 3)), jnp.array([0, 1]), reduction="average")


def test_cross_entropy_under_vmap_and_jit(rng):
    logits = jnp.asarray(rng.normal(size=(4, 5, 3)))
    labels = jnp.asarray(rng.integers(3, size=(4, 5)))
    each = jax.jit(jax.vmap(cross_entropy))(logits, labels)
    np.testing.assert_allclose(each[1], cross_entropy(logits[1], labels[1]), **EXACT)
