"""The benchmarks on the page of solvers: tables straight from benchmarks/results/*.json, none of it typed."""

from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

import sdelab as sd

from .solvers import NBSP, Reader, linked, table

WORDS = {
    "what": {"ja": "解法", "en": "solver"},
    "what by calls": {"ja": "解法(列は評価回数)", "en": "solver (columns: calls)"},
    "ours": {"ja": "sdelab", "en": "sdelab"},
    "peers": {"ja": "既存の実装", "en": "peers"},
    "share": {"ja": "評価を除いた手間の比", "en": "beyond the calls, to the fastest peer"},
    "problem": {"ja": "問題", "en": "problem"},
    "calls": {"ja": "評価回数", "en": "calls"},
    "best peer": {"ja": "既存の実装の最良", "en": "best peer"},
    "best ours": {"ja": "sdelabの最良", "en": "best of sdelab"},
    "ratio": {"ja": "比", "en": "ratio"},
    "peer": {"ja": "既存の最良", "en": "best peer"},
    "standard": {"ja": "標準の刻み", "en": "standard grid"},
    "ays": {"ja": "AYSの上界", "en": "AYS's bound"},
    "gits": {"ja": "GITS流", "en": "GITS-style"},
    "equal": {"ja": "誤差を均等に", "en": "equal errors"},
    "times": {"ja": "時刻を最適化", "en": "times fitted"},
    "tuned": {"ja": "時刻と重みを最適化", "en": "times and weights fitted"},
    "short": {"ja": "karras、0.1から0へ", "en": "karras, from 0.1 to 0"},
    "times of dpmpp_2m": {"ja": "DPM++ 2Mに最適化", "en": "fitted to DPM++ 2M"},
    "gain": {"ja": "既存の最良÷最後の列", "en": "best peer / last"},
    "race told": {
        "ja": "比は{0}から{1}までで、標準の刻みだけを使っても、sdelabの最良が既存の実装の最良に劣ることはない。",
        "en": "The ratios lie between {0} and {1}: on standard grids alone, the best of sdelab is never behind the "
        "best of the peers.",
    },
    "race told otherwise": {"ja": "比は{0}から{1}までである。", "en": "The ratios lie between {0} and {1}."},
    "gain told": {
        "ja": "最後の列の最小は、評価5回で{0}倍、8回から35回までで{1}倍である。",
        "en": "The smallest of the last column is {0} at 5 calls, and {1} from 8 to 35 calls.",
    },
    "exact": {"ja": "厳密な標本どうし", "en": "two exact samples"},
    "tolerance": {"ja": "許容誤差", "en": "tolerance"},
    "rejected": {"ja": "棄却", "en": "rejected"},
    "error": {"ja": "誤差", "en": "error"},
    "exponential grid": {"ja": "(刻みは exponential)", "en": ", exponential grid"},
    "on a path, any times": {"ja": "(経路、任意の時刻)", "en": " on a path, any times"},
    "on a path, knots": {"ja": "(経路、節点)", "en": " on a path, knots"},
    "on an SDE": {"ja": "(SDE)", "en": " on an SDE"},
    "on an ODE": {"ja": "(ODE)", "en": " on an ODE"},
    "one Gaussian draw (torch.randn)": {
        "ja": "正規乱数を一度引く(torch.randn)",
        "en": "one Gaussian draw (torch.randn)",
    },
}


class Bench(Reader, SphinxDirective):
    """Base of the directives below."""

    def words(self, *keys: str) -> list[str]:
        return [self.word(key, WORDS) for key in keys]

    def sentence(self, key: str, *figures: float, digits: int = 1) -> nodes.paragraph:
        """What a table comes to, with figures found in it."""
        return nodes.paragraph("", self.word(key, WORDS).format(*(f"{f:.{digits}f}" for f in figures)))

    def problem(self, file: str) -> dict:
        """The part of a file of results for the problem LAW:PROCESS that the directive names."""
        made = self.results(file)
        if self.arguments[0] not in made:
            raise ExtensionError(f"{file}.json has no {self.arguments[0]}: run `python -m benchmarks {file}`")
        return made[self.arguments[0]]

    def named(self, what: str) -> list:
        """A row's key or a peer's sampler, as it stands in a cell."""
        key, mark, where = what.partition(" on ") if " on " in what else what.partition(", ")
        if any(key == row.key for row in sd.solvers.table):
            rest = where if mark == ", " else f"on {where}"
            return [linked(key), nodes.Text(self.word(rest, WORDS) if rest in WORDS else f"{mark}{where}")]
        return [nodes.Text(self.word(what, WORDS) if what in WORDS else what)]


