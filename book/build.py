"""Build the book: python -m book.build [--strict]

One site in _build/site: a page that chooses the language, and one edition a language below it. Each chapter is
executed once (book/execute.py) and Jupyter Book is called once an edition, with the root's _config.yml and
_toc.yml for Japanese and book/_config.en.yml merged over them for English. Nothing is done when nothing changed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import yaml

from book.execute import KERNEL_ENVIRONMENT, ROOT, ChapterError, cache_file, digest, executed, files_digest, library_key

LANGUAGES = ("ja", "en")
INPUTS = ("_config.yml", "_toc.yml", "book/**/*", "chapters/**/*", "benchmarks/results/*.json")


class BuildError(RuntimeError):
    """The book could not be built; the message says which step failed and what to do."""


def merged(base, over):
    """The mapping `base` with the values of `over` put in, key by key."""
    out = dict(base)
    for key, value in over.items():
        out[key] = merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return out


def read_yaml(path: Path):
    """A YAML file's content; a clear error when it is missing or malformed."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf8"))
    except OSError as error:
        raise BuildError(f"{path} cannot be read ({error.strerror}): it is part of the book's configuration") from error
    except yaml.YAMLError as error:
        raise BuildError(f"{path} is not valid YAML: {error}") from error


def settings(root: Path, language: str, library: str):
    """The configuration and table of contents of one edition."""
    config, toc = read_yaml(root / "_config.yml"), read_yaml(root / "_toc.yml")
    if language != "ja":
        config = merged(config, read_yaml(root / "book" / f"_config.{language}.yml"))
        toc = yaml.safe_load(yaml.safe_dump(toc, allow_unicode=True, sort_keys=False).replace("/ja/", f"/{language}/"))
    sphinx = config["sphinx"]
    sphinx["local_extensions"] = {name: str(ROOT) for name in sphinx["local_extensions"]}
    sphinx["config"]["sdelab_cache"] = str(root / "_build" / "cache")
    sphinx["config"]["sdelab_library"] = library
    return config, toc


def files_of(toc):
    """Every page a table of contents names, in order."""
    if isinstance(toc, list):
        return [name for part in toc for name in files_of(part)]
    own = [toc[key] for key in ("root", "file") if key in toc]
    return own + [name for key in ("parts", "chapters", "sections") for name in files_of(toc.get(key, []))]


def page_sources(root: Path, toc):
    """The source file of every page; a clear error for one that does not exist."""
    found = []
    for name in files_of(toc):
        options = [root / f"{name}{suffix}" for suffix in (".ipynb", ".md")]
        existing = [path for path in options if path.exists()]
        if not existing:
            raise BuildError(f"_toc.yml names {name}, but neither {name}.ipynb nor {name}.md exists")
        found.append(existing[0])
    return found


def execute_chapters(chapters, cache: Path, library: str):
    """Execute the chapters whose result is not kept already, two at a time; returns how many were executed."""
    missing = [path for path in chapters if not cache_file(path, cache, library).exists()]
    if missing:
        print(f"executing {len(missing)} chapter(s): {', '.join(p.stem for p in missing)}", flush=True)
    with ProcessPoolExecutor(max_workers=2) as pool:
        jobs = {path: pool.submit(executed, path, cache, library) for path in missing}
        for path, job in jobs.items():
            try:
                print(f"  {path.stem}: {job.result().metadata['seconds']} s", flush=True)
            except ChapterError as error:
                pool.shutdown(cancel_futures=True)
                raise BuildError(f"executing the chapters: {error}") from None
    return len(missing)


