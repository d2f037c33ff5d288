"""What belongs to the whole process, and no fit may change."""

from __future__ import annotations

import os
import random
import warnings
from typing import Any

import matplotlib
import numpy as np
import torch


def global_state() -> dict[str, Any]:
    """Return all of it, to be compared before and after."""
    return {
        "torch's random state": torch.get_rng_state().tolist(),
        "numpy's random state": str(np.random.get_state(legacy=False)),  # noqa: NPY002
        "python's random state": random.getstate(),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "warning filters": list(warnings.filters),
        "plot settings": dict(matplotlib.rcParams),
        "environment": (dict(os.environ), os.getcwd()),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "precision": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "numpy's errors": np.geterr(),
    }