class RaceBest(Bench):
    """`{sdelab-race-best}`: the best configuration of the peers and of ours, per problem and budget."""

    def run(self):
        """One row per problem and budget."""
        rows: list = [self.words("problem", "calls", "best peer", "best ours", "ratio")]
        for name, made in self.results("race").items():
            for budget, sides in made["best"].items():
                ratio = sides["ours"]["error"] / sides["peer"]["error"]
                told = [self.configured(sides[side]) for side in ("peer", "ours")]
                rows.append([name.replace(":", " "), budget, *told, f"{ratio:.2f}"])
        ratios = [float(row[-1]) for row in rows[1:]]
        told = "race told" if max(ratios) <= 1 else "race told otherwise"
        return [table(rows, (16, 8, 34, 32, 10), "figures"), self.sentence(told, min(ratios), max(ratios), digits=2)]

    def configured(self, record: dict) -> list:
        """Error, and in small letters what made it."""
        small = nodes.inline("", "", *self.named(record["sampler"]), classes=["small"])
        small += nodes.Text(f", {record['grid']}{NBSP}{record['end']}")
        return [nodes.Text(f"{short(record['error'])} "), small]


class Race(Bench):
    """`{sdelab-race} LAW:PROCESS`: every deterministic row at its best standard grid, sorted, the best peer on top."""

    required_arguments = 1

    def run(self):
        """One row per solver."""
        made = self.problem("race")
        budgets = list(made["best"])
        rows: list = [[*self.words("what by calls"), *budgets]]
        rows.append([self.word("best peer", WORDS), *(short(made["best"][b]["peer"]["error"]) for b in budgets)])
        for key, errors in ranked(made["rows"], "20"):
            rows.append([self.named(key), *(short(errors[b]) for b in budgets)])
        return [table(rows, (30, *[10] * len(budgets)), "figures")]


class Stochastic(Bench):
    """`{sdelab-stochastic}`: distance to the law of the stochastic rows and of the peers, sorted; a table a problem."""

    def run(self):
        """One row per sampler."""
        out = []
        for problem, made in self.results("stochastic").items():
            budgets = list(next(iter(made["ours"].values())))
            floor = [short(made["floor"])] * len(budgets)
            rows: list = [self.words("what by calls") + budgets, self.words("exact") + floor]
            for name, errors in ranked(made["peers"] | made["ours"], "20"):
                rows.append([self.named(name), *(short(errors.get(b)) for b in budgets)])
            out += [title(problem), table(rows, (36, *[12] * len(budgets)), "figures")]
        return out


class Adaptive(Bench):
    """`{sdelab-adaptive}`: calls and error of the adaptive solvers, tolerance by tolerance; a table a problem."""

    def run(self):
        """One row per run, method by method."""
        out = []
        for problem, records in self.results("adaptive").items():
            rows: list = [self.words("what", "tolerance", "calls", "rejected", "error")]
            for r in sorted(records, key=lambda r: ("tol" not in r, r["what"], r["nfe"])):
                tolerance = exponent(r["tol"], 0) if "tol" in r else "–"
                figures = [tolerance, f"{r['nfe']}", f"{r.get('rejected', '–')}", short(r["error"])]
                rows.append([self.named(r["what"]), *figures])
            out += [title(problem), table(rows, (40, 14, 14, 14, 16), "figures")]
        return out


