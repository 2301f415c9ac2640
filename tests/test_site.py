"""The built HTML, read without a browser; and a tiny book with planted faults, which a strict build must refuse."""

import json
import re
import subprocess
import sys

import minibook
import nbformat
import pytest
import yaml
from links import Links, dead, missing, read

from book import build as builder
from book.build import ROOT, BuildError, build
from book.execute import cache_file, code_cells, executed
from book.extensions.editions import twin_of
from book.extensions.search_ja import JapanesePairs


@pytest.fixture(autouse=True, scope="module")
def still_library():
    """The library does not change while these tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "library_key", lambda: "still")
        yield


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The root of a tiny book, built strictly."""
    root = minibook.write(tmp_path_factory.mktemp("tiny"))
    build(root, strict=True)
    return root


def pages(root):
    """Every page of a built site, read."""
    return read(root / "_build" / "site")


def test_every_file_a_page_loads_is_in_the_site(tiny):
    assert not missing(pages(tiny))


def test_every_internal_link_leads_somewhere(tiny):
    assert not dead(pages(tiny))


def test_what_is_missing_is_seen(tmp_path):
    page = '<p id="a"><img src="no.png"><script src="https://cdn/x.js"></script><a href="#a">a</a><a href="#b">b</a>'
    (tmp_path / "index.html").write_text(page + '<a href="https://example.org">away</a><a href="no.html">no</a>')
    found = read(tmp_path)
    assert [address for _, address in missing(found)] == ["no.png", "https://cdn/x.js"]
    assert [address for _, address in dead(found)] == ["#b", "no.html"]


def test_each_edition_has_its_own_alternative_text(tiny):
    for language, alt in minibook.ALT.items():
        page = tiny / "_build" / "site" / language / "chapters" / language / "01_small.html"
        images = Links(page.read_text(encoding="utf8")).images
        assert [image["alt"] for image in images if image["alt"] == alt] == [alt, alt]  # the figure and the widget


def test_one_execution_serves_both_editions(tiny):
    assert len(list((tiny / "_build" / "cache").glob("*.ipynb"))) == 1
    pictures = [
        sorted(p.name for p in (tiny / "_build" / "site" / language / "_images").iterdir()) for language in ("ja", "en")
    ]
    assert pictures[0] == pictures[1] and len(pictures[0]) == 2


def test_chapters_open_in_colab_in_their_own_language(tiny):
    for page, links in pages(tiny).items():
        colab = [link for link in links.leads if "colab.research" in link]
        language = page.parent.name
        expected = [f"chapters/{language}/01_small.ipynb"] if page.parent.parent.name == "chapters" else []
        assert [link.split("/blob/main/")[1] for link in colab] == expected


def test_equations_are_numbered_by_chapter(tiny):
    text = (tiny / "_build" / "site" / "ja" / "chapters" / "ja" / "01_small.html").read_text(encoding="utf8")
    assert text.count("(1.1)") == 2  # the equation and its mention


def test_interface_words_are_japanese(tiny):
    text = (tiny / "_build" / "site" / "ja" / "chapters" / "ja" / "01_small.html").read_text(encoding="utf8")
    seen = re.findall(r'(?:title|aria-label|placeholder)="([^"]*)"', text)
    english = {s for s in seen if re.fullmatch(r"[ -~]+", s)} - {"Main", "Page", "Colab", "sdelab ja"}
    assert not english


def test_a_second_build_does_nothing(tiny, monkeypatch):
    monkeypatch.setattr(builder, "build_edition", lambda *a: pytest.fail("an edition was built again"))
    build(tiny)
    build(tiny, strict=True)


def test_prose_changes_without_executing_again(tiny, monkeypatch):
    page = tiny / "book" / "ja" / "index.md"
    page.write_text(page.read_text() + "\n付け足し\n")
    monkeypatch.setattr("book.execute.run", lambda path: pytest.fail("a chapter was executed again"))
    first = build(tiny)
    assert "付け足し" in (first.parent / "ja" / "book" / "ja" / "index.html").read_text(encoding="utf8")


def test_a_strict_build_refuses_figures_and_images_without_alt_and_dead_references(tmp_path):
    minibook.write(tmp_path, alt=False)
    (tmp_path / "book/ja/index.md").write_text("# a\n\n![](../static/favicon.svg)\n\n{eq}`no-such-equation`\n")
    with pytest.raises(BuildError) as refused:
        build(tmp_path, strict=True)
    for told in (
        "cell 3: a picture has no alternative text",
        "favicon.svg has no alternative text",
        "no-such-equation",
    ):
        assert told in str(refused.value)
    assert not (tmp_path / "_build" / "site").exists()
    assert not (tmp_path / "_build" / "editions" / "ja" / "_build").exists()  # to be refused again next time


