"""`python -m experiments`: the list of lessons, runs of them all, and their page."""

import sys

import pytest

from experiments import __main__ as program, _all


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["experiments", *arguments])
        try:
            program.main()
            status = 0
        except SystemExit as end:
            status = end.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_lessons_run_and_their_page_shows_them(run, tmp_path):
    name = "linear_regression_scratch"
    status, said, _ = run("--all", name)
    assert status == 0
    assert "descent 0.0" in said
    [directory] = (tmp_path / "runs" / "all").iterdir()
    page = (directory / "index.html").read_text()
    assert f'<img src="{name}/curves.png"' in page
    assert "python -m experiments.linear_regression_scratch" in page
    assert _all.lessons()[name] in page
    assert (directory / name / "output.txt").read_text()
    assert "http" not in page  # nothing comes from a network


def test_a_lesson_that_fails_is_shown_and_the_others_run(run, tmp_path, monkeypatch):
    class Pool:
        """Runs in this process, where a lesson can be broken."""

        def __init__(self, *settings): ...
        def __enter__(self):
            return self

        def __exit__(self, *error): ...
        def submit(self, function, *arguments):
            self.result = lambda: function(*arguments)
            return self

    def fail(config):
        raise ValueError("no <data>")

    monkeypatch.setattr(_all, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr("experiments.linear_regression.main", fail)
    status, said, _ = run("--all", "linear_regression", "linear_regression_scratch")
    assert status == 1
    assert "failed: ValueError: no <data>" in said
    [directory] = (tmp_path / "runs" / "all").iterdir()
    page = (directory / "index.html").read_text()
    assert "no &lt;data&gt;" in page
    assert "Traceback" in (directory / "linear_regression" / "output.txt").read_text()
    assert (directory / "linear_regression_scratch" / "curves.png").exists()


def test_lessons_are_listed(run):
    status, said, _ = run()
    assert status == 0
    assert all(name in said for name in _all.lessons())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--all", "lenet", "nolet"], "no lessons nolet; near it: lenet"),
        (["lenet"], "to run one: python -m experiments.lenet"),
    ],
)
def test_names_that_cannot_be(run, arguments, message):
    status, _, said = run(*arguments)
    assert status == 2
    assert message in said
