"""What a fit takes beside the data, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

_FIT = """
import resource, warnings
import numpy as np, torch
from genmix import DNNMixture, GANMixture

def peak():  # MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

warnings.simplefilter("ignore")
torch.set_num_threads(1)
rng, kind = np.random.default_rng(0), {kind}
model = kind(10, init="random", max_iter=1, random_state=0, device="cpu").set_params(m_step__steps=1)
model.set_params(**{settings})
model.fit(rng.normal(size=(300, 50)).astype(np.float32))  # what is loaded when it is first used
X = rng.normal(size=(100_000, 50)).astype(np.float32)
before = peak()
model.fit(X)
print(peak() - before, X.nbytes / 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units, or missing")
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("GANMixture", {"m_step__pretrain_steps": 1, "e_step__steps": 1, "augmentation": None}),
        (
            "DNNMixture",
            {
                "m_step__encoder_pretrain_steps": 1,
                "m_step__generator_pretrain_steps": 1,
                "augmentation": None,
            },
        ),
    ],
)
def test_a_fit_takes_at_most_twice_the_data_and_a_constant(kind: str, settings: dict[str, object]) -> None:
    code = _FIT.replace("{kind}", kind).replace("{settings}", repr(settings))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    beside, data = map(float, ran.stdout.split())
    assert beside <= 2 * data + 200
