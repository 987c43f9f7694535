import json
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jaxdl.graph import to_graph_def, trace, write_graph
from jaxdl.models.lenet import LeNet
from jaxdl.tensorboard import EventLog

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture(scope="module")
def lenet():
    x = jax.ShapeDtypeStruct((4, 28, 28, 1), jnp.float32)
    params = jax.eval_shape(LeNet().init, jax.random.key(0), x)["params"]
    return trace(lambda params, x: LeNet().apply({"params": params}, x), params, x)


def tiny():
    return trace(lambda w, x: (x + w) * (w + 1), 1.0, 2.0)


def read(directory):
    """The run as TensorBoard's own code reads it."""
    return EventAccumulator(str(directory)).Reload()


def test_tensorboard_reads_the_graph(tmp_path, lenet):
    write_graph(tmp_path, lenet)
    nodes = read(tmp_path).Graph().node
    assert [node.name for node in nodes] == [node.name for node in lenet.nodes]
    for node, ours in zip(nodes, lenet.nodes, strict=True):
        assert list(node.input) == list(ours.inputs)
        assert node.op == {"constant": "Const"}.get(ours.op, ours.op)
        shapes = [
            tuple(dim.size for dim in shape.dim)
            for shape in node.attr["_output_shapes"].list.shape
        ]
        assert shapes == [kind.shape for kind in ours.outputs]
        assert node.attr["dtype"].s.decode() == str(ours.dtype)
    (product,) = (node for node in nodes if node.name == "LeNet/fc1/dot_general")
    flat, kernel = product.input  # the newer JAX is, the fewer are the reshapes before
    assert flat.startswith("LeNet/reshape")
    assert kernel == "LeNet/fc1/kernel"


def test_a_click_shows_settings():
    def function(x):
        return jnp.split(2.5 * x, [1], axis=1)

    attributes = {
        node.name: {
            name: value.s.decode() for name, value in node.attr.items() if value.s
        }
        for node in to_graph_def(trace(function, jnp.ones((2, 3)))).node
    }
    assert attributes["constant"] == {"dtype": "float32", "value": "2.5"}
    assert attributes["split"] == {
        "dtype": "float32, float32",
        "sizes": "(1, 2)",
        "axis": "1",
    }


def test_settings_are_short_and_hold_no_functions():
    table = jnp.arange(500.0)

    def function(x):
        x = jax.lax.scan(lambda c, e: (c + e, None), 0.0, x)[0]
        return table * jax.nn.relu(x)

    graph = trace(function, jnp.ones(3), expand=False)
    for node in to_graph_def(graph).node:
        for name, value in node.attr.items():
            assert len(value.s) <= 200
            assert name not in ("jaxpr", "call_jaxpr", "jvp_jaxpr_fun")


def test_a_graph_beside_scalars(tmp_path):
    with EventLog(tmp_path) as log:
        log.scalar("loss", 2.0, 0)
        write_graph(log, tiny())
        log.scalar("loss", 1.0, 1)
    run = read(tmp_path)
    assert [event.value for event in run.Scalars("loss")] == [2, 1]
    assert [node.name for node in run.Graph().node][:2] == ["w", "x"]


def test_two_graphs_in_a_moment_are_both_kept(tmp_path):
    for _ in range(2):
        write_graph(tmp_path / "run", tiny())
    assert len(list((tmp_path / "run").iterdir())) == 2


@contextmanager
def running(command, line):
    """Runs a server; gives the number in the first of its lines that looks so."""
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        for text in server.stdout:
            if found := re.search(line, text):
                yield int(found[1])
                break
        else:
            raise RuntimeError(f"{command[0]} has not started")
    finally:
        server.terminate()
        server.communicate(timeout=30)


@pytest.fixture(scope="module")
def tensorboard(tmp_path_factory, lenet):
    """The address of a TensorBoard that shows a run of LeNet's graph and scalars."""
    directory = tmp_path_factory.mktemp("runs")
    with EventLog(directory / "lenet") as log:
        write_graph(log, lenet)
        for step in range(10):
            log.scalar("loss", 1 / (1 + step), step)
    arguments = ["--logdir", str(directory), "--port", "0", "--load_fast", "false"]
    command = [sys.executable, "-m", "tensorboard.main", *arguments]
    with running(command, r"http://localhost:(\d+)/") as port:
        yield f"http://localhost:{port}"


