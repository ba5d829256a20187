"""Progress and logs: what each observer shows or writes, and that none of them changes the training."""

import json
import sys
from pathlib import Path

import pytest
from support.loop import draw, make_trainer, new_head, one_hot, plain
from support.training import equal, head, quick

from pipeline.core.errors import TrainError
from pipeline.core.manifest import Manifest
from pipeline.train.observers import DvcLiveLog, ProgressBar, make_loggers
from pipeline.train.run import fit
from pipeline.train.state import Epoch


def tensorboard_values(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def dvclive_values(folder: Path, name: str) -> list[tuple[int, float]]:
    lines = (folder / "plots" / "metrics" / f"{name}.tsv").read_text().splitlines()[1:]
    return [(int(step), float(value)) for step, value in (line.split("\t") for line in lines)]


def test_both_loggers_write_the_rows_of_the_history(tmp_path: Path) -> None:
    loggers = make_loggers(["dvclive", "tensorboard"], tmp_path)
    val = [one_hot(draw(6, seed=2))]
    settings = plain(batch_size=1, epochs=2)
    history = make_trainer(settings, draw(24), new_head(), lambda: val, loggers).run().history
    board = tensorboard_values(tmp_path / "tensorboard")
    for name in ("train_loss", "val_loss", "val_accuracy", "learning_rate"):
        expected = [getattr(row, name) for row in history]
        assert dvclive_values(tmp_path / "dvclive", name) == [(0, expected[0]), (1, expected[1])]
        assert board[f"epoch/{name}"] == [(n + 1, pytest.approx(value)) for n, value in enumerate(expected)]
    assert [step for step, _ in board["loss"]] == [20, 40]
    last = json.loads((tmp_path / "dvclive" / "metrics.json").read_text())
    assert last["train_loss"] == history[-1].train_loss


def test_no_validation_no_validation_values(tmp_path: Path) -> None:
    make_trainer(plain(), draw(4), new_head(), observers=[DvcLiveLog(tmp_path)]).run()
    assert not (tmp_path / "plots" / "metrics" / "val_loss.tsv").exists()


def test_loggers_are_off_by_default_and_change_nothing(colors: Manifest, start: str, tmp_path: Path) -> None:
    silent = fit(colors, quick(start, epochs=2), tmp_path / "none")
    assert not (tmp_path / "none").exists()
    logged = fit(colors, quick(start, epochs=2, loggers=["tensorboard"]), tmp_path / "logs")
    assert list((tmp_path / "logs" / "tensorboard").iterdir())
    assert equal(head(silent), head(logged))


@pytest.mark.parametrize("name", ["dvclive", "tensorboard"])
def test_a_package_that_is_not_installed_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dvclive.live", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainError, match=f"train.loggers: expected the package '{name}', found none"):
        make_loggers([name], tmp_path)


def test_the_bar_counts_images_also_of_a_training_that_was_stopped(tmp_path: Path) -> None:
    settings = plain(batch_size=4, epochs=3)
    part = make_trainer(settings, draw(10), new_head())
    for _ in range(4):  # the first epoch and one batch of the second
        part.advance()
    (tmp_path / "state.safetensors").write_bytes(part.state.to_bytes())
    bar = ProgressBar(3, 10)
    again = make_trainer(settings, draw(10), new_head(), observers=[bar])
    again.state.read(tmp_path / "state.safetensors")
    again.advance()
    assert bar.bar.n == 18
    again.run()
    assert bar.bar.n == 30


def test_a_bar_shows_the_loss_of_the_epoch() -> None:
    bar = ProgressBar(1, 4)
    bar.epoch(Epoch(1, 0.25, None, None, 0.1, 1.0, 4.0))
    assert "loss=0.2500" in str(bar.bar)
    bar.close()


def test_a_line_for_each_epoch_says_how_long_images_were_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBar(1, 4, reads=True)
    state = make_trainer(plain(batch_size=4), draw(4), new_head()).state
    state.seconds, state.waited = 2.0, 0.5
    bar.step(state, 4)
    bar.epoch(Epoch(3, 0.25, None, None, 0.1, 2.0, 2.0))
    bar.close()
    assert capsys.readouterr().err == "epoch 3: loss 0.2500, 2.0 images/s, 25% of the time waiting for images\n"
