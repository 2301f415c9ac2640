"""What the peers' tests share."""

import pytest
import torch


@pytest.fixture
def double(monkeypatch):
    """diffusers and k-diffusion make coefficients in the default type, and diffusers casts some to float32."""
    kept = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    monkeypatch.setattr(torch, "float32", torch.float64)
    yield
    torch.set_default_dtype(kept)
