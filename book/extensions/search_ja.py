"""Japanese search by pairs of characters, on both sides: the index and the reader's query.

Japanese has no spaces, so Sphinx cuts the text into words when it builds the index but not the query, and no
compound is found. Pairs need no dictionary: 方程式 is 方程 + 程式 in the index and in the query alike.
"""

import re

from sphinx.search import SearchLanguage

CJK = "\u3005-\u3007\u3041-\u3096\u30a1-\u30fa\u30fc\u3400-\u9fff\uf900-\ufaff"  # 々〆〇, kana, ー, kanji
RUN = re.compile(f"[{CJK}]+|[^\\W{CJK}]+")
PAIRS_JS = f"""
function splitQuery(query) {{
  const runs = query.match(/[{CJK}]+|(?:(?![{CJK}])[\\p{{L}}\\p{{N}}_])+/gu) || [];
  return runs.flatMap((run) => {{
    if (run.length < 2 || !/[{CJK}]/u.test(run)) return [run];
    return Array.from({{length: run.length - 1}}, (_, i) => run.slice(i, i + 2));
  }});
}}
"""


class JapanesePairs(SearchLanguage):
    """Split Japanese into overlapping pairs, everything else into words."""

    lang = "ja"
    language_name = "Japanese"
    js_splitter_code = PAIRS_JS

    def split(self, input):
        """確率微分 -> 確率, 率微, 微分; a single character stands for itself."""
        out = []
        for run in RUN.findall(input):
            pairs = re.match(f"[{CJK}]", run) and len(run) > 1
            out += [run[i : i + 2] for i in range(len(run) - 1)] if pairs else [run]
        return out

    def stem(self, word):
        """As the page's script does: lower case."""
        return word.lower()

    def word_filter(self, word):
        """Keep every pair: a query's pairs must all be found."""
        return bool(word)


def setup(app):
    """Register with Sphinx, in place of its own Japanese."""
    app.add_search_language(JapanesePairs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
