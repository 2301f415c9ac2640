"""What checkers are made of: comparing an answer with the right result, then with the results of known mistakes."""

import torch
from torch import Tensor

from . import Diagnosis


def told(en: str, ja: str) -> Diagnosis:
    return {"en": en, "ja": ja}


def close(got: Tensor, want: Tensor, tol: float = 1e-6) -> bool:
    """Same shape, and equal up to ``tol`` times the size of ``want``."""
    return got.shape == want.shape and torch.allclose(got.to(want), want, rtol=tol, atol=tol * float(want.abs().max()))


def wrong_shape(name: str, got: Tensor, want: Tensor) -> Diagnosis | None:
    if got.shape == want.shape:
        return None
    a, b = tuple(got.shape), tuple(want.shape)
    return told(f"{name} has shape {a}, expected {b}.", f"{name} の形が {a} になっている。{b} のはずである。")


def mistake(got: Tensor, mistakes) -> Diagnosis | None:
    """The first of the rows (wrong result, English, Japanese) that ``got`` equals."""
    return next((told(en, ja) for wrong, en, ja in mistakes if close(got, wrong)), None)


def unwritten(result) -> Diagnosis | None:
    if result is None or result is ...:
        return told(
            "nothing is returned yet: write the body and return.",
            "まだ何も返していない。本体を書いて return すること。",
        )
    return None


def no_pair(result, names: str) -> Diagnosis | None:
    if isinstance(result, (tuple, list)) and len(result) == 2:
        return None
    return unwritten(result) or told(f"return the pair {names}.", f"組 {names} を返すこと。")
