import io

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from jaxdl.plots import (
    RIGHT,
    WRONG,
    curves,
    line_chart,
    show_arrays,
    show_confusion,
    show_images,
    sweep_figure,
)

NAMES = ("shirt", "coat", "bag")


@pytest.fixture
def examples(rng):
    return {"image": rng.random((5, 6, 7, 1)), "label": np.array([0, 1, 2, 0, 1])}


def show(examples, predictions=None, **settings):
    images, labels = examples["image"], examples["label"]
    return show_images(images, labels, predictions, NAMES, **settings)


def titles(figure):
    return [axes.title for axes in figure.axes if axes.images]


def test_lines_have_names_styles_and_settings():
    lines = {"loss": ([0, 1], [3.0, 2.0]), "seen": ([1], [2.5], "ko")}
    [axes] = line_chart(lines, xlabel="epoch", yscale="log").axes
    loss, seen = axes.lines
    np.testing.assert_array_equal(loss.get_xydata(), [[0, 3], [1, 2]])
    np.testing.assert_array_equal(seen.get_xydata(), [[1, 2.5]])
    assert (seen.get_marker(), seen.get_color()) == ("o", "k")
    assert (axes.get_xlabel(), axes.get_yscale()) == ("epoch", "log")
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown == ["loss", "seen"]


def test_curves_have_a_chart_for_each_metric_and_a_line_for_each_split():
    history = {
        "train/loss": np.array([3.0, 2.0, 1.0]),
        "train/accuracy": np.array([0.1, 0.2, 0.3]),
        "test/loss": np.array([4.0, 3.0, 2.0]),
        "test/confusion": np.zeros((3, 2, 2)),
    }
    loss, accuracy = curves(history).axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "accuracy")
    assert [line.get_label() for line in loss.lines] == ["train", "test"]
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), [4, 3, 2])
    np.testing.assert_array_equal(loss.lines[1].get_xdata(), [1, 2, 3])
    assert [line.get_label() for line in accuracy.lines] == ["train"]


def test_a_loss_of_many_sizes_is_drawn_on_a_log_axis():
    falling = curves({"train/loss": np.array([10.0, 0.1, 1e-4])}).axes[0]
    level = curves({"train/loss": np.array([2.0, 1.0, 0.5])}).axes[0]
    assert (falling.get_yscale(), level.get_yscale()) == ("log", "linear")


def test_many_metrics_fill_rows():
    figure = curves({f"train/{i}": np.ones(2) for i in range(5)})
    corners = [axes.get_position().p0 for axes in figure.axes]
    assert len({x for x, _ in corners}) == 3
    assert len({y for _, y in corners}) == 2
    assert len(figure.axes) == 5


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ({}, "history holds nothing: no metric of one number an epoch"),
        ({"test/confusion": np.ones((2, 3, 3))}, "holds test/confusion: no met"),
        ({"loss": np.ones(2)}, "history names 'loss' without a split: 'train/loss'"),
        ({"train/loss": np.ones(0)}, "history has no epochs of 'train/loss'"),
    ],
)
def test_histories_without_curves(history, message):
    with pytest.raises(ValueError, match=message):
        curves(history)


def test_a_split_has_one_colour_in_all_charts():
    history = {"train/loss": np.ones(3), "test/loss": np.ones(3)}
    loss, accuracy = curves(history | {"test/accuracy": np.ones(3)}).axes
    assert accuracy.lines[0].get_color() == loss.lines[1].get_color()


def test_models_have_colours_and_their_splits_styles():
    names = "a train/loss", "a test/loss", "b train/loss", "b test/loss"
    figure = curves({name: np.ones(3) for name in names})
    lines = figure.axes[0].lines
    assert [line.get_linestyle() for line in lines] == ["-", "--", "-", "--"]
    colours = [line.get_color() for line in lines]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    [legend] = figure.legends  # beside the charts, where it hides no line
    assert [text.get_text() for text in legend.get_texts()] == [
        "a train", "a test", "b train", "b test",
    ]  # fmt: skip


