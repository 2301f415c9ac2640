"""Time of a step beyond its network calls, ours beside the peers', in one interleaved run on one thread.

The network is one multiplication. The bound is that call and one in-place lerp; a ratio of 1 would be a sampler that
costs nothing more. A share is what ours takes beyond the network's calls, over what the fastest peer takes beyond them.
Times are CPU times of the thread (the least of several runs), so that other work on the machine does not count. What is
set up once for a grid is left out on both sides: the schedulers' ``set_timesteps``, and our plan, which is timed alone.
"""

import functools
import importlib
import inspect
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

import sdelab as sd
from sdelab.sde import Stratonovich

from . import RESULTS, keep
from .peers import ModelK, k_diffusion

SHAPES = ((64, 4, 32, 32), (4096, 2))
STEPS, ROUNDS = 20, 12

# key of our row -> (schedulers of diffusers with options, samplers of k-diffusion with options)
MULTI, SINGLE = "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"
TWINS: dict[str, tuple[list, list]] = {
    "ddim": ([("DDIMScheduler", {"clip_sample": False})], []),
    "edm_euler": ([("EulerDiscreteScheduler", {})], [("euler", {})]),
    "edm_heun": ([("HeunDiscreteScheduler", {})], [("heun", {})]),
    "dpm_2": ([("KDPM2DiscreteScheduler", {})], [("dpm_2", {})]),
    "lms": ([("LMSDiscreteScheduler", {})], [("lms", {})]),
    "plms": ([("PNDMScheduler", {"skip_prk_steps": True})], []),
    "ipndm": ([("IPNDMScheduler", {})], []),
    "dpmpp_2m": ([(MULTI, {"solver_order": 2})], [("dpmpp_2m", {})]),
    "dpmpp_3m": ([(MULTI, {"solver_order": 3})], []),
    "dpmpp_2s": ([], [("dpmpp_2s_ancestral", {"eta": 0.0})]),
    "deis": ([("DEISMultistepScheduler", {"solver_order": 2})], []),
    "deis_3": ([("DEISMultistepScheduler", {"solver_order": 3})], []),
    "unipc": ([("UniPCMultistepScheduler", {"solver_order": 2})], []),
    "unipc_3_bh2": ([("UniPCMultistepScheduler", {"solver_order": 3})], []),
    "ddpm": ([("DDPMScheduler", {"clip_sample": False})], []),
    "euler_ancestral": ([("EulerAncestralDiscreteScheduler", {})], [("euler_ancestral", {})]),
    "dpm_2_ancestral": ([("KDPM2AncestralDiscreteScheduler", {})], [("dpm_2_ancestral", {})]),
    "dpmpp_2m_sde": ([(MULTI, {"solver_order": 2, "algorithm_type": "sde-dpmsolver++"})], [("dpmpp_2m_sde", {})]),
}
# rows whose peers all work on x_0 + sigma eps; the others are measured under VP
IN_SIGMA = {"edm_euler", "edm_heun", "dpm_2", "lms", "dpmpp_2s", "euler_ancestral", "dpm_2_ancestral", "dpmpp_sde",
            "dpmpp_3m_sde"}  # fmt: skip
PATHS = {"dpmpp_sde": "dpmpp_sde", "dpmpp_2m_sde": "dpmpp_2m_sde", "dpmpp_3m_sde": "dpmpp_3m_sde"}
SDES = {"euler_maruyama": "euler", "milstein": "milstein", "srk_sri": "srk", "heun_strat": "heun"}
ODES = {"euler": "euler", "midpoint": "midpoint", "rk4": "rk4"}


def half(x: Tensor, t=None) -> Tensor:
    return x * 0.5


def repeat(one: Callable[[], object]) -> None:
    for _ in range(STEPS):
        one()


def seconds(run: Callable[[], object]) -> float:
    start = time.thread_time()
    run()
    return time.thread_time() - start


