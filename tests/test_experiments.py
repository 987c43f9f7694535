"""Every lesson, run small through its `main`."""

import io
import re
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from experiments import hello_rnn
from experiments._all import lessons
from jaxdl import checkpoint
from jaxdl.models.recurrent import CharCell, CharRNN
from tests.marks import slow
from tests.oracle import assert_same_bits, assert_trees_match, randomised

SURNAMES = str(Path(__file__).with_name("surnames.csv"))  # Faker's, 30 a language
CURVES, IMAGES = ("curves",), ("curves", "predictions")
LOOP = {"epochs": 10, "learning_rate": 0.05, "batch_size": 32, "image_size": 16}
PERCEPTRON = {"epochs": 10, "batch_size": 32, "learning_rate": 0.15, "image_size": 16}


class Case(NamedTuple):
    """How a lesson is run small, the range of each result then, and its figures."""

    small: dict[str, Any]
    expected: dict[str, tuple[float, float]]
    figures: tuple[str, ...]
    slow: bool = False


CASES = {
    "linear_regression_scratch": Case(
        {}, {"descent": (0, 0.003), "formula": (0, 0.003)}, CURVES
    ),
    "linear_regression": Case(
        {}, {"error": (0, 0.003), "at_4": (8 - 1e-4, 8 + 1e-4)}, CURVES
    ),
    "softmax_regression_scratch": Case(
        {"epochs": 30}, {"test/accuracy": (0.8, 1)}, IMAGES
    ),
    "softmax_regression": Case({"epochs": 30}, {"test/accuracy": (0.8, 1)}, IMAGES),
    "image_folder": Case(
        {"epochs": 8}, {"test/accuracy": (0.85, 1)}, ("curves", "batch")
    ),
    "fine_tuning": Case(
        {"epochs": 2},
        {"head": (0.6, 1), "all": (0.55, 1), "scratch": (0.2, 0.5)},
        ("accuracy",),
        slow=True,
    ),
    "model_library": Case(
        {"filter": "resnet18"},
        {"resnet18": (11.6895, 11.6896), "lost": (0, 0)},
        ("models", "kernels"),
    ),
    "lenet": Case(
        {"epochs": 20, "learning_rate": 0.005, "batch_size": 32, "image_size": 16},
        {"test/accuracy": (0.75, 1)},
        IMAGES,
    ),
    "simple_cnn": Case(LOOP, {"test/accuracy": (0.8, 1)}, (*IMAGES, "maps"), slow=True),
    "residual_cnn": Case(
        LOOP,
        {
            "test/accuracy": (0.8, 1),
            "with shortcuts/16": (10, 500),
            "without/16": (0, 1e-6),
        },
        ("curves", "gradients"),
    ),
    "inception": Case(
        LOOP | {"epochs": 4},
        {"test/accuracy": (0.5, 1)},
        (*IMAGES, "without"),
        slow=True,
    ),
    "residual_variants": Case(
        {"blocks": ["original", "dense"], "steps": 46},
        {"original": (0.5, 1), "dense": (0.5, 1)},
        ("blocks",),
        slow=True,
    ),
    "convolution": Case(
        {},
        {
            "kernel": (0, 0.02),
            "by hand": (0, 0),
            "channels": (0, 1e-5),
            "1×1": (0, 1e-5),
            **dict.fromkeys(("valid", "same", "full", "stride 2"), (0, 0)),
            **dict.fromkeys([f"field of {size}" for size in (5, 6, 14, 16)], (0, 0)),
        },
        ("edges", "receptive_fields"),
    ),
    "pooling": Case(
        {},
        {
            "corner": (-1, -1),
            "max, padding=1": (-1, -1),
            "average, padding=1": (-0.25, -0.25),
            "average, padding=1, not counted": (-1, -1),
            **dict.fromkeys(("1d", "3d", "channels"), (0, 0)),
        },
        ("pools",),
    ),
    "blocks": Case(
        {},
        {
            **dict.fromkeys(("named", "listed", "keyed", "constants"), (0, 0)),
            "gradient": (0.01, 1e3),
            "jit": (0, 1e-6),
        },
        ("halvings",),
    ),
    "parameters": Case(
        {},
        {
            "arrays": (4, 4),
            "put": (100, 100),
            "zeroed": (0, 0),
            "normal": (0.0095, 0.0105),
            "Xavier": (0.2, (6 / 128) ** 0.5),
            "own, zeros": (0.45, 0.55),
            "tied": (0, 1e-5),
            "frozen": (0, 0),
            "trained": (1e-6, 10),
        },
        ("draws",),
    ),
    "custom_layers": Case(
        {},
        {
            "centered": (0, 1e-6),
            "MyLinear": (0, 15),
            "weight.data, first": (27, 29),
            "weight.data": (27, 29),
        },
        ("losses",),
    ),
    "save_and_load": Case(
        {},
        {
            **dict.fromkeys(("array", "list", "dict"), (1, 1)),
            **dict.fromkeys(("resumed", "inference", "refused"), (1, 1)),
            "loss": (0.5, 1.3),
        },
        ("losses",),
    ),
    "hello_rnn": Case(
        {},
        {
            "cell/loss": (0.34, 0.9),
            "layer/loss": (0.34, 0.9),
            "embedding/accuracy": (1, 1),
        },
        ("losses",),
    ),
    "name_classifier": Case(
        {"names": [SURNAMES], "epochs": 8, "batch_size": 10, "learning_rate": 0.005},
        {"test/accuracy": (0.6, 1), "train/accuracy": (0.8, 1)},
        ("curves", "confusion"),
    ),
    "mlp_scratch": Case(PERCEPTRON, {"test/accuracy": (0.8, 1)}, IMAGES),
    "mlp": Case(PERCEPTRON, {"test/accuracy": (0.8, 1)}, IMAGES),
    "dropout_scratch": Case(
        PERCEPTRON,
        {
            "test/accuracy": (0.8, 1),
            "mean/uniform": (0.99, 1.01),
            "mean/normal": (1.2, 1.22),
        },
        CURVES,
    ),
    "dropout": Case(PERCEPTRON, {"test/accuracy": (0.8, 1)}, IMAGES),
    "computational_graph": Case(
        {},
        {"y": (6, 6), "gradient": (5, 5), "paths": (5, 5), "error": (0, 1e-6)},
        ("tangent",),
    ),
    "control_flow": Case(
        {"most": 8}, {"slope": (1 / 128, 1 / 128), "traces": (2, 2)}, ("times",)
    ),
    "gradient_descent": Case(
        {},
        {
            "loss/1": (0.235, 0.4),
            "loss/10": (0.23, 0.243),
            "loss/100": (0.243, 0.255),
            "away/1": (1, 2),
            "away/10": (1, 2),
            "away/100": (0, 1e-3),
        },
        ("line", "saddle"),
    ),
    "logistic_regression": Case(
        {},
        {
            "loss": (0.3, 0.7),
            "hours after 50,000 epochs": (2.4, 2.6),
            "at 4 after 50,000 epochs": (0.99, 1),
        },
        ("curves", "probability"),
    ),
    "diabetes": Case(
        {"epochs": 30},
        {
            "descent test/accuracy": (0.6, 0.65),
            "larger": (0.62, 0.63),
            "adam test/accuracy": (0.9, 1),
        },
        CURVES,
    ),
    "activations": Case(
        {},
        {
            "sigmoid": (0.25, 0.25),
            "tanh": (1, 1),
            "ReLU": (1, 1),
            "leaky ReLU": (1, 1),
            "gates": (3, 3),
        },
        ("activations",),
    ),
    "polynomial_fitting": Case(
        {},
        {
            "normal test/loss": (0.005, 0.02),
            "underfitting train/loss": (100, 300),
            "underfitting test/loss": (50, 250),
            "overfitting train/loss": (0, 1),
            "overfitting test/loss": (50, 300),
        },
        ("fits", "losses"),
    ),
    "weight_decay": Case(
        {"epochs": 40},
        {
            "without train/loss": (0, 1e-6),
            "without test/loss": (150, 300),
            "decay test/loss": (0.01, 0.03),
            "without size": (10, 20),
            "decay size": (0.01, 0.2),
            "apart": (0, 1e-5),
        },
        CURVES,
    ),
    "devices": Case(
        {"size": 64},
        {"float32": (0, 1e-5), "bfloat16": (1e-3, 0.1), "devices": (1, 64)},
        ("layer",),
    ),
    "data_parallel": Case(
        {"epochs": 3},
        {"apart": (0, 1e-4), "test/accuracy": (0.8, 1), "devices": (1, 64)},
        ("curves", "losses"),
    ),
    "mnist_mlp": Case(
        {"epochs": 12, "batch_size": 32, "learning_rate": 0.05, "image_size": 12},
        {"test/accuracy": (0.8, 0.96), "seen/accuracy": (0.96, 1)},
        ("curves", "mistakes"),
    ),
    "k_fold": Case(
        {"k": 3, "epochs": 12, "hidden": 32},
        {
            "train/accuracy": (0.93, 1),
            "validation/accuracy": (0.9, 1),
            "validation/accuracy std": (1e-4, 0.05),
            "test/accuracy": (0.8, 0.95),
        },
        ("folds",),
    ),
    "hyperparameter_search": Case(
        {"tries": 4, "widths": [16], "depths": [1, 2], "epochs": 5},
        {"best": (0.85, 1), "worst": (0, 0.8), "test/accuracy": (0.75, 1)},
        ("search",),
    ),
    "initialization": Case(
        {"steps": 200},
        {
            "normal, std 0.01: outputs": (0, 1e-15),
            "normal, std 0.01: gradients": (0, 1e-15),
            "normal, std 1: outputs": (1e12, 1e20),
            "normal, std 1: gradients": (1e12, 1e20),
            "Kaiming normal: outputs": (0.3, 3),
            "Kaiming normal: gradients": (0.3, 3),
            "Kaiming normal: loss": (0, 1),
            "Kaiming normal: spread": (0.1, 1),
            "PyTorch's default: outputs": (0.1, 1),
            "PyTorch's default: gradients": (0, 1e-5),
            "PyTorch's default: loss": (2.2, 2.4),
            "constant 0.01: spread": (0, 1e-5),
        },
        ("initialization",),
    ),
    "titanic": Case(
        {},
        {"validation/accuracy": (0.65, 0.9), "test/accuracy": (0.7, 0.8)},
        ("curves", "survival"),
    ),
    "otto": Case(
        {"epochs": 4},
        {"validation/accuracy": (0.6, 0.72), "test/accuracy": (0.6, 0.72)},
        ("curves", "confusion"),
    ),
}


