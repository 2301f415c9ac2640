"""Image models as single files: a safetensors file says what it holds, so that its name is enough to use it.

Shipped models lie in ``data/models``; every other one is named by its path.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle

from . import _checks, checkpoint, latent
from . import process as processes
from .nets import Autoencoder, Classifier, Denoiser, UNet

FOLDER = Path(__file__).parents[1] / "data" / "models"
PROCESS = "edm"


@dataclass(frozen=True)
class ImageModel:
    """A denoiser of images, or of the latents of an autoencoder, with the names of its classes.

    shape: (channels, H, W) of the states that are diffused. patch: pixels side by side in a square of that side are the
    channels of one place (1: the image as it is), which makes an image as small as a latent. about: what the model card
    says (data, seed, command, time, machine, figures), plain text and numbers.
    """

    denoiser: Denoiser
    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()
    autoencoder: Autoencoder | None = None
    patch: int = 1
    about: dict[str, Any] = field(default_factory=dict)

    def images(self, x: Tensor) -> Tensor:
        """Images in [-1, 1] of samples (n, *shape): decoded where they are latents."""
        if self.autoencoder is not None:
            return latent.decode(self.autoencoder, x)
        return pixel_shuffle(x, self.patch).clamp(-1, 1)

    def classes_of(self, names: str | Sequence[str]) -> Tensor:
        """Numbers (n,) of the classes of these names; ``ValueError`` with the near ones for a name that is none."""
        table = {name: number for number, name in enumerate(self.classes)}
        if not table:
            raise ValueError("this model was trained without classes: leave the class out")
        names = [names] if isinstance(names, str) else names
        return torch.tensor([_checks.named(table, name, "class") for name in names])


def save(
    path,
    model: ImageModel | Autoencoder | Classifier,
    about: dict[str, Any] | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a model, whole or not at all (see :func:`sdelab.checkpoint.save`), with its card and ``about``.

    dtype: of the weights in the file, such as torch.float16 for half the size; loaded, they are float32 again. What is
    no weight (shift and scale of latents) stays as it is. ``TypeError``: a denoiser whose network is no U-Net, or whose
    process is not EDM's; ``ValueError``: weights that ``dtype`` does not hold.
    """
    if isinstance(model, Autoencoder):
        page = {"kind": "autoencoder", "autoencoder": model.settings, "about": about or {}}
        return checkpoint.save(path, _stored(dtype, autoencoder=model), page)
    if isinstance(model, Classifier):
        page = {"kind": "classifier", "classifier": model.settings, "about": about or {}}
        return checkpoint.save(path, _stored(dtype, classifier=model), page)
    network, process = model.denoiser.network, model.denoiser.process
    if not isinstance(network, UNet) or process != processes.make(PROCESS):
        raise TypeError(
            f"only a U-Net's denoiser under sd.process.make({PROCESS!r}) can be written, not a "
            f"{type(network).__name__}'s under {process}: use sd.checkpoint.save for others"
        )
    page = {
        "kind": "pixel" if model.autoencoder is None else "latent",
        "network": network.settings,
        "predicts": model.denoiser.predicts,
        "sigma_data": model.denoiser.sigma_data,
        "shape": list(model.shape),
        "patch": model.patch,
        "classes": list(model.classes),
        "autoencoder": model.autoencoder.settings if model.autoencoder else None,
        "about": model.about | (about or {}),
    }
    checkpoint.save(path, _stored(dtype, network=network, autoencoder=model.autoencoder), page)


