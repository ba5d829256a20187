"""A training that was stopped: it goes on from the last whole state, up to the epochs asked for."""

import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from support.loop import draw, make_trainer, new_head, one_hot, plain
from torch import nn

from pipeline.core.errors import StoreError
from pipeline.core.scratch import Interval, Scratch
from pipeline.train.checkpoints import Checkpoints, checkpoints_of
from pipeline.train.trainer import Trainer

SETTINGS = plain(
    batch_size=4,
    epochs=3,
    checkpoint="val_loss",
    optimizer={"name": "adamw", "learning_rate": 0.01},
    schedule={"name": "cosine", "warmup": 0.2},
)
STEPS = 4  # of an epoch: 14 images in batches of 4


class StoppedError(Exception):
    """Stands for a signal."""


def trainer(folder: Path | None, minutes: float = 0) -> Trainer:
    data, scratch = draw(14), Scratch(folder, Interval(minutes)) if folder else None
    made = make_trainer(SETTINGS, data, new_head(), lambda: [one_hot(draw(9, seed=4))])
    return Trainer(made.task, SETTINGS, made.hardware, (), checkpoints_of(scratch, "head"))


def stop_after(made: Trainer, steps: int) -> None:
    """Run until so many steps of this run are done; the state of the last one is not kept."""
    plain_advance, count = made.advance, [0]

    def advance() -> None:
        if count[0] == steps:
            raise StoppedError
        plain_advance()
        count[0] += 1

    made.advance = advance  # type: ignore[method-assign]
    with pytest.raises(StoppedError):
        made.run()


def weights(module: nn.Module) -> dict[str, Any]:
    return {name: value.tolist() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("stops", [[1], [3, 2], [4], [5, 1, 4], [11]])
def test_a_stopped_training_ends_with_the_weights_of_one_that_was_not(
    stops: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = trainer(None)
    expected = whole.run()
    for steps in stops:
        stop_after(trainer(tmp_path), steps)
    last = trainer(tmp_path)
    assert last.state.step == sum(stops)
    epoch, step = divmod(sum(stops), STEPS)
    assert f"note: head resumes at epoch {epoch + 1}, step {step} of 4" in capsys.readouterr().err
    found = last.run()
    assert weights(last.task.module) == weights(whole.task.module)
    assert [row.train_loss for row in found.history] == [row.train_loss for row in expected.history]
    assert found.best.epoch == expected.best.epoch


def test_a_finished_training_makes_no_step_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = trainer(tmp_path, minutes=60)
    first.run()
    assert len(list(tmp_path.iterdir())) == 1, "the last state is kept whatever the time"
    again = trainer(tmp_path)
    assert again.finished
    assert "note: head was finished" in capsys.readouterr().err
    again.advance = lambda: pytest.fail("a step")  # type: ignore[method-assign]
    again.run()
    assert weights(again.task.module) == weights(first.task.module)


def test_two_states_are_kept_and_a_damaged_one_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stop_after(trainer(tmp_path), 7)
    older, newer = sorted(tmp_path.iterdir())
    assert (older.name[:19], newer.name[:19]) == ("head-step-000000006", "head-step-000000007")
    newer.write_bytes(newer.read_bytes()[:-1])
    assert trainer(tmp_path).state.step == 6
    assert "warning: head: head-step-000000007 is damaged and not used" in capsys.readouterr().err
    older.write_bytes(b"")
    assert trainer(tmp_path).state.step == 0


def test_states_are_written_when_the_interval_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, times = trainer(tmp_path, minutes=1), iter([10, 59, 61, 62, 120, 122])
    monkeypatch.setattr("time.monotonic", lambda: next(times) + start)
    start = made.checkpoints.scratch.interval._last if made.checkpoints else 0.0
    written = []
    monkeypatch.setattr(Checkpoints, "write", lambda _, state: written.append(state.step))
    stop_after(made, 4)  # one reading of the clock a step, two where it is over
    assert written == [3]


def test_trainings_of_one_stage_do_not_mix(tmp_path: Path) -> None:
    stop_after(trainer(tmp_path), 2)
    other = Checkpoints(Scratch(tmp_path), "hea")
    fresh = trainer(None)
    other.restore(fresh.state, SETTINGS, 14)
    assert fresh.state.step == 0


def test_no_room_for_a_state_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match=rf"{tmp_path}/head-step-000000001.*space"):
        trainer(tmp_path).run()


def test_the_random_state_is_restored(tmp_path: Path) -> None:
    """What a loss draws after the stop is what it would have drawn."""
    drawn: list[float] = []

    def noisy() -> Trainer:
        made = trainer(tmp_path)
        plain_loss = made.task.loss

        def loss(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            drawn.append(torch.rand(()).item())
            return plain_loss(inputs, targets)

        object.__setattr__(made.task, "loss", loss)
        return made

    torch.manual_seed(3)
    expected = [torch.rand(()).item() for _ in range(6)]
    first = noisy()
    torch.manual_seed(3)
    stop_after(first, 3)
    torch.manual_seed(99)
    stop_after(noisy(), 3)
    assert drawn == expected