def test_a_legend_of_many_lines_stands_beside_the_chart():
    few, many = (
        line_chart({f"line {i}": ([0, 1], [i, 1]) for i in range(n)}) for n in (2, 9)
    )
    for figure in (few, many):
        figure.canvas.draw()
    inside, outside = (
        figure.axes[0].get_legend().get_window_extent().x0
        < figure.axes[0].get_window_extent().x1
        for figure in (few, many)
    )
    assert (inside, outside) == (True, False)


def ticks(axes, which="x"):
    axes.figure.canvas.draw()
    return [label.get_text() for label in getattr(axes, f"get_{which}ticklabels")()]


def test_whole_numbers_have_whole_ticks():
    whole, parts = (
        ticks(line_chart({"y": (x, np.ones(4))}).axes[0])
        for x in (range(4), np.arange(4) / 2)
    )
    assert not any("." in label for label in whole)
    assert any("." in label for label in parts)


def test_one_epoch_has_a_whole_tick():
    shown = ticks(curves({"train/loss": np.ones(1)}).axes[0])
    assert not any("." in label for label in shown)


def test_log_axes_of_few_decades_are_written_out():
    [axes] = line_chart({"y": ([0, 1], [20, 350])}, yscale="log").axes
    assert {"20", "50", "100", "200"} <= set(ticks(axes, "y"))
    [axes] = line_chart({"y": ([0, 1], [0.6, 0.9])}, yscale="log").axes
    assert {"0.6", "0.7", "0.8", "0.9"} <= set(ticks(axes, "y"))


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1, 2, 3], {"1", "2", "3"}),
        ([16, 64], {"16", "64"}),
        ([8, 16, 32, 64, 128, 256], {"8", "16", "32", "64", "128", "256"}),
    ],
)
def test_a_sweep_has_ticks_at_whole_settings(values, shown):
    n = len(values)
    [axes] = sweep_figure({"width": np.array(values)}, {"a": np.ones((n, 2))}, "a").axes
    assert set(ticks(axes)) == shown


def test_a_sweep_of_one_member():
    [axes] = sweep_figure({"width": np.array([8])}, {"a": np.ones((1, 1))}, "a").axes
    assert set(ticks(axes)) == {"1"}


@pytest.mark.parametrize("values", [range(1, 19), [1, 2, 19], range(1, 40)])
def test_a_sweep_of_many_whole_settings_has_some_whole_ticks(values):
    n = len(values)
    [axes] = sweep_figure({"width": np.array(values)}, {"a": np.ones((n, 2))}, "a").axes
    assert not any("." in label for label in ticks(axes))


def test_a_sweep_of_fractions_has_ticks_of_fractions():
    x = np.array([0.5, 1.0, 1.5])
    [axes] = sweep_figure({"rate": x}, {"a": np.ones((3, 2))}, "a").axes
    assert any("." in label for label in ticks(axes))


def test_more_predictions_than_images(examples):
    with pytest.raises(ValueError, match="5 images have 5 labels and 6 to show"):
        show(examples, np.zeros(6, int))


def test_images_stand_under_the_names_of_their_classes(examples):
    figure = show(examples, columns=3)
    shown = titles(figure)
    assert [t.get_text() for t in shown] == ["shirt", "coat", "bag", "shirt", "coat"]
    np.testing.assert_array_equal(
        figure.axes[3].images[0].get_array(), examples["image"][3, ..., 0]
    )


def test_predictions_are_green_or_red_with_the_truth(examples):
    shown = titles(show(examples, np.array([0, 2, 2])))
    assert [t.get_text() for t in shown] == ["shirt", "bag\n(is coat)", "bag"]
    assert [to_hex(t.get_color()) for t in shown] == [RIGHT, WRONG, RIGHT]


def test_a_grid_of_predictions_counts_those_that_are_right(examples):
    assert show(examples, np.array([0, 2, 2])).get_suptitle() == "2 of 3 named right"
    assert not show(examples).get_suptitle()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_can_be_drawn(rng, channels):
    """What is drawn has the pictures in it: neither blank nor of one colour."""
    image = rng.random((4, 6, 7, channels))
    file = io.BytesIO()
    show_images(image, np.zeros(4, int)).savefig(file)
    assert len(Image.open(file).convert("RGB").getcolors(10**6)) > 100


