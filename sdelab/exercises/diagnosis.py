"""What checkers are made of: comparing an answer with the right result, then with the results of known mistakes."""

from typing import Any

import torch
from torch import Tensor

from . import Diagnosis

Mistake = tuple[Any, str, str]


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


def unwritten(*results) -> Diagnosis | None:
    if any(result is None or result is ... for result in results):
        return told(
            "nothing is returned yet: write the body and return.",
            "まだ何も返していない。本体を書いて return すること。",
        )
    return None


def no_pair(result, names: str) -> Diagnosis | None:
    if isinstance(result, (tuple, list)) and len(result) == 2:
        return None
    return unwritten(result) or told(f"return the pair {names}.", f"組 {names} を返すこと。")


def equal(got: Tensor, want: Tensor, tol: float = 1e-7) -> bool:
    return torch.allclose(got, want, rtol=0.0, atol=tol * float(want.abs().max()))


def compare(result: Any, want: Tensor, *mistakes: Mistake) -> Diagnosis | None:
    """None if ``result`` is ``want``, else the first mistake it equals, else that it is something else."""
    if said := unwritten(result):
        return said
    got = torch.as_tensor(result).detach().to(torch.float64)
    if got.shape != want.shape:
        a, b = tuple(got.shape), tuple(want.shape)
        return told(f"the result has shape {a}, expected {b}.", f"結果の形が {a} になっている。{b} のはずである。")
    if not got.isfinite().all():
        return told("the result has values that are not finite.", "結果に有限でない値がある。")
    if equal(got, want):
        return None
    for wrong, en, ja in mistakes:
        if equal(got, wrong.detach()):
            return told(en, ja)
    off = float((got - want).abs().max() / want.abs().max())
    return told(
        f"not right yet: off by up to {off:.2g} of the largest value. sd.exercises.hint may help.",
        f"まだ合わない: 最大で、いちばん大きな値の {off:.2g} 倍ずれている。sd.exercises.hint も見てみよう。",
    )


def unknown(said: Diagnosis | None) -> bool:
    """Wrong, of the right shape and finite, but none of the usual mistakes: worth a closer look."""
    return said is not None and said["en"].startswith("not right yet")
