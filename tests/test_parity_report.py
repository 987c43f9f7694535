"""Reports on twins: those that agree, and those with one fault planted."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import linen as nn

from jaxdl.functional import avg_pool2d, gelu
from jaxdl.functional.recurrent_cells import gru_cell
from jaxdl.layers import (
    GRU,
    LSTM,
    BatchNorm,
    Conv,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    Sequential,
)
from jaxdl.models.lenet import LeNet
from jaxdl.optimizers import param_groups, sgd
from jaxdl.parity import assert_parity, compare
from jaxdl.parity.__main__ import main
from jaxdl.parity.report import rows_of
from tests.oracle import Permute

ROOT = Path(__file__).parents[1]


def drawn(*shape):
    return np.random.default_rng(1).normal(size=shape)


IMAGES = drawn(3, 8, 8, 2)
SEQUENCES = drawn(5, 3, 4)


class TorchNet(torch.nn.Module):
    """Has something of every trap that images have."""

    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.bn1 = torch.nn.BatchNorm2d(4)
        self.gelu = torch.nn.GELU()
        self.pool = torch.nn.AvgPool2d(3, 1, 1)
        self.bn2 = torch.nn.BatchNorm2d(4)
        self.fc1 = torch.nn.Linear(64, 5)
        self.norm = torch.nn.LayerNorm(5)
        self.dropout = torch.nn.Dropout(0.5)
        self.fc2 = torch.nn.Linear(5, 3)

    def forward(self, x):
        x = self.bn2(self.pool(self.gelu(self.bn1(self.conv1(x)))))
        return self.fc2(self.dropout(self.norm(self.fc1(x.flatten(1)))))


class Net(nn.Module):
    """Its twin, where nothing else is said."""

    padding: int | str = 1
    momentum: float = 0.1
    eps: float = 1e-5
    approximate: str = "none"
    count_include_pad: bool = True
    norm_eps: float = 1e-5
    bn1: type | None = None
    dtype: str | None = None

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Conv(
            4, (3, 3), 2, [(self.padding,) * 2] * 2 if self.padding == 1 else "SAME",
            name="conv1",
        )(x)  # fmt: skip
        if self.bn1 is None:
            x = BatchNorm(momentum=self.momentum, eps=self.eps, name="bn1")(
                x, train=train
            )
        else:
            x = self.bn1(name="bn1")(x, use_running_average=not train)
        x = gelu(x, self.approximate)
        x = avg_pool2d(x, 3, 1, 1, count_include_pad=self.count_include_pad)
        x = BatchNorm(name="bn2")(x, train=train)
        x = x.reshape(len(x), -1)
        x = nn.Dense(5, name="fc1", dtype=self.dtype)(x)
        x = LayerNorm(epsilon=self.norm_eps, name="norm")(x)
        return Linear(3, name="fc2")(Dropout(0.5)(x, train=train))


FLATTENED = {"fc1": (4, 4, 4)}


def half(net, decay=0.1):
    """Decays what is no bias."""
    biases = [p for name, p in net.named_parameters() if name.endswith("bias")]
    others = [p for name, p in net.named_parameters() if not name.endswith("bias")]
    return torch.optim.SGD(
        [{"params": biases}, {"params": others, "weight_decay": decay}], lr=0.1
    )


def everything(net):
    return torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1)


SPARED = param_groups({"*/bias": sgd(0.1), "*": sgd(0.1, weight_decay=0.1)})
DECAYED = sgd(0.1, weight_decay=0.1)


class TorchMean(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv1d(4, 3, 2)

    def forward(self, x):
        return self.conv(x).mean((1, 2))


class MeanOfConv(nn.Module):
    @nn.compact
    def __call__(self, x):
        return Conv(3, (2,), name="conv")(x).mean((1, 2))


LENGTHS = [2, 5, 3]


class TorchPacked(torch.nn.Module):
    """Sequences (time, batch, features) of unequal lengths."""

    def __init__(self):
        super().__init__()
        self.rnn = torch.nn.LSTM(4, 3, bidirectional=True)

    def forward(self, x):
        rnn = torch.nn.utils.rnn
        packed = rnn.pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
        output, (h_n, _) = self.rnn(packed)
        return rnn.pad_packed_sequence(output)[0], h_n


class Packed(nn.Module):
    @nn.compact
    def __call__(self, x):
        layer = LSTM(3, bidirectional=True, name="rnn")
        output, (h_n, _) = layer(x, None, LENGTHS)
        return output, h_n


class MergedGRU(nn.Module):
    """A GRU with b_hn outside of the reset gate's product."""

    @nn.compact
    def __call__(self, x):
        shapes = {"weight_ih_l0": (4, 9), "weight_hh_l0": (3, 9), "bias_ih_l0": (9,),
                  "bias_hh_l0": (9,)}  # fmt: skip
        init = nn.initializers.normal()
        w_ih, w_hh, b_ih, b_hh = (self.param(n, init, s) for n, s in shapes.items())
        gates = jnp.arange(9) < 6
        b_ih, b_hh = b_ih + jnp.where(gates, 0, b_hh), jnp.where(gates, b_hh, 0)
        h, outputs = jnp.zeros((x.shape[1], 3)), []
        for step in x:
            h = gru_cell(step, h, w_ih, w_hh, b_ih, b_hh)
            outputs.append(h)
        return jnp.stack(outputs), h[None]


