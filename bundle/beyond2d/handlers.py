"""Handlers for training engines: what makes an interrupted training resume to the same result."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.data import set_rnd
from monai.engines.utils import IterationEvents
from monai.utils import set_determinism

from .writers import whole_file, write_csv


class SeedEpochs:
    """Seed every source of randomness by seed and epoch, so that epoch 7 is the same whether resumed or not."""

    def __init__(self, seed: int, datasets: Sequence[torch.utils.data.Dataset]) -> None:
        self.seed = seed
        self.datasets = datasets

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        seed = (self.seed * 100_003 + engine.state.epoch) % 2**31
        set_determinism(seed=seed)
        for dataset in self.datasets:
            set_rnd(dataset, seed=seed)


class Checkpoints:
    """After every epoch, all that resuming needs in `last.pt`, and the network of the best epoch in `model.pt`.

    `model.pt` is a plain state dict of the network. Files are written under another name and then renamed: an
    interruption leaves the earlier ones whole. Of several processes the first one writes and all resume.

    Args:
        folder: for both files.
        network: what is trained.
        optimizer: what trains it.
        evaluator: its key metric tells which epoch is the best.
        schedule: changes the optimizer's learning rate.
        resume: go on from the folder's `last.pt`; a folder without one starts from the beginning.
        start_from: weights to begin with, a `model.pt` or a `last.pt`; None begins with random ones.
        best_file: for the best epoch's network in place of the folder's `model.pt`.
    """

    def __init__(
        self,
        folder: str,
        network: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        evaluator: Engine,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        resume: bool = False,
        start_from: str | None = None,
        best_file: str | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.best_file = self.folder / "model.pt" if best_file is None else Path(best_file)
        self.network = network
        self.optimizer = optimizer
        self.evaluator = evaluator
        self.schedule = schedule
        self.resume = resume
        self.start_from = start_from
        self.best = -float("inf")

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._load)
        if idist.get_rank() == 0:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    def _save(self, engine: Engine) -> None:
        weights = _unwrapped(self.network).state_dict()
        validated: Any = self.evaluator.state
        metric = validated.metrics.get(validated.key_metric_name)
        if metric is not None and metric > self.best:
            self.best = float(metric)
            self._write(self.best_file, weights)
        progress = {"epoch": engine.state.epoch, "iteration": engine.state.iteration, "best": self.best}
        steered = {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}
        self._write(self.folder / "last.pt", {"network": weights, **steered, "progress": progress})

    def _load(self, engine: Engine) -> None:
        last = self.folder / "last.pt"
        if self.resume and last.is_file():
            self._go_on(engine, torch.load(last, map_location="cpu", weights_only=True))
        elif self.start_from is not None:
            state = torch.load(self.start_from, map_location="cpu", weights_only=True)
            _unwrapped(self.network).load_state_dict(state.get("network", state))

    def _go_on(self, engine: Engine, state: dict[str, Any]) -> None:
        _unwrapped(self.network).load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.best = state["progress"]["best"]
        engine.state.epoch = state["progress"]["epoch"]
        engine.state.iteration = state["progress"]["iteration"]

    def _write(self, path: Path, state: dict[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as hidden:
            torch.save(state, hidden)


class ClipGradients:
    """Shorten each step's gradient to a norm of at most `max_norm`, all parameters together."""

    def __init__(self, network: torch.nn.Module, max_norm: float) -> None:
        self.network = network
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.max_norm)


class History:
    """A line of `history.csv` for each validation: epoch, minutes of training, loss and the key metrics.

    The minutes leave validation out and go on where a resumed training was interrupted; epochs after the last line
    count as long as those before it were on average.

    Args:
        folder: for the file.
        evaluator: validates; its key metric makes a column.
        resume: go on with the lines of the folder's file.
    """

    columns = ("epoch", "minutes", "train_loss", "train_metric", "metric")

    def __init__(self, folder: str, evaluator: Engine, resume: bool = False) -> None:
        self.path = Path(folder) / "history.csv"
        self.evaluator = evaluator
        self.resume = resume
        self.rows: list[dict[str, Any]] = []
        self.seconds = self.began = 0.0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        # The epoch's last iteration ends before what follows it: validation and checkpoints.
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._count)
        self.evaluator.add_event_handler(Events.COMPLETED, self._note, engine)

    def _start(self, engine: Engine) -> None:
        if self.resume and self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if int(row["epoch"]) <= engine.state.epoch]
            self.rows = [
                {name: float(row[name] or "nan") for name in self.columns} | {"epoch": int(row["epoch"])}
                for row in rows
            ]
            if self.rows:
                self.seconds = 60 * self.rows[-1]["minutes"] * engine.state.epoch / self.rows[-1]["epoch"]

    def _begin(self, engine: Engine) -> None:
        self.began = time.monotonic()

    def _count(self, engine: Engine) -> None:
        now = time.monotonic()
        self.seconds, self.began = self.seconds + now - self.began, now

    def _note(self, evaluator: Engine, trainer: Engine) -> None:
        state: Any = trainer.state
        figures = {"train_loss": state.metrics["train_loss"], "train_metric": state.metrics[state.key_metric_name]}
        validated: Any = evaluator.state
        metric = float(validated.metrics[validated.key_metric_name])
        self.rows.append({"epoch": state.epoch, "minutes": round(self.seconds / 60, 3), **figures, "metric": metric})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_csv(self.path, self.rows, self.columns)


def _unwrapped(network: torch.nn.Module) -> torch.nn.Module:
    """The network inside its wrapper for several processes."""
    return network.module if isinstance(network, torch.nn.parallel.DistributedDataParallel) else network
