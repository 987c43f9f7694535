"""The course's recurrent models beside PyTorch's, which pack what is padded."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from jaxdl.functional import cross_entropy
from jaxdl.models.recurrent import (
    CharCell,
    CharEmbeddingRNN,
    CharRNN,
    RecurrentClassifier,
)
from jaxdl.torch_weights import from_state_dict, to_state_dict
from jaxdl.training import init_state, make_train_step, scan_steps
from tests.marks import slow
from tests.oracle import (
    assert_close,
    assert_trees_match,
    randomised,
    to_torch,
)

KEY = jax.random.key(0)
NETWORKS = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
TORCH_CELLS = {
    "rnn": torch.nn.RNNCell,
    "gru": torch.nn.GRUCell,
    "lstm": torch.nn.LSTMCell,
}
LENGTHS = np.array([3, 6, 1, 6, 2], np.int32)  # neither sorted nor all different
SIZES = {"num_classes": 3, "vocabulary_size": 11, "hidden_size": 5}


class Classifier(torch.nn.Module):
    """The lecture's, for any cell and any order of lengths."""

    def __init__(self, cell, num_layers, bidirectional):
        super().__init__()
        hidden, self.cell = SIZES["hidden_size"], cell
        self.embedding = torch.nn.Embedding(SIZES["vocabulary_size"], hidden)
        network = NETWORKS[cell]
        settings = {"bidirectional": bidirectional}
        self.add_module(cell, network(hidden, hidden, num_layers, **settings))
        self.fc = torch.nn.Linear((1 + bidirectional) * hidden, SIZES["num_classes"])

    def forward(self, x, lengths):
        vectors = self.embedding(x.t())
        packed = pack_padded_sequence(vectors, lengths, enforce_sorted=False)
        _, hidden = getattr(self, self.cell)(packed)
        hidden = hidden[0] if self.cell == "lstm" else hidden
        if getattr(self, self.cell).bidirectional:
            return self.fc(torch.cat([hidden[-1], hidden[-2]], dim=1))
        return self.fc(hidden[-1])


class Embedded(torch.nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell, self.emb = cell, torch.nn.Embedding(6, 10)
        self.add_module(cell, NETWORKS[cell](10, 8, 2, batch_first=True))
        self.fc = torch.nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(getattr(self, self.cell)(self.emb(x))[0])


def flat(params):
    """Parameters by PyTorch's names and in its layout."""
    return to_state_dict({"params": params})


def load(net, params):
    net.double().load_state_dict(
        {name: to_torch(value) for name, value in flat(params).items()}
    )
    return net


def drawn_params(rng, model, *inputs):
    params = randomised(rng, jax.eval_shape(model.init, KEY, *inputs)["params"])
    return jax.tree.map(lambda p: 0.5 * p, params)


@pytest.fixture
def names(rng):
    """Symbols with padding that is no padding symbol: it must not count."""
    return {
        "text": rng.integers(11, size=(5, 6)).astype(np.int32),
        "length": LENGTHS,
        "label": rng.integers(3, size=5).astype(np.int32),
    }


@pytest.mark.parametrize(
    ("cell", "num_layers", "bidirectional"),
    [("gru", 2, True), ("gru", 2, False), ("lstm", 1, True), ("rnn", 1, True)],
)
def test_classifiers_and_their_gradients_match_torch(
    rng, x64, names, cell, num_layers, bidirectional
):
    model = RecurrentClassifier(
        **SIZES, cell=cell, num_layers=num_layers, bidirectional=bidirectional
    )
    text, lengths, labels = map(jnp.asarray, names.values())
    params = drawn_params(rng, model, text, lengths)

    def loss_fn(params):
        logits = model.apply({"params": params}, text, lengths)
        return cross_entropy(logits, labels), logits

    (_, logits), grads = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))(params)
    net = load(Classifier(cell, num_layers, bidirectional), params)
    expected = net(to_torch(text).long(), to_torch(lengths).long())
    torch.nn.functional.cross_entropy(expected, to_torch(labels).long()).backward()
    assert_close(logits, expected.detach())
    grads = flat(grads)
    assert set(grads) == {name for name, _ in net.named_parameters()}
    for name, parameter in net.named_parameters():
        assert_close(grads[name], parameter.grad)


def train_torch(net, make_optimizer, names, rows):
    optimizer = make_optimizer(net.parameters())
    text, lengths, labels = (to_torch(array).long() for array in names.values())
    for row in rows:
        optimizer.zero_grad()
        logits = net(text[row], lengths[row])
        torch.nn.functional.cross_entropy(logits, labels[row]).backward()
        optimizer.step()
    return {name: p.detach().numpy() for name, p in net.named_parameters()}


