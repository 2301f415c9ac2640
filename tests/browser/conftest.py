"""Debian's Chromium, driven by playwright, on the built site: over http from a loopback server and from disk.

SDELAB_BROWSER=required makes a missing Chromium a failure; without it the tests skip and say why.
SDELAB_SITE=folder tests a site that is built already, in place of _build/site.
"""

import contextlib
import os
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from alone import Shown

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def give_up(reason):
    """Skip with the reason, or fail where browser tests are required."""
    if os.environ.get("SDELAB_BROWSER") == "required":
        pytest.fail(f"browser tests are required, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium():
    """The browser, one for the whole run."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        give_up("no chromium is on PATH (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=found, headless=True, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site():
    """The folder of the built site, brought up to date first."""
    if "SDELAB_SITE" in os.environ:
        return Path(os.environ["SDELAB_SITE"]).resolve()
    from book.build import build

    return build().parent


class Quiet(SimpleHTTPRequestHandler):
    """A file server that keeps its log to itself, broken connections of pages left early included."""

    def log_message(self, format, *args):
        pass

    def copyfile(self, source, outputfile):
        with contextlib.suppress(ConnectionError):
            super().copyfile(source, outputfile)


@pytest.fixture(scope="session")
def serve():
    """serve(folder) -> the address of a loopback server of that folder."""
    servers = []

    def start(folder):
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def http(serve, site):
    """The address of the site over http."""
    return serve(site)


class Visit:
    """A page opened with every other host cut off, and everything that went wrong on it."""

    def __init__(self, context, home):
        self.home, self.outside, self.failed, self.errors = home, [], [], []
        self.page = context.new_page()
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("requestfailed", lambda r: self.failed.append(f"{r.url}: {r.failure}"))
        self.page.on("response", lambda r: self.failed.append(f"{r.url}: {r.status}") if r.status >= 400 else None)
        self.page.route("**/*", self.guard)

    def guard(self, route):
        """Let the site's own files through; note and stop everything else."""
        url = route.request.url
        if url.startswith((self.home, "data:", "blob:")):
            route.continue_()
        else:
            self.outside.append(url)
            route.abort()

    def complaints(self):
        """All that must be empty on a good page."""
        return {"outside requests": self.outside, "failed requests": self.failed, "console errors": self.errors}

    def clean(self):
        """Whether nothing went wrong."""
        return not (self.outside or self.failed or self.errors)


@pytest.fixture
def visit(chromium, request):
    """visit("ja/search.html", disk=False, ...) -> a Visit, the last one closed; further options go to the context."""
    contexts = []

    def go(path, disk=False, home=None, wait="load", **options):
        home = home or (request.getfixturevalue("site").as_uri() if disk else request.getfixturevalue("http"))
        while contexts:
            contexts.pop().close()
        context = chromium.new_context(**{"locale": "ja-JP", **options})
        context.set_default_timeout(60_000)
        contexts.append(context)
        seen = Visit(context, home)
        seen.page.goto(f"{home}/{path}", wait_until=wait)
        return seen

    yield go
    for context in contexts:
        context.close()


@pytest.fixture
def shown(visit, home):
    """shown(lang, name, **options) -> a widget alone in its page (alone.py), at the ``home`` of the test's module;
    nothing may have gone wrong in it at the end."""
    seen = []

    def go(lang="en", name="widget", **options):
        seen.append(visit(f"{name}-{lang}.html", home=home, **options))
        return Shown(seen[-1].page)

    yield go
    for each in seen:
        assert each.clean(), each.complaints()


@pytest.fixture(scope="session")
def pages(site):
    """The addresses of all pages of both editions, relative to the site."""
    found = sorted(p.relative_to(site).as_posix() for p in site.glob("*/**/*.html") if "_static" not in p.parts)
    return [page for page in found if page not in ("ja/index.html", "en/index.html")]


def settle(page):
    """Wait until mathematics is set and every widget is live or has failed."""
    page.wait_for_function(
        """() => (!window.MathJax?.startup?.promise || window.sdelabMathReady
                  || (MathJax.startup.promise.then(() => { window.sdelabMathReady = true; }), false))
              && [...document.querySelectorAll('.sdelab-widget')].every((w) => w.dataset.state)"""
    )


@pytest.fixture
def settled():
    """The function that waits for a page to come to rest."""
    return settle
