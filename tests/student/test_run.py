"""The stage `student`: what it leaves, what it learns from, and what it never reads."""

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cluster import network
from support.extraction import written
from support.helpers import CPU, merge, recipe, refine_settings
from support.ranks import run_student, under_torchrun
from support.student import CLASSES, COUNTS, SHAPE, Squares, make_squares, new_student, tiny_student, write_store
from torch import Tensor

from pipeline.core import images, truth
from pipeline.core.errors import TrainError
from pipeline.core.images import decode_png
from pipeline.core.manifest import from_rows, write_manifest
from pipeline.core.scratch import Scratch, open_scratch
from pipeline.core.settings import write_yaml
from pipeline.core.store import Store
from pipeline.core.tracks import get_track
from pipeline.student import fit
from pipeline.student import run as module
from pipeline.student.network import load_student
from pipeline.student.outs import leave_empty
from pipeline.student.run import Paths, TargetSource, student
from pipeline.student.views import PairDataset
from pipeline.student.walked_targets import ScoreRule
from stages.student import main

FAST = {"epochs": 2, "views": {"count": 1}, "sizes": [64], "crf": {"iterations": 2}}
WALK = {"random_walk": {"enabled": True, "epochs": 2}}


def run(squares: Squares, track: str, start: str, out: Path, **changes: Any) -> tuple[dict[str, Any], Paths]:
    paths, rule = replace(squares.paths, out=out), ScoreRule.of(refine_settings())
    settings = tiny_student(start, **merge(FAST, changes))
    scratch = open_scratch(paths.out, "student", [asdict(settings)], [], minutes=1e6)
    return student(squares.manifest, paths, settings, get_track(track), CPU, scratch, rule=rule), paths


