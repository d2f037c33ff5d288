"""K GANs as one batched computation against a Python loop over the same networks, in one run.

    python benchmarks/speed.py [--components 10] [--threads 2] [--steps 200]

Both do one generator step and five critic steps of every GAN (the balance of the published code), with Adam
and networks of two hidden layers. The ratio is what counts; it is written to results/speed.json.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

import genmix
from genmix.components import Components, MStep
from genmix.engine import Engine
from genmix.gan import Adversarial


def mlp(widths: list[int], slope: float) -> nn.Sequential:
    """Build the network that `StackedMLP` stacks, as plain torch modules."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.LeakyReLU(slope)]
    return nn.Sequential(*layers[:-1])


def looped(k: int, d: int, step: MStep, objective: Adversarial, steps: int) -> float:
    """Seconds of the Python loop."""
    generators = [mlp([step.latent_dim or 32, 64, 128, d], 0.0) for _ in range(k)]
    critics = [mlp([d, 128, 64, 1], 0.2) for _ in range(k)]
    g_opts = [torch.optim.Adam(g.parameters(), 1e-3, betas=objective.betas) for g in generators]
    d_opts = [torch.optim.Adam(c.parameters(), 1e-3, betas=objective.betas) for c in critics]
    data, batch = torch.randn(2000, d), step.batch_size
    begun = time.perf_counter()
    for _ in range(steps):
        for g, c, g_opt, d_opt in zip(generators, critics, g_opts, d_opts, strict=True):
            loss = objective.generator_loss(c(g(torch.randn(batch, step.latent_dim or 32))).T)
            for p, gradient in zip(
                g.parameters(), torch.autograd.grad(loss, list(g.parameters())), strict=True
            ):
                p.grad = gradient
            g_opt.step()
            for _ in range(objective.critic_steps):
                real = data[torch.randint(len(data), (batch,))]
                with torch.no_grad():
                    fake = g(torch.randn(batch, step.latent_dim or 32))
                scores = c(torch.cat([real, fake])).T
                loss = (
                    nn.functional.softplus(-scores[:, :batch]) + nn.functional.softplus(scores[:, batch:])
                ).mean()
                for p, gradient in zip(
                    c.parameters(), torch.autograd.grad(loss, list(c.parameters())), strict=True
                ):
                    p.grad = gradient
                d_opt.step()
    return time.perf_counter() - begun


def batched(k: int, d: int, step: MStep, steps: int) -> float:
    """Seconds of genmix."""
    networks = {"generator": {"kind": "mlp", "norm": None}, "critic": "mlp"}
    gans = Components(k, (d,), step, networks, Engine("cpu", 0))
    data, own = torch.randn(2000, d), torch.ones(k, 2000)
    gans.train(data, own, own, 0.0, 5)
    begun = time.perf_counter()
    gans.train(data, own, own, 0.0, steps)
    return time.perf_counter() - begun


def main() -> None:
    """Measure both, alternating, and write the ratio of the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--components", type=int, default=10)
    parser.add_argument("--features", type=int, default=19)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    objective = Adversarial(penalty=None, critic_steps=5)
    step = MStep(objective, average=0.0)
    pairs = [
        (
            looped(o.components, o.features, step, objective, o.steps),
            batched(o.components, o.features, step, o.steps),
        )
        for _ in range(o.repeats)
    ]
    loop, stack = (sorted(side)[o.repeats // 2] / o.steps * 1000 for side in zip(*pairs, strict=True))
    record = {"what": "1 generator + 5 critic steps of all components, MLP", **vars(o)}
    record |= {"loop_ms": round(loop, 2), "batched_ms": round(stack, 2), "ratio": round(loop / stack, 2)}
    record |= {"torch": torch.__version__, "version": genmix.__version__}
    path = Path(__file__).parents[1] / "results" / "speed.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record))


if __name__ == "__main__":
    main()
