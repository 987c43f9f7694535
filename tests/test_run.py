import importlib
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import yaml
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jaxdl import checkpoint
from jaxdl.config import ImageConfig, RunConfig
from jaxdl.plots import curves
from jaxdl.run import open_run
from jaxdl.training import init_state


@dataclass(frozen=True)
class Config(RunConfig):
    learning_rate: float = 1e-3


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_holds_all_that_it_is_given(here, capsys):
    config = Config(seed=3, learning_rate=0.5)
    history = {"train/loss": np.array([2.0, 1.0]), "test/loss": np.array([3.0, 2.5])}
    with open_run("lesson", config) as run:
        for epoch in 1, 2:
            record = {name: values[epoch - 1] for name, values in history.items()}
            run.log(epoch, None, record)
        run.save({"w": jnp.ones(2)}, curves=curves(history))

    assert run.directory.parent == run.directory.parent.relative_to(".")
    assert run.directory.parts[:2] == ("runs", "lesson")
    assert yaml.safe_load((run.directory / "config.yaml").read_text()) == {
        "lesson": "lesson",
        "seed": 3,
        "run_dir": None,
        "deterministic": False,
        "device": None,
        "debug": False,
        "learning_rate": 0.5,
    }
    assert (run.directory / "curves.png").read_bytes().startswith(b"\x89PNG")
    params = checkpoint.load(run.directory / "params", {"w": jnp.zeros(2)})
    np.testing.assert_array_equal(params["w"], [1, 1])
    said = capsys.readouterr().out
    assert str(run.directory) in said
    assert "Curves, figures: tensorboard --logdir runs\n" in said


def test_tensorboard_reads_what_the_run_is_about(here, capsys):
    history = {"train/loss": np.array([2.0, 1.0])}
    with open_run("lesson", Config(learning_rate=0.25)) as run:
        run.log_graph(lambda w, x: jnp.tanh(x @ w), jnp.ones((3, 2)), jnp.ones((1, 3)))
        run.save({"w": jnp.ones(2)}, curves=curves(history))
    assert "Figures, graph: tensorboard" in capsys.readouterr().out
    events = EventAccumulator(str(run.directory / "about")).Reload()
    [text] = events.Tensors("config")
    assert b"learning_rate: 0.25" in text.tensor_proto.string_val[0]
    [picture] = events.Images("curves")
    assert picture.encoded_image_string.startswith(b"\x89PNG")
    assert "tanh" in [node.op for node in events.Graph().node]


def test_tensorboard_reads_histograms_of_parameters(here):
    state = init_state({"fc": {"kernel": jnp.arange(6.0)}}, optax.sgd(0.1))
    with open_run("lesson", Config()) as run:
        run.log_parameters(3, state, {})
    [event] = (
        EventAccumulator(str(run.directory / "train")).Reload().Histograms("fc/kernel")
    )
    assert (event.step, event.histogram_value.num) == (3, 6)
    assert (event.histogram_value.min, event.histogram_value.max) == (0, 5)


def test_tensorboard_reads_the_curves(here):
    with open_run("lesson", Config()) as run:
        run.log(1, None, {"train/loss": 2.0, "test/loss": 3.0})
        run.log(2, None, {"train/loss": 1.0, "test/loss": 2.5})
    for split, expected in {"train": [2.0, 1.0], "test": [3.0, 2.5]}.items():
        events = EventAccumulator(str(run.directory / split)).Reload()
        assert [(e.step, e.value) for e in events.Scalars("loss")] == [
            (1, expected[0]),
            (2, expected[1]),
        ]


def test_the_curves_of_several_models_share_a_chart(here):
    """Their logs differ and their tags are the same, while the run is still open."""
    with open_run("lesson", Config()) as run:
        for model, loss in {"head": 2.0, "all of it": 1.0}.items():
            log = run.log_as(model)
            log(1, None, {"train/loss": loss, "test/loss": 3 * loss})
            log(2, None, {"train/loss": loss / 2, "test/loss": loss})
            for split, expected in {
                "train": [loss, loss / 2],
                "test": [3 * loss, loss],
            }.items():
                events = EventAccumulator(str(run.directory / model / split)).Reload()
                assert [e.value for e in events.Scalars("loss")] == expected


@pytest.mark.slow
def test_tensorboard_serves_the_curves(here):
    """The program itself, asked as a browser asks it."""
    with open_run("lesson", Config()) as run:
        run.log(1, None, {"train/loss": 2.0})
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    command = ["-m", "tensorboard.main", "--logdir", "runs", "--port", port]
    server = subprocess.Popen([sys.executable, *command], stderr=subprocess.DEVNULL)
    try:
        name = str(run.directory.relative_to("runs") / "train")
        assert "loss" in _ask(f"http://localhost:{port}/data/plugin/scalars/tags", name)
    finally:
        server.terminate()
        server.wait()