class Optimised(Bench):
    """`{sdelab-optimised}`: error per budget, the best peer beside our standard and fitted grids."""

    columns = ("peer", "standard", "ays", "gits", "equal", "times", "tuned")

    def run(self):
        """One row per problem and budget."""
        rows: list = [self.words("problem", "calls", *self.columns, "gain")]
        for r in self.results("optimised"):
            errors = [r[column]["error"] for column in self.columns]
            gain = f"{errors[0] / errors[-1]:.1f}"
            rows.append([f"{r['law']} {r['process']}", f"{r['nfe']}", *map(short, errors), gain])
        gains = [(int(row[1]), float(row[-1])) for row in rows[1:]]
        least = (min(g for n, g in gains if low <= n <= high) for low, high in ((5, 5), (8, 35)))
        return [table(rows, (16, 8, 10, 10, 10, 10, 10, 10, 10, 10), "figures"), self.sentence("gain told", *least)]


class Overhead(Bench):
    """`{sdelab-overhead}`: time per network call over the bound, ours and the peers', a table per shape of states."""

    def run(self):
        """One row per solver."""
        out = []
        for part in self.results("overhead"):
            rows: list = [self.words("what", "ours", "peers", "share")]
            for r in part["records"]:
                peers = "; ".join(f"{n.removesuffix(' ' + r['what'])} {value:.1f}" for n, value in r["peers"].items())
                rows.append([self.named(r["what"]), f"{r['ours']:.2f}", peers, f"{r['share']:.2f}" if peers else ""])
            out += [title(" × ".join(map(str, part["shape"]))), table(rows, (30, 10, 46, 14))]
        return out


class Latent(Bench):
    """`{sdelab-latent} CALLS`: every deterministic row on the latent model of chapter 6, by grid; the best on top."""

    required_arguments = 1
    standard, found = ("karras", "logsnr", "beta"), ("short", "equal_error", "dpmpp_2m")

    def run(self):
        """One row per solver; a row that ran on no grid, for want of calls, is left out."""
        made, calls = self.results("latent"), self.arguments[0]
        if missing := {"rows", "fitted"} - made.keys():
            raise ExtensionError(f"latent.json lacks {missing}: run `python -m benchmarks latent rows fitted`")
        errors = {}
        for key, on_standard in made["rows"]["rows"].items():
            on_all = on_standard | made["fitted"]["rows"].get(key, {})
            errors[key] = [on_all.get(grid, {}).get(calls, {}).get("error") for grid in self.standard + self.found]
        best = {key: min(e for e in row if e is not None) for key, row in errors.items() if any(row)}
        rows: list = [[*self.words("what"), *self.standard, *self.words("short", "equal", "times of dpmpp_2m")]]
        for key in sorted(best, key=lambda key: best[key]):
            rows.append([self.named(key), *map(short, errors[key])])
        return [table(rows, (28, 11, 11, 11, 13, 13, 13), "figures")]


def title(text: str) -> nodes.paragraph:
    """What a table is about, above it."""
    return nodes.paragraph("", "", nodes.strong("", text.replace(":", " ")), classes=["table-title"])


def ranked(rows: dict, budget: str) -> list:
    """The rows by their error at a budget; those without one at the end."""
    return sorted(rows.items(), key=lambda item: (item[1].get(budget) is None, item[1].get(budget) or 0.0))


def short(value: float | None) -> str:
    """Two digits, 0.12 or 1.2e-3; a dash where there is no figure."""
    if value is None or value != value or value == float("inf"):
        return "–"
    if 0.1 <= value < 99.5:
        return f"{value:#.2g}".rstrip(".")
    return exponent(value, 1)


def exponent(value: float, digits: int) -> str:
    """1.2e-3, with no zeros in the exponent."""
    mantissa, power = f"{value:.{digits}e}".split("e")
    return f"{mantissa}e{int(power)}"


def setup(app):
    """Register with Sphinx."""
    for directive in (RaceBest, Race, Stochastic, Adaptive, Latent, Optimised, Overhead):
        name = {"RaceBest": "race-best"}.get(directive.__name__, directive.__name__.lower())
        app.add_directive(f"sdelab-{name}", directive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