@pytest.mark.parametrize(
    ("num_layers", "ours", "theirs"),
    [
        slow(2, optax.adam(1e-3), lambda p: torch.optim.Adam(p, 1e-3)),
        (1, optax.sgd(0.05, 0.9), lambda p: torch.optim.SGD(p, 0.05, 0.9)),
    ],
    ids=["adam", "momentum"],
)
def test_a_hundred_steps_stay_beside_torch(rng, x64, names, num_layers, ours, theirs):
    """No further from PyTorch than 100 times PyTorch from itself, one ulp away."""
    model = RecurrentClassifier(**SIZES, num_layers=num_layers)
    text, lengths, _ = map(jnp.asarray, names.values())
    params = drawn_params(rng, model, text, lengths)
    rows = rng.integers(5, size=(100, 3))

    def loss_fn(params, model_state, batch, key):
        logits = model.apply({"params": params}, batch["text"], batch["length"])
        return cross_entropy(logits, batch["label"]), (model_state, {})

    steps = jax.jit(scan_steps(make_train_step(loss_fn, ours)))
    state, metrics = steps(
        init_state(params, ours),
        jax.tree.map(jnp.asarray, names),
        jnp.asarray(rows),
        KEY,
    )
    assert metrics["loss"][-1] < metrics["loss"][0]

    nudged = jax.tree.map(lambda p: jnp.nextafter(p, jnp.inf), params)
    expected, beside = (
        train_torch(load(Classifier("gru", num_layers, True), p), theirs, names, rows)
        for p in (params, nudged)
    )
    apart = max(abs(expected[name] - beside[name]).max() for name in expected)
    trained = flat(state.params)
    for name, value in expected.items():
        limit = max(1e-8, 100 * apart)
        np.testing.assert_allclose(trained[name], value, rtol=0, atol=limit)


def test_the_courses_classifier_has_its_parameters():
    shapes = jax.eval_shape(
        RecurrentClassifier(18).init, KEY, jnp.zeros((1, 4), int), jnp.array([4])
    )
    twin = torch.nn.GRU(100, 100, 2, bidirectional=True)
    expected = {f"gru.{name}": tuple(p.shape) for name, p in twin.named_parameters()}
    expected |= {"embedding.weight": (128, 100)}
    expected |= {"fc.weight": (18, 200), "fc.bias": (18,)}
    drawn = jax.tree.map(lambda leaf: np.zeros(leaf.shape), shapes["params"])
    assert {name: value.shape for name, value in flat(drawn).items()} == expected


def test_the_courses_weights_come_back(rng, x64, names):
    """Copied from PyTorch and back; and read with the names of the course's model."""
    text, lengths, _ = map(jnp.asarray, names.values())
    model, net = RecurrentClassifier(**SIZES), Classifier("gru", 2, True).double()
    like = {"params": drawn_params(rng, model, text, lengths)}
    variables = from_state_dict(net.state_dict(), like)
    logits = model.apply(variables, text, lengths)
    expected = net(to_torch(text).long(), to_torch(lengths).long())
    assert_close(logits, expected.detach())
    again = flat(variables["params"])
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(again[name], value)


def test_neither_padding_nor_the_order_of_names_counts(rng, x64, names):
    model = RecurrentClassifier(**SIZES, num_layers=1)
    text, lengths, _ = map(jnp.asarray, names.values())
    params = drawn_params(rng, model, text, lengths)
    apply = jax.jit(model.apply)
    logits = apply({"params": params}, text, lengths)
    wider = jnp.pad(text, ((0, 0), (0, 3)), constant_values=-1)
    assert_close(apply({"params": params}, wider, lengths), logits)
    order = jnp.argsort(-lengths)
    assert_close(apply({"params": params}, text[order], lengths[order]), logits[order])


def test_classifiers_of_several_seeds_at_once(names):
    model = RecurrentClassifier(**SIZES, num_layers=1)
    text, lengths, _ = map(jnp.asarray, names.values())
    keys = jax.random.split(KEY, 3)

    @jax.jit
    def grad(key):
        params = model.init(key, text, lengths)["params"]
        loss = lambda params: model.apply({"params": params}, text, lengths).var()
        return jax.grad(loss)(params)

    assert_trees_match(
        jax.tree.map(lambda leaf: leaf[1], jax.vmap(grad)(keys)),
        grad(keys[1]),
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("text", "lengths", "message"),
    [
        ([[1, 2, 3]], [0], r"length 0 at \(0,\) lies outside of 1..3"),
        ([[1, 2, 3]], [4], r"length 4 at \(0,\) lies outside of 1..3"),
        ([[1, 11, 3]], [3], r"index 11 at \(0, 1\) lies outside of 0..10"),
        ([[1, -1, 3]], [3], r"index -1 at \(0, 1\) lies outside of 0..10"),
        ([1, 2, 3], [3], r"symbols are needed as \(batch, time\), not \(3,\)"),
    ],
)
def test_what_is_no_padded_sequence(unchecked, text, lengths, message):
    model = RecurrentClassifier(**SIZES, num_layers=1)
    variables = jax.jit(model.init)(KEY, jnp.ones((1, 3), int), jnp.array([3]))
    with pytest.raises(ValueError, match=message):
        model.apply(variables, jnp.array(text), jnp.array(lengths))


