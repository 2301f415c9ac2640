"""Number equations, figures and tables by chapter: (1.3) and Figure 1.2 in chapters/*/01_*, as a printed book does.

Sphinx can do so only where section titles are numbered by machine too; here titles are the authors' own.
"""

import re


def number_by_chapter(app, env):
    """env-get-updated, after Sphinx has numbered: restart the counts in each page, the chapter's number before them."""
    for docname, kinds in env.toc_fignumbers.items():
        chapter = re.search(r"/0*(\d+[a-z]?)_", docname)  # a long chapter has several pages: 05a, 05b, 05c
        prefix = (chapter.group(1),) if chapter else ()
        for kind, numbers in kinds.items():
            ordered = sorted(numbers, key=lambda label: numbers[label])
            kinds[kind] = {label: (*prefix, n) for n, label in enumerate(ordered, 1)}
    return []


def setup(app):
    """Register with Sphinx."""
    app.connect("env-get-updated", number_by_chapter, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