class OneBiasGRU(nn.Module):
    """What a port with one bias for each gate has for parameters."""

    @nn.compact
    def __call__(self, x):
        shapes = {"weight_ih_l0": (4, 9), "weight_hh_l0": (3, 9), "bias_ih_l0": (9,)}
        for name, shape in shapes.items():
            self.param(name, nn.initializers.zeros, shape)
        return x


@pytest.mark.parametrize(
    ("torch_net", "flax_net", "inputs", "options"),
    [
        (TorchNet, Net, IMAGES, {"flattened": FLATTENED, "steps": 3}),
        (lambda: torch.nn.GRU(4, 3), lambda: GRU(3), SEQUENCES, {"steps": 2}),
        (
            lambda: torch.nn.LSTM(4, 3, bidirectional=True),
            lambda: LSTM(3, bidirectional=True),
            SEQUENCES,
            {},
        ),
        (
            lambda: torch.nn.Embedding(7, 3),
            lambda: Embedding(7, 3),
            np.arange(6).reshape(2, 3),
            {"steps": 2},
        ),
        (
            lambda: torch.nn.Conv1d(4, 3, 2),
            lambda: Conv(3, (2,)),
            SEQUENCES,
            {"channels_first": True},
        ),
        (TorchMean, MeanOfConv, SEQUENCES, {"channels_first": True, "steps": 2}),
        (TorchPacked, Packed, SEQUENCES, {"steps": 2}),
    ],
    ids=["images", "gru", "lstm", "embedding", "conv1d", "one axis", "packed"],
)
def test_faultless_pairs_agree(torch_net, flax_net, inputs, options):
    report = compare(torch_net(), flax_net(), inputs, **options)
    report.check()
    assert report.agrees
    assert report.causes == ()
    assert max(row.difference for row in report.rows) < 1e-12


FLAX_BATCH_NORM = lambda name: nn.BatchNorm(momentum=0.9, name=name)
FAULTS = {
    "batch-norm momentum": (
        Net(momentum=0.9),
        ("statistics", "bn1.running_mean"),
        "bn1: momentum 0.9 in Flax, 0.1 in PyTorch",
    ),
    "biased running variance": (
        Net(bn1=FLAX_BATCH_NORM),
        ("statistics", "bn1.running_var"),
        "bn1: divided by n in Flax",
    ),
    "SAME padding at stride 2": (
        Net(padding="SAME"),
        ("evaluation", "conv1"),
        "conv1: padding 'SAME' in Flax, (1, 1) in PyTorch",
    ),
    "tanh GELU": (
        Net(approximate="tanh"),
        ("evaluation", "bn2"),
        "gelu: approximate 'tanh' in Flax, 'none' in PyTorch",
    ),
    "LayerNorm or GroupNorm eps": (
        Net(norm_eps=1e-6),
        ("evaluation", "norm"),
        "norm: eps 1e-06 in Flax, 1e-05 in PyTorch",
    ),
    "count_include_pad": (
        Net(count_include_pad=False),
        ("evaluation", "bn2"),
        "pool: count_include_pad False in Flax, True in PyTorch",
    ),
}


