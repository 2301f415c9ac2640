"""Tensors and a configuration in one safetensors file that is whole or not there, and knows when it was damaged.

The file's metadata hold one JSON text: the format's version, the configuration, and a SHA-256 of everything (format,
configuration, and name, dtype, shape and bytes of every tensor). Other safetensors readers can open it; nothing is
ever unpickled.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as unpack
from safetensors.torch import save as pack
from torch import Tensor

from ._checks import writing

FORMAT = "sdelab checkpoint 1"
_KEY = "sdelab"


def save(path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write ``tensors`` and ``config`` (anything that JSON holds) to ``path``, all or nothing.

    Written beside it as ``NAME.part``, forced to the disk, then put in its place in one stroke: whatever happens, and
    whenever, ``path`` is the old file or the new one. ``ValueError``: a configuration that JSON does not hold;
    ``OSError``, saying what to do: a full disk, a folder that is not there.
    """
    tensors = {name: v.detach().cpu().clone(memory_format=torch.contiguous_format) for name, v in tensors.items()}
    try:
        text = json.dumps(dict(config), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the configuration must consist of text, finite numbers, lists and dicts: {error}") from error
    if json.loads(text) != _plain(config):
        raise ValueError("the configuration changes in JSON: its keys must be text")
    page = {"format": FORMAT, "config": json.loads(text), "sha256": digest(tensors, json.loads(text))}
    data = pack(tensors, {_KEY: json.dumps(page, sort_keys=True)})
    path = Path(path)
    part = path.with_name(path.name + ".part")
    with writing(path):
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    if hasattr(os, "O_DIRECTORY"):  # the new name itself must reach the disk, where folders can be opened
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def load(path, expected: Mapping[str, Any] | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, config) of a file that :func:`save` wrote; tensors are on the CPU.

    ``ValueError``, saying what is wrong and what to do: a file that is cut off or damaged (even in one bit), another
    format, or, where ``expected`` is given, another configuration. ``FileNotFoundError`` where there is none.
    """
    data = Path(path).read_bytes()
    try:
        tensors = unpack(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OverflowError) as error:
        raise ValueError(
            f"{path} is cut off, damaged or no safetensors file ({error}): copy it again, or delete it and train again"
        ) from error
    try:
        page = json.loads(header["__metadata__"][_KEY])
        form, config, stated = page["format"], page["config"], page["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} holds tensors, but not what sd.checkpoint.save writes: load it with safetensors"
        ) from error
    if form != FORMAT:
        raise ValueError(f"{path} has the format {form!r} and this version reads {FORMAT!r}: train again")
    if digest(tensors, config) != stated:
        raise ValueError(f"{path} is damaged, its checksum is wrong: copy it again, or delete it and train again")
    if expected is not None:
        agree(path, config, _plain(expected))
    return tensors, config


def agree(path, config: Any, here: Any) -> None:
    """``ValueError``, naming what differs, unless the file's configuration is the one here."""
    told = differences(config, here)
    if told:
        more = f"; and {len(told) - 4} more" if len(told) > 4 else ""
        raise ValueError(
            f"{path} belongs to another configuration: {'; '.join(told[:4])}{more}. Use that, or another path"
        )


def digest(tensors: Mapping[str, Tensor], config: Any = None) -> str:
    """SHA-256 of the names, dtypes, shapes and bytes of the tensors, and of the configuration."""
    sha = hashlib.sha256(json.dumps([FORMAT, config], sort_keys=True).encode())
    for name in sorted(tensors):
        v = tensors[name].detach().cpu().contiguous()
        sha.update(json.dumps([name, str(v.dtype), list(v.shape)]).encode())
        sha.update(v.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def differences(file: Any, here: Any, name: str = "") -> list[str]:
    """What differs between two configurations, by dotted name: "network.width: 128 in the file, 64 here"."""
    if isinstance(file, dict) and isinstance(here, dict):
        parts = [
            differences(file.get(key, "nothing"), here.get(key, "nothing"), f"{name}.{key}".strip("."))
            for key in sorted({*file, *here})
        ]
        return [line for part in parts for line in part]
    return [] if file == here else [f"{name}: {_short(file)} in the file, {_short(here)} here"]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:100]}…{text[-15:]}"


def _plain(value: Any) -> Any:
    """Tuples become lists, as in JSON."""
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
