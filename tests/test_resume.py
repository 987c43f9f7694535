"""Runs that are killed at any moment, and go on."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jaxdl import checkpoint
from tests.marks import slow
from tests.oracle import assert_same_bits

ROOT = Path(__file__).parents[1]


def start(directory, driver):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.resume_program", str(directory), driver],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_to_its_end(directory, driver):
    said, errors = (process := start(directory, driver)).communicate(timeout=120)
    assert process.returncode == 0, errors
    return said


def reached(directory):
    try:
        return int((directory / "checkpoints" / "reached").read_text())
    except (OSError, ValueError):
        return 0


def kill_after(directory, driver, delay):
    """Kills a run `delay` seconds after it has trained some steps of its own."""
    before = reached(directory)
    process = start(directory, driver)
    while reached(directory) <= before and process.poll() is None:
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()
    _, errors = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), errors


def curves(directory):
    return {
        split: [
            (event.step, event.value)
            for event in EventAccumulator(str(directory / split))
            .Reload()
            .Scalars("loss")
        ]
        for split in ("train", "test")
    }


def assert_same_runs(directory, whole):
    ours, theirs = (checkpoint.load_any(d / "final") for d in (directory, whole))
    assert_same_bits(ours.tree, theirs.tree)
    assert curves(directory) == curves(whole)
    best, other = (
        checkpoint.Checkpoints(d / "checkpoints" / "best") for d in (directory, whole)
    )
    assert best.steps[-1:] == other.steps[-1:]


def check_kills(tmp_path, driver, kills):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_to_its_end(whole, driver)
    draw = random.Random(driver)
    for _ in range(kills):
        kill_after(killed, driver, draw.uniform(0, 0.6))
    run_to_its_end(killed, driver)
    assert_same_runs(killed, whole)


@pytest.mark.parametrize(
    ("driver", "kills"),
    [("scan", 1), slow("stream", 2)],
)
def test_a_killed_run_ends_with_the_same_bits(tmp_path, driver, kills):
    check_kills(tmp_path, driver, kills)


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["run", "scan", "loop", "stream"])
def test_many_kills(tmp_path, driver):
    for repetition in range(5):
        check_kills(tmp_path / str(repetition), driver, kills=5)