def test_a_failing_cell_is_named_with_what_to_do(tmp_path):
    minibook.write(tmp_path, code="x = 1\nraise ValueError('planted')")
    with pytest.raises(BuildError, match=r"(?s)01_small\.ipynb: cell 3 of 4.*planted.*What to do") as caught:
        build(tmp_path)
    assert "\x1b" not in str(caught.value)


def test_a_missing_page_is_named(tmp_path, monkeypatch):
    minibook.write(tmp_path)
    (tmp_path / "chapters" / "en" / "01_small.ipynb").unlink()
    monkeypatch.setattr("book.execute.run", lambda path: pytest.fail("a chapter was executed before"))
    with pytest.raises(BuildError, match="chapters/en/01_small"):
        build(tmp_path)


def test_bad_yaml_is_named(tmp_path):
    minibook.write(tmp_path)
    (tmp_path / "_config.yml").write_text("a: [1")
    with pytest.raises(BuildError, match=r"_config\.yml is not valid YAML"):
        build(tmp_path)


def test_executions_are_kept_whole(tmp_path):
    minibook.write(tmp_path, code="1 + 1")
    path = tmp_path / "chapters" / "ja" / "01_small.ipynb"
    first = executed(path, tmp_path / "cache", library="a")
    assert first == executed(path, tmp_path / "cache", library="a")
    assert [p.suffix for p in (tmp_path / "cache").iterdir()] == [".ipynb"]


@pytest.mark.parametrize("path", sorted((ROOT / "chapters" / "ja").glob("*.ipynb")), ids=lambda path: path.stem)
def test_both_editions_of_a_chapter_look_for_the_same_execution(path):
    twin = ROOT / "chapters" / "en" / path.name
    assert cache_file(path, ROOT, library="a") == cache_file(twin, ROOT, library="a")


def states(notebook):
    """The states of its widgets, without their ids."""
    kept = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    return sorted(re.sub("[0-9a-f]{32}", "id", json.dumps(state, sort_keys=True)) for state in kept.values())


def test_nbval_keeps_what_the_build_would_execute(tiny, tmp_path):
    """The same outputs and widgets; nothing of a chapter with an error."""
    minibook.write(tmp_path)
    good = tmp_path / "chapters" / "ja" / "01_small.ipynb"
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(broken, good.with_name("02_broken.ipynb"))
    nbval = [sys.executable, *"-m pytest -q -p no:cacheprovider -p book.nbval_as_jupyter --nbval".split()]
    nbval += ["--nbval-current-env", "--nbval-kernel-startup-timeout", "120", good.parent]
    done = subprocess.run(nbval, cwd=ROOT, capture_output=True, text=True)
    assert "1 failed, 2 passed" in done.stdout, done.stdout
    cache = tmp_path / "_build" / "cache"
    assert list(cache.iterdir()) == [cache_file(good, cache)]
    ours = executed(good, cache)
    built = executed(tiny / "chapters" / "ja" / "01_small.ipynb", tiny / "_build" / "cache", "still")
    assert states(ours) == states(built) and len(states(ours)) > 1
    for mine, other in zip(code_cells(ours), code_cells(built), strict=True):
        assert mine.execution_count == other.execution_count
        assert re.sub("[0-9a-f]{32}", "id", str(mine.outputs)) == re.sub("[0-9a-f]{32}", "id", str(other.outputs))


def test_a_page_with_the_ledger_follows_the_other_chapters_verdicts(tmp_path):
    for code, follows in (("1 + 1", False), ("sd.ledger.table()", True)):
        minibook.write(tmp_path, code=code)
        path = tmp_path / "chapters" / "ja" / "01_small.ipynb"
        other = path.with_name("02_other.ipynb")
        other.unlink(missing_ok=True)
        before = cache_file(path, tmp_path, library="a")
        other.write_text('{"text": ["VERDICT U1: holds\\n"]}', encoding="utf8")
        assert (cache_file(path, tmp_path, library="a") != before) == follows


TERMS = ["方程式", "拡散モデル", "確率微分方程式", "フォッカー・プランク方程式", "SDEの解", "Itôの公式"]


@pytest.mark.parametrize("term", TERMS)
def test_every_pair_of_a_query_is_in_the_index(term):
    search = JapanesePairs({})
    text = f"この章では{term}について述べる。"
    index = {search.stem(word) for word in search.split(text)}
    assert {search.stem(word) for word in search.split(term)} <= index


def test_twins():
    assert twin_of("chapters/ja/01_forward_sde", "ja") == "chapters/en/01_forward_sde"
    assert twin_of("search", "en") == "search"


def test_the_repository_is_named_in_one_place():
    url = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))["repository"]["url"]
    others = [p for p in (ROOT / "book").rglob("*.*") if p.suffix in (".py", ".js", ".yml", ".html", ".css")]
    assert not [p for p in others if url in p.read_text(encoding="utf8")]