def _ask(url, name, seconds=60):
    """Waits until the server is up and has found the run of that name."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(seconds):
        try:
            with opener.open(url) as reply:
                return json.load(reply)[name]
        except (urllib.error.URLError, KeyError):
            time.sleep(1)
    raise TimeoutError(url)


def test_a_named_directory(here, capsys):
    with open_run("lesson", Config(run_dir="some/where")) as run:
        run.log(1, None, {"train/loss": 2.0})
    assert (here / "some" / "where" / "config.yaml").exists()
    assert "\nCurves: tensorboard --logdir some/where" in capsys.readouterr().out
    assert str(run.directory) == "some/where"


def test_two_runs_at_once_have_two_directories(here):
    runs = [open_run("lesson", Config()) for _ in range(3)]
    assert len({run.directory for run in runs}) == 3


def test_a_directory_in_use_is_refused_and_left_alone(here):
    with open_run("lesson", Config(run_dir="mine")):
        pass
    (here / "mine" / "config.yaml").write_text("precious")
    with pytest.raises(ValueError, match="yaml is no configuration of a run"):
        open_run("lesson", Config(run_dir="mine"))
    assert (here / "mine" / "config.yaml").read_text() == "precious"


def test_a_file_in_the_way(here):
    (here / "runs").write_text("")
    with pytest.raises(OSError, match="cannot write the run to runs/lesson: "):
        open_run("lesson", Config())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_a_directory_without_permission():
    """Root may write anywhere, so the test becomes nobody in a directory of root's."""
    code = (
        "import os, yaml; from jaxdl.config import RunConfig; from jaxdl import run\n"
        "os.chdir({!r}); os.setuid(65534); run.open_run('lesson', RunConfig())"
    )
    with tempfile.TemporaryDirectory() as closed:
        os.chmod(closed, 0o755)
        done = subprocess.run(
            [sys.executable, "-c", code.format(closed)],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
    assert "PermissionError: cannot write the run to runs/lesson: Perm" in done.stderr


def test_a_failed_run_says_nothing_of_results(here, capsys):
    def fail():
        with open_run("lesson", Config()):
            raise FloatingPointError("the loss is nan")

    with pytest.raises(FloatingPointError):
        fail()
    assert "Curves" not in capsys.readouterr().out


def test_a_run_that_failed_at_once_is_taken_back(here):
    """So that the corrected command may name the same directory."""

    def fail():
        with open_run("lesson", Config(run_dir="mine")):
            raise ValueError("batch_size=0 is below 1")

    with pytest.raises(ValueError, match="batch_size=0"):
        fail()
    assert not (here / "mine").exists()


def test_what_a_kill_left_half_written_is_cleared_away(here):
    part = here / "mine" / ".config.yaml.123.part"
    part.parent.mkdir()
    for _ in "first", "again":
        part.write_text("less")
        with open_run("lesson", Config(run_dir="mine")):
            assert not part.exists()
            config = yaml.safe_load((here / "mine" / "config.yaml").read_text())
            assert config["lesson"] == "lesson"


@pytest.mark.parametrize("name", ["film.part", ".film.part", "config.yaml.1.part"])
def test_files_of_others_are_not_cleared_away(here, name):
    theirs = here / "mine" / name
    theirs.parent.mkdir()
    theirs.write_text("precious")
    with pytest.raises(ValueError, match="mine is not empty: name another"):
        open_run("lesson", Config(run_dir="mine"))
    assert theirs.read_text() == "precious"


@contextmanager
def no_file_longer_than(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_figure_that_cannot_be_written_leaves_the_one_before(here):
    with open_run("lesson", Config(run_dir="mine")) as run:
        run.save(curves=Figure())
        whole = (here / "mine" / "curves.png").read_bytes()
        message = r"cannot write .*curves\.png: File too large"
        with no_file_longer_than(1000), pytest.raises(OSError, match=message):
            run.save(curves=Figure((2, 2)))
    assert (here / "mine" / "curves.png").read_bytes() == whole
    assert not list((here / "mine").glob(".*.part"))


def test_a_configuration_that_cannot_be_written_is_named(here):
    message = "cannot write the run to mine: cannot write mine/config.yaml: File too l"
    with no_file_longer_than(10), pytest.raises(OSError, match=message):
        open_run("lesson", Config(run_dir="mine"))


def test_a_run_that_failed_later_is_kept(here):
    def fail():
        with open_run("lesson", Config(run_dir="mine")) as run:
            run.log(1, None, {"train/loss": 2.0})
            raise FloatingPointError("the loss is nan")

    with pytest.raises(FloatingPointError):
        fail()
    assert (here / "mine" / "config.yaml").exists()


@pytest.mark.parametrize(
    ("dataset", "epochs", "resolved"),
    [("digits", None, 200), ("mnist", None, 5), ("digits", 3, 3), ("mnist", 1, 1)],
)
def test_epochs_by_default_depend_on_the_data_set(dataset, epochs, resolved):
    assert ImageConfig(dataset=dataset, epochs=epochs).epochs == resolved


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_that_jax_would_cut(seed):
    with pytest.raises(ValueError, match=f"seed={seed} is not within"):
        RunConfig(seed=seed)


@pytest.mark.parametrize("epochs", [0, -1])
def test_fewer_epochs_than_one(epochs):
    with pytest.raises(ValueError, match=f"epochs={epochs} is below 1"):
        ImageConfig(epochs=epochs)


@pytest.mark.parametrize("rate", [-1e-3, float("nan"), float("inf")])
def test_learning_rates_below_zero(rate):
    with pytest.raises(ValueError, match=f"learning_rate={rate} is not"):
        Config(learning_rate=rate)


def test_two_runs_in_one_directory(here):
    with open_run("lesson", Config(run_dir="mine")):
        with pytest.raises(
            ValueError, match=rf"mine is in use by process {os.getpid()}"
        ):
            open_run("lesson", Config(run_dir="mine"))
        assert (here / "mine" / "config.yaml").exists()
    open_run("lesson", Config(run_dir="mine")).__exit__(None)


def test_a_run_of_other_settings_is_refused(here):
    open_run("lesson", Config(run_dir="mine", seed=3)).__exit__(None)
    with pytest.raises(
        ValueError, match=r"mine holds a run of other settings:\n  seed: was 3, is 4"
    ):
        open_run("lesson", Config(run_dir="mine", seed=4))
    assert yaml.safe_load((here / "mine" / "config.yaml").read_text())["seed"] == 3
    with pytest.raises(ValueError, match=r"lesson: was lesson, is other$"):
        open_run("other", Config(run_dir="mine", seed=3))
    open_run("lesson", Config(run_dir="mine", seed=3, debug=True)).__exit__(None)


def test_a_refused_call_leaves_the_configuration(here):
    def call(epochs, error=None):
        with open_run("lesson", ImageConfig(run_dir="mine", epochs=epochs)) as run:
            run.log(1, None, {"train/loss": 2.0})
            if error:
                raise error

    file = here / "mine" / "config.yaml"
    call(3)
    before = file.read_text()
    with pytest.raises(ValueError, match="too few epochs"):
        call(1, ValueError("too few epochs"))
    assert file.read_text() == before
    with pytest.raises(KeyboardInterrupt):
        call(5, KeyboardInterrupt())
    assert file.read_text() != before  # it had trained some of its epochs


def test_a_run_that_does_not_name_its_lesson_goes_on(here):
    """Older ones do not."""
    open_run("lesson", Config(run_dir="mine")).__exit__(None)
    file = here / "mine" / "config.yaml"
    file.write_text(file.read_text().replace("lesson: lesson\n", ""))
    open_run("lesson", Config(run_dir="mine")).__exit__(None)


def test_a_directory_of_something_else_is_refused(here):
    (here / "mine").mkdir()
    (here / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match="--run-dir mine is not empty"):
        open_run("lesson", Config(run_dir="mine"))


def test_a_log_that_goes_on_forgets_what_is_logged_again(here):
    for first, last, value in ((1, 3, 0.5), (3, 4, 0.25)):
        with open_run("lesson", Config(run_dir="mine")) as run:
            for epoch in range(first, last + 1):
                run.log(epoch, None, {"train/loss": value})
    events = EventAccumulator(str(here / "mine" / "train")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [
        (1, 0.5), (2, 0.5), (3, 0.25), (4, 0.25),
    ]  # fmt: skip


def test_an_interrupted_run_says_how_to_go_on(tmp_path, capsys):
    run = open_run("x", Config(run_dir=str(tmp_path / "run")))
    run.checkpoints.mkdir()
    run.__exit__(KeyboardInterrupt)
    assert f"with --run-dir {tmp_path / 'run'} goes on" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lesson", "settings", "message"),
    [
        ("devices", {"calls": 0}, "calls=0 is below 1"),
        ("hyperparameter_search", {"widths": (16, 0)}, r"widths=\(16, 0\) is below 1"),
        ("hyperparameter_search", {"depths": ()}, "depths names nothing"),
        ("residual_variants", {"blocks": ()}, "blocks names nothing"),
    ],
)
def test_settings_of_lessons_that_count_nothing(lesson, settings, message):
    module = importlib.import_module(f"experiments.{lesson}")
    with pytest.raises(ValueError, match=message):
        module.Config(**settings)


def test_a_list_of_no_models(here):
    module = importlib.import_module("experiments.model_library")
    with pytest.raises(ValueError, match=r"filter='nothing\*' matches no model"):
        module.main(module.Config(filter="nothing*", run_dir="mine"))
    assert not (here / "mine").exists()


def test_a_run_of_several_models_that_failed_at_once_is_taken_back(here):
    def fail():
        with open_run("lesson", Config(run_dir="mine")) as run:
            (run.checkpoints / "first").mkdir(parents=True)
            (run.checkpoints / "first" / ".lock").touch()
            raise ValueError("steps=0 is below 1")

    with pytest.raises(ValueError, match="steps=0"):
        fail()
    assert not (here / "mine").exists()
