"""The systems that the papers compare with, and reality checks, behind the same verbs as our own models."""

from __future__ import annotations

from genmix.baselines.acai import ACAI
from genmix.baselines.autoencoder import Pretraining
from genmix.baselines.classical import GaussianMixture, KMeans, SemiSupervisedKMeans
from genmix.baselines.clustergan import ClusterGAN
from genmix.baselines.coders import StackedAutoencoder
from genmix.baselines.dcn import DCN
from genmix.baselines.dec import DEC
from genmix.baselines.dynae import DynAE
from genmix.baselines.semisupervised import LabelSpreading, SelfTraining
from genmix.baselines.supervised import FixMatch, SupervisedOnly
from genmix.baselines.vade import VaDE

__all__ = [
    "ACAI",
    "DCN",
    "DEC",
    "ClusterGAN",
    "DynAE",
    "FixMatch",
    "GaussianMixture",
    "KMeans",
    "LabelSpreading",
    "Pretraining",
    "SelfTraining",
    "SemiSupervisedKMeans",
    "StackedAutoencoder",
    "SupervisedOnly",
    "VaDE",
]
