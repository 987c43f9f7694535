"""TensorBoard in a browser, as a user opens it."""

import shutil
import socket
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from selenium import webdriver

from experiments._all import Outcome, write_page
from jaxdl.config import RunConfig
from jaxdl.models.lenet import LeNet
from jaxdl.plots import curves
from jaxdl.run import open_run

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

# Everything written on the page, that of components in components too.
TEXT = """
function text(node) {
  const parts = [];
  for (const child of node.childNodes) {
    if (child.nodeType === 3) parts.push(child.nodeValue.trim());
    if (["STYLE", "SCRIPT"].includes(child.nodeName)) continue;
    if (child.shadowRoot) parts.push(text(child.shadowRoot));
    parts.push(text(child));
  }
  return parts.filter(part => part).join("\\n");
}
return text(document.body);
"""


@pytest.fixture(scope="module")
def browser():
    if not (CHROMIUM and DRIVER):
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
        "disable-background-networking", "disable-component-update", "disable-sync",
        "window-size=1400,1000", "no-proxy-server",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """TensorBoard's address; it shows a run with curves and a graph."""
    runs = tmp_path_factory.mktemp("runs")
    images = jnp.zeros((1, 28, 28, 1))
    params = LeNet().init(jax.random.key(0), images)["params"]
    with open_run("lenet", RunConfig(run_dir=str(runs / "lenet"), seed=77)) as run:
        run.log_graph(lambda p, x: LeNet().apply({"params": p}, x), params, images)
        for epoch in 1, 2, 3:
            run.log(epoch, None, {"train/loss": 2 / epoch, "test/loss": 3 / epoch})
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    command = ["-m", "tensorboard.main", "--logdir", str(runs), "--port", port]
    server = subprocess.Popen([sys.executable, *command], stderr=subprocess.DEVNULL)
    yield f"http://localhost:{port}"
    server.terminate()
    server.wait()


def wait_for(browser, url, *words, seconds=60):
    """Opens a page again and again, until the words are written on it."""
    page = ""
    for _ in range(seconds // 5):
        try:
            browser.get("about:blank")
            browser.get(url)
        except Exception as error:
            if "ERR_CONNECTION_REFUSED" not in str(error):
                raise
        for _ in range(10):
            time.sleep(0.5)
            page = browser.execute_script(TEXT)
            if all(word in page for word in words):
                return page
    raise AssertionError(f"no {words} in:\n{page}")


def test_curves_appear(browser, server):
    page = wait_for(browser, f"{server}/#timeseries", "lenet/train", "lenet/test")
    assert "loss" in page.split("\n")


def test_the_graph_appears(browser, server):
    wait_for(browser, f"{server}/#graphs", "LeNet", "output", "1×28×28×1", "1×10")


def test_the_configuration_appears(browser, server):
    wait_for(browser, f"{server}/#text", "seed: 77")


def test_the_page_of_all_lessons_shows_its_figures(browser, tmp_path):
    (tmp_path / "lenet").mkdir()
    curves({"train/loss": np.array([2.0, 1.0])}).savefig(tmp_path / "lenet" / "a.png")
    outcome = Outcome("lenet", "What <b> is it?", {"test/accuracy": 0.75}, 3.0)
    browser.get(write_page([outcome], tmp_path).as_uri())
    assert browser.execute_script(TEXT).split("\n")[:2] == [
        "jaxdl's lessons", "What <b> is it?",
    ]  # fmt: skip
    widths = "return [...document.images].map(image => image.naturalWidth)"
    assert browser.execute_script(widths) > [100]
