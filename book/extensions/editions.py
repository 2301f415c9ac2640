"""Each page knows its twin in the other edition: the language switch, alternate links, Japanese interface words."""

from gettext import NullTranslations

from docutils import nodes
from sphinx.locale import translators

OTHER = {"ja": "en", "en": "ja"}
WORDS = {  # what the themes leave in English
    "Collapse sidebar": "サイドバーを閉じる",
    "Color mode": "表示の明暗",
    "Hide Search Matches": "検索語の強調を消す",
    "Launch interactive content": "動かして読む",
    "Launch on": "開く:",
    "logo": "ロゴ",
    "Link to this equation": "この式へのリンク",
    "Link to this heading": "この見出しへのリンク",
    "Link to this image": "この図へのリンク",
    "Link to this table": "この表へのリンク",
    "Link to this term": "この語へのリンク",
    "Search Results": "検索結果",
    "Source repository": "ソースリポジトリ",
    "System Settings": "システムの設定",
    "Toggle primary sidebar": "章の一覧を開閉",
    "Toggle secondary sidebar": "このページの目次を開閉",
}


class Words(NullTranslations):
    """The last translator asked, for the words nobody else translates."""

    def gettext(self, message):
        """The Japanese word, or the message itself."""
        return WORDS.get(message, message)


def add_words(app):
    """builder-inited: in Japanese, put our words behind the catalogs of Sphinx and of the theme."""
    if app.config.language == "ja":
        for catalog in ("sphinx", "booktheme"):
            translators.setdefault(("general", catalog), NullTranslations()).add_fallback(Words())


def twin_of(pagename, language):
    """The same page in the other edition: chapters/ja/01_x -> chapters/en/01_x."""
    return "/".join(OTHER[language] if part == language else part for part in pagename.split("/"))


def add_twin(app, pagename, templatename, context, doctree):
    """html-page-context: the twin's address for the switch (book/templates/language-switch.html)."""
    language = app.config.language
    up = "../" * (pagename.count("/") + 1)
    context["twin_language"] = other = OTHER[language]
    context["twin"] = twin = f"{up}{other}/{twin_of(pagename, language)}.html"
    context["metatags"] = context.get("metatags", "") + f'\n<link rel="alternate" hreflang="{other}" href="{twin}" />'


def plain_et_al(app, doctree, docname):
    """doctree-resolved: in Japanese, where emphasis is bold, "et al." of a citation is plain text."""
    if app.config.language == "ja":
        for node in list(doctree.findall(nodes.emphasis)):
            if node.astext() == "et al.":
                node.replace_self(nodes.Text("et al."))


def setup(app):
    """Register with Sphinx."""
    app.connect("builder-inited", add_words)
    app.connect("doctree-resolved", plain_et_al)
    app.connect("html-page-context", add_twin)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
