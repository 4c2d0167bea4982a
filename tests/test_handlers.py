"""Handlers of a training: its history, also where it was interrupted, and gradients of bounded length."""

from __future__ import annotations

import csv
import math
from types import SimpleNamespace

import pytest
import torch
from ignite.metrics import Average
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import MeanDice, ValidationHandler, from_engine
from torch import nn

from beyond2d import handlers
from beyond2d.handlers import Checkpoints, ClipGradients, History
from beyond2d.losses import SegmentationLoss
from beyond2d.transforms import KnownOneHotd

MINUTE, STEPS = 60.0, 3


class Clock:
    """Stands in for the module `time`: it goes on by a minute a training step and by an hour a validation."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


class SlowNetwork(nn.Module):
    """A network whose steps take time on a clock of their own."""

    def __init__(self, clock):
        super().__init__()
        self.layer = nn.Conv3d(1, 2, kernel_size=1)
        self.clock = clock

    def forward(self, image):
        self.clock.now += MINUTE if self.training else 60 * MINUTE
        return self.layer(image)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(handlers, "time", clock)
    return clock


def train(folder, clock, epochs, resume=False, interval=1, best_file=None):
    """A training of a few steps an epoch, with the handlers in the order of the configs."""
    torch.manual_seed(0)
    network = SlowNetwork(clock)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=10)
    item = {"image": torch.randn(1, 1, 4, 4, 4), "label": torch.randint(2, (1, 1, 4, 4, 4)).float()}
    dice = MeanDice(include_background=False, output_transform=from_engine(["pred", "label"]))
    evaluator = SupervisedEvaluator(
        torch.device("cpu"), [item], network, postprocessing=KnownOneHotd(), key_val_metric={"val_dice": dice}
    )
    trainer = SupervisedTrainer(
        torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=[item] * STEPS,
        network=network,
        optimizer=optimizer,
        loss_function=SegmentationLoss(),
        postprocessing=KnownOneHotd(),
        key_train_metric={
            "train_dice": MeanDice(include_background=False, output_transform=from_engine(["pred", "label"]))
        },
        additional_metrics={"train_loss": Average(output_transform=from_engine(["loss"], first=True))},
        train_handlers=[
            ValidationHandler(interval=interval, validator=evaluator, epoch_level=True),
            Checkpoints(str(folder), network, optimizer, evaluator, schedule, resume=resume, best_file=best_file),
            History(str(folder), evaluator, resume=resume),
        ],
    )
    trainer.run()
    return trainer, evaluator


def test_the_best_network_goes_where_it_shall(tmp_path, clock):
    train(tmp_path / "one", clock, epochs=1)
    train(tmp_path / "other", clock, epochs=1, best_file=str(tmp_path / "models" / "model.pt"))
    assert not (tmp_path / "other" / "model.pt").exists()
    assert (tmp_path / "other" / "last.pt").is_file()
    one, other = (torch.load(tmp_path / folder / "model.pt", weights_only=True) for folder in ("one", "models"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def rows_of(folder):
    with (folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def times_of(folder):
    return [(int(row["epoch"]), float(row["minutes"])) for row in rows_of(folder)]


def test_each_validation_is_a_line_and_its_own_time_is_left_out(tmp_path, clock):
    trainer, evaluator = train(tmp_path, clock, epochs=3)
    assert times_of(tmp_path) == [(1, 3.0), (2, 6.0), (3, 9.0)]
    last = rows_of(tmp_path)[-1]
    assert tuple(last) == History.columns
    assert float(last["train_loss"]) == pytest.approx(float(trainer.state.metrics["train_loss"]))
    assert float(last["train_metric"]) == pytest.approx(float(trainer.state.metrics["train_dice"]))
    assert float(last["metric"]) == pytest.approx(float(evaluator.state.metrics["val_dice"]))


def test_a_resumed_training_goes_on_with_its_lines_and_minutes(tmp_path, clock):
    train(tmp_path / "whole", clock, epochs=4)
    train(tmp_path / "parts", clock, epochs=2)
    clock.now += 1e6  # nobody trained in between
    train(tmp_path / "parts", clock, epochs=4, resume=True)
    assert rows_of(tmp_path / "parts") == rows_of(tmp_path / "whole")


def test_a_line_beyond_the_last_checkpoint_is_written_again(tmp_path, clock):
    train(tmp_path, clock, epochs=1)
    checkpoint = (tmp_path / "last.pt").read_bytes()
    train(tmp_path, clock, epochs=2, resume=True)
    (tmp_path / "last.pt").write_bytes(checkpoint)  # as if it had been interrupted before the second was saved
    train(tmp_path, clock, epochs=3, resume=True)
    assert times_of(tmp_path) == [(1, 3.0), (2, 6.0), (3, 9.0)]


def test_epochs_after_the_last_validation_count_when_a_training_is_resumed(tmp_path, clock):
    train(tmp_path, clock, epochs=3, interval=2)
    assert times_of(tmp_path) == [(2, 6.0)]
    train(tmp_path, clock, epochs=4, resume=True, interval=2)
    assert times_of(tmp_path) == [(2, 6.0), (4, 12.0)]


def test_a_history_with_a_figure_that_is_no_number_can_be_resumed(tmp_path, clock):
    train(tmp_path, clock, epochs=1)
    history = History(str(tmp_path), SimpleNamespace(), resume=True)
    path = tmp_path / "history.csv"
    path.write_text("epoch,minutes,train_loss,train_metric,metric\n1,3.0,,0.5,\n")
    history._start(SimpleNamespace(state=SimpleNamespace(epoch=1)))
    (row,) = history.rows
    assert (row["epoch"], row["minutes"], row["train_metric"]) == (1, 3.0, 0.5)
    assert math.isnan(row["train_loss"])
    assert math.isnan(row["metric"])


def test_a_training_from_the_beginning_starts_a_new_history(tmp_path, clock):
    train(tmp_path, clock, epochs=3)
    train(tmp_path, clock, epochs=1)
    assert times_of(tmp_path) == [(1, 3.0)]


@pytest.mark.parametrize("max_norm", [0.01, 1e6])
def test_a_long_gradient_is_shortened_and_a_short_one_stays(max_norm):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(1, 3, 1), nn.Conv3d(3, 2, 1))
    item = {"image": torch.randn(1, 1, 4, 4, 4), "label": torch.randint(2, (1, 1, 4, 4, 4)).float()}
    SegmentationLoss()(network(item["image"]), item["label"]).backward()
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    length = torch.cat([gradient.ravel() for gradient in gradients]).norm()
    assert 0.01 < length < 1e6
    before = [parameter.detach().clone() for parameter in network.parameters()]
    SupervisedTrainer(
        torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[item],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
        loss_function=SegmentationLoss(),
        train_handlers=[ClipGradients(network, max_norm)],
    ).run()
    share = min(1.0, max_norm / float(length))
    for parameter, old, gradient in zip(network.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(old - parameter.detach(), share * gradient, atol=1e-6, rtol=1e-3)
