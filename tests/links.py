"""What the pages of a built site load and where they lead, read without a browser."""

import re
from html.parser import HTMLParser
from urllib.parse import unquote


class Links(HTMLParser):
    """What a page loads, where it leads, its pictures and its ids."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.leads, self.images, self.ids = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if tag == "img":
            self.images.append(attrs)
        if tag in ("script", "img", "iframe", "source") and attrs.get("src"):
            self.loads.append(attrs["src"])
        if tag == "link" and attrs.get("rel") in ("stylesheet", "icon", "preload"):
            self.loads.append(attrs["href"])
        if tag == "a" and attrs.get("href"):
            self.leads.append(attrs["href"])


def read(site):
    """Every page of a built site: {path: Links}."""
    found = [p for p in site.rglob("*.html") if "_static" not in p.parts]
    assert found
    return {p: Links(p.read_text(encoding="utf8")) for p in found}


def missing(pages):
    """(page, address) of everything that a page loads from elsewhere, or that is not in the site."""
    return [
        (page, address)
        for page, links in pages.items()
        for address in links.loads
        if re.match(r"(https?:)?//", address)
        or not (address.startswith("data:") or (page.parent / unquote(address.split("?")[0])).exists())
    ]


def dead(pages):
    """(page, address) of every link within the site that leads nowhere."""
    found = []
    for page, links in pages.items():
        for address in links.leads:
            if re.match(r"(https?|mailto|javascript):", address):
                continue
            path, _, fragment = address.partition("#")
            target = (page.parent / unquote(path.split("?")[0])).resolve() if path else page
            if not target.exists() or (fragment and target in pages and unquote(fragment) not in pages[target].ids):
                found.append((page, address))
    return found
