"""Memory and time of one training step of the paper's autoencoder: plain and lean, float32 and bfloat16.

Each way runs in a process of its own: a step on a small volume warms up, then `--repeats` steps are timed (the median
counts). Memory is what the steps add to the process's peak, so parameters, gradients, the volume and the optimizer's
state are in it. Gradients are those of the first timed step, of all parameters together; their error is the distance
from those of plain training in float64, relative to their length. Without --ways all four run; plain training of 384
voxels needs about 30 GiB, and the reference in float64 twice as much.

    python scripts/bench_lean.py                                # 192 voxels, all four ways
    python scripts/bench_lean.py --size 384 --ways lean lean-bf16 --repeats 1 --no-reference
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from monai.losses import FocalLoss

from beyond2d.lean import lean
from beyond2d.networks import DenoisingAutoencoder

KIB_PER_GIB = 2**20
WAYS = ("plain", "lean", "plain-bf16", "lean-bf16")
REFERENCE = "plain-f64"
WARM_UP_SIZE = 32


@dataclass(frozen=True)
class Measurement:
    """Median seconds of a step, what it adds to the peak in GiB, and the gradients of the first, laid end to end."""

    seconds: float
    added_gib: float
    gradients: torch.Tensor


def main() -> None:
    arguments = parse_arguments()
    exact = measure_apart(REFERENCE, arguments, repeats=1).gradients if arguments.reference else None
    measured = {way: measure_apart(way, arguments, arguments.repeats) for way in arguments.ways}
    first = measured[arguments.ways[0]]
    print(f"{arguments.size} cubed, relative to {arguments.ways[0]}:")
    print(f"{'':12}{'step':>10}{'ratio':>8}{'memory':>12}{'ratio':>8}{'error of gradients':>22}")
    for way, found in measured.items():
        error = math.nan if exact is None else float((found.gradients - exact).norm() / exact.norm())
        times = f"{found.seconds:8.2f} s{found.seconds / first.seconds:8.2f}"
        memory = f"{found.added_gib:8.2f} GiB{found.added_gib / first.added_gib:8.2f}"
        print(f"{way:12}{times}{memory}{error:22.1e}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=192, help="voxels along each axis (default: 192)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="what to measure (default: all)")
    parser.add_argument("--repeats", type=int, default=3, help="timed steps each (default: 3)")
    parser.add_argument("--reference", action=argparse.BooleanOptionalAction, default=True, help="measure the error")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: 2)")
    return parser.parse_args()


def measure_apart(way: str, arguments: argparse.Namespace, repeats: int) -> Measurement:
    """`measure` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure, way, arguments.size, repeats, arguments.threads).result()


def measure(way: str, size: int, repeats: int, threads: int) -> Measurement:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    dtype = torch.float64 if way == REFERENCE else torch.float32
    network = lean(DenoisingAutoencoder().to(dtype), way.startswith("lean")).to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    mixed = way.endswith("bf16")
    start = {name: value.clone() for name, value in network.state_dict().items()}
    step(network, WARM_UP_SIZE, mixed)
    network.load_state_dict(start)
    before, seconds, gradients = peak_gib(), [], torch.zeros(0)
    for number in range(repeats):
        optimizer.zero_grad()
        began = time.perf_counter()
        step(network, size, mixed)
        if number == 0:
            gradients = torch.cat([parameter.grad.flatten().double() for parameter in network.parameters()])
        optimizer.step()
        seconds.append(time.perf_counter() - began)
    return Measurement(statistics.median(seconds), peak_gib() - before, gradients)


def step(network: torch.nn.Module, size: int, mixed: bool) -> None:
    """Forward and backward on a volume with about half a per cent of vessel."""
    generator = torch.Generator().manual_seed(1)
    dtype = next(network.parameters()).dtype
    volume = torch.rand((1, 1, size, size, size), generator=generator).to(dtype)
    label = (volume > 0.995).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        logits = network(volume)
    FocalLoss(alpha=0.5, gamma=0.2)(logits.to(dtype), label).backward()


def peak_gib() -> float:
    """The process's own peak; what resource.getrusage gives would begin with that of the parent."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / KIB_PER_GIB


if __name__ == "__main__":
    main()
