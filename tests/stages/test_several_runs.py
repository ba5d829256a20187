"""What the stages learn and extract in one go equals what they write one by one, byte for byte."""

import json
from pathlib import Path

import pandas as pd
from support.helpers import TINY, color_set, merge, recipe
from support.training import write_start

from pipeline.core.manifest import write_manifest
from pipeline.core.settings import write_yaml
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
    train.main([*common, "--params", str(params["gap", "keep"]), str(params["tap", "clamp"]),
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
    extract.main(
        [
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
