// Small corrections to the theme's scripts, loaded on every page.
(() => {
  const japanese = document.documentElement.lang === "ja";

  // sphinx-copybutton speaks no Japanese: teach it before it puts its buttons in the page.
  if (japanese && typeof messages === "object" && typeof locale === "string") {
    messages.ja = { copy: "コピー", copy_to_clipboard: "クリップボードにコピー", copy_success: "コピーしました", copy_failure: "コピーできません" };
    locale = "ja";
  }

  if (typeof DOCUMENTATION_OPTIONS === "object" && location.protocol === "file:") {
    DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false; // summaries are fetched, which pages opened from disk may not do
  }

  // Highlight the words the reader typed, not the pairs of characters that the Japanese index is made of.
  const typedWords = () => {
    if (!japanese || typeof Search !== "object") return;
    const parse = Search._parseQuery;
    Search._parseQuery = (query) => {
      const [text, terms, excluded, , objects] = parse(query);
      const typed = new Set(query.toLowerCase().trim().split(/\s+/));
      localStorage.setItem("sphinx_highlight_terms", [...typed].join(" "));
      return [text, terms, excluded, typed, objects];
    };
  };
  if (typeof Search === "object") typedWords();
  else addEventListener("DOMContentLoaded", typedWords); // the search script comes after this one, its start after both

  // Scrolling boxes must be reachable by keyboard, wide equations and tables included.
  const reach = () => {
    for (const box of document.querySelectorAll("article pre, article div.math, .pst-scrollable-table-container")) {
      if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    }
  };
  addEventListener("load", () => setTimeout(reach, 300));
})();
