"""The loop: steps redone by hand, the rate at every point, what is kept, and when it stops."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
from support.helpers import CPU, make_tiny, random_images
from support.loop import K, draw, make_trainer, new_head, one_hot, plain, run, split
from torch import Tensor, nn

from pipeline.core.errors import TrainError
from pipeline.train.state import Epoch, TrainState
from pipeline.train.step import Batch
from pipeline.train.trainer import is_better, keep_weights, validate


def test_accumulated_batches_follow_the_same_schedule() -> None:
    data, cosine = draw(21), {"name": "cosine", "warmup": 0.3}
    _, small = run(plain(batch_size=4, accumulation_steps=3, epochs=4, schedule=cosine), data)
    _, large = run(plain(batch_size=12, accumulation_steps=1, epochs=4, schedule=cosine), data)
    assert [epoch.learning_rate for epoch in small] == [epoch.learning_rate for epoch in large]


def test_the_training_loss_is_the_mean_over_images() -> None:
    data, start = draw(10), new_head()  # batches of 4, 4 and 2
    _, history = run(plain(batch_size=4, optimizer={"learning_rate": 1e-12}), data)
    expected = nn.functional.cross_entropy(start(data[0]), data[1]).item()
    assert history[0].train_loss == pytest.approx(expected, rel=1e-6)
    by_batch = [nn.functional.cross_entropy(start(x), y).item() for x, y in split(data, 4)(1, 0)]
    assert history[0].train_loss != pytest.approx(sum(by_batch) / 3, rel=1e-3)


def test_the_rate_follows_the_schedule_through_all_epochs() -> None:
    changes = {"batch_size": 4, "epochs": 4, "schedule": {"name": "step", "steps": [0.5, 0.75]}}
    _, history = run(plain(**changes), draw(8))
    # noted after the last step of an epoch: what the next epoch begins with
    assert [epoch.learning_rate for epoch in history] == pytest.approx([0.5, 0.05, 0.005, 0.005])
    _, history = run(plain(**{**changes, "schedule": {"name": "cosine", "warmup": 0.0}}), draw(8))
    assert history[1].learning_rate == pytest.approx(0.25)
    assert history[-1].learning_rate == pytest.approx(0, abs=1e-12)


# --- which epoch is kept ---------------------------------------------------------------------------------------------


def epoch(loss: float, accuracy: float) -> Epoch:
    return Epoch(1, 0.0, loss, accuracy, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("checkpoint", "new", "best", "expected"),
    [
        ("val_accuracy", epoch(0.9, 0.8), epoch(0.1, 0.7), True),
        ("val_accuracy", epoch(0.1, 0.7), epoch(0.9, 0.8), False),
        ("val_accuracy", epoch(0.1, 0.8), epoch(0.9, 0.8), True),  # equal accuracy: the lower loss
        ("val_accuracy", epoch(0.9, 0.8), epoch(0.9, 0.8), False),  # equal in both: the earlier epoch stays
        ("val_accuracy", epoch(0.5, 0.0), epoch(0.6, 0.0), True),
        ("val_loss", epoch(0.1, 0.0), epoch(0.2, 1.0), True),
        ("val_loss", epoch(0.2, 1.0), epoch(0.2, 0.0), False),
        ("held_out_loss", epoch(0.1, 0.0), epoch(0.2, 1.0), True),
        ("held_out_loss", epoch(0.2, 1.0), epoch(0.2, 0.0), False),
        ("last", epoch(9.0, 0.0), epoch(0.1, 1.0), True),
    ],
)
def test_is_better(checkpoint: str, new: Epoch, best: Epoch, expected: bool) -> None:
    assert is_better(new, best, checkpoint) is expected


@pytest.mark.parametrize("checkpoint", ["val_loss", "val_accuracy", "last"])
def test_the_module_is_left_with_the_weights_of_the_best_epoch(checkpoint: str) -> None:
    """Validation sees the labels turned around, so that learning makes it worse: the first epoch is best, and not the
    last."""
    data = draw(16)
    wrong = one_hot((data[0], (data[1] + 1) % K))
    seen: list[Tensor] = []
    head = new_head()

    def val_batches() -> Iterable[Batch]:
        seen.append(head.weight.detach().clone())
        return [wrong]

    settings = plain(batch_size=4, epochs=5, checkpoint=checkpoint, optimizer={"learning_rate": 0.2})
    training = make_trainer(settings, data, head, val_batches).run()
    history, best = training.history, training.best
    assert len(history) == len(seen) == 5
    losses = [row.val_loss or 0.0 for row in history]
    assert losses[0] < min(losses[1:])
    ranks = [(-(row.val_accuracy or 0.0), row.val_loss or 0.0) for row in history]
    kept = {"last": 4, "val_loss": 0, "val_accuracy": ranks.index(min(ranks))}[checkpoint]
    assert kept < 4 or checkpoint == "last"
    assert best == history[kept]
    assert torch.equal(head.weight, seen[kept])
    assert not torch.equal(seen[0], seen[-1])


def test_what_is_frozen_is_not_copied_and_copies_are_used_again() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    module[0].requires_grad_(False)
    first = keep_weights(module, None)
    assert set(first) == {"1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"}
    places = {name: value.data_ptr() for name, value in first.items()}
    with torch.no_grad():
        module[1].weight.fill_(7.0)
        module[1].running_mean.fill_(5.0)
    assert first["1.weight"].tolist() == [1.0, 1.0]  # a copy
    again = keep_weights(module, first)
    assert again["1.weight"].tolist() == [7.0, 7.0]
    assert again["1.running_mean"].tolist() == [5.0, 5.0]
    assert {name: value.data_ptr() for name, value in again.items()} == places


def test_waiting_for_batches_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only reading moves: one second a batch."""
    now = [0.0]
    monkeypatch.setattr("pipeline.train.trainer.time.perf_counter", lambda: now[0])
    waited: list[float] = []

    def slow(epoch: int, start: int) -> Iterable[Batch]:
        for batch in split(draw(12), 4)(epoch, start):
            now[0] += 1.0
            yield batch

    class Watch(Recorder):
        def step(self, state: TrainState, images: int) -> None:
            waited.append(state.waited)

    trainer = make_trainer(plain(batch_size=4, epochs=2), draw(12), new_head(), observers=[Watch()])
    trainer.task = replace(trainer.task, train_batches=slow)
    assert [row.seconds for row in trainer.run().history] == [3.0, 3.0]
    assert waited == [1.0, 2.0, 3.0] * 2  # of each epoch anew


