"""What docs/course.md says that the notes get wrong, seen in PyTorch."""

import random
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Plain(nn.Module):
    """A layer in a Python list, and a tensor that is a plain attribute."""

    def __init__(self):
        super().__init__()
        self.registered = nn.Linear(2, 2)
        self.listed = [nn.Linear(2, 2)]
        self.plain = torch.ones(2)

    def forward(self, x):
        return self.listed[0](self.registered(x))


class MySequential(nn.Module):
    """The notes' container: each block under itself for a key."""

    def __init__(self, *blocks):
        super().__init__()
        for block in blocks:
            self._modules[block] = block


class MyLinear(nn.Module):
    """The notes' layer: it computes with `.data`."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 2))

    def forward(self, x):
        return F.relu(x @ self.weight.data)


def test_e1_a_normal_draw_below_0_8_is_no_probability_of_0_8():
    torch.manual_seed(0)
    share = (torch.randn(100_000) < 0.8).float().mean().item()
    assert share == pytest.approx(0.788, abs=0.005)
    assert (torch.rand(100_000) < 0.8).float().mean().item() == pytest.approx(
        0.8, abs=0.005
    )


def test_e1_dropout_follows_the_mode_of_the_model():
    dropout, x = nn.Dropout(0.5), torch.ones(100)
    assert (dropout.train()(x) == 0).any()
    assert (dropout.eval()(x) == 1).all()


@pytest.mark.parametrize("weight_decay", [0.3])
def test_e2_the_penalty_by_hand_is_weight_decay(weight_decay):
    """`(loss + lambd * |w|²/2).sum()`, divided by batch_size, with a loss per row."""
    torch.manual_seed(0)
    x, y = torch.randn(5, 3), torch.randn(5, 1)
    w = torch.randn(3, 1, requires_grad=True)
    theirs = nn.Parameter(w.detach().clone())
    losses = (x @ w - y) ** 2 / 2
    (losses + weight_decay * (w**2).sum() / 2).sum().backward()
    optimizer = torch.optim.SGD([theirs], lr=0.1, weight_decay=weight_decay)
    ((x @ theirs - y) ** 2 / 2).mean().backward()
    optimizer.step()
    torch.testing.assert_close(w.data - 0.1 * w.grad / 5, theirs.data)


def test_e3_evaluation_normalises_by_the_running_statistics():
    bn, x = nn.BatchNorm1d(2).eval(), torch.randn(5, 2)
    bn.running_mean.fill_(3.0)
    torch.testing.assert_close(bn(x), (x - 3) / (1 + 1e-5) ** 0.5)


def test_e4_max_pooling_pads_with_minus_infinity():
    assert (F.max_pool2d(-torch.ones(1, 1, 2, 2), 2, padding=1) == -1).all()


def test_e4_average_pooling_has_no_dilation():
    with pytest.raises(TypeError, match="dilation"):
        nn.AvgPool2d(2, dilation=2)


def test_e4_padding_modes_have_names():
    with pytest.raises(ValueError, match="padding_mode"):
        nn.Conv2d(1, 1, 3, padding_mode=1)
    assert nn.Conv2d(1, 1, 3, padding=(2, 7)).padding == (2, 7)
    assert nn.Conv2d(1, 1, 3, padding="same")(torch.ones(1, 1, 5, 5)).shape[-1] == 5


def test_e5_a_number_is_not_iterated_over():
    with pytest.raises(TypeError):
        enumerate(10)


def test_e5_the_result_of_to_must_be_kept():
    x = torch.ones(1)
    x.to("meta")
    assert x.device.type == "cpu"


def test_e6_packing_takes_any_order():
    pack = nn.utils.rnn.pack_padded_sequence
    x = torch.randn(3, 2, 1)
    with pytest.raises(RuntimeError, match="sorted"):
        pack(x, [1, 3])
    assert pack(x, [1, 3], enforce_sorted=False).batch_sizes.tolist() == [2, 1, 1]


def test_e7_means_divide_by_what_the_batch_has():
    x, y = torch.zeros(3, 1), torch.ones(3, 1)
    assert nn.MSELoss(reduction="mean")(x, y) == 1
    assert ((x - y) ** 2).sum() / 10 == pytest.approx(0.3)


def test_e8_the_logarithm_of_a_softmax_overflows():
    z = torch.tensor([[1000.0, 0.0]])
    softmax = z.exp() / z.exp().sum(dim=1, keepdim=True)
    assert torch.log(softmax)[0, 0].isnan()
    assert F.cross_entropy(z, torch.tensor([0])) == 0


def test_e12_layers_in_a_list_get_gradients_and_are_no_parameters():
    net = Plain()
    net(torch.ones(1, 2)).sum().backward()
    assert net.listed[0].weight.grad is not None
    assert [name for name, _ in net.named_parameters()] == [
        "registered.weight",
        "registered.bias",
    ]


def test_e13_a_dictionary_is_no_scalar(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        with pytest.raises(Exception):  # noqa: B017, PT011
            writer.add_scalar("loss", {"train": 1.0, "valid": 2.0}, 0)
        writer.add_scalars("loss", {"train": 1.0, "valid": 2.0}, 0)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2


def test_e14_whole_models_are_not_loaded(tmp_path):
    torch.save({"model_structure": nn.Linear(2, 1)}, tmp_path / "checkpoint.pth")
    with pytest.raises(Exception, match="weights_only"):
        torch.load(tmp_path / "checkpoint.pth")


def test_e14_frozen_parameters_cannot_be_trained_further():
    net = nn.Linear(2, 1)
    for parameter in net.parameters():
        parameter.requires_grad = False
    with pytest.raises(RuntimeError, match="does not require grad"):
        net(torch.ones(1, 2)).sum().backward()


def test_e15_random_has_a_seed_of_its_own():
    def draw():
        np.random.seed(0)  # noqa: NPY002
        torch.manual_seed(0)
        return random.random()

    assert draw() != draw()


def test_e16_iterators_of_loaders_have_no_next():
    loader = DataLoader(TensorDataset(torch.ones(2, 1)))
    with pytest.raises(AttributeError):
        iter(loader).next()
    assert next(iter(loader))[0].shape == (1, 1)


def test_e17_a_maximum_has_half_a_gradient_at_0():
    x = torch.zeros(1, requires_grad=True)
    torch.max(input=x, other=torch.tensor(0.0)).sum().backward()
    assert x.grad == 0.5
    x.grad = None
    F.relu(x).sum().backward()
    assert x.grad == 0


def test_e18_named_layers_have_other_names_than_numbered_ones():
    numbered = nn.Sequential(nn.Linear(2, 1))
    named = nn.Sequential(OrderedDict([("linear1", nn.Linear(2, 1))]))
    with pytest.raises(RuntimeError, match="linear1"):
        named.load_state_dict(numbered.state_dict())
    with pytest.raises(SyntaxError):
        compile("[('linear1', nn.Linear(2, 1), ('relu1', nn.ReLU())])", "", "eval")


def test_e20_statistics_are_in_the_state_dict():
    assert list(nn.BatchNorm1d(2, affine=False).state_dict()) == [
        "running_mean",
        "running_var",
        "num_batches_tracked",
    ]


def test_e21_plain_attributes_are_neither_moved_nor_saved():
    net = Plain().to("meta")
    assert net.registered.weight.device.type == "meta"
    assert net.plain.device.type == "cpu"
    assert "plain" not in net.state_dict()


def test_e22_indexing_by_lists_copies():
    x = torch.zeros(3)
    rows, part = x[[0, 1]], x[:2]
    rows += 1
    assert x.sum() == 0
    part += 1
    assert x.sum() == 2


def test_e23_reshape_shares_memory_where_it_can():
    x = torch.zeros(4)
    x.reshape(2, 2)[0, 0] = 1
    assert x[0] == 1
    assert not hasattr(torch, "view")


def test_e24_a_saddle_point_is_no_optimum():
    point = torch.zeros(2)
    f = lambda v: v[0] ** 2 - v[1] ** 2
    assert (torch.autograd.functional.jacobian(f, point) == 0).all()
    eigenvalues = torch.linalg.eigvalsh(torch.autograd.functional.hessian(f, point))
    assert eigenvalues.tolist() == [-2, 2]


def test_e25_standardised_data_need_not_be_normal():
    x = torch.tensor([0.0, 1.0] * 50)
    z = (x - x.mean()) / x.std(unbiased=False)
    assert (z.mean().item(), z.var(unbiased=False).item()) == pytest.approx((0, 1))
    assert set(z.tolist()) == {-1, 1}


def test_e26_a_block_that_adds_nothing_passes_the_gradient_on():
    conv = nn.Conv2d(1, 1, 3, padding=1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    x = torch.ones(1, 1, 4, 4, requires_grad=True)
    F.relu(x + conv(x)).sum().backward()
    assert (x.grad == 1).all()


def test_e28_blocks_as_keys_drop_repetitions_and_break_the_state_dict():
    relu = nn.ReLU()
    net = MySequential(nn.Linear(2, 2), relu, nn.Linear(2, 2), relu)
    assert len(net._modules) == 3
    with pytest.raises(TypeError):
        net.state_dict()


def test_e29_a_layer_that_computes_with_data_learns_nothing():
    with pytest.raises(RuntimeError, match="does not require grad"):
        MyLinear()(torch.ones(1, 3)).sum().backward()


def test_e30_the_default_range_depends_on_the_inputs_alone():
    torch.manual_seed(0)
    for outputs in (10, 1000):
        largest = nn.Linear(400, outputs).weight.abs().max().item()
        assert largest == pytest.approx(0.05, rel=1e-2)


def test_e31_jacobians_are_there_whole():
    x = torch.tensor([1.0, 2.0])
    jacobian = torch.autograd.functional.jacobian(lambda x: x**2, x)
    assert jacobian.tolist() == [[2, 0], [0, 4]]


def test_e32_broadcasting_copies_nothing():
    x = torch.arange(3.0)
    wide = x.expand(1000, 3)
    assert wide.stride() == (0, 1)
    assert wide.data_ptr() == x.data_ptr()


def test_e34_tensors_transpose_two_axes():
    with pytest.raises(TypeError):
        torch.ones(3, 4, 5).transpose(1, 2, 0)
    assert torch.ones(3, 4, 5).permute(1, 2, 0).shape == (4, 5, 3)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("torch.cuda.is_availabel", "torch.cuda.is_available"),
        ("torch.np_grad", "torch.no_grad"),
        ("torch.zero_like", "torch.zeros_like"),
        ("torch.optimizer", "torch.optim"),
        ("torch.utils.data.Dataloader", "torch.utils.data.DataLoader"),
        ("torch.nn.Moudle", "torch.nn.Module"),
        ("torch.model", "torch.nn.Module"),
    ],
)
def test_e36_names_that_pytorch_does_not_have(wrong, right):
    assert eval(right) is not None
    with pytest.raises(AttributeError):
        eval(wrong)


def test_e36_a_learning_rate_begins_with_a_digit():
    with pytest.raises(NameError):
        eval("le-4")


def test_e36_optimisers_take_parameters_not_the_method():
    with pytest.raises(TypeError):
        torch.optim.SGD(nn.Linear(2, 1).parameters, lr=0.1)


def test_e39_pytorch_knows_of_amds_cards():
    assert hasattr(torch.version, "hip")
