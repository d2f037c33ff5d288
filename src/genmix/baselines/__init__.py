"""The systems that the papers compare with, and reality checks, behind the same verbs as our own models."""

from __future__ import annotations

from genmix.baselines.autoencoder import Pretraining, StackedAutoencoder
from genmix.baselines.dcn import DCN
from genmix.baselines.dec import DEC
from genmix.baselines.vade import VaDE

__all__ = ["DCN", "DEC", "Pretraining", "StackedAutoencoder", "VaDE"]
