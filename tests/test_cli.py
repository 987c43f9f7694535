"""What a person at a command line sees."""

import io
import os
import pty
import runpy
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from jaxdl import checkpoint
from jaxdl.cli import ask
from tests.oracle import assert_same_bits

ROOT = Path(__file__).parents[1]


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs `python -m ...` in an empty directory, in this process to be quick."""

    def run(module, *flags):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setattr(sys, "argv", [module, *flags])
        # Another test may have imported it, of which runpy would warn.
        monkeypatch.delitem(sys.modules, module, raising=False)
        capsys.readouterr()
        code = 0
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code
        return Done(code, *capsys.readouterr())

    return run


def run_process(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_explains_every_field(run):
    done = run("experiments.lenet", "--help")
    assert done.returncode == 0
    assert "usage: python -m experiments.lenet" in done.stdout
    for flag, text in {
        "--config": "YAML or JSON file of these settings",
        "--seed": "the same seed gives the same bits",
        "--run-dir": "by default runs/<lesson>/<time>",
        "--device": "cpu, gpu, gpu:1, tpu and the like",
        "--deterministic": "same bits in every process",
        "--debug": "where in the program",
        "--dataset": "digits (needs no download), mnist, fashion_mnist or",
        "--data-dir": "$TFDS_DATA_DIR",
        "--image-size": "in pixels",
        "--validation": "held out",
        "--epochs": "passes over the training images",
        "--batch-size": "images a step",
        "--learning-rate": "of Adam",
    }.items():
        assert flag in done.stdout
        assert text in done.stdout


def test_the_list_of_lessons(tmp_path):
    done = run_process("experiments", cwd=tmp_path)
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line)
    for lesson in (
        "linear_regression",
        "linear_regression_scratch",
        "softmax_regression",
        "softmax_regression_scratch",
        "lenet",
    ):
        assert lines[lesson].endswith("?")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "fashion"], "fashion_mnist"),
        (["--batch-size", "1438"], "batch_size=1438 exceeds the 1437 examples given"),
        (["--image-size", "12"], "LeNet needs 16x16 pixels or more, got 12x12"),
        (["--image-size", "0"], "size=0"),
        (["--validation", "1"], "validation=1.0 is not within"),
        (["--validation", "0.0001"], "the fraction 0.0001 of"),
        (["--device", "tpu:3"], "there is no device 'tpu:3'; there are cpu:0"),
        (["--dataset", "mnist", "--data-dir", "nowhere"], "nowhere"),
        (["--run-dir", "taken"], "--run-dir taken is not empty"),
        (["--run-dir", "taken/file/below"], "cannot write the run to taken/file/below"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_clear_line(run, tmp_path, monkeypatch, flags, message):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("precious")
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    done = run("experiments.lenet", *flags)
    assert done.returncode == 2
    errors = done.stderr.strip().splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert message in errors[0]
    assert (tmp_path / "taken" / "file").read_text() == "precious"


def test_a_loss_that_is_not_finite(run):
    flags = ["--learning-rate", "1e38", "--epochs", "3"]
    done = run("experiments.softmax_regression", *flags)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the loss is ")
    assert "try a smaller learning rate" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seed", "-1"], "seed=-1 is not within"),
        (["--seed", "99999999999999999999"], "is not within 0..4294967295"),
        (["--learning-rate", "-1"], "learning_rate=-1.0 is not 0 or above"),
        (["--batch-size", "0"], "batch_size=0 is below 1"),
        (["--epochs", "0"], "epochs=0 is below 1"),
        (["--epochs", "many"], "invalid literal for int() with base 10: 'many'"),
    ],
)
def test_a_flag_that_cannot_be(run, flags, message):
    done = run("experiments.lenet", *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mistake_ends_the_process_without_a_traceback(tmp_path):
    done = run_process("experiments.lenet", "--batch-size", "1438", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: batch_size=1438 exceeds the 1437 examples")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_debug_shows_the_traceback(tmp_path):
    done = run_process(
        "experiments.lenet", "--batch-size", "1438", "--debug", cwd=tmp_path
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_debug_may_stand_in_the_file(run, tmp_path):
    (tmp_path / "mine.yaml").write_text("debug: true\nlearning_rate: 0.1\n")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "thesis.tex").write_text("precious")
    flags = ["--config", "mine.yaml", "--run-dir", "there"]
    with pytest.raises(ValueError, match="there is not empty"):
        run("experiments.linear_regression", *flags)


def test_a_wrong_flag_suggests_the_right_one(run):
    done = run("experiments.lenet", "--batchsize", "3")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "Perhaps you meant" in done.stderr
    assert "--batch-size" in done.stderr


def test_a_file_then_the_command_line(run, tmp_path):
    (tmp_path / "mine.yaml").write_text("num_examples: 60\nepochs: 2\nseed: 3\n")
    flags = ["--epochs", "1", "--config", "mine.yaml", "--run-dir", "there"]
    assert run("experiments.linear_regression", *flags).returncode == 0
    saved = yaml.safe_load((tmp_path / "there" / "config.yaml").read_text())
    assert (saved["num_examples"], saved["epochs"], saved["seed"]) == (60, 1, 3)


def test_the_saved_configuration_repeats_the_run(run, tmp_path):
    """Read back from what a run has saved, settings give the same bits."""
    lesson = "experiments.linear_regression_scratch"
    first = ["--num-examples", "40", "--learning-rate", "0.02", "--run-dir", "first"]
    assert run(lesson, *first).returncode == 0
    again = ["--config=first/config.yaml", "--run-dir", "again"]
    assert run(lesson, *again).returncode == 0
    assert_same_bits(
        *(checkpoint.load_any(tmp_path / d / "params").tree for d in ("first", "again"))
    )


def test_no_flags_at_all(run, tmp_path):
    done = run("experiments.linear_regression_scratch")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs" / "linear_regression_scratch").iterdir())) == 1


def test_a_run_is_evaluated_with_its_own_settings(run, tmp_path):
    lesson = "experiments.softmax_regression"
    first = ["--image-size", "9", "--epochs", "3", "--run-dir", "first"]
    assert run(lesson, *first).returncode == 0
    done = run(lesson, "--evaluate", "first")
    assert done.returncode == 0, done.stderr
    assert "% of 360 test examples" in done.stdout
    done = run(lesson, "--evaluate=second")
    assert done.returncode == 2
    assert "error: --evaluate second/config.yaml is no file" in done.stderr


@pytest.mark.parametrize(
    ("lesson", "settings", "said"),
    [
        (
            "name_classifier",
            "lesson: lenet\nimage_size: 20\nevaluate: null\n",
            "experiments.lenet: python -m experiments.lenet --evaluate theirs",
        ),
        (
            "softmax_regression",  # has the same settings
            "lesson: softmax_regression_scratch\nevaluate: null\n",
            "experiments.softmax_regression_scratch: python -m"
            " experiments.softmax_regression_scratch --evaluate theirs",
        ),
        (
            "lenet",
            "lesson: linear_regression\nnum_examples: 3\n",
            "experiments.linear_regression, which has no --evaluate",
        ),
    ],
)
def test_a_run_of_another_lesson(run, tmp_path, lesson, settings, said):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.yaml").write_text(settings)
    done = run(f"experiments.{lesson}", "--evaluate", "theirs")
    assert done.returncode == 2
    assert done.stderr == (
        f"error: --evaluate theirs is a run of {said}  (--debug shows where)\n"
    )


@pytest.mark.parametrize("name", ["mine", "not/a module"])
def test_a_run_of_a_name_of_its_own(run, tmp_path, name):
    """It may well be of this lesson: only its checkpoints are missed."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text(f"lesson: {name}\n")
    done = run("experiments.softmax_regression", "--evaluate", "mine")
    assert done.returncode == 2
    assert "is a run of" not in done.stderr
    assert "mine/checkpoints" in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "error: --config mine.yaml is no file"),
        ("a: [1", "error: --config mine.yaml is no YAML or JSON: "),
        ("[1, 2]", "error: --config mine.yaml holds no names with values"),
        ("epochz: 3", "--epochz"),
        ("epochs: many", "'many'"),
        ("seed: -1", "seed=-1 is not within"),
    ],
)
def test_a_configuration_file_that_cannot_be(run, tmp_path, text, message):
    if text is not None:
        (tmp_path / "mine.yaml").write_text(text)
    done = run("experiments.linear_regression", "--config", "mine.yaml")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_terminal_sees_a_bar_with_live_numbers(tmp_path):
    """A real terminal: what the program writes to it is kept and looked at."""
    parent, child = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "experiments.softmax_regression", "--epochs", "30"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"},
        stdout=child,
        stderr=child,
    ) as process:
        os.close(child)
        seen = b""
        while chunk := _read(parent):
            seen += chunk
    os.close(parent)
    text = seen.decode()
    assert process.returncode == 0
    assert "━" in text
    assert "100%" in text
    assert " steps/s " in text
    assert "epoch 30/30  loss " in text
    assert "  test loss " in text


def _read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux's way to say that the other end is closed
        return b""


def test_lines_are_answered_up_to_an_empty_one(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("3\n  4 \nfour\n5\n\n6\n"))
    answered = []
    ask("numbers", lambda line: answered.append(int(line)))
    assert answered == [3, 4, 5]
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "numbers, one a line; an empty line ends"
    assert said[1] == "error: invalid literal for int() with base 10: 'four'"


def test_the_end_of_the_input_ends_it(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("3"))
    answered = []
    ask("numbers", answered.append)
    assert answered == ["3"]
