"""JupyterLab: open chapter 1, run all cells, move a parameter; the picture changes through the kernel."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request

import pytest

from book.execute import KERNEL_ENVIRONMENT, ROOT

CHAPTER = ROOT / "chapters" / "ja" / "01_forward_sde.ipynb"
PIXELS = """(n) => {
  const canvas = document.querySelectorAll('.sde-player')[n].querySelector('canvas');
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let hash = 2166136261;
  for (const byte of data) hash = Math.imul(hash ^ byte, 16777619);
  return hash >>> 0;
}"""


@pytest.fixture
def lab(tmp_path):
    """JupyterLab on a free loopback port with settings of its own, and a folder holding a copy of the chapter."""
    folder = tmp_path / "work"
    folder.mkdir()
    shutil.copy(CHAPTER, folder)
    own = {name: str(tmp_path / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    own["JUPYTER_RUNTIME_DIR"] = runtime = str(tmp_path / "runtime")
    settings = [f"--ServerApp.root_dir={folder}", "--ServerApp.port=0", "--ServerApp.ip=127.0.0.1", "--no-browser"]
    settings += ["--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True", "--allow-root"]
    settings += ["--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    settings += [
        f"--LabApp.user_settings_dir={tmp_path / 'settings'}",
        f"--LabApp.workspaces_dir={tmp_path / 'spaces'}",
    ]
    log = open(tmp_path / "lab.log", "w")
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *settings],
        env={**os.environ, **KERNEL_ENVIRONMENT, **own},
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        yield find_server(process, tmp_path / "runtime", tmp_path / "lab.log")
    finally:
        process.terminate()
        process.wait(30)
        log.close()
    assert not list((tmp_path / "runtime").glob("jpserver-*.json")), f"JupyterLab left its files in {runtime}"


def find_server(process, runtime, log):
    """The server's address, once it answers."""
    for _ in range(300):
        assert process.poll() is None, log.read_text()[-2000:]
        for info in runtime.glob("jpserver-*.json"):
            try:
                url = json.loads(info.read_text())["url"].rstrip("/")
                urllib.request.urlopen(f"{url}/api/status", timeout=5)
            except (OSError, ValueError):
                continue
            return url
        time.sleep(0.2)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


def wait_for_kernel(page, lab):
    """Wait until the notebook has its kernel; JupyterLab may first ask which one to use."""
    for _ in range(120):
        question = page.locator(".jp-Dialog button.jp-mod-accept")
        if question.count():
            question.first.click()
        kernels = page.request.get(f"{lab}/api/kernels").json()
        if kernels and kernels[0]["execution_state"] == "idle" and not question.count():
            return
        page.wait_for_timeout(500)
    raise AssertionError("the notebook got no kernel")


def test_a_parameter_moved_in_jupyterlab_is_answered_by_the_kernel(chromium, lab):
    context = chromium.new_context(locale="ja-JP", viewport={"width": 1400, "height": 1100})
    context.set_default_timeout(60_000)
    page = context.new_page()
    outside = []

    def guard(route):
        ours = route.request.url.startswith((lab, "data:", "blob:"))
        outside.append(route.request.url) if not ours else None
        route.continue_() if ours else route.abort()

    page.route("**/*", guard)
    page.goto(f"{lab}/lab/tree/{CHAPTER.name}?reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    wait_for_kernel(page, lab)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_selector(".sde-player[data-state=ready]", timeout=120_000)
    player = page.locator(".sde-player").first
    player.scroll_into_view_if_needed()
    dial = player.locator("input[type=range][data-control]").first
    assert dial.count() == 1, "a live widget offers a dial"
    page.wait_for_timeout(500)
    before, shown = page.evaluate(PIXELS, 0), player.locator(".sde-readout").inner_text()
    low, high, now = (float(dial.get_attribute(a)) if a else float(dial.input_value()) for a in ("min", "max", ""))
    dial.fill(dial.get_attribute("min") if now - low > high - now else dial.get_attribute("max"))
    page.wait_for_function("document.querySelector('.sde-player').dataset.source === 'kernel'", timeout=120_000)
    page.wait_for_selector(".sde-player[data-state=ready]")
    page.wait_for_timeout(500)
    assert page.evaluate(PIXELS, 0) != before
    assert player.locator(".sde-readout").inner_text() != shown
    assert not outside
    context.close()
