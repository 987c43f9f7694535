"""The benchmarks' machinery: equal work, honest ratios, documents made of the JSON."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import (
    accuracy,
    ceilings,
    extras,
    fresh,
    report,
    timing,
    torch_side,
    training,
)
from benchmarks.__main__ import main
from benchmarks.cases import BY_NAME, folds_of, images
from benchmarks.pages import write_between
from benchmarks.settings import Settings
from tests.course_parity.cases import CASES as PARITY
from tests.marks import slow, slow_if

ROOT = Path(__file__).parents[1]
QUICK = Settings(turns=2, fresh_turns=0, quick=True, torch_compile=False)
QUICKLY = ("linear", "dropout", "rates", "evaluate_mlp")
# What a GPU machine may lack: none of it is needed to measure there.
ABSENT = (
    "tyro", "tensorflow_datasets", "tensorflow", "array_record", "grain",
    "tensorboard", "faker", "importlib_resources",
)  # fmt: skip
REFUSE = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT!r}))  # as if they were not installed
from benchmarks.__main__ import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    "name",
    slow_if(lambda name: name not in QUICKLY, BY_NAME),
)
def test_the_sides_do_the_same_work(name):
    record = training.measure(BY_NAME[name], QUICK)
    sides = {
        side: found for side, found in record["sides"].items() if "median" in found
    }
    assert {"jaxdl", "PyTorch", "Flax"} <= set(sides)
    assert all(len(found["seconds"]) == 2 for found in sides.values())


@pytest.mark.parametrize("change", [{"lr": 0.06}, {"momentum": 0.5}])
def test_other_work_is_refused(monkeypatch, change):
    made = torch_side.make_optimizer

    def other(case, net, rate):
        optimizer = made(case, net, rate)
        optimizer.param_groups[0].update(change)
        return optimizer

    monkeypatch.setattr(torch_side, "make_optimizer", other)
    with pytest.raises(AssertionError, match="PyTorch"):
        training.measure(BY_NAME["linear"], QUICK)


def test_what_torch_compile_does_not_take_is_told(monkeypatch):
    def fail(net, **options):
        raise NotImplementedError("no compiler\nand more")

    monkeypatch.setattr(torch, "compile", fail)
    settings = QUICK._replace(torch_compile=True)
    record = training.measure(BY_NAME["linear"], settings)
    error = record["sides"]["torch.compile"]["error"]
    assert error == "NotImplementedError: no compiler"
    assert "torch.compile" not in record["ratios"]


def test_the_faster_way_of_pytorch_counts():
    seconds = {
        "jaxdl": [1.0, 2.0],
        "PyTorch": [3.0, 4.0],
        "PyTorch, DataLoader": [2.0, 3.0],
    }
    sides = {
        side: {"seconds": times, "median": float(np.median(times))}
        for side, times in seconds.items()
    }
    found = training.compared(sides, {"PyTorch": 1.8})
    assert found["faster"] == "PyTorch, DataLoader"
    assert found["ratios"]["PyTorch"] == {"median": 1.75, "low": 1.625, "high": 1.875}
    assert found["goals"] == {"PyTorch": {"goal": 1.8, "met": False}}


def test_turns_start_with_each_side_once_and_time_the_second_of_two_runs():
    met = []

    def begin(name):
        met.append(f"{name} begins")
        return lambda: met.append(name)

    seconds = timing.in_turns(
        {name: partial(begin, name) for name in "ab"}, 2, quick=True
    )
    a, b = (2 * [f"{name} begins", name] for name in "ab")
    assert met == [*a, *b, *b, *a]
    assert [len(times) for times in seconds.values()] == [2, 2]


def test_short_runs_are_timed_until_they_took_long_enough():
    begun = []
    begin = lambda: begun.append(1) or partial(time.sleep, 0.01)
    seconds = timing.mean_seconds(begin, 0.05)
    assert 0.01 <= seconds < 0.05
    assert 2 <= len(begun) <= 5


def test_operations_of_a_perceptron_are_those_of_its_products():
    case = replace(BY_NAME["mlp"], batch_size=2, options={"widths": (3, 5)})
    forward = 2 * 2 * (784 * 3 + 3 * 5)
    assert training.dense_flops(case) == 3 * forward - 2 * 2 * 784 * 3


def test_folds_hold_out_a_part_each():
    case = BY_NAME["folds"].quick()
    rows = folds_of(case)
    assert rows.shape[1] % case.batch_size == 0
    assert all(len(np.unique(fold)) == rows.shape[1] for fold in rows)
    assert len(np.intersect1d(*rows[:2])) < rows.shape[1]


def test_a_fresh_process_tells_its_parts():
    found = timing.fresh(["-m", "benchmarks.fresh", "linear", "PyTorch", "--quick"])
    parts = found["imports"] + found["data"] + found["setup"] + found["training"]
    assert 0 < parts < found["wall"]
    assert 50 < found["peak_mib"] < 5000


def test_a_process_that_fails_says_why():
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        timing.fresh(["-c", "1 / 0"])


def test_peak_memory_is_the_processs_own():
    assert 50 < fresh.peak_mib("jaxdl", "cpu") < 50_000


def test_the_command_runs_without_what_a_gpu_machine_lacks(tmp_path):
    file = tmp_path / "results" / "out.json"
    arguments = ["softmax", "matrix", "--quick", "--json", str(file)]
    done = subprocess.run(
        [sys.executable, "-c", REFUSE, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "softmax regression" in done.stdout
    results = json.loads(file.read_text())
    assert set(results["cases"]) == {"softmax"}
    assert results["extras"]["matrix"]["rates"]["jax"] > 0
    assert results["machine"]["cores"] >= 1
    for section in (report.machine, report.training, report.waiting, report.dense):
        assert section(results)


def test_a_case_that_fails_does_not_end_the_run(tmp_path, monkeypatch, capsys):
    def fail(settings):
        raise OSError("no such machine")

    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setattr(extras, "imports", fail)
    file = tmp_path / "out.json"
    with pytest.raises(SystemExit, match="not measured: imports"):
        main(["imports", "matrix", "--quick", "--json", str(file)])
    results = json.loads(file.read_text())
    assert results["failed"] == {"imports": "OSError: no such machine"}
    assert "matrix" in results["extras"]
    assert "no such machine" in capsys.readouterr().err


def test_a_case_that_is_not_there_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["lenett"])
    assert "lenett: there are linear, " in capsys.readouterr().err


@pytest.mark.parametrize("page", list(report.pages()), ids=lambda page: page.name)
def test_documents_say_what_was_measured(page):
    """After a run: `python -m benchmarks.report --write`."""
    assert report.render(page.read_text(), page.name) == page.read_text()


def test_what_was_not_measured_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    (tmp_path / "part.json").write_text('{"cases": {}, "extras": {}}')
    marks = "<!-- benchmark: {} imports -->\nold\n<!-- end -->"
    for name in ("absent", "part"):
        text = report.render(marks.format(name))
        assert report.UNMEASURED in text
        assert "old" not in text


def test_a_mark_of_no_section_is_refused():
    with pytest.raises(ValueError, match="no section 'speed'"):
        report.render("<!-- benchmark: cpu speed -->\n<!-- end -->", "page.md")


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.234, "1.23 s"), (0.0123, "12.3 ms"), (4.5e-6, "4.5 µs"), (1e-7, "0.1 µs")],
)
def test_times_are_told_in_the_unit_that_fits(value, text):
    assert report.seconds(value) == text


@pytest.mark.parametrize(
    ("seconds", "accuracy", "told"),
    [(0.9, 0.991, "met"), (1.1, 0.991, "**missed**"), (0.9, 0.98, "**missed**")],
)
def test_the_seconds_to_an_accuracy_have_a_goal(seconds, accuracy, told):
    found = {"goal": 0.99, "goal_seconds": 1, "median": seconds, "epochs": [3],
             "seconds": [seconds], "accuracy": [accuracy]}  # fmt: skip
    text = report.reach({"extras": {"reach": found}})
    assert text.endswith(f"The goal of 1 s: {told}.")


def test_every_accuracy_has_a_network_in_torch():
    for lesson, case in accuracy.cases(Path("tables")).items():
        assert case.model in PARITY[lesson].models, lesson


def test_text_is_put_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<1>\nold\nlines\n<2>\nb\n<2>\n")
    write_between(page, "<1>", "new", "<2>")
    assert page.read_text() == "a\n<1>\nnew\n<2>\nb\n<2>\n"
    for text in ("a\n<2>\n", "<2>\n<1>\n", "<1>\n<1>\n<2>\n"):
        page.write_text(text)
        with pytest.raises(ValueError, match="no one place between '<1>' and '<2>'"):
            write_between(page, "<1>", "new", "<2>")
        assert page.read_text() == text


def test_parts_of_steps_are_computed_anew_in_each_step():
    small, large = (
        ceilings.per_step(ceilings.product, np.ones((64, n), "f"), np.ones((n, n), "f"))
        for n in (16, 1024)
    )
    small, large = small(), large()
    # 4,096 times the work, and no machine does it faster than 10 Tflop/s.
    assert large > 10 * small
    assert large > 2 * 64 * 1024**2 / 1e13


@pytest.mark.parametrize("name", [slow("softmax"), slow("dropout"), "names"])
def test_parts_are_measured_beside_the_steps_of_both_sides(name):
    case = BY_NAME[name].quick()
    found = ceilings.beside_steps(case, ceilings.PARTS[name](case), turns=1)
    best, share, now = (found[key]["median"] for key in ("at best", "share", "now"))
    assert best * share == pytest.approx(now)
    assert share * found["step"] == pytest.approx(sum(found["parts"].values()))


def test_a_run_can_be_made_in_several_commands(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    for name in ("imports", "matrix"):
        monkeypatch.setattr(extras, name, lambda settings, name=name: name)
    file = tmp_path / "out.json"
    run = ["--quick", "--add", "--json", str(file)]
    main(["imports", *run])
    results = main(["matrix", *run])
    assert results == json.loads(file.read_text())
    assert results["extras"] == {"imports": "imports", "matrix": "matrix"}
    with pytest.raises(SystemExit, match="other settings"):
        main(["matrix", *run[1:]])
    file.write_text(json.dumps(results | {"machine": {}}))
    with pytest.raises(SystemExit, match="another machine"):
        main(["matrix", *run])


def test_a_gpu_that_is_not_there_is_told(monkeypatch, capsys):
    for name in ("PLATFORMS", "DEFAULT_MATMUL_PRECISION"):
        monkeypatch.setenv(f"JAX_{name}", "")
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        main(["matrix", "--device", "gpu", "--quick"])
    assert "--device gpu: " in capsys.readouterr().err


def test_sizes_of_another_case_do_not_make_torch_compile_dynamic(monkeypatch):
    sizes = []

    def backend(graph, inputs):
        values = [node.meta.get("example_value") for node in graph.graph.nodes]
        tensors = [value for value in values if isinstance(value, torch.Tensor)]
        sizes.extend(size for tensor in tensors for size in tensor.shape)
        return graph

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    for batch_size in (3, 4):
        case = replace(BY_NAME["softmax"], examples=batch_size, batch_size=batch_size)
        torch_side.build(case, case.draw(), way=torch_side.COMPILED)()()
        assert batch_size in sizes
    assert {type(size) for size in sizes} == {int}


def test_bfloat16_reaches_pytorch_with_its_channels_last(monkeypatch):
    met = []

    class Net(torch.nn.Sequential):
        def forward(self, x):
            met.append(x.is_contiguous(memory_format=torch.channels_last))
            return super().forward(x)

    make = lambda **options: Net(torch.nn.Flatten(), torch.nn.Linear(48, 10))
    monkeypatch.setitem(torch_side.NETWORKS, "resnet50", make)
    case = replace(BY_NAME["resnet50"].quick(), data=images((4, 4, 3)))
    torch_side.build(case, case.draw())()()
    assert met
    assert all(met)