def marked(name, *rest):
    """The parameters of a test of one lesson, slow if the lesson is."""
    return slow(name, *rest) if CASES[name].slow else pytest.param(name, *rest)


NAMES = [marked(name) for name in CASES]


def test_every_lesson_is_tested():
    assert set(lessons()) == set(CASES)


def test_every_lesson_is_listed_with_its_question():
    page = (Path(__file__).parents[1] / "docs" / "lessons.md").read_text()
    for name, question in lessons().items():
        assert f"| `{name}` | {question} |" in page


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Runs each lesson once, when its first test asks for it."""
    done = {}

    def run(name):
        if name not in done:
            directory = tmp_path_factory.mktemp(name)
            done[name] = (run_lesson(name, directory), directory)
        return done[name]

    return run


def run_lesson(name, directory, **settings):
    module = import_module(f"experiments.{name}")
    config = module.Config(run_dir=str(directory), **CASES[name].small)
    return module.main(replace(config, **settings))


@pytest.mark.parametrize("name", NAMES)
def test_lesson_reaches_what_it_claims(results, name):
    result, _ = results(name)
    for metric, (low, high) in CASES[name].expected.items():
        assert low <= result[metric] <= high


@pytest.mark.parametrize("name", NAMES)
def test_lesson_leaves_its_run_behind(results, name):
    _, directory = results(name)
    small, _, figures, _ = CASES[name]
    config = yaml.safe_load((directory / "config.yaml").read_text())
    assert config | small == config
    assert {path.stem for path in directory.glob("*.png")} >= set(figures)
    for figure in directory.glob("*.png"):
        assert figure.stat().st_size > 10_000
    events = EventAccumulator(str(directory / "about")).Reload()
    assert set(figures) <= set(events.Tags()["images"])
    if "curves" in figures:
        logs = [*directory.glob("train"), *directory.glob("*/train")]
        assert logs
        for log in logs:
            assert "loss" in EventAccumulator(str(log)).Reload().Tags()["scalars"]
        assert (directory / "params").is_dir()


@pytest.mark.parametrize(
    ("name", "models"),
    [
        marked("weight_decay", ["without", "penalty", "decay"]),
        marked("polynomial_fitting", ["normal", "underfitting", "overfitting"]),
        marked("diabetes", ["descent", "adam"]),
        marked("residual_variants", ["original", "dense"]),
        marked("initialization", ["normal, std 0.01", "Kaiming normal"]),
        marked("custom_layers", ["MyLinear", "weight.data"]),
        marked("save_and_load", ["never stopped", "stopped", "gone on"]),
        marked("data_parallel", ["one device"]),
    ],
)
def test_models_are_logged_while_they_are_trained(results, name, models):
    """Each has its own log, ended before that of the next began."""
    _, directory = results(name)
    times = []
    for model in models:
        events = EventAccumulator(str(directory / model / "train")).Reload()
        times += [event.wall_time for event in events.Scalars("loss")]
    assert times == sorted(times)


@pytest.mark.parametrize(
    "name",
    [
        marked(name)
        for name in (
            "lenet",
            "softmax_regression",
            "softmax_regression_scratch",
            "mlp",
            "mlp_scratch",
            "dropout",
            "dropout_scratch",
            "mnist_mlp",
            "simple_cnn",
            "residual_cnn",
            "inception",
            "name_classifier",
        )
    ],
)
def test_a_run_is_measured_again_without_training(results, capsys, name):
    result, directory = results(name)
    module = import_module(f"experiments.{name}")
    again = module.main(module.Config(evaluate=str(directory), **CASES[name].small))
    assert again == {"test/accuracy": pytest.approx(result["test/accuracy"])}
    assert "is, named" in capsys.readouterr().out
    assert (directory / "confusion.png").stat().st_size > 10_000


def test_saved_parameters_are_the_trained_ones(results):
    """Loaded into LeNet, they give the accuracy that the lesson returned."""
    from jaxdl.data import load_images
    from jaxdl.models.lenet import LeNet

    result, directory = results("lenet")
    like = LeNet().init(jax.random.key(0), jnp.zeros((1, 16, 16, 1)))["params"]
    params = checkpoint.load(directory / "params", like)
    test = load_images("digits", None, 16).test
    guesses = LeNet().apply({"params": params}, jnp.asarray(test["image"])).argmax(1)
    np.testing.assert_allclose(
        np.mean(np.asarray(guesses) == test["label"]),
        result["test/accuracy"],
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    "name",
    ["linear_regression_scratch", slow("lenet")],
)
def test_a_seed_names_the_bits(name, tmp_path):
    """Run twice and once with another seed; every array is drawn or trained."""
    runs = {}
    for directory, seed in {"first": 0, "again": 0, "other": 1}.items():
        result = run_lesson(name, tmp_path / directory, seed=seed, epochs=1)
        runs[directory] = result, _params(tmp_path / directory)
    assert runs["again"][0] == runs["first"][0]
    assert_same_bits(runs["again"][1], runs["first"][1])
    first, other = (jax.tree.leaves(runs[d][1]) for d in ("first", "other"))
    assert not any(np.array_equal(*pair) for pair in zip(first, other, strict=True))


def _params(directory):
    from orbax.checkpoint import v1 as ocp

    path = Path(directory, "params").absolute()
    return checkpoint.load(
        path,
        jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
            ocp.metadata(path).metadata,
        ),
    )


def test_a_trained_classifier_answers_without_training(results, monkeypatch, capsys):
    """Called again for the same directory, with names on its standard input."""
    result, directory = results("name_classifier")
    monkeypatch.setattr("sys.stdin", io.StringIO("Rossini\nMäki\n\nNakamura\n"))
    capsys.readouterr()
    again = run_lesson("name_classifier", directory, predict="Yamamoto", ask=True)
    said = capsys.readouterr().out
    assert again == result
    assert "train loss" not in said
    assert said.index("Yamamoto: Japanese ") < said.index("Rossini: Italian ")
    assert "'Mäki' has the character 'ä'" in said
    assert "Nakamura" not in said


def test_a_name_that_cannot_be_read_is_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match="'Mäki' has the character 'ä'"):
        run_lesson("name_classifier", tmp_path / "run", predict="Mäki")
    assert not (tmp_path / "run").exists()


def test_hello_by_letters_and_at_once(rng, x64):
    """A cell that the lesson calls letter by letter is the layer with its weights."""
    cell, layer = CharCell(4, "lstm"), CharRNN(4, cell="lstm")
    x = jax.nn.one_hot(jnp.array([[1, 0, 2, 2, 3]]), 4)
    params = randomised(rng, cell.init(jax.random.key(0), x[:, 0])["params"])
    weights = {f"{name}_l0": value for name, value in params["lstmcell"].items()}
    assert_trees_match(
        hello_rnn.read(cell, params, x), hello_rnn.read(layer, {"lstm": weights}, x)
    )


def test_titanic_reads_kaggles_files(raw_dir, tmp_path):
    files = {
        split: str(raw_dir / f"titanic_{split}.csv.gz") for split in ("train", "test")
    }
    result = run_lesson("titanic", tmp_path, **files)
    assert 0.75 <= result["validation/accuracy"] <= 0.9
    assert "test/accuracy" not in result  # which Kaggle keeps
    header, *rows = (tmp_path / "submission.csv").read_text().split()
    assert header == "PassengerId,Survived"
    assert [row.split(",")[0] for row in rows] == [str(i) for i in range(892, 1310)]


@pytest.mark.parametrize("name", ["titanic", "otto"])
def test_one_of_kaggles_files_alone_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match="need each other"):
        run_lesson(name, tmp_path / "run", test="test.csv")


def test_otto_writes_probabilities(results):
    _, directory = results("otto")
    header, *rows = (directory / "submission.csv").read_text().split()
    assert header.split(",") == ["id", *(f"Class_{i}" for i in range(1, 10))]
    values = np.array([row.split(",")[1:] for row in rows], float)
    assert values.shape == (5000, 9)
    np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-6)


def test_lenet_measures_a_held_out_share(tmp_path):
    result = run_lesson("lenet", tmp_path, validation=0.2, epochs=1)
    assert {"validation/loss", "validation/accuracy"} <= set(result)


def test_data_parallel_needs_a_device(tmp_path):
    with pytest.raises(ValueError, match="cpu_devices=0 is below 1"):
        run_lesson("data_parallel", tmp_path, cpu_devices=0)


@pytest.mark.slow
def test_eight_devices_learn_what_one_does(tmp_path):
    """In a process of its own, since JAX counts devices once."""
    command = [sys.executable, "-m", "experiments.data_parallel", "--epochs", "3"]
    command += ["--run-dir", str(tmp_path / "run")]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert "cpu:7 has 8 images of a batch" in done.stdout
    apart = re.search(r"8 devices and one: parameters (\S+) apart at most", done.stdout)
    assert float(apart[1]) < 1e-4


@pytest.mark.slow
def test_the_notes_network_on_diabetes(raw_dir, tmp_path):
    """Descent names the larger class only, with any seed; Adam more than that."""
    for seed in range(3):
        module = import_module("experiments.diabetes")
        csv, run_dir = str(raw_dir / "diabetes.csv.gz"), str(tmp_path / str(seed))
        result = module.main(module.Config(csv=csv, run_dir=run_dir, seed=seed))
        assert result["larger"] == pytest.approx(496 / 759)
        assert result["descent train/accuracy"] == pytest.approx(0.653, abs=0.002)
        assert result["descent test/accuracy"] == pytest.approx(0.656, abs=0.002)
        assert result["adam test/accuracy"] > 0.7


@pytest.mark.parametrize("row", ["1,2,3,4,5,6,7,8,2", "1,2,3,4,5,6,7,8,-1", "1,2,0"])
def test_a_table_that_is_not_that_of_diabetes(tmp_path, row):
    (csv := tmp_path / "table.csv").write_text(f"{row}\n")
    with pytest.raises(ValueError, match=r"table\.csv has rows that are not 8"):
        import_module("experiments.diabetes").load(str(csv))


def write_images(folder, classes, each):
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(each):
            Image.new("RGB", (16, 16)).save(folder / name / f"{i}.png")
    return str(folder)


@pytest.mark.parametrize(("classes", "each"), [("a", 9), ("ab", 2)])
def test_a_folder_of_too_few_images(tmp_path, classes, each):
    module = import_module("experiments.image_folder")
    folder = write_images(tmp_path / "images", classes, each)
    config = module.Config(folder=folder, run_dir=str(tmp_path / "run"))
    with pytest.raises(ValueError, match="images holds fewer than 5 images, or than 2"):
        module.main(config)


def test_a_folder_of_less_than_a_batch(tmp_path, monkeypatch):
    def fit(state, step, stream, *rest, **settings):
        raise InterruptedError(f"batches of {stream.batch_size}")

    module = import_module("experiments.image_folder")
    monkeypatch.setattr(module, "fit", fit)
    folder = write_images(tmp_path / "images", "ab", 5)
    with pytest.raises(InterruptedError, match="batches of 8"):
        module.main(module.Config(folder=folder, run_dir=str(tmp_path / "run")))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("softmax_regression_scratch", 0.80, 0.86),
        ("softmax_regression", 0.80, 0.86),
        ("mlp_scratch", 0.80, 0.86),
        ("mlp", 0.80, 0.86),
        ("dropout_scratch", 0.75, 0.86),
        ("dropout", 0.75, 0.86),
        ("lenet", 0.70, 0.82),
    ],
)
def test_the_courses_settings_on_fashion_mnist(name, low, high, tfds_dir, tmp_path):
    module = import_module(f"experiments.{name}")
    config = module.Config(
        run_dir=str(tmp_path / "run"), dataset="fashion_mnist", data_dir=str(tfds_dir)
    )
    result = module.main(config)
    assert low <= result["test/accuracy"] <= high


@pytest.mark.parametrize("name", ["linear_regression", "softmax_regression"])
def test_scratch_and_concise_lessons_agree(results, name):
    """Two programs for one model: as good as each other on other random numbers."""
    concise, scratch = results(name)[0], results(f"{name}_scratch")[0]
    if name == "softmax_regression":
        assert abs(concise["test/accuracy"] - scratch["test/accuracy"]) < 0.03
    else:
        assert abs(concise["error"] - scratch["descent"]) < 0.003
