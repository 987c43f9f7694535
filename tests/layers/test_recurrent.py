import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxdl.layers.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from tests.oracle import assert_close, randomised, to_torch

LENGTHS = [2, 4, 1]
NETWORKS = [(RNN, torch.nn.RNN), (GRU, torch.nn.GRU), (LSTM, torch.nn.LSTM)]
CELLS = [
    (RNNCell, torch.nn.RNNCell),
    (GRUCell, torch.nn.GRUCell),
    (LSTMCell, torch.nn.LSTMCell),
]


def initial(layer, x, **arguments):
    return layer.init(jax.random.key(0), x, **arguments)["params"]


def set_parameters(oracle, params):
    """Copies under PyTorch's names; fails unless the names are the same."""
    named = dict(oracle.named_parameters())
    assert set(named) == set(params)
    with torch.no_grad():
        for name, parameter in named.items():
            value = to_torch(params[name])
            parameter.copy_(value.T if value.ndim == 2 else value)


def leaves(result):
    return jax.tree.leaves(result, is_leaf=lambda a: isinstance(a, torch.Tensor))


@pytest.mark.parametrize(("layer", "oracle"), NETWORKS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_layers": 2, "bidirectional": True},
        {"batch_first": True, "bias": False, "num_layers": 3},
        {"bias": True, "nonlinearity": "relu"},
    ],
)
def test_networks_match_torch(rng, x64, layer, oracle, settings):
    if "nonlinearity" in settings and layer is not RNN:
        pytest.skip("RNN's argument")
    ours = dict(settings)
    ours["use_bias"] = ours.pop("bias", True)
    ours, theirs = layer(3, **ours), oracle(2, 3, **settings).double()
    batch_first = settings.get("batch_first", False)
    x = rng.normal(size=(3, 4, 2) if batch_first else (4, 3, 2))
    params = randomised(rng, initial(ours, jnp.asarray(x)))
    set_parameters(theirs, params)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        to_torch(x), torch.tensor(LENGTHS), batch_first, enforce_sorted=False
    )
    actual = ours.apply({"params": params}, jnp.asarray(x), None, jnp.array(LENGTHS))
    output, state = theirs(packed)
    output = torch.nn.utils.rnn.pad_packed_sequence(output, batch_first)[0]
    for a, e in zip(leaves(actual), leaves((output, state)), strict=True):
        assert_close(a, e.detach())


@pytest.mark.parametrize(("layer", "oracle"), NETWORKS)
def test_networks_start_from_the_given_state(rng, x64, layer, oracle):
    x, theirs = rng.normal(size=(4, 3, 2)), oracle(2, 3).double()
    params = randomised(rng, initial(layer(3), jnp.asarray(x)))
    set_parameters(theirs, params)
    states = [rng.normal(size=(1, 3, 3)) for _ in range(1 + (layer is LSTM))]
    given = lambda array: (
        tuple(map(array, states)) if layer is LSTM else array(states[0])
    )
    actual = layer(3).apply({"params": params}, jnp.asarray(x), given(jnp.asarray))
    expected = theirs(to_torch(x), given(to_torch))
    for a, e in zip(leaves(actual), leaves(expected), strict=True):
        assert_close(a, e.detach())


