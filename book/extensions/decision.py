"""The page "which sampler": tables and figures straight from benchmarks/results/decision.json, none of it typed."""

from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective, SphinxRole

import sdelab as sd

from .bench import short, title
from .decision_words import WORDS
from .solvers import Reader, table

FITTED = "sd.grids.optimise(D, process, solver, {0}, x, t_end=0.0)"


def row(key: str) -> nodes.reference:
    """A solver's key as a link to its row on the page of solvers, which lies beside this one."""
    return nodes.reference("", "", nodes.literal("", sd.solvers.row(key).key), refuri=f"solvers.html#solver-{key}")


class Decision(Reader, SphinxDirective):
    """Base of the directives below."""

    def say(self, key: str, *values) -> str:
        return self.word(key, WORDS).format(*values)

    @property
    def made(self) -> dict:
        return self.results("decision")

    def chosen(self, choice: list[str]) -> list:
        """SOLVER on GRID."""
        return [row(choice[0]), nodes.Text(f" {choice[1]}")]

    def company(self, told: dict, most: int = 3) -> list:
        """Those that come as close."""
        out: list = []
        for choice in told["within"][:most]:
            out += [*([nodes.Text(self.say("and sign"))] if out else []), *self.chosen(choice)]
        if len(told["within"]) > most:
            out.append(nodes.Text(f" ({self.say('more', len(told['within']) - most)})"))
        if told["tied"]:
            out.append(nodes.Text(f"{self.say('and sign') if out else ''}{self.say('tied', told['tied'])}"))
        return out or [nodes.Text(self.say("none"))]


class Answer(Decision):
    """`{sdelab-answer}`: the answer in one screen, goal by goal."""

    def run(self):
        """One row per goal and budget."""
        made = self.made
        rows: list = [[self.say(k) for k in ("goal", "calls", "choice", "regret, worst", "write")]]
        for goal in ("end", "law"):
            for n, (budget, told) in enumerate(made[goal]["all"].items()):
                rows.append(self.line(goal if n == 0 else "", budget, told, budget))
        rows.append(self.line("one", self.say("any calls"), made["one"]["all"], "20"))
        best = max((r for r in made["fitted"] if r["kind"] == "latent"), key=lambda r: r["optimised"])
        code = [nodes.literal("", FITTED.format(best["calls"]))]
        rows.append([self.say("fitted"), f"{best['calls']}", [row("dpmpp_2m")], "", code])
        return [table(rows, (24, 8, 20, 14, 34), "figures")]

    def line(self, goal: str, calls: str, told: dict, budget: str) -> list:
        solver, grid = told["choice"]
        code = f'solver="{solver}", grid="{grid}", nfe={budget}'
        figures = f"{short(told['regret'])} ({short(told['worst'])})"
        return [self.say(goal) if goal else "", calls, self.chosen(told["choice"]), figures, [nodes.literal("", code)]]


class Kind(Decision):
    """`{sdelab-kind} exact|learned|latent`: for both goals and each budget, the choice and what comes near it."""

    required_arguments = 1

    def run(self):
        """Two tables."""
        out: list = []
        for goal in ("end", "law"):
            size = "error" if goal == "end" else "distance"
            rows: list = [[self.say(k) for k in ("calls", "choice", size, "regret, worst", "company")]]
            for budget, told in self.made[goal][self.arguments[0]].items():
                figures = f"{short(told['regret'])} ({short(told['worst'])})"
                rows.append([budget, self.chosen(told["choice"]), short(told["error"]), figures, self.company(told)])
            out += [title(self.say(goal)), table(rows, (8, 26, 10, 16, 40), "figures")]
        return out


