"""K GANs as one batched computation against a Python loop over the same networks, in one run.

    python benchmarks/speed.py [--components 10] [--threads 1 2] [--steps 60]

Both do one generator step and five critic steps of every GAN with the same losses, optimisers and batch
sizes: with the published networks and training (one hidden layer of 64, WGAN), and with our default ones (two
hidden layers, Adam, without the penalty). The ratio is what counts. Lines are written to
results/speed.jsonl, in place of those of before.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import torch
from torch import nn

import genmix
from genmix.ganmm.m_step import Components, MStep
from genmix.nn.adversarial import OBJECTIVES, Adversarial, clip_weights
from genmix.training.engine import Engine

SETTINGS: dict[str, dict[str, Any]] = {
    "published networks, WGAN": {
        "step": MStep("wgan", batch_size=50, latent_dim=64, average=0.0),
        "hidden": ((64,), (64,)),
        "negative_slope": 0.0,
        "networks": {"generator": "ganmm-2018", "critic": "ganmm-2018"},
    },
    "default networks, logistic": {
        "step": MStep(Adversarial(penalty=None, critic_steps=5), average=0.0),
        "hidden": ((64, 128), (128, 64)),
        "negative_slope": 0.2,
        "networks": {"generator": {"kind": "mlp", "norm": None}, "critic": "mlp"},
    },
}


def mlp(widths: list[int], negative_slope: float) -> nn.Sequential:
    """Build one of the networks that `StackedMLP` stacks, of plain torch modules."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.LeakyReLU(negative_slope) if negative_slope else nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def minimize(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """One step, gradients of its own parameters only, as in genmix."""
    parameters = optimizer.param_groups[0]["params"]
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimizer.step()


def looped(
    k: int, d: int, steps: int, *, step: MStep, hidden: Any, negative_slope: float, networks: Any
) -> float:
    """Seconds of the Python loop."""
    objective = OBJECTIVES[step.objective] if isinstance(step.objective, str) else step.objective
    latent, batch = step.latent_dim or 32, step.batch_size
    generators = [mlp([latent, *hidden[0], d], 0.0) for _ in range(k)]
    critics = [mlp([d, *hidden[1], 1], negative_slope) for _ in range(k)]
    g_optimizers = [objective.make_optimizer(g.parameters(), objective.generator_lr) for g in generators]
    c_optimizers = [objective.make_optimizer(c.parameters(), objective.critic_lr) for c in critics]
    data, unused = torch.randn(2000, d), torch.Generator()
    begun = time.perf_counter()
    for _ in range(steps):
        for g, c, g_optimizer, c_optimizer in zip(
            generators, critics, g_optimizers, c_optimizers, strict=True
        ):

            def scores(x: torch.Tensor, c: nn.Module = c) -> torch.Tensor:
                return c(x[0]).T

            minimize(g_optimizer, objective.generator_loss(scores(g(torch.randn(batch, latent))[None])))
            for number in range(objective.critic_steps):
                real = data[torch.randint(len(data), (batch,))][None]
                with torch.no_grad():
                    fake = g(torch.randn(batch, latent))[None]
                minimize(c_optimizer, objective.critic_loss(scores, real, fake, number, unused, joint=True))
                if objective.clip is not None:
                    for parameter in c.parameters():
                        clip_weights(parameter, objective.clip)
    return time.perf_counter() - begun


def batched(
    k: int, d: int, steps: int, *, step: MStep, networks: Any, hidden: Any, negative_slope: float
) -> float:
    """Seconds of genmix."""
    gans = Components(k, (d,), replace(step), networks, Engine("cpu", 0))
    data, own = torch.randn(2000, d), torch.ones(k, 2000)
    gans.train(data, own, own, 0.0, 5)
    begun = time.perf_counter()
    gans.train(data, own, own, 0.0, steps)
    return time.perf_counter() - begun


def main() -> None:
    """Measure both in turn, and write the ratio of the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--components", type=int, default=10)
    parser.add_argument("--features", type=int, default=19)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    o = parser.parse_args()
    records = []
    for threads, (name, setting) in product(o.threads, SETTINGS.items()):
        torch.set_num_threads(threads)
        size = (o.components, o.features, o.steps)
        pairs = [(looped(*size, **setting), batched(*size, **setting)) for _ in range(o.repeats)]
        loop, stack = (sorted(side)[o.repeats // 2] / o.steps * 1000 for side in zip(*pairs, strict=True))
        record = {"what": name, **vars(o), "threads": threads}
        record |= {"loop_ms": round(loop, 2), "batched_ms": round(stack, 2), "ratio": round(loop / stack, 2)}
        record |= {"torch": torch.__version__, "version": genmix.__version__}
        records.append(record)
        print(json.dumps(record), flush=True)
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (Path(__file__).parents[1] / "results" / "speed.jsonl").write_text(lines)


if __name__ == "__main__":
    main()