def load(name, device=None) -> ImageModel:
    """The image model of a name in ``data/models`` or of a path, frozen for use.

    ``FileNotFoundError``: no such model (it names those there are); ``ValueError``: a file that is damaged, or holds
    something else.
    """
    tensors, page = checkpoint.load(find(name))
    if page.get("kind") not in ("pixel", "latent"):
        raise ValueError(f"{name} holds no model of images but: {kind_of(page)}")
    try:
        network = UNet(**page["network"])
        autoencoder = None if page["autoencoder"] is None else Autoencoder(**page["autoencoder"])
        shape, classes = tuple(page["shape"]), tuple(page["classes"])
        if shape[0] != network.channels or (autoencoder and shape[0] != autoencoder.latent):
            raise ValueError(f"{name} says that its states have shape {shape}, which does not fit its networks")
        if len(classes) != network.classes:
            raise ValueError(f"{name} names {len(classes)} classes, and its network knows {network.classes}")
        _fill({"network": network, "autoencoder": autoencoder}, tensors, device)
        edm = processes.make(PROCESS)
        denoiser = Denoiser(network, edm, predicts=page["predicts"], sigma_data=page["sigma_data"]).eval()
        return ImageModel(denoiser, shape, classes, autoencoder, page["patch"], page["about"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{name} does not describe its model as this version does: {error}") from error


def load_autoencoder(name, device=None) -> Autoencoder:
    """The autoencoder of a name or path, frozen for use, also that within a latent model; errors as of :func:`load`."""
    tensors, page = checkpoint.load(find(name))
    settings = page.get("autoencoder")
    if not settings:
        raise ValueError(f"{name} holds no autoencoder but: {kind_of(page)}")
    held = {name: v for name, v in tensors.items() if name.startswith("autoencoder/")}
    autoencoder = Autoencoder(**settings)
    _fill({"autoencoder": autoencoder}, held, device)
    return autoencoder


def load_classifier(name, device=None) -> Classifier:
    """The classifier of a name or path, frozen for use; errors as of :func:`load`."""
    tensors, page = checkpoint.load(find(name))
    if "classifier" not in page:
        raise ValueError(f"{name} holds no classifier but: {kind_of(page)}")
    classifier = Classifier(**page["classifier"])
    _fill({"classifier": classifier}, tensors, device)
    return classifier


def find(name) -> Path:
    """The file of a model's name or path."""
    path = Path(name)
    if path.is_file():
        return path
    shipped = {file.stem: file for file in sorted(FOLDER.glob("*.safetensors"))}
    if str(name) in shipped:
        return shipped[str(name)]
    told = f"shipped models: {', '.join(shipped) or 'none'}"
    raise FileNotFoundError(f"no model {str(name)!r}: it is neither a file nor a name in {FOLDER}; {told}")


def kind_of(page: dict[str, Any]) -> str:
    """What a file holds, for messages."""
    run = "a run of training (at its end model.safetensors is written beside it)"
    return page.get("kind") or (run if "objective" in page else "a checkpoint")


def _stored(dtype: torch.dtype | None, **parts: nn.Module | None) -> dict[str, Tensor]:
    """Their tensors as the file holds them: weights in ``dtype``, the rest as it is."""
    tensors = _of(**parts)
    if dtype is None:
        return tensors
    weights = {f"{part}/{name}" for part, m in parts.items() if m is not None for name, _ in m.named_parameters()}
    rounded = {name: v.to(dtype) if name in weights else v for name, v in tensors.items()}
    for name, v in rounded.items():
        if not _checks.finite(v):
            raise ValueError(f"{dtype} does not hold {name}, which reaches {tensors[name].abs().max():.3g}")
    return rounded


def _of(**parts: nn.Module | None) -> dict[str, Tensor]:
    return {f"{part}/{name}": v for part, m in parts.items() if m is not None for name, v in m.state_dict().items()}


def _fill(parts: dict[str, nn.Module | None], tensors: dict[str, Tensor], device) -> None:
    """Give the parts their tensors and freeze them; ``ValueError`` where those are of another network."""
    want = {name: tuple(v.shape) for name, v in _of(**parts).items()}
    have = {name: tuple(v.shape) for name, v in tensors.items()}
    if want != have:
        odd = sorted(name for name in {*want, *have} if want.get(name) != have.get(name))
        raise ValueError(f"the file's tensors do not fit its own description: {', '.join(odd[:4])}")
    for part, module in parts.items():
        if module is not None:
            own = {name.removeprefix(f"{part}/"): v for name, v in tensors.items() if name.startswith(f"{part}/")}
            module.load_state_dict(own)
            module.to(device=device).eval().requires_grad_(False)