class Named(Decision):
    """`{sdelab-named} end|law KIND`: regrets of the names that other tools have, by budget."""

    required_arguments = 2

    def run(self):
        """One row per name, the best on top."""
        goal, kind = self.arguments
        told = self.made[goal][kind]
        budgets = [b for b in told if told[b]["named"]]
        names = {name for b in budgets for name in told[b]["named"]}
        rows: list = [[self.say("named"), *budgets]]
        rows.append([[nodes.strong("", self.say("recommended"))], *(short(told[b]["regret"]) for b in budgets)])
        worth = {name: told[budgets[-2]]["named"].get(name, float("inf")) for name in names}
        for name in sorted(names, key=lambda name: (worth[name], name)):
            figures = (short(told[b]["named"].get(name)) for b in budgets)
            rows.append([self.chosen(name.split(" ")), *figures])
        return [table(rows, (40, *[60 // len(budgets)] * len(budgets)), "figures")]


class Spread(Decision):
    """`{sdelab-spread}`: regret of the choice, the median and the last one, and what the variance comes from."""

    def run(self):
        """Two tables."""
        made = self.made
        rows: list = [[self.say(k) for k in ("kind", "calls", "choices", "recommended", "median", "last")]]
        for kind in ("exact", "learned", "latent"):
            for budget in ("10", "20", "35"):
                t = made["end"][kind][budget]
                rows.append(
                    [self.say(kind), budget, f"{t['choices']}", *map(short, (t["regret"], t["median"], t["last"]))]
                )
        parts: list = [[self.say(k) for k in ("kind", "solver", "grid", "budget", "together")]]
        for kind, found in made["shares"].items():
            parts.append([self.say(kind), *(percent(found[k]) for k in ("solver", "grid", "budget", "together"))])
        return [table(rows, (28, 12, 15, 15, 15, 15), "figures"), table(parts, (36, 16, 16, 16, 16), "figures")]


class Cross(Decision):
    """`{sdelab-cross}`: known solvers on each of the grids, over all three kinds of model."""

    def run(self):
        """One row per solver, two budgets side by side."""
        made = self.made["cross"]
        grids = list(made["10"]["least"])
        rows: list = [[self.say("solver"), *(f"{grid} {budget}" for budget in made for grid in grids)]]
        keys = sorted(made["10"]["rows"], key=lambda key: min(made["10"]["rows"][key].values()))
        for key in keys:
            rows.append([[row(key)], *(short(made[budget]["rows"][key][grid]) for budget in made for grid in grids)])
        return [table(rows, (28, *[12] * (len(made) * len(grids))), "figures")]


class Noise(Decision):
    """`{sdelab-noise}`: the best with noise beside the best without, at every budget."""

    def run(self):
        """One row per problem and budget."""
        head = ("problem", "calls", "without", "with", "nearer", "floor", "converged")
        rows: list = [[self.say(k) for k in head]]
        for r in self.made["noise"]:
            name = self.say(r["kind"]) + ("" if r["kind"] == r["problem"] else f" {r['problem'].replace(':', ' ')}")
            sides = [[nodes.Text(f"{short(r[f'{s} distance'])} "), small(self.chosen(r[s]))] for s in ("ode", "sde")]
            levels = ["–".join(map(short, r["floors"])) if "floors" in r else short(None), short(r.get("converged"))]
            rows.append([name, f"{r['calls']}", *sides, self.say(r["better"]), *levels])
        return [table(rows, (18, 8, 23, 23, 10, 18, 10), "figures")]


class Fitted(Decision):
    """`{sdelab-fitted}`: how many times smaller the error is on fitted times than on the best grid made by hand."""

    def run(self):
        """One row per kind and budget."""
        rows: list = [[self.say(k) for k in ("kind", "calls", "problems", "gain", "least", "equal_error")]]
        for r in self.made["fitted"]:
            gains = (f"{r[k]:.1f}" for k in ("optimised", "least", "equal_error"))
            rows.append([self.say(r["kind"]), f"{r['calls']}", f"{r['problems']}", *gains])
        return [table(rows, (30, 14, 14, 14, 14, 14), "figures")]


class Path(Decision):
    """`{sdelab-path}`: how far the end at a budget is from the end in many steps, on one Brownian path."""

    def run(self):
        """One row per solver, those that settle first on top."""
        made = self.made["path"]
        rows: list = [[self.say("solver"), *map(str, made["budgets"])]]
        for key, ends in sorted(made["rows"].items(), key=lambda item: item[1][1]):
            rows.append([[row(key)], *map(short, ends)])
        rows.append([self.say("fresh"), "", "", short(made["fresh noise"])])
        return [table(rows, (46, 18, 18, 18), "figures")]


class Decided(Reader, SphinxRole):
    """`{decided}`PART.PART…``: a figure of decision.json; `{decided}`% PART…`` as a share."""

    def run(self):
        """The figure; a path that leads nowhere is an error."""
        where = self.text.removeprefix("% ")
        found = self.results("decision")
        try:
            for part in where.split("/"):
                found = found[int(part)] if isinstance(found, list) else found[part]
        except (KeyError, IndexError, ValueError) as error:
            raise ExtensionError(f"decision.json has no {where}: run `python -m benchmarks decision`") from error
        if isinstance(found, list):
            return [row(found[0]), nodes.Text(f" {found[1]}")], []
        told = percent(found) if where != self.text else f"{found}" if isinstance(found, int | str) else short(found)
        return [nodes.inline("", told, classes=["measured"])], []


class RowLink(SphinxRole):
    """`{row}`KEY``: a solver's key, leading to its row on the page of solvers."""

    def run(self):
        """The link; an unknown key is an error."""
        return [row(self.text)], []


class TestName(SphinxRole):
    """`{test}`FILE::NAME``: a test, as code that may be broken anywhere."""

    def run(self):
        """The name."""
        return [nodes.literal("", self.text, classes=["wraps"])], []


def small(inner: list) -> nodes.inline:
    return nodes.inline("", "", *inner, classes=["small"])


def percent(share: float) -> str:
    return f"{round(100 * share)} %"


def setup(app):
    """Register with Sphinx."""
    for directive in (Answer, Kind, Named, Spread, Cross, Noise, Fitted, Path):
        app.add_directive(f"sdelab-{directive.__name__.lower()}", directive)
    app.add_role("decided", Decided())
    app.add_role("row", RowLink())
    app.add_role("test", TestName())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