def wait_for(ask, seconds=60):
    """Asks until there is an answer."""
    for _ in range(seconds):
        try:
            if answer := ask():
                return answer
        except urllib.error.URLError:
            pass
        time.sleep(1)
    raise TimeoutError


@pytest.mark.slow
def test_tensorboard_serves_the_graph(tensorboard, lenet):
    def text(path):
        with OPENER.open(f"{tensorboard}/data/plugin/{path}") as reply:
            return reply.read().decode()

    info = wait_for(lambda: json.loads(text("graphs/info")))
    assert info["lenet"]["run_graph"]
    served = text("graphs/graph?run=lenet")
    assert re.findall(r'^  name: "(.*)"$', served, re.M) == [
        node.name for node in lenet.nodes
    ]
    assert len(json.loads(text("scalars/scalars?run=lenet&tag=loss"))) == 10


class Browser:
    """A headless Chromium, driven through the protocol of W3C's WebDriver."""

    def __init__(self, port, program):
        self.address = f"http://localhost:{port}/session"
        switches = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage"]
        options = {"binary": program, "args": [*switches, "--window-size=1600,1200"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options}
        session = self._send("", capabilities={"alwaysMatch": wanted})
        self.address += f"/{session['sessionId']}"

    def _send(self, path, **body):
        request = urllib.request.Request(
            self.address + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with OPENER.open(request, timeout=120) as reply:
            return json.load(reply)["value"]

    def open(self, url):
        self._send("/url", url=url)

    def run(self, script, *args):
        return self._send("/execute/sync", script=FIND + script, args=args)

    def close(self):
        OPENER.open(urllib.request.Request(self.address, method="DELETE")).close()


# The elements for a selector, also those in the shadow trees of others.
FIND = """
const find = (selector, root = document) => [
    ...root.querySelectorAll(selector),
    ...[...root.querySelectorAll('*')].filter(e => e.shadowRoot)
        .flatMap(e => find(selector, e.shadowRoot))
];
const graph = () => find('g.node').filter(e => e.__data__ && e.__data__.node);
"""


@pytest.fixture
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("Chromium and chromedriver are not both installed")
    with running([driver, "--port=0"], r"successfully on port (\d+)") as port:
        browser = Browser(port, program)
        yield browser
        browser.close()


@pytest.mark.slow
def test_a_browser_shows_the_graph(tensorboard, browser):
    shown = lambda: browser.run("return graph().map(e => e.__data__.node.name)")

    def unfold(scope):
        browser.run(
            """const node = graph().find(e => e.__data__.node.name === arguments[0]);
            node.querySelector('.nodeshape').dispatchEvent(
                new MouseEvent('dblclick', {bubbles: true, view: window}));""",
            scope,
        )

    browser.open(f"{tensorboard}/#graphs")
    assert sorted(wait_for(shown)) == ["LeNet", "output", "x"]
    unfold("LeNet")
    layers = {f"LeNet/{name}" for name in ("conv1", "conv2", "fc1", "fc2", "fc3")}
    assert wait_for(lambda: layers <= set(shown()))
    unfold("LeNet/conv1")
    wait_for(lambda: "LeNet/conv1/kernel" in shown())
    inside = {name for name in shown() if re.match(r"LeNet/conv1/[^~]+$", name)}
    parts = ("kernel", "bias", "_convolve", "broadcast_in_dim", "add")
    assert inside == {f"LeNet/conv1/{part}" for part in parts}
    labels = browser.run("return find('g.edge text').map(e => e.textContent.trim())")
    assert "4×24×24×6" in labels  # the shape of what goes from conv1 to the sigmoid


@pytest.mark.slow
def test_a_browser_shows_the_scalars(tensorboard, browser):
    browser.open(f"{tensorboard}/#scalars")
    line = "return find('svg path.line').map(e => e.getAttribute('d'))[0]"
    points = wait_for(lambda: browser.run(line))
    assert points.count("L") == 9  # ten points, nine lines
    titles = browser.run("return find('tf-scalar-card').map(e => e.tag)")
    assert titles == ["loss"]
