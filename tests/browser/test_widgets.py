"""Each widget of the published pages answers to its slider, its menus, its buttons and its keys, without a kernel.

In one edition: that all are live in both, in the language of the page, over http and from disk, test_pages.py sees.
"""

import pytest

PIXELS = """(root) => [...root.querySelectorAll('canvas')].map((canvas) => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let hash = 2166136261;
  for (const byte of data) hash = Math.imul(hash ^ byte, 16777619);
  return `${canvas.width}x${canvas.height}:${hash >>> 0}`;
}).join(' ')"""


class Widget:
    """One widget of a page, by its root element."""

    def __init__(self, page, root):
        self.page, self.root = page, root
        self.name = root.locator(".sde-player").get_attribute("data-widget")

    def pixels(self):
        """A digest of all its canvases, once two readings agree."""
        last = ""
        for _ in range(40):
            self.page.wait_for_timeout(60)
            now = self.root.evaluate(PIXELS)
            if now == last:
                return now
            last = now
        raise AssertionError(f"{self.name}: the picture does not come to rest")

    def changes(self, act):
        """Whether the picture is another one after act()."""
        before = self.pixels()
        act()
        self.page.wait_for_timeout(200)
        return self.pixels() != before


@pytest.fixture(scope="module")
def places(site):
    """Every page with widgets, and how many it has."""
    found = {}
    for path in sorted(site.glob("*/chapters/**/*.html")):
        count = path.read_text(encoding="utf8").count('class="sdelab-widget"')
        if count:
            found[path.relative_to(site).as_posix()] = count
    assert found, "no page has a widget"
    return found


@pytest.fixture
def widgets(visit, places, settled):
    """widgets(language=None, **options) -> every live widget, page after page (of one edition, if named)."""

    def each(language="", **options):
        for path, count in places.items():
            if not path.startswith(language):
                continue
            seen = visit(path, **options)
            settled(seen.page)
            roots = seen.page.locator(".sdelab-widget")
            assert roots.count() == count
            for n in range(count):
                roots.nth(n).scroll_into_view_if_needed()
                seen.page.wait_for_function(
                    "(n) => document.querySelectorAll('.sdelab-widget .sde-player')[n].dataset.state === 'ready'", arg=n
                )
                yield Widget(seen.page, roots.nth(n))
            assert seen.clean(), seen.complaints()

    return each


def test_the_widgets_of_the_book_are_published_in_both_editions(site):
    for language in ("ja", "en"):
        text = "".join(p.read_text(encoding="utf8") for p in (site / language / "chapters").glob("**/*.html"))
        for name in (
            "DensityExplorer",
            "ThreeViews",
            "ReverseExplorer",
            "WhereFrom",
            "FlowMap",
            "LatentPlayground",
            "SolverRace",
            "ScheduleDesigner",
            "StabilityExplorer",
        ):
            assert name in text, f"{name} is in no page of the {language} edition"


def is_live(widget):
    """The still picture gave way to a live widget in the page's language."""
    assert widget.root.get_attribute("data-state") == "live"
    assert widget.root.locator("> img").count() == 0
    assert widget.root.locator("canvas").count() > 0
    assert len(set(widget.pixels().split())) == widget.root.locator("canvas").count()
    language = widget.page.locator("html").get_attribute("lang")
    assert widget.root.locator(".sde-player").get_attribute("data-language") == language
    play = widget.root.locator("button.sde-play").get_attribute("aria-label")
    assert play == {"ja": "再生", "en": "Play"}[language]


def rests(widget):
    """Nothing moves by itself."""
    assert widget.root.locator(".sde-player").get_attribute("data-playing") == "false"
    assert not widget.changes(lambda: widget.page.wait_for_timeout(600)), widget.name


def answers_the_slider(widget):
    slider = widget.root.locator("input.sde-time")
    last = int(slider.get_attribute("max"))
    other = 0 if int(slider.input_value()) > last // 2 else last
    assert widget.changes(lambda: slider.fill(str(other))), widget.name


def answers_every_menu(widget):
    menus = widget.root.locator("select")
    assert menus.count() > 0, widget.name
    for name in menus.evaluate_all("nodes => nodes.map((n) => n.dataset.control)"):
        menu = widget.root.locator(f"select[data-control='{name}']")
        if not menu.is_visible():  # shown for some choices only: the widget's own test moves it
            continue
        now = menu.input_value()
        other = next(v for v in menu.locator("option").evaluate_all("o => o.map((x) => x.value)") if v != now)
        assert widget.changes(lambda m=menu, v=other: m.select_option(v)), f"{widget.name}: {name}"


def answers_keys(widget):
    player = widget.root.locator(".sde-player")
    player.focus()
    for far, key in (("End", "ArrowLeft"), ("Home", "ArrowRight")):
        player.press(far)
        assert widget.changes(lambda k=key: player.press(k)), f"{widget.name}: {key}"


def plays_and_pauses(widget):
    player = widget.root.locator(".sde-player")
    player.focus()
    player.press("Home")
    widget.root.locator("button.sde-play").click()
    widget.root.locator('.sde-player:not([data-frame="0"])').wait_for(timeout=5000)  # few frames are shown for longer
    assert player.get_attribute("data-playing") == "true", widget.name
    widget.root.locator("button.sde-play").click()
    assert player.get_attribute("data-playing") == "false", widget.name
    frame = player.get_attribute("data-frame")
    widget.page.wait_for_timeout(300)
    assert player.get_attribute("data-frame") == frame, widget.name


def plays_one_frame(widget):
    """What play does where motion is to be reduced."""
    player = widget.root.locator(".sde-player")
    player.focus()
    player.press("Home")
    frame = int(player.get_attribute("data-frame"))
    widget.root.locator("button.sde-play").click()
    widget.page.wait_for_timeout(400)
    assert int(player.get_attribute("data-frame")) == frame + 1, widget.name
    assert player.get_attribute("data-playing") == "false", widget.name


def is_dark(widget):
    ground = "getComputedStyle(document.querySelector('.sde-player')).backgroundColor.match(/\\d+/g).map(Number)"
    return sum(widget.page.evaluate(ground)) < 300


def test_a_live_widget_answers_slider_menus_keys_and_play(widgets):
    for widget in widgets("ja"):
        is_live(widget)
        rests(widget)
        assert not is_dark(widget), widget.name
        answers_the_slider(widget)
        answers_every_menu(widget)
        answers_keys(widget)
        plays_and_pauses(widget)


def test_on_a_dark_telephone_with_reduced_motion(widgets):
    narrow = {"width": 420, "height": 900}
    for widget in widgets("ja", viewport=narrow, color_scheme="dark", reduced_motion="reduce"):
        assert is_dark(widget), widget.name
        box = widget.root.locator(".sde-player").bounding_box()
        assert 250 < box["width"] <= 420 and box["x"] >= 0, widget.name
        rests(widget)
        plays_one_frame(widget)