@pytest.mark.parametrize(("cell", "oracle"), CELLS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("with_hx", [True, False])
def test_cells_match_torch(rng, x64, cell, oracle, bias, with_hx):
    x, theirs = rng.normal(size=(4, 2)), oracle(2, 3, bias=bias).double()
    ours = cell(3, use_bias=bias)
    params = randomised(rng, initial(ours, jnp.asarray(x)))
    set_parameters(theirs, params)
    states = [rng.normal(size=(4, 3)) for _ in range(2)]
    given = lambda array: (
        tuple(map(array, states)) if cell is LSTMCell else array(states[0])
    )
    hx = lambda array: (given(array),) if with_hx else ()
    actual = ours.apply({"params": params}, jnp.asarray(x), *hx(jnp.asarray))
    expected = theirs(to_torch(x), *hx(to_torch))
    for a, e in zip(leaves(actual), leaves(expected), strict=True):
        assert_close(a, e.detach())


def test_a_relu_cell_matches_torch(rng, x64):
    x = rng.normal(size=(4, 2))
    ours = RNNCell(3, nonlinearity="relu")
    theirs = torch.nn.RNNCell(2, 3, nonlinearity="relu").double()
    params = randomised(rng, initial(ours, jnp.asarray(x)))
    set_parameters(theirs, params)
    actual = ours.apply({"params": params}, jnp.asarray(x))
    assert_close(actual, theirs(to_torch(x)).detach())


@pytest.mark.parametrize(
    "layer", [GRU(64, num_layers=2, bidirectional=True), LSTMCell(64)]
)
def test_all_parameters_are_drawn_from_the_hidden_sizes_interval(layer):
    """Both ends are met; the inputs, of another size, do not count."""
    shape = (2, 1, 9) if isinstance(layer, GRU) else (1, 9)
    for name, values in initial(layer, jnp.zeros(shape)).items():
        assert values.dtype == jnp.float32
        assert np.abs(values).max() <= 1 / 8, name
        assert values.max() >= 0.9 / 8
        assert values.min() <= -0.9 / 8
        np.testing.assert_allclose(np.abs(values).mean(), 1 / 16, rtol=0.2)


def test_dropout_acts_in_training_only_and_follows_its_key():
    x = jnp.ones((4, 3, 2))
    layer, plain = GRU(3, num_layers=2, dropout=0.5), GRU(3, num_layers=2)
    variables = {"params": initial(plain, x)}
    run = lambda key: layer.apply(
        variables, x, train=True, rngs={"dropout": jax.random.key(key)}
    )[0]
    np.testing.assert_array_equal(
        layer.apply(variables, x, train=False)[0], plain.apply(variables, x)[0]
    )
    np.testing.assert_array_equal(run(0), run(0))
    assert (run(0) != run(1)).any()


def test_a_traced_probability_of_dropout_is_as_good_as_a_number():
    x = jnp.ones((4, 3, 2))
    variables = {"params": initial(GRU(3, num_layers=2), x)}
    run = lambda p: GRU(3, num_layers=2, dropout=p).apply(
        variables, x, train=True, rngs={"dropout": jax.random.key(0)}
    )[0]
    np.testing.assert_allclose(jax.jit(run)(0.3), run(0.3), rtol=1e-6)
    assert (run(0.3) != run(0.0)).any()


def test_training_without_dropout_needs_no_key():
    x = jnp.ones((4, 3, 2))
    variables = {"params": initial(GRU(3), x)}
    trained, evaluated = (GRU(3).apply(variables, x, train=t) for t in (True, False))
    jax.tree.map(np.testing.assert_array_equal, trained, evaluated)


def test_dropout_needs_train():
    x = jnp.ones((4, 3, 2))
    with pytest.raises(
        ValueError, match=r"dropout=0\.5 needs train=True or train=False"
    ):
        initial(GRU(3, num_layers=2, dropout=0.5), x)


def test_states_and_inputs_are_promoted_with_the_parameters():
    x, hx = jnp.ones((4, 3, 2), jnp.bfloat16), jnp.ones((1, 3, 3), jnp.bfloat16)
    variables = {"params": initial(GRU(3), x)}
    output, h_n = GRU(3).apply(variables, x, hx)
    assert output.dtype == h_n.dtype == jnp.float32


@pytest.mark.parametrize("cell", [RNNCell(3), GRUCell(3), LSTMCell(3)])
def test_cells_start_from_zeros_of_the_inputs_type(cell):
    x = jnp.ones((4, 2), jnp.bfloat16)
    low = jax.tree.map(lambda a: a.astype(jnp.bfloat16), initial(cell, x))
    for state in leaves(cell.apply({"params": low}, x)):
        assert state.dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("layer", "settings", "message"),
    [
        (GRU, {"hidden_size": 0}, "hidden_size=0 is below 1"),
        (LSTMCell, {"hidden_size": -1}, "hidden_size=-1 is below 1"),
        (LSTM, {"num_layers": 0}, "num_layers=0 is below 1"),
        (GRU, {"dropout": 1.5}, "dropout=1.5 is not within"),
        (RNN, {"nonlinearity": "sin"}, "nonlinearity='sin' is not"),
        (RNNCell, {"nonlinearity": "sin"}, "nonlinearity='sin' is not"),
    ],
)
def test_invalid_settings_raise(layer, settings, message, unchecked):
    x = jnp.zeros((3, 2) if layer in (RNNCell, LSTMCell) else (4, 3, 2))
    with pytest.raises(ValueError, match=message):
        initial(layer(**{"hidden_size": 3} | settings), x)


def test_a_packed_sequence_is_given_padded(unchecked):
    packed = torch.nn.utils.rnn.pack_sequence([torch.ones(4, 2)])
    with pytest.raises(ValueError, match=r"input is a PackedSequence; .* give it pad"):
        initial(GRU(3), packed)


@pytest.mark.parametrize(("layer", "shape"), [(GRU(3), (4, 3)), (GRUCell(3), (4,))])
def test_other_inputs_than_the_parameters_were_made_for(layer, shape):
    variables = {"params": initial(layer, jnp.zeros((*shape, 2)))}
    with pytest.raises(ValueError, match="made for 2 input features and is given 5"):
        layer.apply(variables, jnp.zeros((*shape, 5)))