def only_cause(report, trap, where):
    assert not report.agrees
    assert [cause.trap for cause in report.causes] == [trap]
    assert report.explained
    assert report.causes[0].where.startswith(where)


@pytest.mark.parametrize("trap", FAULTS)
def test_a_planted_fault_is_found_and_named(trap):
    flax_net, first, where = FAULTS[trap]
    report = compare(TorchNet(), flax_net, IMAGES, flattened=FLATTENED)
    assert report.first[:2] == first
    only_cause(report, trap, where)


def test_flatten_order():
    report = compare(TorchNet(), Net(), IMAGES)
    assert report.first[:2] == ("evaluation", "fc1")
    only_cause(report, "flatten order", "fc1: it reads a flattened map: (4, 4, 4)")
    needless = compare(
        torch.nn.Linear(8, 3), Linear(3), drawn(2, 8), flattened={"": (2, 2, 2)}
    )
    assert not needless.agrees


def test_merged_gru_bias():
    report = compare(torch.nn.GRU(4, 3), MergedGRU(), SEQUENCES, steps=1)
    assert report.first[:2] == ("evaluation", "(output)[0]")
    only_cause(report, "merged GRU bias", "the module: b_hn is outside of r")


def test_one_bias_for_each_gate_does_not_fit():
    report = compare(torch.nn.GRU(4, 3), OneBiasGRU(), SEQUENCES)
    only_cause(report, "merged GRU bias", "weights")
    assert "unused   bias_hh_l0" in str(report)


def test_weights_that_do_not_fit_for_no_known_cause():
    report = compare(torch.nn.GRU(4, 3), GRU(3, use_bias=False), SEQUENCES)
    assert not report.agrees
    assert str(report).splitlines()[1:] == [
        "  the state dict does not fit the model:",
        "    unused   bias_ih_l0  (9,)",
        "    unused   bias_hh_l0  (9,)",
        "cause: no trap known here",
    ]


@pytest.mark.parametrize(
    ("torch_optimizer", "optimizer", "where"),
    [
        (half, DECAYED, "all decayed in Flax, not all in PyTorch"),
        (everything, SPARED, "decayed in PyTorch, not in Flax"),
    ],
)
def test_weight_decay_on_biases(torch_optimizer, optimizer, where):
    report = compare(
        TorchNet(), Net(), IMAGES, flattened=FLATTENED, steps=2,
        torch_optimizer=torch_optimizer, optimizer=optimizer,
    )  # fmt: skip
    assert report.first[:2] == ("step 1", "conv1.bias")
    only_cause(report, "weight decay on biases", where)


def test_several_faults_are_all_named():
    net = Net(bn1=nn.BatchNorm, padding="SAME", norm_eps=1e-6)
    report = compare(TorchNet(), net, IMAGES, flattened=FLATTENED)
    assert [cause.trap for cause in report.causes] == [
        "SAME padding at stride 2",
        "LayerNorm or GroupNorm eps",
        "batch-norm momentum",
        "biased running variance",
    ]
    assert report.explained


def test_float32_inside():
    report = compare(TorchNet(), Net(dtype="float32"), IMAGES, flattened=FLATTENED)
    only_cause(report, "computed in float32", "Flax")
    assert report.first[:2] == ("evaluation", "fc1")


def test_a_fault_that_no_trap_explains():
    report = compare(torch.nn.Tanh(), Sigmoid(), drawn(2, 3))
    assert not report.agrees
    assert report.causes == ()
    assert str(report).endswith("cause: no trap known here")


class Sigmoid(nn.Module):
    def __call__(self, x):
        return nn.sigmoid(x)


class Unscaled(nn.Module):
    """A layer norm that leaves its parameters out."""

    @nn.compact
    def __call__(self, x):
        self.param("scale", nn.initializers.ones, (3,))
        self.param("bias", nn.initializers.zeros, (3,))
        return nn.LayerNorm(epsilon=1e-5, use_bias=False, use_scale=False)(x)


def test_initial_ones_and_zeros_hide_nothing():
    report = compare(torch.nn.LayerNorm(3), Unscaled(), drawn(4, 3))
    assert report.first[:2] == ("evaluation", "(output)")