def interleaved(runs: dict[str, Callable[[], object]], slow: set[str]) -> dict[str, float]:
    """The least time of each run over several rounds, of the ``slow`` ones over the first three."""
    times = [{name: seconds(run) for name, run in runs.items() if n < 3 or name not in slow} for n in range(ROUNDS)]
    return {name: min(t[name] for t in times if name in t) for name in runs}


def ours(key: str, x: Tensor, path: str = "") -> tuple[Callable[[], object], int, Callable[[], object]]:
    """(a run of STEPS steps, network calls in it, its plan); ``path``: "any times", or "knots" for one made for it."""
    row, process = sd.solvers.row(key), sd.process.EDM() if key in IN_SIGMA else sd.process.VP()
    equation, ts = sd.Reverse(process, half, row.eta), sd.grids.logsnr(process, STEPS).tolist()
    clock = [float((2 * process.lam(t)).exp()) for t in ts]

    def run():
        solver, brownian = row.make(), None
        if path == "any times":
            brownian = sd.Brownian(x.shape, clock[0], clock[-1], seed=0, dtype=x.dtype)
        elif path:
            brownian = sd.path(equation, solver, x, ts, seed=0)
        return sd.solve(equation, solver, x, ts, seed=0, brownian=brownian, progress=False)

    return run, row.calls(STEPS), lambda: row.make().plan(equation, ts)


def diffusers_run(name: str, options: dict, x: Tensor) -> tuple[Callable[[], object], int]:
    module = importlib.import_module("diffusers")
    knows = inspect.signature(getattr(module, name)).parameters
    data = name.startswith(("DPM", "DEIS", "UniPC", "DDIM", "DDPM"))  # the others know no "sample"
    kind = {"prediction_type": "sample" if data else "epsilon"} if "prediction_type" in knows else {}

    def make():
        scheduler = getattr(module, name)(**kind, **options)
        scheduler.set_timesteps(STEPS)
        return scheduler

    ready = [make() for _ in range(ROUNDS + 1)]
    calls = len(ready[0].timesteps)

    def run():
        scheduler, y = ready.pop(), x
        scheduler.is_scale_input_called = True
        for t in scheduler.timesteps:
            y = scheduler.step(half(y), t, y).prev_sample
        return y

    return run, calls


def k_run(name: str, options: dict, x: Tensor, plain: bool) -> tuple[Callable[[], object], int]:
    K, counter = k_diffusion(), sd.NFE(half)
    sigmas = sd.grids.karras(sd.process.EDM(), STEPS).float()
    stochastic = "noise_sampler" in getattr(K, f"sample_{name}").__code__.co_varnames
    noise = {"noise_sampler": lambda a, b: torch.randn_like(x)} if plain and stochastic else {}

    def run():
        return getattr(K, f"sample_{name}")(ModelK(counter), x, sigmas, disable=True, **options, **noise)

    run()
    return run, counter.count


def torchsde_run(method: str, x: Tensor) -> Callable[[], object]:
    torchsde = importlib.import_module("torchsde")
    flat, ts = x.flatten(1), torch.linspace(0, 1, STEPS + 1)
    kind = "stratonovich" if method in ("heun", "midpoint") else "ito"

    class Problem(torch.nn.Module):
        noise_type, sde_type = "diagonal", kind

        def f(self, t, y):
            return half(y)

        def g(self, t, y):
            return 0.1 * y

    problem = Problem()
    return lambda: torchsde.sdeint(problem, flat, ts, method=method, dt=1 / STEPS)


def our_sde(key: str, x: Tensor) -> Callable[[], object]:
    kind = Stratonovich if key.endswith("_strat") else sd.SDE  # as torchsde is given it
    equation, ts = kind(half, lambda x, t: 0.1 * x), torch.linspace(0, 1, STEPS + 1).tolist()
    return lambda: sd.solve(equation, sd.solvers.row(key).make(), x, ts, seed=0, progress=False)


