"""Real images: kana drawn from fonts (in the repository), MNIST and its relatives (downloaded on request)."""

from sdelab.data.common import Dataset
from sdelab.data.idx import load_fashion, load_kmnist, load_mnist
from sdelab.data.kana import load_kana

__all__ = ["Dataset", "load_fashion", "load_kana", "load_kmnist", "load_mnist"]