def test_modules_that_change_their_input():
    assert_parity(torch.nn.ReLU(inplace=True), Relu(), drawn(4, 3))


class Relu(nn.Module):
    def __call__(self, x):
        return nn.relu(x)


def test_outputs_of_another_number():
    report = compare(torch.nn.GRU(4, 3), OutputsOnly(3), SEQUENCES)
    note = "in PyTorch alone"
    assert report.first == ("evaluation", "(output)[0]", np.inf, 1e-9, note)


class OutputsOnly(GRU):
    """Without the last states."""

    @nn.compact
    def __call__(self, x):
        return super().__call__(x)[0]


def test_outputs_of_other_shapes():
    report = compare(torch.nn.Identity(), Doubled(), drawn(2, 3))
    note = "shape (2, 6) in Flax, (2, 3) in PyTorch"
    assert report.first == ("evaluation", "(output)", np.inf, 1e-9, note)
    assert str(report).splitlines()[1:4] == [
        "  evaluation       0 of 1 agree",
        f"    (output)  {note}",
        "  training         0 of 1 agree",
    ]


def test_outputs_of_the_same_sizes_in_another_order():
    report = compare(
        torch.nn.Identity(), ChannelsFirst(), drawn(2, 5, 6, 3), channels_first=False
    )
    assert report.first.note == (
        "shape (2, 3, 5, 6) in Flax, (2, 5, 6, 3) in PyTorch, the same sizes in another"
        " order: channels_first says where PyTorch has the channels"
    )


class ChannelsFirst(nn.Module):
    def __call__(self, x):
        return x.transpose(0, 3, 1, 2)


def test_gradients_of_other_shapes():
    ours = {("gradients", "weight"): drawn(2, 3)}
    theirs = {("gradients", "weight"): drawn(3, 2), ("gradients", "bias"): drawn(2)}
    weight, bias = rows_of(ours, theirs, 1e-9)
    assert not weight.agrees
    assert weight.note == "shape (2, 3) in Flax, (3, 2) in PyTorch"
    assert bias.note == "in PyTorch alone"


def test_a_module_that_puts_channels_last_itself():
    torch_net = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3), Permute())
    report = compare(torch_net, Conv(4, 3), IMAGES, rename={"": "0"}, steps=1)
    report.check()
    assert {row.stage for row in report.rows} >= {"training", "gradients", "step 1"}


def test_inputs_that_the_module_of_pytorch_cannot_take():
    message = r"fails on inputs of shape \(5, 3, 4\), given with channels_first=None: "
    with pytest.raises(ValueError, match=message):
        compare(torch.nn.Conv1d(4, 3, 2), Conv(3, (2,)), SEQUENCES)


class Doubled(nn.Module):
    def __call__(self, x):
        return jnp.concatenate([x, x], axis=1)


def adam(net):
    return torch.optim.Adam(net.parameters(), 0.01)


def cross_entropies():
    labels = np.array([0, 2, 1])
    return (
        lambda logits: torch.nn.functional.cross_entropy(logits, torch.tensor(labels)),
        lambda logits: optax.losses.softmax_cross_entropy_with_integer_labels(
            logits, jnp.asarray(labels)
        ).mean(),
    )


@pytest.mark.parametrize(("rate", "slot"), [(0.01, None), (0.02, "conv1.weight")])
def test_steps_of_adam_on_a_given_loss(rate, slot):
    report = compare(
        TorchNet(), Net(), IMAGES, flattened=FLATTENED, steps=3,
        torch_optimizer=adam, optimizer=optax.adam(rate), losses=cross_entropies(),
    )  # fmt: skip
    assert report.agrees == (slot is None)
    names = {row.name for row in report.rows if row.stage == "step 3"}
    assert {"fc2.bias exp_avg", "fc2.bias exp_avg_sq", "bn2.running_var"} <= names
    if slot:
        assert report.first[:2] == ("step 1", slot)


def test_what_the_optimiser_keeps_is_compared():
    report = compare(
        torch.nn.Linear(3, 2), Linear(2), drawn(4, 3), steps=2,
        torch_optimizer=lambda net: torch.optim.SGD(net.parameters(), 0.1, 0.9),
        optimizer=optax.sgd(0.1, 0.8),
    )  # fmt: skip
    assert report.first[:2] == ("step 2", "weight momentum_buffer")


