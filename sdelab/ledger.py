"""The claim ledger: what is put to the test in which chapter, and the verdicts read from the chapters' stored outputs.

A verdict is never typed: a chapter's cell computes it and prints ``VERDICT U1: holds (figures)`` (`sdelab.claims`);
`verdicts` finds those lines in the notebooks, `ledger` sets them beside the list of claims below.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

from .claims import WORDS

CHAPTERS = Path(__file__).resolve().parent.parent / "chapters" / "ja"  # both editions store the same outputs
_LINE = re.compile(rf"^VERDICT (?P<id>[A-Z]\d+): (?P<word>{'|'.join(WORDS)})(?: \((?P<figures>.*)\))?$", re.MULTILINE)


@dataclass(frozen=True)
class Claim:
    """One claim as it is commonly stated (not as it turns out), and the chapters that test it."""

    id: str
    chapters: tuple[int, ...]
    ja: str
    en: str


@dataclass(frozen=True)
class Verdict:
    """A verdict as a chapter printed it."""

    id: str
    word: str
    figures: str
    chapter: str

    @property
    def page(self) -> str:
        """The number that readers know the chapter's page by: "4", or "5b" of a chapter of several pages."""
        return self.chapter.partition("_")[0].lstrip("0") or "0"


def _claims(text: str) -> tuple[Claim, ...]:
    parts = ([p.strip() for p in line.split("|")] for line in text.strip().splitlines())
    return tuple(Claim(key, tuple(map(int, chapters.split(","))), ja, en) for key, chapters, ja, en in parts)


CLAIMS: tuple[Claim, ...] = _claims("""
U1 | 1 | DDPMはVP SDE、SMLDはVE SDEの離散化である | DDPM discretises the VP SDE, SMLD the VE SDE
U2 | 3 | 逆過程もSDEであり、ドリフトにスコアが入る | the reverse process is an SDE with the score in its drift
U3 | 2 | 密度はフォッカー・プランク方程式に従う | the density obeys the Fokker–Planck equation
U4 | 2 | 逆過程は後ろ向きコルモゴロフ方程式に従う | the reverse process obeys the backward Kolmogorov equation
U5 | 4 | 確率フローODEはSDEと同じ周辺分布を持つ | the probability-flow ODE has the SDE's marginals
U6 | 4 | 確率フローODEで尤度と符号化が厳密に得られる | the probability-flow ODE gives exact likelihoods and encodings
U7 | 3 | スコアマッチングに正規化定数は要らない | score matching needs no normalising constant
S1 | 5 | ミルシュタイン法はオイラー・丸山法に勝る | Milstein beats Euler–Maruyama
S2 | 5 | 確率ルンゲ・クッタ法は次数も安定性も高い | stochastic Runge–Kutta brings order and stability
S3 | 4,5 | DDIMは座標を変えたオイラー法で、8–15ステップで足りる | DDIM is Euler in other coordinates; 8–15 steps suffice
S4 | 5 | PLMSはDDIMより少ないステップで済む | PLMS needs fewer steps than DDIM
S5 | 5,7 | EDMの格子とホイン法なら評価35回で足りる | Heun on EDM's grid needs about 35 evaluations
S6 | 5 | DPM-Solverは10、UniPCは5–10ステップで足りる | DPM-Solver needs about 10 steps, UniPC 5–10
S7 | 5,6 | DPM++ SDEの品質が最も高い | DPM++ SDE gives the best quality
S8 | 5 | DPM fastは次数を下げて速くした方法である | DPM fast trades order for steps
S9 | 5 | 適応刻みは同じ誤差をより少ない計算で達成する | adaptive steps reach an error for less work
S10 | 3,5 | 予測子・修正子法は誤差を直し、ステップを減らす | a predictor–corrector corrects errors and saves steps
S11 | 5 | SEEDSは従来のSDEサンプラーより3–5倍速い | SEEDS is 3–5 times faster than earlier SDE samplers
S12 | 5 | 高次のODEサンプラーは品質がわずかに落ちる | high-order ODE samplers lose a little quality
S13 | 3,4 | ノイズはスコアの誤差を癒やす | noise heals score errors
S14 | 4 | 決定論的なサンプリングは多様性を狭める | deterministic sampling limits diversity
S15 | 5 | アンセストラル法はステップを増やしても一つの像に収束しない | ancestral samplers never converge to one image
S16 | 5 | ODEが半線形だから指数積分法が合う | exponential integrators fit because the ODE is semi-linear
L1 | 6 | 潜在空間の拡散は計算もメモリもずっと軽い | latent diffusion costs far less compute and memory
L2 | 6 | 潜在空間のSDEは硬さが小さく、刻みを大きくできる | the latent SDE is less stiff
L3 | 6 | 潜在表現はほぼガウスで、学習が楽になる | latents are near-Gaussian and train more easily
L4 | 6 | 強いガイダンスの不安定さはDPM++で直る | DPM++ repairs the instability of strong guidance
L5 | 6 | 一つのモデルで多くのサンプラーが使える | one model serves a wide choice of samplers
N1 | 7 | ノイズスケジュールとはSDEの拡散係数である | the noise schedule is the SDE's diffusion coefficient
N2 | 7 | コサインスケジュールは線形より学習がよい | the cosine schedule trains better than the linear one
N3 | 7 | Karrasの間隔は同じステップ数で結果がよい | Karras' spacing is better at equal steps
N4 | 7 | 損失の重みと前処理(EDM)が学習を安定させる | loss weighting and preconditioning stabilise training
N5 | 6,7 | 時刻の刻みの最適化で速さと品質の折り合いがよくなる | optimised time steps improve the trade-off
N6 | 6,7 | ステップごとの計算量の適応(AdaDiff)で計算が減る | step-wise adaptive computation saves work
B1 | 8 | 確率的補間はフローと拡散をノイズのつまみで結ぶ | stochastic interpolants join flows and diffusions
B2 | 8 | フローマッチングは経路がまっすぐで、ステップが少ない | flow matching is straighter and needs fewer steps
B3 | 8 | シュレーディンガー橋も同じ道具で解ける | the Schrödinger bridge needs no other machinery
B4 | 8 | 一貫性モデルはODEを一歩から数歩で飛び越える | consistency models jump the ODE in a few steps
""")