def build_edition(root: Path, language: str, library: str, strict: bool) -> Path:
    """Call Jupyter Book for one edition; returns the folder of its pages."""
    config, toc = settings(root, language, library)
    work = root / "_build" / "editions" / language
    work.mkdir(parents=True, exist_ok=True)
    for name, content in (("_config.yml", config), ("_toc.yml", toc)):
        text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
        if not (work / name).exists() or (work / name).read_text(encoding="utf8") != text:
            (work / name).write_text(text, encoding="utf8")
    jupyter_book = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(root), "-q"]
    paths = ["--path-output", str(work), "--config", str(work / "_config.yml"), "--toc", str(work / "_toc.yml")]
    flags = ["--all", "-W", "-n", "--keep-going"] if strict else []
    environment = {**os.environ, **KERNEL_ENVIRONMENT, "PYTHONUTF8": "1", "NO_COLOR": "1"}
    done = subprocess.run([*jupyter_book, *paths, *flags], cwd=root, env=environment, capture_output=True, text=True)
    complaints = done.stderr.strip()
    if done.returncode:
        shutil.rmtree(work / "_build", ignore_errors=True)  # the next run must meet the same complaints again
        what = "a strict build takes every warning for an error" if strict else "the message above names page and line"
        raise BuildError(
            f"the {language} edition was not built:\n{complaints or done.stdout[-3000:]}\nWhat to do: {what}"
        )
    if complaints:
        print(complaints, file=sys.stderr)
    return work / "_build" / "html"


def assemble(root: Path, site: Path, editions: dict[str, Path], toc):
    """Put the editions under one roof, in place of the site of the last build."""
    fresh = site.with_name(site.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    for language, pages in editions.items():
        shutil.copytree(
            pages, fresh / language, ignore=shutil.ignore_patterns(".buildinfo", "objects.inv", "reports", "locales")
        )
        first = toc["root"].replace("/ja/", f"/{language}/")
        entry = f'<!doctype html><html lang="{language}"><meta charset="utf-8"><title>sdelab</title>'
        entry += f'<meta http-equiv="refresh" content="0; url={first}.html"><a href="{first}.html">sdelab</a></html>\n'
        (fresh / language / "index.html").write_text(entry, encoding="utf8")
    shutil.copy(root / "book" / "chooser.html", fresh / "index.html")
    shutil.copy(root / "book" / "static" / "favicon.svg", fresh / "favicon.svg")
    (fresh / ".nojekyll").touch()  # GitHub Pages would leave out the _static folders
    shutil.rmtree(site, ignore_errors=True)
    fresh.rename(site)


def build(root: Path = ROOT, strict: bool = False) -> Path:
    """Build the whole site if an input changed since the last build; returns its first page.

    Raises BuildError with the step that failed and what to do.
    """
    site, stamp = root / "_build" / "site", root / "_build" / "site.json"
    library = library_key()
    key = digest(library.encode(), files_digest(root, *INPUTS).encode())
    last = json.loads(stamp.read_text()) if stamp.exists() else {}
    if last.get("key") == key and last.get("strict", False) >= strict and (site / "index.html").exists():
        print("the book is up to date")
        return site / "index.html"
    tocs = {language: settings(root, language, library)[1] for language in LANGUAGES}
    sources = {language: page_sources(root, toc) for language, toc in tocs.items()}
    chapters = [path for path in sources["ja"] if path.suffix == ".ipynb"]
    execute_chapters(chapters, root / "_build" / "cache", library)
    with ThreadPoolExecutor() as pool:  # each waits for a process of its own
        jobs = {language: pool.submit(build_edition, root, language, library, strict) for language in LANGUAGES}
        editions = {language: job.result() for language, job in jobs.items()}
    assemble(root, site, editions, tocs["ja"])
    stamp.write_text(json.dumps({"key": key, "strict": strict}))
    return site / "index.html"


def main():
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m book.build", description="Build the book into _build/site.")
    parser.add_argument("--strict", action="store_true", help="from scratch (executions are kept), warnings are errors")
    began = time.perf_counter()
    try:
        page = build(strict=parser.parse_args().strict)
    except BuildError as error:
        sys.exit(f"book: {error}")
    except OSError as error:
        sys.exit(f"book: {error}\nWhat to do: check that the disk has room and that _build/ can be written")
    print(f"the book is built ({time.perf_counter() - began:.0f} s): open {page}\nor run `make serve`")


if __name__ == "__main__":
    main()