def test_the_modules_are_left_as_they_are():
    net = TorchNet()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    compare(net, Net(eps=1e-3), IMAGES, flattened=FLATTENED)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert net.dropout.p == 0.5
    assert net.conv1.weight.dtype == torch.float32
    assert not jax.config.jax_enable_x64


def test_lenet_with_renamed_layers():
    twin = torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 5), torch.nn.Sigmoid(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(6, 16, 5), torch.nn.Sigmoid(), torch.nn.MaxPool2d(2),
        torch.nn.Flatten(), torch.nn.Linear(32, 120), torch.nn.Sigmoid(),
        torch.nn.Linear(120, 84), torch.nn.Sigmoid(), torch.nn.Linear(84, 3),
    )  # fmt: skip
    names = {"conv1": "0", "conv2": "3", "fc1": "7", "fc2": "9", "fc3": "11"}
    images = drawn(2, 17, 20, 1)
    flattened = {"7": (16, 1, 2)}
    assert_parity(twin, LeNet(3), images, rename=names, flattened=flattened, steps=1)
    with pytest.raises(AssertionError, match=r"differ, first in evaluation: 7\n"):
        assert_parity(twin, LeNet(3), images, rename=names)


def test_batch_norm_eps_and_a_report_that_reads_as_a_table():
    """And bn2, which has no fault, is not named beside bn1."""
    report = compare(TorchNet(), Net(eps=1e-3), IMAGES, flattened=FLATTENED)
    where = "bn1: eps 0.001 in Flax, 1e-05 in PyTorch"
    only_cause(report, "batch-norm eps", where)
    lines = str(report).splitlines()
    assert lines[0] == "TorchNet and Net differ, first in evaluation: bn1"
    assert lines[1].startswith("  evaluation       1 of 7 agree       largest differ")
    assert lines[2].startswith("    bn1     ")
    assert lines[-1].startswith("cause: batch-norm eps (bn1: eps 0.001 in Flax")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": optax.sgd(0.1)}, "give both torch_optimizer and optimizer"),
        ({"steps": -1}, "steps=-1 is below 0"),
        ({"rename": {"fc": "0"}}, "rename names 'fc'"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        compare(torch.nn.Linear(3, 2), Linear(2), drawn(4, 3), **options)


def test_modules_in_the_wrong_order(unchecked):
    with pytest.raises(ValueError, match="flax_module is a Linear; PyTorch's comes fi"):
        compare(Linear(2), torch.nn.Linear(3, 2), drawn(4, 3))


def test_dropout_within_a_recurrent_layer():
    net = torch.nn.GRU(4, 3, 2, dropout=0.5)
    with pytest.raises(ValueError, match=r"dropout=0.5, and masks never match"):
        compare(net, GRU(3, num_layers=2), SEQUENCES)


def torch_twin():
    return TorchNet()


def flax_twin():
    return Net()


def faulty_twin():
    return Net(eps=1e-3)


HERE = "tests.test_parity_report"
SHAPE = ["--shape", "3", "8", "8", "2", "--flattened", "fc1=4,4,4"]


@pytest.mark.parametrize(
    ("flax", "status", "printed"),
    [
        ("flax_twin", 0, "TorchNet and Net agree\n"),
        ("faulty_twin", 1, "cause: batch-norm eps"),
    ],
)
def test_command_line(capsys, flax, status, printed):
    arguments = [f"{HERE}:torch_twin", f"{HERE}:{flax}", *SHAPE]
    assert main(arguments) == status
    assert printed in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([f"{HERE}:none", f"{HERE}:flax_twin", *SHAPE], "has no attribute 'none'"),
        ([HERE, f"{HERE}:flax_twin", *SHAPE], "is not package.module:function"),
        (["no_module:f", f"{HERE}:flax_twin", *SHAPE], "No module named 'no_module'"),
        ([f"{HERE}:torch_twin", f"{HERE}:flax_twin", *SHAPE[:-1], "fc1"], "name=value"),
    ],
)
def test_command_lines_that_cannot_be_run(capsys, arguments, message):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "jaxdl.parity", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Status 0: they agree" in done.stdout


