"""What is learnt and extracted in one go equals what the stages of the chain write, byte for byte."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.helpers import TINY, color_set, merge, recipe
from support.training import equal, head, quick, write_start

from pipeline.core.errors import SettingsError
from pipeline.core.manifest import Manifest, write_manifest
from pipeline.core.settings import write_yaml
from pipeline.experiments.shared import fit_poolings, main
from pipeline.models.methods.base import TrainingMethod
from pipeline.train.run import fit
from stages import extract, train

VARIANTS = (("gap", "keep"), ("gap", "clamp"), ("tap", "clamp"))


def _params(folder: Path) -> dict[tuple[str, str], Path]:
    """A file of params for each variant, on a tiny frozen backbone."""
    backbone = {"name": TINY, "weights": "file", "weights_from": write_start(folder)}
    fast = {"device": "cpu", "precision": "fp32"}
    files = {}
    for pooling, negative_weights in VARIANTS:
        changes = {
            "train": {
                **fast,
                "backbone": backbone,
                "resize": 64,
                "crop": 48,
                "views": 2,
                "epochs": 3,
                "pooling": pooling,
            },
            "extract": {**fast, "sizes": [64], "splits": ["val"], "negative_weights": negative_weights},
        }
        files[pooling, negative_weights] = folder / f"{pooling}-{negative_weights}.yaml"
        write_yaml(files[pooling, negative_weights], merge(recipe(), {"tracks": {"track3": changes}}))
    return files


def _bytes(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_in_one_go_equals_one_by_one(tmp_path: Path) -> None:
    params, manifest = _params(tmp_path), tmp_path / "manifest"
    write_manifest(manifest, color_set(tmp_path / "images"))
    common = ["--track", "track3", "--manifest", str(manifest)]

    def at(kind: str, names: list[str]) -> list[str]:
        return [str(tmp_path / kind / name) for name in names]

    poolings = ["gap", "tap"]
    main(["train", *common, "--params", str(params["gap", "keep"]), str(params["tap", "clamp"]),
          "--model", *at("together", poolings), "--history", *at("together/history", poolings),
          "--report", *at("together/report", poolings)])  # fmt: skip
    for pooling, key in (("gap", ("gap", "keep")), ("tap", ("tap", "clamp"))):
        alone = tmp_path / "alone"
        train.main(
            [
                *common,
                "--params",
                str(params[key]),
                "--model",
                str(alone / pooling),
                "--history",
                str(alone / "history" / pooling),
                "--report",
                str(alone / "report" / pooling),
            ]
        )
        assert _bytes(tmp_path / "together" / pooling) == _bytes(alone / pooling)
        columns = ["epoch", "train_loss", "val_loss", "val_accuracy"]
        together, one = (pd.read_csv(tmp_path / kind / "history" / pooling)[columns] for kind in ("together", "alone"))
        assert together.equals(one)

    names = ["-".join(variant) for variant in VARIANTS]
    models = at("together", [pooling for pooling, _ in VARIANTS])
    main(
        [
            "extract",
            *common,
            "--params",
            *map(str, params.values()),
            "--model",
            *models,
            "--out",
            *at("maps", names),
            "--features",
            *at("features", [pooling for pooling, _ in VARIANTS]),
            "--report",
            *at("reports", names),
        ]
    )
    assert sorted(path.name for path in (tmp_path / "features").iterdir()) == poolings
    for (pooling, negative_weights), model, name in zip(VARIANTS, models, names, strict=True):
        alone = tmp_path / "alone-maps" / name
        extract.main([*common, "--params", str(params[pooling, negative_weights]), "--model", model, "--out",
                      str(alone / "maps"),
                      "--features", str(alone / "features"), "--report", str(alone / "report.json")])  # fmt: skip
        assert _bytes(tmp_path / "maps" / name) == _bytes(alone / "maps")
        assert _bytes(tmp_path / "features" / pooling) == _bytes(alone / "features")
        assert json.loads((tmp_path / "reports" / name).read_text()) == json.loads((alone / "report.json").read_text())
    assert _bytes(tmp_path / "maps" / names[0]) != _bytes(tmp_path / "maps" / names[1])


def test_poolings_learnt_together_equal_those_learnt_alone(colors: Manifest, start: str) -> None:
    every = [
        quick(start, pooling=pooling, tap_threshold=theta, epochs=2)
        for pooling, theta in (("gap", 0.05), ("tap", 0.05), ("tap", 0.5))
    ]
    together = fit_poolings(colors, every)
    for settings, one in zip(every, together, strict=True):
        alone = fit(colors, settings)
        assert one.classifier.design == alone.classifier.design
        assert equal(one.classifier.state_dict(), alone.classifier.state_dict())
        assert one.training.best.val_loss == alone.training.best.val_loss
    assert not equal(head(together[0]), head(together[1]))
    assert not equal(head(together[1]), head(together[2]))


def test_what_differs_in_more_than_the_pooling_is_refused(colors: Manifest, start: str) -> None:
    with pytest.raises(SettingsError, match="differ in pooling"):
        fit_poolings(colors, [quick(start), quick(start, seed=1)])


def test_a_trained_backbone_cannot_be_shared(colors: Manifest, start: str) -> None:
    with pytest.raises(SettingsError, match="expected a frozen backbone"):
        fit_poolings(colors, [quick(start, backbone={"trained": True})] * 2)


def test_a_method_that_needs_more_than_pooled_features_cannot_be_shared(
    colors: Manifest, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its other layers would stay as they were made."""
    monkeypatch.setattr(TrainingMethod, "uses_pooled_features", False)
    with pytest.raises(SettingsError, match=r"train\.method: expected one .* got 'baseline'; .* one by one"):
        fit_poolings(colors, [quick(start, pooling="gap"), quick(start, pooling="tap")])


def test_a_single_run_may_train_its_backbone(colors: Manifest, start: str) -> None:
    settings = quick(start, epochs=1, backbone={"trained": True})
    (one,) = fit_poolings(colors, [settings])
    assert equal(one.classifier.state_dict(), fit(colors, settings).classifier.state_dict())


def test_a_backbone_is_measured_once(colors: Manifest, start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[tuple[int, ...]]] = []

    def measure(features: Any, images: Any) -> tuple[float, float]:
        seen.append([tuple(image.shape) for image in images])
        return 0.25, -0.5

    monkeypatch.setattr("pipeline.train.run.measure_offset", measure)
    monkeypatch.setattr("pipeline.train.run.OFFSET_IMAGES", 4)
    every = [quick(start, epochs=1, pooling=pooling) for pooling in ("gap", "tap")]
    assert [one.classifier.design.offset for one in fit_poolings(colors, every)] == [(0.25, -0.5)] * 2
    assert seen == [[(1, 3, 224, 224)] * 4]