def test_images_without_names_stand_under_their_numbers(examples):
    images = (255 * examples["image"]).astype(np.uint8)
    figure = show_images(images, np.array([4, 1, 2, 0, 1]), np.array([4, 3]))
    assert [t.get_text() for t in titles(figure)] == ["4", "3\n(is 1)"]
    assert figure.axes[0].images[0].get_clim() == (0, 255)


def test_long_names_are_wrapped_and_cut(examples):
    images, labels = examples["image"][:2], np.array([0, 1])
    names = ["a name that has thirty letters", 50 * "x"]
    figure = show_images(images, labels, np.array([0, 0]), names)
    assert [t.get_text() for t in titles(figure)] == [
        "a name that has\nthirty letters",
        "a name that has th…\n(is xxxxxxxxxxxxxx…",
    ]


def test_names_are_no_mathematics(examples):
    names = ["$$", "$x", "a$b$"]
    for figure in (
        show_images(examples["image"], examples["label"], class_names=names),
        show_confusion(np.eye(3, dtype=int), names),
    ):
        figure.savefig(io.BytesIO())


def test_labels_without_a_name(examples):
    with pytest.raises(ValueError, match=r"class 2 has no name: class_names=\('a', 'b"):
        show_images(*examples.values(), class_names=("a", "b"))


def test_images_with_channels_first(rng):
    with pytest.raises(ValueError, match=r"shape \(2, 3, 8, 8\): expected \(n, height"):
        show_images(rng.random((2, 3, 8, 8)), np.zeros(2, int))


def test_images_and_labels_have_to_be_as_many(unchecked, examples):
    with pytest.raises(ValueError, match="5 images have 4 labels"):
        show_images(examples["image"], examples["label"][:4])


def test_a_confusion_matrix_is_shown_as_shares_of_the_true_classes():
    counts = np.array([[3, 1, 0], [0, 0, 0], [1, 5, 244]])
    figure = show_confusion(counts, ["cat", "dog", "eel"])
    axes = figure.axes[0]
    shares = [[0.75, 0.25, 0], [0, 0, 0], [0.004, 0.02, 0.976]]
    np.testing.assert_allclose(axes.images[0].get_array(), shares)
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts == {(0, 0): ".75", (1, 0): ".25", (1, 2): ".02", (2, 2): ".98"}
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["cat", "dog", "eel"]
    assert axes.get_ylabel() == "true class"


def test_many_classes_have_no_numbers():
    assert not show_confusion(np.eye(21, dtype=int)).axes[0].texts


ARRAYS = {"a": np.array([[1, 2.5]]), "b": np.array([[-np.inf, 4], [0, 3]])}


def test_arrays_are_shown_with_their_numbers():
    figure = show_arrays(ARRAYS, numbers=True)
    a, b = figure.axes
    assert [axes.get_title() for axes in (a, b)] == ["a", "b"]
    assert [text.get_text() for text in b.texts] == ["-inf", "4", "0", "3"]
    assert [text.get_position() for text in b.texts] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    np.testing.assert_array_equal(b.images[0].get_array().mask, [[1, 0], [0, 0]])
    assert b.images[0].get_clim() == (0, 4)
    figure.canvas.draw()


def test_arrays_can_have_a_title():
    assert show_arrays(ARRAYS, title="two").get_suptitle() == "two"


def test_arrays_without_numbers_fill_rows():
    figure = show_arrays({str(i): np.eye(2) for i in range(9)}, columns=5)
    assert len(figure.axes) == 10
    assert not any(axes.texts for axes in figure.axes)


def test_the_colours_of_few_arrays_are_explained():
    figure = show_arrays({"a": np.eye(2), "b": 3 * np.eye(2)})
    assert len(figure.axes) == 4
    assert figure.axes[3].get_ylim() == (0, 3)


@pytest.mark.parametrize("arrays", [{}, {"a": np.ones(3)}])
def test_arrays_need_two_axes(unchecked, arrays):
    with pytest.raises(ValueError, match="arrays have shapes"):
        show_arrays(arrays)


def test_a_matrix_needs_a_name_for_each_class():
    with pytest.raises(ValueError, match="3 class_names for 4 classes"):
        show_confusion(np.eye(4, dtype=int), ["a", "b", "c"])


def test_curves_of_lists(unchecked):
    axes = curves({"train/loss": [2.0, 1.0]}).axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [2, 1])
