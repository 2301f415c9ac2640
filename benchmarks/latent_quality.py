"""How good the images of the shipped models are: by sampler, and by guidance."""

from collections.abc import Sequence

from torch import Tensor

import sdelab as sd
from sdelab.data.common import Dataset
from sdelab.models import ImageModel

from .latent_common import BUDGETS, CHOOSER, COMPARED, JUDGE, PROCESS, of_all_classes, reals, twice

KNOWN = (
    "ddim", "plms", "deis_3", "dpmpp_2m", "unipc_3_bh2", "exp_adams_2c", "edm_heun",
    "ddpm", "euler_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde", "seeds_2", "er_sde_3",
    "edm_heun_churn", "restart",
)  # fmt: skip
NONE = {"w = 1": (1.0, None)}
GUIDANCE: dict[str, tuple[float, tuple[float, float] | None]] = {  # weight, and the interval of sigma where it is on
    **NONE,
    **{f"w = {w:g}": (w, None) for w in (1.25, 1.5, 2.0, 3.0)},
    **{f"w = {w:g} within 0.3-5": (w, (0.3, 5.0)) for w in (1.5, 2.0, 3.0)},
}
DRAWS = 3  # of a sampler's images
JUDGED, DIGITS = 45, 200  # samples of a class, where a model is judged: of kana, and of digits


def samplers(model: ImageModel) -> dict:
    """Quality per network call of the samplers that readers know, without guidance; a report per draw."""
    judge, real = sd.models.load_classifier(JUDGE), reals(COMPARED)
    out: dict[str, dict] = {}
    for key in KNOWN:
        for budget in BUDGETS[1:]:
            reports = []
            for draw in range(DRAWS):
                y, x_T = of_all_classes(model, COMPARED, seed=100 + draw)
                D, seed = model.denoiser.of(y), 200 + draw
                x = sd.sample(D, PROCESS, x_T, solver=key, grid="karras", nfe=budget, seed=seed, progress=False)
                reports.append(sd.quality.report(judge, model.images(x), y, real))
            out.setdefault(key, {})[str(budget)] = reports
            print(key, budget, [round(r["frechet"], 3) for r in reports], flush=True)
    return out


def quality(name: str, kinds: dict, each: int, real: Dataset, train: Tensor, judges: Sequence[str]) -> dict:
    """Quality of 20 steps of DPM++ 2M by kind of guidance and classifier; the last one compares with ``train``, too."""
    model = sd.models.load(name)
    y, x_T = of_all_classes(model, each, seed=15)
    real = twice(real, each)
    networks = {judge: sd.models.load_classifier(judge) for judge in judges}
    out: dict[str, dict] = {}
    for kind, (w, interval) in kinds.items():
        D = sd.guidance.classifier_free(
            model.denoiser.of(y), model.denoiser.of(None), w, interval=interval, process=PROCESS
        )
        x = model.images(sd.sample(D, PROCESS, x_T, solver="dpmpp_2m", grid="karras", steps=20, progress=False))
        out[kind] = {
            judge: sd.quality.report(network, x, y, real, train if judge == judges[-1] else None)
            for judge, network in networks.items()
        }
        print(name, kind, {n: {k: round(v, 3) for k, v in r.items()} for n, r in out[kind].items()}, flush=True)
    return out


def kana(name: str, kinds: dict = NONE) -> dict:
    real, train = sd.data.load_kana("test_images"), sd.data.load_kana("train").images
    return quality(name, kinds, JUDGED, real, train, (CHOOSER, JUDGE))


def mnist() -> dict:
    real, train = (sd.data.idx.load("mnist", split, pad=2) for split in ("test", "train"))
    kinds = {kind: GUIDANCE[kind] for kind in ("w = 1", "w = 1.5", "w = 2")}
    return quality("mnist-latent", kinds, DIGITS, real, train.images, ("mnist-judge",))
