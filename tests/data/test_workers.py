import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from jaxdl.data.workers import read_ahead, travels


def squares(number):
    return {"square": np.array(number**2)}


def test_results_come_in_the_order_of_their_numbers():
    found = list(read_ahead(squares, [3, 1, 2]))
    assert [result["square"] for result in found] == [9, 1, 4]


def test_no_numbers_give_no_results():
    assert list(read_ahead(squares, [])) == []
    assert list(read_ahead(squares, range(3, 3), workers=2)) == []


def test_a_few_results_are_read_before_they_are_asked_for():
    read = []

    def record(number):
        read.append(number)
        return number

    results = read_ahead(record, range(100))
    assert next(results) == 0
    for _ in range(100):
        if len(read) > 1:
            break
        time.sleep(0.05)
    time.sleep(0.1)
    assert 1 < len(read) <= 3


def test_a_reading_that_is_left_ends_its_thread():
    def reading():
        return {t for t in threading.enumerate() if t.name.startswith("grain-prefetch")}

    before = reading()
    results = read_ahead(squares, range(100))
    next(results)
    (thread,) = reading() - before
    del results
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


class UnpicklableError(Exception):
    def __reduce__(self):
        raise TypeError("not to be pickled")


class NeedsTwoError(Exception):
    """It is pickled, and cannot be made again of what was."""

    def __init__(self, first, second):
        super().__init__(first)


@pytest.mark.parametrize(
    ("error", "arrives"),
    [
        (ValueError("wrong"), True),
        (FileNotFoundError(2, "No such file", "cat.jpg"), True),
        (pickle.PicklingError("importable"), True),
        (StopIteration("end"), False),
        (UnpicklableError("mine"), False),
        (NeedsTwoError("one", "two"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_which_errors_travel(error, arrives):
    assert travels(error) is arrives


def fails_at_five(number):
    if number == 5:
        raise ValueError("five")
    return {"x": np.full(9, number)}


@pytest.mark.slow
def test_an_error_holds_no_shared_memory():
    with pytest.raises(ValueError, match="five") as raised:
        list(read_ahead(fails_at_five, range(20), workers=2))
    shared = [o for o in gc.get_objects() if type(o).__name__ == "SharedMemoryArray"]
    assert raised.value.__traceback__
    assert not shared


# Whole programs, with two workers

SCRIPT = """
import os, signal, sys, time
from jaxdl.data.streaming import Stream

class OwnError(Exception):
    pass

class Source:
    def __len__(self):
        return 40

    def __getitem__(self, index):
        if index == 30:
            {fail}
        return {example}

def main():
    global batches  # left to the end of the program
    batches = Stream(Source(), 4, remainder="drop").read(epochs={epochs}, workers=2)
    for batch, mask in batches:
        print(batch[0], flush=True)
        {body}

{guard}main()
"""
GUARD = 'if __name__ == "__main__": '


@pytest.fixture
def start(tmp_path):
    """Starts the script with the parts that are given; at the latest it ends here."""
    started = []

    def start_script(fail="pass", example="index", epochs=1, body="pass", guard=GUARD):
        path = tmp_path / "script.py"
        path.write_text(
            SCRIPT.format(
                fail=fail, example=example, epochs=epochs, body=body, guard=guard
            )
        )
        script = subprocess.Popen(
            [sys.executable, "-W", "error", str(path)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
        started.append(script)
        return script

    yield start_script
    for script in started:
        script.kill()
        script.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fail", "message"),
    [
        ("raise OwnError('oh')", "RuntimeError: example 30: OwnError: oh"),
        ("raise StopIteration", "RuntimeError: example 30: StopIteration: "),
        ("os.kill(os.getpid(), signal.SIGKILL)", "terminated unexpectedly with exit"),
    ],
)
def test_whatever_fails_in_a_worker_ends_the_program(start, fail, message):
    script = start(fail)
    output, errors = script.communicate(timeout=120)
    assert script.returncode == 1
    assert message in errors
    assert output.split()[:3] == ["0", "4", "8"]


@pytest.mark.slow
def test_a_script_without_a_guard_ends(start):
    script = start(guard="")
    _, errors = script.communicate(timeout=120)
    assert script.returncode == 1
    assert "workers=2 starts processes, which import this script" in errors
    assert "if __name__ == '__main__':" in errors
    assert "Exception ignored" not in errors  # of processes that did not start


@pytest.mark.slow
def test_a_script_that_succeeds_prints_nothing_else(start):
    script = start()
    expected = "".join(f"{i}\n" for i in range(0, 40, 4))
    assert script.communicate(timeout=120) == (expected, "")
    assert script.returncode == 0


@pytest.mark.slow
def test_a_script_that_stops_early_ends_its_workers_quietly(start):
    script = start(body="sys.exit('enough')")
    assert script.communicate(timeout=120) == ("0\n", "enough\n")


@pytest.mark.slow
def test_an_interrupt_is_the_programs_alone(start):
    # Not while a worker starts, nor inside of a __del__, which would swallow it.
    script = start(body="time.sleep(60 if batch[0] == 8 else 0)")
    for _ in range(3):
        script.stdout.readline()
    time.sleep(0.5)
    os.killpg(script.pid, signal.SIGINT)  # as a terminal does
    _, errors = script.communicate(timeout=50)
    assert errors.count("Traceback") == 1
    assert errors.endswith("KeyboardInterrupt\n")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up there")
def test_workers_end_with_a_program_that_is_killed(start):
    script = start(example="os.getpid()", epochs=10**6)
    workers = {int(script.stdout.readline()) for _ in range(2)}
    script.kill()
    script.communicate(timeout=120)
    assert len(workers - {script.pid}) == 2
    for _ in range(100):
        if not any(Path(f"/proc/{worker}").exists() for worker in workers):
            break
        time.sleep(0.1)
    else:
        pytest.fail(f"workers {workers} are still there")
