"""The ledger reads verdicts from stored outputs, and from nowhere else."""

import json

import pytest

from sdelab import claims, ledger


def notebook(folder, name, *texts):
    outputs = [{"output_type": "stream", "name": "stdout", "text": text} for text in texts]
    cells = [
        {"cell_type": "markdown", "source": "VERDICT U2: holds"},  # prose is not evidence
        {"cell_type": "code", "source": "print('VERDICT U5: holds')", "outputs": outputs},
    ]
    (folder / f"{name}.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")


def test_what_a_chapter_prints_is_what_the_ledger_says(tmp_path, capsys):
    claims.verdict("U1", {"rate": True, "limit": True}, rate=-1.002, steps=1000)
    claims.verdict("U4", {"as stated": False, "mended": True})
    printed = capsys.readouterr().out
    notebook(tmp_path, "02_b", printed.splitlines(keepends=True)[-1:])  # a stored list of lines
    notebook(tmp_path, "01_a", printed)
    first, second, third = ledger.verdicts(tmp_path)
    assert (first.id, first.word, first.chapter) == ("U1", "holds", "01_a")
    assert first.figures == "rate = -1, steps = 1000"
    assert (second.id, second.word, second.figures) == ("U4", "holds partly", "")
    assert third.chapter == "02_b"


def test_neither_prose_nor_code_counts(tmp_path):
    notebook(tmp_path, "03_c", "nothing measured\n  VERDICT U2: holds\nVERDICT U2: splendid\n")
    assert ledger.verdicts(tmp_path) == ()


def test_an_unknown_claim_and_a_missing_book_are_told(tmp_path):
    notebook(tmp_path, "01_a", "VERDICT Z9: holds\n")
    with pytest.raises(ValueError, match="Z9"):
        ledger.verdicts(tmp_path)
    with pytest.raises(FileNotFoundError, match="checkout"):
        ledger.verdicts(tmp_path / "nowhere")


def test_the_display_names_every_claim_once(tmp_path):
    notebook(tmp_path, "02_b", "VERDICT U3: holds (order = 2)\n")
    shown = ledger.ledger(tmp_path)
    assert repr(shown).startswith("U3  holds  [02_b]")
    ids = [c.id for c in ledger.CLAIMS]
    assert len(ids) == len(set(ids)) == 38
    words = repr(shown).replace(";", " ").split()
    assert all(words.count(i) == 1 for i in ids)
    html = shown._repr_html_()
    assert "<b>holds</b>" in html and "order = 2" in html and "フォッカー・プランク" in html


def test_what_was_measured_is_read_by_name(tmp_path):
    (tmp_path / "orders.json").write_text('{"ddim": {"vp": 1.0}}', encoding="utf-8")
    assert claims.measured("orders", tmp_path) == {"ddim": {"vp": 1.0}}
    assert "ddim" in claims.measured("orders")  # those of the book
    with pytest.raises(FileNotFoundError, match=r"'order' in .*there is orders"):
        claims.measured("order", tmp_path)
    with pytest.raises(FileNotFoundError, match="there is nothing"):
        claims.measured("orders", tmp_path / "nowhere")


def test_a_chapter_of_several_pages_is_read_in_order_and_named_by_page(tmp_path):
    for name, claim in (("05b_two", "S3"), ("05a_one", "S1"), ("00_zero", "U1")):
        notebook(tmp_path, name, f"VERDICT {claim}: holds\n")
    found = ledger.verdicts(tmp_path)
    assert [(v.id, v.page) for v in found] == [("U1", "0"), ("S1", "5a"), ("S3", "5b")]
    assert "<td>5a</td>" in ledger.ledger(tmp_path)._repr_html_()