def note_teachers(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The stores that targets are read from, in the order of their first views."""
    read, plain = list[Path](), TargetSource.dataset

    def dataset(source: TargetSource, epoch: int) -> PairDataset:
        if source.teacher.folder not in read:
            read.append(source.teacher.folder)
        return plain(source, epoch)

    monkeypatch.setattr(TargetSource, "dataset", dataset)
    return read


def results(paths: Paths) -> dict[str, bytes]:
    """All files but the history, which holds the time that an epoch took."""
    return {name: data for name, data in written(paths.out).items() if name != "history.csv"}


@pytest.fixture(params=["track3", "track1"])
def made(request: pytest.FixtureRequest) -> tuple[Squares, str]:
    """The images of a track, and its name."""
    return request.getfixturevalue({"track3": "squares", "track1": "labeled"}[request.param]), request.param


def test_every_val_and_test_image_is_predicted_at_its_size(
    made: tuple[Squares, str], start: str, tmp_path: Path
) -> None:
    squares, track = made
    counts, paths = run(squares, track, start, tmp_path / "student")
    assert (counts["enabled"], counts["track"], counts["train_images"], counts["images"]) == (True, track, 9, 5)
    assert counts["train_images_left_out"] == {}
    assert counts["settings"]["epochs"] == 2
    assert counts["parameters"] == load_student(paths.model).parameter_count()
    assert load_student(paths.model).design.outputs == (1 if track == "track3" else 4)
    largest = 0
    for split in ("val", "test"):
        store = Store(paths.out / split)
        store.verify()
        assert set(store.ids) == {f"{split}_{n}" for n in range(COUNTS[split])}
        assert store.about == {"classes": list(CLASSES), "class_agnostic": track == "track3"}
        for image_id, arrays in store.items():
            before, after = (decode_png(arrays[name], image_id) for name in ("before", "after"))
            assert before.shape == after.shape == SHAPE
            largest = max(largest, int(after.max()))
    assert largest > 100 if track == "track3" else largest <= 3
    with paths.history.open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["round"], row["epoch"]) for row in rows] == [("1", "1"), ("1", "2")]
    assert float(rows[-1]["train_loss"]) == pytest.approx(counts["train_loss"], rel=1e-6)


@pytest.mark.slow
def test_processes_change_no_byte(squares: Squares, start: str, tmp_path: Path) -> None:
    alone = results(run(squares, "track3", start, tmp_path / "alone")[1])
    assert results(run(squares, "track3", start, tmp_path / "apart", jobs=2, workers=1)[1]) == alone


def test_workers_elsewhere_get_paths_and_return_file_names(
    made: tuple[Squares, str], start: str, tmp_path: Path
) -> None:
    """Neither images nor what the network says of them are sent; the bytes are those of this process."""
    squares, track = made
    alone = results(run(squares, track, start, tmp_path / "alone")[1])
    with network() as cluster:
        assert results(run(squares, track, start, tmp_path / "elsewhere" / "apart")[1]) == alone  # a scratch of its own
    assert (cluster.tasks, cluster.sent) == (5, [])
    assert list(tmp_path.rglob("chunk-*")) == []


@pytest.mark.slow
@pytest.mark.parametrize("trained", [False, True], ids=["frozen", "trained"])
def test_two_ranks_learn_and_predict_as_one_process(
    trained: bool, squares: Squares, start: str, tmp_path: Path
) -> None:
    """With a frozen backbone, ranks share whole batches of features, and one trains: the same bytes, random walk
    included. A trained backbone gets the same sums in another order, where norms and dropout depend on no batch."""
    backbone = {"trained": trained, "batch_norm": "frozen"}
    options = {"views": {"count": 0}, "decoder": {"dropout": 0.0}} if trained else {**WALK, "rounds": 2}
    changes = merge(FAST, {"backbone": backbone, **options})
    write_manifest(tmp_path / "manifest", squares.manifest)
    out, alone = tmp_path / "two" / "student", tmp_path / "one" / "student"
    words = [str(tmp_path / "manifest"), str(squares.paths.maps.parent), start, str(out), json.dumps(changes)]
    under_torchrun(2, "student", *words)
    run_student(squares.manifest, squares.paths.maps.parent, alone, start, changes)
    found, expected = written(out), written(alone)
    assert found.keys() == expected.keys()
    if not trained:
        apart = [name for name, data in expected.items() if found[name] != data]
        assert apart == ["history.csv"], "which holds seconds"
        return
    ours, theirs = (load_student(one / "model").state_dict() for one in (out, alone))
    moved = max(float((theirs[name] - value).abs().max()) for name, value in new_weights(start, changes).items())
    assert moved > 1e-4
    assert max(float((ours[name] - value).abs().max()) for name, value in theirs.items()) < 0.05 * moved


def new_weights(start: str, changes: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a network of Track 3 before it is trained."""
    return new_student(tiny_student(start, **changes)).state_dict()


def test_two_runs_give_the_same_bytes(made: tuple[Squares, str], start: str, tmp_path: Path) -> None:
    squares, track = made
    first, again = (results(run(squares, track, start, tmp_path / name)[1]) for name in ("one", "two"))
    assert "model/weights.safetensors" in first
    assert "val/shard-00000.safetensors" in first
    assert first == again
    other = results(run(squares, track, start, tmp_path / "other", seed=1)[1])
    assert other["val/shard-00000.safetensors"] != first["val/shard-00000.safetensors"]


@pytest.mark.parametrize("walks", [False, True], ids=["", "random walk"])
@pytest.mark.parametrize("track", ["track3", "track1"])
def test_no_mask_of_truth_is_read(
    track: str, walks: bool, start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First with the truth within reach; then from the command line, with the truth and its readers destroyed."""
    squares = make_squares(tmp_path, track)
    options: dict[str, Any] = WALK if walks else {}
    _, paths = run(squares, track, start, tmp_path / "with" / "student", **options)
    write_manifest(tmp_path / "manifest", squares.manifest)
    (tmp_path / "manifest" / "truth.parquet").write_bytes(b"no truth")
    masks = list((tmp_path / "images").glob("*.mask.png"))
    assert len(masks) == sum(COUNTS.values())
    for mask in masks:
        mask.write_bytes(b"no mask")

    def refuse(*given: object, **named: object) -> None:
        raise AssertionError("a mask was read")

    for owner, name in (
        (images, "read_mask"), (truth, "read_mask"), (truth, "read_foreground"), (truth, "read_label_map")
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, refuse)
    params = recipe()
    changes = {**FAST, "enabled": True, "device": "cpu", "precision": "fp32", "batch_size": 4, "jobs": 1, "workers": 0}
    changes["exponent"] = 1.0  # as `run` has it
    backbone = {"name": "test_resnet", "weights": "file", "weights_from": start}
    params["tracks"][track]["student"] = merge(
        params["tracks"]["track3"]["student"], {**changes, **options, "backbone": backbone}
    )
    write_yaml(tmp_path / "params.yaml", params)
    words = {"params": "params.yaml", "manifest": "manifest", "maps": "maps", "refined": "refined/train",
             "out": "without/student", "report": "student.json"}  # fmt: skip
    main(["--track", track, *(word for name, path in words.items() for word in (f"--{name}", str(tmp_path / path)))])
    assert results(replace(paths, out=tmp_path / "without" / "student")) == results(paths)


def test_switched_off_it_leaves_empty_stores(made: tuple[Squares, str], start: str, tmp_path: Path) -> None:
    squares, track = made
    paths = replace(squares.paths, out=tmp_path / "student")
    counts = leave_empty(squares.manifest, paths, tiny_student(start, enabled=False), get_track(track))
    assert (counts["enabled"], counts["track"], counts["settings"]["enabled"]) == (False, track, False)
    assert len(Store(paths.out)) == 0
    assert sorted(path.name for path in paths.out.iterdir()) == ["history.csv", "model", "test", "train", "val"]
    assert [path.name for path in paths.model.iterdir()] == ["README.txt"]  # DVC warns of empty folders
    assert paths.history.read_text() == "round,epoch,train_loss,seconds\n"


def test_without_targets_the_cause_is_said(squares: Squares, start: str, tmp_path: Path) -> None:
    write_store(tmp_path / "empty", {})
    bare = replace(squares, paths=replace(squares.paths, refined=tmp_path / "empty"))
    with pytest.raises(TrainError, match=r"likely `extract` and `refine` ran before student\.enabled was set"):
        run(bare, "track3", start, tmp_path / "student")


def test_images_of_several_classes_are_no_targets_of_one_foreground(
    squares: Squares, start: str, tmp_path: Path
) -> None:
    rows = [{**row, "labels": [0, 1]} if row["id"] == "train_3" else row for row in squares.manifest.table.to_pylist()]
    several = replace(squares, manifest=from_rows(rows, CLASSES, squares.manifest.root, "foreground"))
    counts, _ = run(several, "track3", start, tmp_path / "student", epochs=1)
    assert (counts["train_images"], counts["train_images_left_out"]) == (8, {"of several classes": 1})


# --- a stage that was stopped ----------------------------------------------------------------------------------------


class StoppedError(Exception):
    """Stands for a signal."""


def test_a_stopped_stage_goes_on_and_ends_with_the_same_results(
    made: tuple[Squares, str], start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at every fourth part that it keeps: states, features, chunks of predictions, of the walk, of a round."""
    squares, track = made
    settings = tiny_student(start, **merge(FAST, {"rounds": 2, **WALK}))
    rule = ScoreRule.of(refine_settings())
    plain_keep, parts = Scratch.keep, list[str]()

    def stage(out: Path) -> dict[str, bytes]:
        paths = replace(squares.paths, out=out)
        scratch = open_scratch(out, "student", [asdict(settings)], [])
        student(squares.manifest, paths, settings, get_track(track), CPU, scratch, rule=rule)
        scratch.end()
        return results(paths)

    def keep(scratch: Scratch, name: str, data: bytes) -> None:
        if len(parts) % 4 == 3:
            parts.append("stopped")
            raise StoppedError
        plain_keep(scratch, name, data)
        parts.append(name)

    expected = stage(tmp_path / "whole" / "student")
    monkeypatch.setattr(Scratch, "keep", keep)
    while True:
        try:
            found = stage(tmp_path / "stopped" / "student")
            break
        except StoppedError:
            assert len(parts) < 200
    assert found == expected
    kept = [name for name in parts if name != "stopped"]
    assert len(set(kept)) == len(kept), "no part is made twice"
    assert {name.partition("-")[0] for name in kept} == {
        "features",
        "affinity",
        "student",
        "train",
        "round",
        "val",
        "test",
    }
    assert parts.count("stopped") > 6
    assert not (tmp_path / "stopped" / "scratch" / "student").exists()


# --- rounds -----------------------------------------------------------------------------------------------------------


def test_the_second_round_learns_from_the_predictions_of_the_first(
    made: tuple[Squares, str], start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squares, track = made
    teachers = note_teachers(monkeypatch)
    _, paths = run(squares, track, start, tmp_path / "data" / "student", rounds=2)
    (scratch,) = (tmp_path / "data" / "scratch" / "student").iterdir()
    assert teachers == [paths.refined, scratch / "round-1"]
    second = Store(scratch / "round-1")
    assert set(second.ids) == {f"train_{n}" for n in range(COUNTS["train"])}
    if track == "track1":  # of the class of the label and no other
        for n in range(COUNTS["train"]):
            found = decode_png(second.read(f"train_{n}")["after"], "after")
            assert set(np.unique(found)) <= {0, n % 3 + 1}
    assert [line.split(",")[:2] for line in paths.history.read_text().splitlines()[1:]] == [
        ["1", "1"], ["1", "2"], ["2", "1"], ["2", "2"]
    ]  # fmt: skip
    once = results(run(squares, track, start, tmp_path / "once" / "student")[1])
    assert once["model/weights.safetensors"] != results(paths)["model/weights.safetensors"]


def test_a_run_learns_from_no_round_of_an_earlier_one(squares: Squares, start: str, tmp_path: Path) -> None:
    """What it has kept is of another fingerprint."""
    run(squares, "track3", start, tmp_path / "same" / "student", rounds=2)
    _, paths = run(squares, "track3", start, tmp_path / "same" / "student", rounds=2, seed=1)
    _, fresh = run(squares, "track3", start, tmp_path / "fresh" / "student", rounds=2, seed=1)
    assert results(paths) == results(fresh)


# --- random walk ------------------------------------------------------------------------------------------------------


def test_the_first_round_learns_from_scores_that_have_walked(
    made: tuple[Squares, str], start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the second one from the predictions of the first; also where the student itself keeps no view."""
    squares, track = made
    teachers = note_teachers(monkeypatch)
    counts, paths = run(
        squares, track, start, tmp_path / "data" / "student", rounds=2, epochs=1, views={"count": 0}, **WALK
    )
    (scratch,) = (tmp_path / "data" / "scratch" / "student").iterdir()
    assert teachers == [paths.refined, paths.out / "train", scratch / "round-1"]
    walked = Store(paths.out / "train")
    walked.verify()
    assert set(walked.ids) == {f"train_{n}" for n in range(COUNTS["train"])}
    assert walked.about == {"classes": list(CLASSES), "class_agnostic": track == "track3"}
    names = {"before", "after"} if track == "track3" else {"before", "after", "foreground"}
    for n in range(COUNTS["train"]):
        arrays = walked.read(f"train_{n}")
        assert set(arrays) == names
        after = decode_png(arrays["after"], "after")
        assert after.shape == SHAPE
        if track == "track1":
            assert set(np.unique(after)) <= {0, n % 3 + 1}
    facts = counts["random_walk"]
    assert 0 < facts["train_loss"] < facts["first_loss"]
    assert facts["parameters"] > 0
    assert counts["parameters"] == load_student(paths.model).parameter_count()  # of which the affinity net is no part


def test_a_random_walk_changes_what_is_learned_and_what_is_reported(
    made: tuple[Squares, str], start: str, tmp_path: Path
) -> None:
    squares, track = made
    plain, once = run(squares, track, start, tmp_path / "plain" / "student", epochs=1)
    assert "random_walk" not in plain
    empty = Store(once.out / "train")
    assert (len(empty), empty.about) == (0, Store(once.out / "val").about)
    counts, walked = run(squares, track, start, tmp_path / "walked" / "student", epochs=1, **WALK)
    assert counts.keys() - plain.keys() == {"random_walk"}
    assert results(walked)["model/weights.safetensors"] != results(once)["model/weights.safetensors"]


def test_the_walked_targets_that_are_left_are_what_the_first_round_read(
    made: tuple[Squares, str], start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, also after a second round; a run without a walk leaves nothing of an earlier one."""
    squares, track = made
    read, plain = [], module.fit_student

    def spy(network: Any, dataset: Any, *rest: Any, **named: Any) -> Any:
        read.append(written(tmp_path / "student" / "train"))
        return plain(network, dataset, *rest, **named)

    monkeypatch.setattr(module, "fit_student", spy)
    _, paths = run(squares, track, start, tmp_path / "student", rounds=2, epochs=1, **WALK)
    left = written(paths.out / "train")
    assert left.keys() == {"index.json", "shard-00000.safetensors"}
    assert read == [left, left]
    run(squares, track, start, tmp_path / "student", epochs=1)
    assert read[2].keys() == written(paths.out / "train").keys() == {"index.json"}


def test_trainings_on_a_frozen_backbone_share_its_features(
    made: tuple[Squares, str], start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a walk and two rounds they are computed once, and everything is as if each had computed its own."""
    squares, track = made
    computed, plain = [], fit.load_pairs

    def watched(dataset: PairDataset, *rest: Any) -> Any:
        computed.append(dataset.epoch)
        return plain(dataset, *rest)

    monkeypatch.setattr(fit, "load_pairs", watched)
    options = {"rounds": 2, "views": {"count": 2}, **WALK}
    _, shared = run(squares, track, start, tmp_path / "shared" / "student", **options)
    assert computed == [0, 1]
    monkeypatch.setattr(module, "_shared_features", lambda *_: None)
    _, alone = run(squares, track, start, tmp_path / "alone" / "student", **options)
    assert computed == [0, 1] * 4  # once before, now for the walk and each round
    assert results(shared) == results(alone)