def test_validate_by_hand() -> None:
    identity = nn.Identity()
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0]])
    rows = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0], [1.0, 0.0, 1.0]])
    batches = [(logits[:2], rows[:2]), (logits[2:], rows[2:])]  # uneven: the mean is over images, not batches
    settings = plain(loss="single_label", label_smoothing=0.3)  # which validation leaves out
    loss, accuracy = validate(identity, batches, settings, CPU)
    log = logits.log_softmax(dim=1)
    expected = -(log[0, 0] + (log[1, 0] + log[1, 2]) / 2 + (log[2, 0] + log[2, 2]) / 2) / 3
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    assert accuracy == pytest.approx(2 / 3)
    assert validate(identity, [], settings, CPU) == (None, None)


def test_validation_changes_no_statistics_and_training_resumes_after_it() -> None:
    """Every batch norm counts the batches of training, and none of validation."""
    classifier, images, labels = make_tiny(), random_images(4, 3, 48, 64), torch.tensor([0, 1, 2, 0])
    settings = plain(batch_size=2, epochs=2, backbone={"trained": True, "batch_norm": "trained", "weights": "none"})
    val: list[Batch] = [(images, torch.eye(3)[labels])]
    make_trainer(settings, (images, labels), classifier, lambda: val).run()
    counts = [value.item() for name, value in classifier.state_dict().items() if "num_batches" in name]
    assert len(counts) > 5
    assert set(counts) == {4}


def test_a_rate_that_is_too_high_stops_with_the_cause() -> None:
    data = draw(16)
    settings = plain(
        batch_size=4, epochs=20, optimizer={"learning_rate": 1e3, "weight_decay": 1.0}
    )  # times -9999 at every step
    with pytest.raises(
        TrainError, match=r"train_loss: expected a finite number, got .*; likely the learning rate is too high"
    ):
        run(settings, data)


def test_a_last_step_that_diverges_is_seen_by_validation() -> None:
    """The loss of the only batch is finite; the weights after it are not."""
    data = draw(4)
    settings = plain(batch_size=4, optimizer={"learning_rate": 3.3e37}, checkpoint="val_accuracy")
    with pytest.raises(TrainError, match="val_loss: expected a finite number"):
        make_trainer(settings, data, new_head(), lambda: [one_hot(data)]).run()


# --- observers -------------------------------------------------------------------------------------------------------


class Recorder:
    """What an observer is told."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, int]] = []
        self.epochs: list[Epoch] = []
        self.closed = 0

    def step(self, state: TrainState, images: int) -> None:
        self.steps.append((state.epoch, state.step, images))

    def epoch(self, row: Epoch) -> None:
        self.epochs.append(row)

    def close(self) -> None:
        self.closed += 1


def test_observers_hear_of_every_step_and_epoch() -> None:
    recorder = Recorder()
    settings = plain(batch_size=4, accumulation_steps=2, epochs=2)
    training = make_trainer(settings, draw(11), new_head(), observers=[recorder]).run()
    assert recorder.steps == [(1, 1, 8), (1, 2, 3), (2, 3, 8), (2, 4, 3)]
    assert tuple(recorder.epochs) == training.history
    assert recorder.closed == 1


def test_observers_are_closed_after_an_error_too() -> None:
    recorder = Recorder()
    settings = plain(batch_size=4, epochs=20, optimizer={"learning_rate": 1e3, "weight_decay": 1.0})
    with pytest.raises(TrainError):
        make_trainer(settings, draw(16), new_head(), observers=[recorder]).run()
    assert recorder.closed == 1


def test_a_step_reads_a_batch_only_when_its_turn_comes() -> None:
    """No list of micro-batches: the gradient of one is computed before the next is read."""
    data, order, head = draw(12), list[str](), new_head()
    head.register_forward_hook(lambda *_: order.append("forward"))

    def train_batches(epoch: int, start: int) -> Iterable[Batch]:
        for batch in split(data, 4)(epoch, start):
            order.append("read")
            yield batch

    trainer = make_trainer(plain(batch_size=4, accumulation_steps=3), data, head)
    trainer.task = replace(trainer.task, train_batches=train_batches)
    trainer.advance()
    assert order == ["read", "forward"] * 3


def test_no_loss_is_read_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU each reading waits for the device."""
    readings = []
    plain_float = Tensor.__float__
    monkeypatch.setattr(Tensor, "__float__", lambda value: readings.append(1) or plain_float(value))
    monkeypatch.setattr(Tensor, "item", lambda value: readings.append(1) or plain_float(value))
    make_trainer(plain(batch_size=1, epochs=1), draw(40), new_head()).run()
    assert len(readings) <= 3  # the end of the epoch, for the check and the history