def torchdiffeq_run(method: str, x: Tensor) -> Callable[[], object]:
    odeint, ts = importlib.import_module("torchdiffeq").odeint, torch.linspace(0, 1, STEPS + 1)
    return lambda: odeint(lambda t, y: half(y), x, ts, method=method)


def our_ode(key: str, x: Tensor) -> Callable[[], object]:
    equation, ts = sd.SDE(half), torch.linspace(0, 1, STEPS + 1).tolist()
    return lambda: sd.solve(equation, sd.solvers.row(key).make(), x, ts, progress=False)


def measure(shape) -> list[dict]:
    """One record per row: our ratio to the bound per network call, and the peers'."""
    warnings.simplefilter("ignore")
    x = sd.noise.normal(shape, 1)
    y = x.clone()
    floors = {"bound": lambda: y.lerp_(half(y), 0.1), "call": lambda: half(y), "draw": lambda: torch.randn_like(y)}
    runs: dict[str, Callable[[], object]] = {name: functools.partial(repeat, one) for name, one in floors.items()}
    calls = dict.fromkeys(floors, STEPS)
    pairs: list[tuple[str, str, list[str]]] = []  # (what, our run, the peers' runs)

    def add(name, run, count, plan=None):
        runs[name], calls[name] = run, count
        if plan:
            runs[f"plan {name}"] = plan
        return name

    for key, (schedulers, samplers) in TWINS.items():
        mine = add(key, *ours(key, x))
        theirs = [add(f"diffusers {n} {key}", *diffusers_run(n, o, x)) for n, o in schedulers]
        theirs += [add(f"k-diffusion {n} {key}", *k_run(n, o, x, plain=True)) for n, o in samplers]
        pairs.append((key, mine, theirs))
    for key, name in PATHS.items():
        theirs = [add(f"k-diffusion {name}, tree", *k_run(name, {}, x, plain=False))]
        for path in ("any times", "knots"):
            mine = add(f"{key} on a path, {path}", *ours(key, x, path))
            pairs.append((mine, mine, theirs))
    for table, our, their, library in (
        (SDES, our_sde, torchsde_run, "torchsde"),
        (ODES, our_ode, torchdiffeq_run, "torchdiffeq"),
    ):
        for key, method in table.items():
            count = STEPS * sd.solvers.row(key).nfe
            mine = add(f"{key} on an SDE" if library == "torchsde" else f"{key} on an ODE", our(key, x), count)
            pairs.append((mine, mine, [add(f"{library} {method}", their(method, x), count)]))
    slow = {name for name in runs if "tree" in name or name.startswith("torchsde")}
    times = interleaved(runs, slow)
    bound = times["bound"] / STEPS
    per_call = {name: (times[name] - times.get(f"plan {name}", 0.0)) / calls[name] / bound for name in calls}
    call = per_call["call"]
    draw = {"what": "one Gaussian draw (torch.randn)", "ours": round(per_call["draw"], 2), "peers": {}}
    return [
        {"what": what, "ours": round(per_call[mine], 2),
         "peers": {name: round(per_call[name], 2) for name in theirs},
         "share": round((per_call[mine] - call) / (min(per_call[name] for name in theirs) - call), 3)}
        for what, mine, theirs in pairs
    ] + [draw]  # fmt: skip


def main() -> None:
    """All shapes, printed and kept in results/overhead.json."""
    torch.set_num_threads(1)
    torch.empty(6 << 20)  # once freed, the allocator keeps blocks as large, as in any process that has run a network
    found = [{"shape": list(shape), "records": measure(shape)} for shape in SHAPES]
    keep(RESULTS / "overhead.json", found)
    for part in found:
        print(part["shape"])
        for record in part["records"]:
            print(f"  {record['what']:36} {record['ours']:8} {record.get('share', ''):8} {record['peers']}")


if __name__ == "__main__":
    main()