def _printed(notebook: Path) -> str:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    streams = (o for cell in cells for o in cell.get("outputs", ()) if o.get("output_type") == "stream")
    return "\n".join("".join(o["text"]).rstrip("\n") for o in streams)


def verdicts(folder: str | Path = CHAPTERS) -> tuple[Verdict, ...]:
    """Every ``VERDICT`` line in the stored outputs of the notebooks in `folder`, in chapter order.

    Raises FileNotFoundError where the chapters are not at hand (a package installed without the book), ValueError for
    a verdict on a claim that is not in `CLAIMS`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no chapters in {folder}: the ledger is read from a checkout of the book's repository")
    found = tuple(
        Verdict(m["id"], m["word"], m["figures"] or "", notebook.stem)
        for notebook in sorted(folder.glob("[0-9][0-9]*_*.ipynb"))
        for m in _LINE.finditer(_printed(notebook))
    )
    unknown = {v.id for v in found} - {c.id for c in CLAIMS}
    if unknown:
        raise ValueError(f"verdicts on claims that are not in the ledger: {', '.join(sorted(unknown))}")
    return found


class Ledger:
    """The claims with the verdicts known so far: a table in a notebook, lines of text elsewhere."""

    def __init__(self, found: tuple[Verdict, ...]):
        self.found = found
        decided = {v.id for v in found}
        self.open = tuple(c for c in CLAIMS if c.id not in decided)

    def _rows(self):
        by_id = {c.id: c for c in CLAIMS}
        return [(v.id, by_id[v.id], v) for v in sorted(self.found, key=lambda v: list(by_id).index(v.id))]

    def _waiting(self) -> list[str]:
        """The claims still open, by the first chapter that tests them."""
        chapters = sorted({c.chapters[0] for c in self.open})
        return [f"{n}: {' '.join(c.id for c in self.open if c.chapters[0] == n)}" for n in chapters]

    def __repr__(self) -> str:
        told = [f"{key}  {v.word}  [{v.chapter}]" for key, _, v in self._rows()]
        return "\n".join([*told, "open, by chapter  " + "; ".join(self._waiting())])

    def _repr_html_(self) -> str:
        heads = ("id", "主張 / claim", "測定値 / figures", "判定 / verdict", "章 / chapter")
        head = "".join(f'<th scope="col">{h}</th>' for h in heads)
        rows = "".join(
            f'<tr><td>{key}</td><td><span lang="ja">{escape(c.ja)}</span><br><span lang="en">{escape(c.en)}</span></td>'
            f"<td>{escape(v.figures)}</td><td><b>{v.word}</b></td><td>{v.page}</td></tr>"
            for key, c, v in self._rows()
        )
        waiting = "; ".join(self._waiting())
        scroll = 'style="overflow-x: auto" role="region" aria-label="ledger" tabindex="0"'  # on narrow screens
        look = 'class="table dataframe" style="min-width: 40rem; overflow-wrap: normal; word-break: normal"'
        table = f"<div {scroll}><table {look}><tr>{head}</tr>{rows}</table></div>" if rows else ""
        return f"{table}<p>未判定 / open — 章 / chapter {waiting}</p>"


def ledger(folder: str | Path = CHAPTERS) -> Ledger:
    """The ledger as it stands in `folder`'s notebooks."""
    return Ledger(verdicts(folder))
