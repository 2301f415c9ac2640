"""Verdicts computed from measurements, in one stable form that nbval compares and the ledger reads."""

WORDS = ("does not hold", "holds partly", "holds")


def verdict(claim: str, checks: dict[str, bool], **figures: float | int | str) -> str:
    """Print every check and one ``VERDICT`` line; return the word.

    All checks true: ``holds``; some: ``holds partly``; none: ``does not hold``. Floats (also NumPy's, and tensors
    of one number) are printed with three significant digits, so round what varies with the platform before passing it.
    """
    if not checks:
        raise ValueError(f"a verdict on {claim} needs at least one check")
    for text, passed in checks.items():
        print(f"  [{'yes' if passed else 'no '}] {text}")
    word = WORDS[2 if all(checks.values()) else 1 if any(checks.values()) else 0]
    plain = {k: getattr(v, "item", lambda v=v: v)() for k, v in figures.items()}
    told = ", ".join(f"{k} = {v:.3g}" if isinstance(v, float) else f"{k} = {v}" for k, v in plain.items())
    print(f"VERDICT {claim}: {word}" + (f" ({told})" if told else ""))
    return word
