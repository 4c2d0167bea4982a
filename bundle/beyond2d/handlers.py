"""Handlers for training engines: what makes an interrupted training resume to the same result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import set_rnd
from monai.utils import set_determinism

from .writers import whole_file


class SeedEpochs:
    """Seed every source of randomness by seed and epoch, so that epoch 7 is the same whether resumed or not."""

    def __init__(self, seed: int, dataset: torch.utils.data.Dataset) -> None:
        self.seed = seed
        self.dataset = dataset

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        seed = (self.seed * 100_003 + engine.state.epoch) % 2**31
        set_determinism(seed=seed)
        set_rnd(self.dataset, seed=seed)


class SaveCheckpoints:
    """After every epoch, all that resuming needs in `last.pt`, and the network of the best epoch in `model.pt`.

    `model.pt` is a plain state dict of the network. Files are written under another name and then renamed: an
    interruption leaves the earlier ones whole.
    """

    def __init__(
        self, folder: str, network: torch.nn.Module, optimizer: torch.optim.Optimizer, evaluator: Engine
    ) -> None:
        self.folder = Path(folder)
        self.network = network
        self.optimizer = optimizer
        self.evaluator = evaluator
        self.best = -float("inf")

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        weights = plain_network(self.network).state_dict()
        validated: Any = self.evaluator.state
        metric = validated.metrics.get(validated.key_metric_name)
        if metric is not None and metric > self.best:
            self.best = float(metric)
            with whole_file(self.folder / "model.pt") as hidden:
                torch.save(weights, hidden)
        progress = {"epoch": engine.state.epoch, "iteration": engine.state.iteration, "best": self.best}
        state = {"network": weights, "optimizer": self.optimizer.state_dict(), "progress": progress}
        with whole_file(self.folder / "last.pt") as hidden:
            torch.save(state, hidden)


class ResumeTraining:
    """Go on from the `last.pt` that `saver` wrote, if `enabled`; a folder without one starts from the beginning."""

    def __init__(self, saver: SaveCheckpoints, enabled: bool) -> None:
        self.saver = saver
        self.enabled = enabled

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        path = self.saver.folder / "last.pt"
        if not (self.enabled and path.is_file()):
            return
        state = torch.load(path, map_location="cpu", weights_only=True)
        plain_network(self.saver.network).load_state_dict(state["network"])
        self.saver.optimizer.load_state_dict(state["optimizer"])
        self.saver.best = state["progress"]["best"]
        engine.state.epoch = state["progress"]["epoch"]
        engine.state.iteration = state["progress"]["iteration"]


def plain_network(network: torch.nn.Module) -> torch.nn.Module:
    """The network inside its wrapper for several processes."""
    return network.module if isinstance(network, torch.nn.parallel.DistributedDataParallel) else network