def test_layers_that_share_their_parameters():
    """PyTorch's state dict has them twice, Flax's variables once."""

    def twins(shared):
        layers = [torch.nn.Linear(8, 8) for _ in "12"]
        net = [torch.nn.Linear(4, 8), layers[0], torch.nn.Tanh(), layers[1 - shared]]
        layers = [Linear(8), Linear(8)]
        ours = [Linear(8), layers[0], jnp.tanh, layers[1 - shared]]
        return torch.nn.Sequential(*net), Sequential(ours)

    inputs = drawn(2, 4)
    (tied, ours), (apart, other) = twins(shared=True), twins(shared=False)
    assert_parity(
        tied, ours, inputs, steps=3, optimizer=optax.sgd(0.1),
        torch_optimizer=lambda net: torch.optim.SGD(net.parameters(), 0.1),
    )  # fmt: skip
    assert "missing  3.weight" in str(compare(tied, other, inputs))
    assert "unused   3.weight" in str(compare(apart, ours, inputs))


class Halves(torch.nn.Module):
    """Two layers, the first of which gets no gradient."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)

    def forward(self, x):
        with torch.no_grad():
            x = self.fc1(x)
        return self.fc2(x)


class Whole(nn.Module):
    stop: bool = False

    @nn.compact
    def __call__(self, x):
        x = Linear(4, name="fc1")(x)
        return Linear(2, name="fc2")(jax.lax.stop_gradient(x) if self.stop else x)


def test_gradients_that_only_flax_has():
    report = compare(Halves(), Whole(), drawn(5, 3))
    assert [row.name for row in report.rows if not row.agrees] == [
        "input 0", "fc1.weight", "fc1.bias",
    ]  # fmt: skip
    assert_parity(Halves(), Whole(stop=True), drawn(5, 3))


class Scores(torch.nn.Module):
    def forward(self, x):
        return x @ x.roll(1, -1).transpose(1, 2)


class TransposedScores(nn.Module):
    def __call__(self, x):
        return jnp.roll(x, 1, -1) @ jnp.swapaxes(x, 1, 2)


def test_a_square_output_that_is_transposed_where_no_channels_move():
    report = compare(Scores(), TransposedScores(), drawn(2, 5, 4), channels_first=False)
    assert report.first.name == "(output)"


class TakesTwo(Halves):
    def forward(self, x, y):
        return super().forward(x + y)


def test_a_module_that_takes_more_arguments():
    with pytest.raises(ValueError, match=r"fails on inputs of shape .*missing 1 req"):
        compare(TakesTwo(), Whole(), drawn(5, 3))


class TorchScaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(3))
        self.fc = torch.nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x * self.scale)


class Scaled(nn.Module):
    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.ones, (3,))
        return Linear(2, name="fc")(x * scale)


def test_a_parameter_of_the_same_name_is_compared_in_every_stage(rng):
    report = compare(TorchScaled(), Scaled(), rng.normal(size=(4, 3)), steps=1)
    assert report.agrees, report
    stages = {row.stage for row in report.rows if row.name == "scale"}
    assert {"gradients", "step 1"} <= stages


class IsTraining(nn.Module):
    @nn.compact
    def __call__(self, x, is_training):
        return BatchNorm(name="0")(x, train=is_training)


class RunningAverage(nn.Module):
    @nn.compact
    def __call__(self, x, use_running_average=False):
        return BatchNorm(name="0")(x, train=not use_running_average)


@pytest.mark.parametrize("twin", [IsTraining(), RunningAverage()])
def test_a_mode_has_one_of_several_names(rng, twin):
    theirs = torch.nn.Sequential(torch.nn.BatchNorm1d(3))
    report = compare(theirs, twin, rng.normal(size=(4, 3)))
    assert report.agrees, report


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": np.ones((2, 3))}, "inputs hold a dict: give an array or a tuple"),
        ([[1.0, 2.0, 3.0]], "inputs hold a list: give an array or a tuple"),
        ((np.ones((2, 3)), np.ones(2)), r"the Flax module fails on .*\(2, 3\), \(2,\)"),
    ],
)
def test_inputs_that_no_module_takes(inputs, message, unchecked):
    with pytest.raises(ValueError, match=message):
        compare(TorchScaled(), Scaled(), inputs)