@pytest.mark.parametrize("model", [CharCell, CharRNN, CharEmbeddingRNN])
def test_cells_that_do_not_exist(unchecked, model):
    x = {CharCell: jnp.ones((1, 4)), CharRNN: jnp.ones((1, 2, 4))}
    with pytest.raises(ValueError, match="cell='tanh' is none of rnn, gru, lstm"):
        model(cell="tanh").init(KEY, x.get(model, jnp.ones((1, 2), int)))


@pytest.mark.parametrize("cell", NETWORKS)
def test_a_cell_letter_by_letter_is_torchs_and_the_layers(rng, x64, cell):
    letters = rng.normal(size=(2, 5, 4))
    model, layer = CharCell(3, cell), CharRNN(3, cell=cell)
    params = drawn_params(rng, model, jnp.asarray(letters[:, 0]))
    name = f"{cell}cell"
    assert set(params) == {name}
    net = TORCH_CELLS[cell](4, 3).double()
    net.load_state_dict({k: to_torch(v) for k, v in flat(params[name]).items()})

    state, expected, outputs = None, None, []
    for time in range(5):
        state = model.apply({"params": params}, jnp.asarray(letters[:, time]), state)
        expected = net(to_torch(letters[:, time]), expected)
        hidden, theirs = (s[0] if cell == "lstm" else s for s in (state, expected))
        assert_close(hidden, theirs.detach())
        outputs.append(hidden)
    of_layer = {cell: {f"{k}_l0": v for k, v in params[name].items()}}
    together = layer.apply({"params": of_layer}, jnp.asarray(letters))
    assert_close(together, jnp.stack(outputs, axis=1))


@pytest.mark.parametrize(("cell", "num_layers"), [("rnn", 1), ("gru", 2), ("lstm", 1)])
def test_the_layer_and_its_gradients_match_torch(rng, x64, cell, num_layers):
    letters, weights = rng.normal(size=(2, 5, 4)), rng.normal(size=(2, 5, 3))
    model = CharRNN(3, num_layers, cell)
    params = drawn_params(rng, model, jnp.asarray(letters))

    def outputs(params):
        logits = model.apply({"params": params}, jnp.asarray(letters))
        return (logits * weights).sum(), logits

    (_, logits), grads = jax.jit(jax.value_and_grad(outputs, has_aux=True))(params)
    net = torch.nn.ModuleDict({cell: NETWORKS[cell](4, 3, num_layers)})
    load(net, params)
    expected = net[cell](to_torch(letters).transpose(0, 1))[0].transpose(0, 1)
    (expected * to_torch(weights)).sum().backward()
    assert_close(logits, expected.detach())
    for name, parameter in net.named_parameters():
        assert_close(flat(grads)[name], parameter.grad)


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_the_embedded_form_and_its_gradients_match_torch(rng, x64, cell):
    letters, weights = rng.integers(6, size=(2, 7)), rng.normal(size=(2, 7, 5))
    model = CharEmbeddingRNN(num_classes=5, vocabulary_size=6, cell=cell)
    params = drawn_params(rng, model, jnp.asarray(letters))

    def outputs(params):
        logits = model.apply({"params": params}, jnp.asarray(letters))
        return (logits * weights).sum(), logits

    (_, logits), grads = jax.jit(jax.value_and_grad(outputs, has_aux=True))(params)
    net = load(Embedded(cell), params)
    expected = net(to_torch(letters))
    (expected * to_torch(weights)).sum().backward()
    assert_close(logits, expected.detach())
    for name, parameter in net.named_parameters():
        assert_close(flat(grads)[name], parameter.grad)


def test_words_one_by_one_are_words_at_once(rng, x64):
    """vmap over words without a batch axis of their own."""
    model = CharEmbeddingRNN(num_layers=1)
    letters = jnp.asarray(rng.integers(4, size=(3, 5)))
    variables = {"params": drawn_params(rng, model, letters)}
    one = lambda word: model.apply(variables, word[None])[0]
    together = jax.jit(model.apply)(variables, letters)
    assert_close(jax.jit(jax.vmap(one))(letters), together)


def test_a_letter_outside_the_vocabulary():
    with pytest.raises(ValueError, match=r"index 4 .* lies outside of 0..3"):
        CharEmbeddingRNN().init(KEY, jnp.full((1, 5), 4))
