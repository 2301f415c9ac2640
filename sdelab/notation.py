"""The notation table: our letters against the textbook's and the papers', one row a conversion with its inverse.

The conversions are the plain functions of `sdelab.letters`. A row prints formulas beside them; `faults` holds a row
to its formulas, its round trip and, where the caller knows them, the values it must give.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape

from sdelab import letters as L


@dataclass(frozen=True)
class Row:
    """One line of the table: `to_theirs(*ours) -> theirs` and `to_ours(*theirs) -> ours`.

    `ours` and `theirs` name the arguments in order. `forward` and `inverse` are the printed formulas, Python
    expressions in those names. `needs` is "" (any process), "vp" (alpha^2 + sigma^2 = 1) or "ve" (alpha = 1).
    `reference` is a key of the book's bibliography, `where` a place in it.
    """

    key: str
    system: str
    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    forward: tuple[str, ...]
    inverse: tuple[str, ...]
    to_theirs: Callable[..., tuple]
    to_ours: Callable[..., tuple]
    ja: str
    en: str
    reference: str
    where: str = ""
    needs: str = ""


def _row(key, system, ours, theirs, forward, inverse, functions, ja, en, reference, where="", needs="") -> Row:
    there, back = functions
    o, t, f, i = (tuple(part.strip() for part in text.split(";")) for text in (ours, theirs, forward, inverse))
    return Row(key, system, o, t, f, i, there, back, ja, en, reference, where, needs)


# fmt: off
TABLE: tuple[Row, ...] = (
    _row("book", "textbook", "alpha; sigma", "s; sigma_book",
         "alpha; sigma/alpha", "s; s*sigma_book", (L.to_book, L.from_book),
         "x(t) ~ N(s x₀, s²σ²I) の s と σ", "s and σ of x(t) ~ N(s x₀, s²σ²I)", "okanohara2023", "p. 70"),
    _row("rates", "textbook", "alpha; sigma; d_alpha; d_sigma", "alpha; sigma; f; g2",
         "alpha; sigma; d_alpha/alpha; 2*sigma*d_sigma - 2*(d_alpha/alpha)*sigma**2",
         "alpha; sigma; f*alpha; f*sigma + g2/(2*sigma)", (L.to_rates, L.from_rates),
         "dx = f x dt + g dw の f と g²", "f and g² of dx = f x dt + g dw", "okanohara2023", "p. 70"),
    _row("vp_beta", "Song, VP SDE", "alpha; d_alpha", "alpha; beta",
         "alpha; -2*d_alpha/alpha", "alpha; -beta*alpha/2", (L.to_vp_beta, L.from_vp_beta),
         "ノイズ率 β(t)(DDPMの βₙ とは別物)", "noise rate β(t) (not DDPM's βₙ)", "song2021", "eq. 11"),
    _row("vp_integral", "Song, VP SDE", "alpha; sigma", "B",
         "log(1 + (sigma/alpha)**2)", "exp(-B/2); sqrt(1 - exp(-B))", (L.to_vp_integral, L.from_vp_integral),
         "β(t) を 0 から t まで積分した B(t)", "B(t), the integral of β from 0 to t", "song2021", "eq. 29", "vp"),
    _row("ve", "Song, VE SDE", "alpha; sigma; sigma_0", "sigma_song; sigma_0",
         "sqrt(sigma**2 + sigma_0**2); sigma_0", "1; sqrt(sigma_song**2 - sigma_0**2); sigma_0", (L.to_ve, L.from_ve),
         "VEの σ(t)。核の分散は σ(t)² − σ(0)²", "VE's σ(t); the kernel's variance is σ(t)² − σ(0)²",
         "song2021", "eq. 29", "ve"),
    _row("edm", "EDM, k-diffusion", "x; alpha; sigma", "x_hat; s; sigma_edm",
         "x/alpha; alpha; sigma/alpha", "x_hat*s; s; s*sigma_edm", (L.to_edm, L.from_edm),
         "信号の大きさで割った x̂ と σ", "x̂ and σ after dividing by the signal", "karras2022", "eq. 4"),
    _row("lambda", "DPM-Solver", "alpha; sigma", "lam_dpm",
         "log(alpha/sigma)", "1/sqrt(1 + exp(-2*lam_dpm)); 1/sqrt(1 + exp(2*lam_dpm))", (L.to_lambda, L.from_lambda),
         "対数SNRの半分。本書の λ と同じ", "half the log-SNR; our λ", "lu2022dpm", "§3", "vp"),
    _row("logsnr", "distillation", "lam", "logsnr",
         "2*lam", "logsnr/2", (L.to_logsnr, L.from_logsnr),
         "対数SNRそのもの。λ と書く論文も多い", "the log-SNR itself, often also called λ", "salimans2022", "§2"),
    _row("gamma", "VDM", "lam", "gamma",
         "-2*lam", "-gamma/2", (L.to_gamma, L.from_gamma),
         "符号を変えた対数SNR", "minus the log-SNR", "kingma2021", "§3.2"),
    _row("alpha_bar", "DDPM", "alpha; sigma", "alpha_bar; one_minus_alpha_bar",
         "alpha**2; sigma**2", "sqrt(alpha_bar); sqrt(one_minus_alpha_bar)", (L.to_alpha_bar, L.from_alpha_bar),
         "ᾱₙ と 1 − ᾱₙ。DDIM論文の αₙ はこの ᾱₙ", "ᾱₙ and 1 − ᾱₙ; the DDIM paper's αₙ is this ᾱₙ",
         "ho2020", "eq. 4", "vp"),
    _row("beta_n", "DDPM", "alpha; alpha_next", "alpha; beta_n",
         "alpha; 1 - (alpha_next/alpha)**2", "alpha; alpha*sqrt(1 - beta_n)", (L.to_beta_n, L.from_beta_n),
         "n − 1 から n への一歩の分散(α は n − 1 での値)",
         "variance of the step from n − 1, where α is taken, to n", "ho2020", "eq. 2"),
    _row("index", "DDPM", "t; T; N", "n; T; N",
         "N*t/T; T; N", "T*n/N; T; N", (L.to_index, L.from_index),
         "ステップの番号 n = 1…N(実装では 0…N−1)", "step number n = 1…N (0…N−1 in code)", "ho2020", "§2"),
    _row("flow_time", "flow matching", "t; T", "tau; T",
         "1 - t/T; T", "T*(1 - tau); T", (L.to_flow_time, L.from_flow_time),
         "時刻。データは τ = 1 にある", "time, with the data at τ = 1", "lipman2023", "eq. 20"),
    _row("flow_velocity", "flow matching", "velocity; T", "u; T",
         "-T*velocity; T", "-u/T; T", (L.to_flow_velocity, L.from_flow_velocity),
         "速度場 u = dx/dτ。符号も変わる", "velocity u = dx/dτ: the sign turns too", "lipman2023", "eq. 1"),
)
# fmt: on


def row(key: str) -> Row:
    """The row called `key`; ValueError lists the keys there are."""
    for candidate in TABLE:
        if candidate.key == key:
            return candidate
    raise ValueError(f"no row {key!r} in the notation table; there are {', '.join(r.key for r in TABLE)}")


def _evaluate(formulas: tuple[str, ...], names: tuple[str, ...], values: list[float]) -> list[float]:
    scope = {"sqrt": math.sqrt, "log": math.log, "exp": math.exp, **dict(zip(names, values, strict=True))}
    return [float(eval(f, {"__builtins__": {}}, scope)) for f in formulas]  # formulas are ours, never a reader's


def faults(row: Row, ours: Mapping[str, float], theirs: Mapping[str, float] | None = None) -> list[str]:
    """What is wrong with `row` at these values, in sentences: round trip, printed formulas, known values of `theirs`.

    A round trip alone is not enough: taking the textbook's sigma for ours both ways comes back perfectly.
    Errors count relative to max(1, |value|): 1e-12 for the round trip and the forward formulas, 1e-8 for the inverse
    formulas as printed (1 - exp(-B) loses digits that the functions keep) and for `theirs`.
    """
    before = [float(ours[name]) for name in row.ours]
    there = [float(v) for v in row.to_theirs(*before)]
    back = [float(v) for v in row.to_ours(*there)]
    known = [float((theirs or {}).get(name, value)) for name, value in zip(row.theirs, there, strict=True)]
    comparisons = (
        (row.ours, before, back, 1e-12, "came back as"),
        (row.theirs, there, _evaluate(row.forward, row.ours, before), 1e-12, "by the printed formula is"),
        (row.ours, back, _evaluate(row.inverse, row.theirs, there), 1e-8, "by the printed inverse is"),
        (row.theirs, there, known, 1e-8, "by its definition is"),
    )
    return [
        f"{row.key}: {name} = {a!r} {says} {b!r}"
        for names, first, second, tolerance, says in comparisons
        for name, a, b in zip(names, first, second, strict=True)
        if not abs(a - b) <= tolerance * max(1.0, abs(a), abs(b))
    ]


def applies(row: Row, process, t) -> bool:
    """Whether `row` holds for this process at this time."""
    alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
    return {"": True, "vp": abs(alpha**2 + sigma**2 - 1) < L.TOLERANCE, "ve": abs(alpha - 1) < L.TOLERANCE}[row.needs]


_SIGNS = {
    "one_minus_alpha_bar": "1 − ᾱ<sub>n</sub>", "alpha_bar": "ᾱ<sub>n</sub>", "alpha_next": "α(t<sub>n</sub>)",
    "d_alpha": "α′", "d_sigma": "σ′", "alpha": "α", "sigma_book": "σ<sub>book</sub>", "sigma_edm": "σ<sub>edm</sub>",
    "sigma_song": "σ<sub>song</sub>", "sigma_0": "σ<sub>0</sub>", "sigma": "σ", "lam_dpm": "λ<sub>t</sub>", "lam": "λ",
    "beta_n": "β<sub>n</sub>", "beta": "β", "gamma": "γ", "x_hat": "x̂", "tau": "τ", "g2": "g²", "logsnr": "log SNR",
    "velocity": "dx/dt", "**2": "²", "*": "\u2009", "-": "−",
}  # fmt: skip
_SIGN = re.compile("|".join(rf"\b{re.escape(k)}\b" if k[0].isalpha() else re.escape(k) for k in _SIGNS))


_ROOT = re.compile(r"((?:1/)?)sqrt\(((?:[^()]|\([^()]*\))*)\)")
_BAR = '<span style="text-decoration: overline">α</span>'  # few fonts can set the combining bar on an alpha


def pretty(formula: str) -> str:
    """A formula of the table as HTML: "s*sigma_book" becomes "s σ<sub>book</sub>", roots get their line."""
    signs = _SIGN.sub(lambda match: _SIGNS[match.group()], escape(formula))
    line = '<span style="display: inline-block; border-top: 1px solid; line-height: 1.2">'
    return _ROOT.sub(rf'<span style="white-space: nowrap">\1√{line}\2</span></span>', signs)


class Table:
    """The rows as they are shown: HTML in a notebook and in the book, plain text elsewhere."""

    def __init__(self, rows: tuple[Row, ...] = TABLE):
        self.rows = rows

    def _repr_html_(self) -> str:
        heads = ("文献 / source", "本書から / from ours", "本書へ / to ours", "意味 / meaning")
        head = "".join(f'<th scope="col">{h}</th>' for h in heads)
        rows = "".join(map(_html, self.rows))
        scroll = 'style="overflow-x: auto" role="region" aria-label="notation" tabindex="0"'  # on narrow screens
        look = 'class="table dataframe" style="min-width: 40rem"'
        return f"<div {scroll}><table {look}><tr>{head}</tr>{rows}</table></div>"

    def __repr__(self) -> str:
        return "\n".join(f"{r.system}: {', '.join(_new(r.theirs, r.forward))}" for r in self.rows)


def _new(names: tuple[str, ...], formulas: tuple[str, ...]) -> list[str]:
    """`name = formula` for each letter that is not merely carried along."""
    return [f"{n} = {f}" for n, f in zip(names, formulas, strict=True) if n != f]


def _html(r: Row) -> str:
    author, year = re.match(r"([a-z]+)(\d+)", r.reference).groups()  # type: ignore[union-attr]
    source = f"<b>{r.system}</b><br><small>{author.capitalize()} {year}{', ' * bool(r.where)}{r.where}</small>"
    there, back = ("<br>".join(map(pretty, _new(*pair))) for pair in ((r.theirs, r.forward), (r.ours, r.inverse)))
    only = {"": "", "vp": "(VP)", "ve": "(VE)"}[r.needs]
    words = f'<span lang="ja">{r.ja}</span> {only}<br><small lang="en">{r.en}</small>'
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in (source, there, back, words)).replace("ᾱ", _BAR) + "</tr>"


def table() -> Table:
    """The notation table, for display."""
    return Table()
