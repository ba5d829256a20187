"""Stage `report`: what the other stages left in, one page out."""

import html
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.finished_run import MadeRun

from pipeline.core.errors import SettingsError
from pipeline.core.files import read_json, write_json, write_text
from pipeline.core.images import encode_jpeg, encode_png
from pipeline.core.manifest import from_rows, read_manifest, write_manifest
from pipeline.core.store import finish, write_shard
from pipeline.core.tracks import get_track
from pipeline.evaluate.diagnostics import write_diagnostics
from pipeline.evaluate.image_counts import ImageCounts, write_image_counts
from pipeline.evaluate.run import evaluate
from pipeline.params.check import check
from pipeline.refine.run import refine
from stages.report import main

PARAMS = "tracks: {track3: {train: {pooling: tap, tap_threshold: 0.25}, report: {images: 3, width: 64}}}"


def _arguments(folder: Path, params: str = PARAMS) -> list[str]:
    """The prediction to one val image of 8 x 6 pixels."""
    (folder / "a.jpg").write_bytes(encode_jpeg(np.full((6, 8, 3), 99, np.uint8)))
    (folder / "a.png").write_bytes(encode_png(np.array([[0, 0, 0, 0, 255, 255, 255, 255]] * 6, np.uint8)))
    row = {"id": "a", "file": "a.jpg", "width": 8, "height": 6, "labels": [0], "split": "val",
           "mask": "a.png", "boxes": None, "bytes": 1}  # fmt: skip
    write_manifest(folder / "manifest", from_rows([row], ["x"], folder, "foreground"))
    prediction = np.frombuffer(encode_png(np.full((6, 8), 9, np.uint8)), np.uint8)
    maps = {
        "maps": np.ones((1, 2, 3), np.float16),
        "classes": np.zeros(1, np.int32),
        "probabilities": np.ones(1, np.float16),
    }
    finish(folder / "maps", [write_shard(folder / "maps", 0, {"a": maps})], {})
    finish(
        folder / "refined", [write_shard(folder / "refined", 0, {"a": {"before": prediction, "after": prediction}})], {}
    )
    for split in ("val", "test"):
        finish(folder / "student" / split, [], {})
    write_json(folder / "metrics.json", {"images": 1, "peak_iou": 0.4375, "peak_threshold": 9})
    write_text(folder / "table.csv", "threshold,after_crf\n0,0.5\n1,0.25\n")
    write_text(folder / "per_image.csv", "id,label,predicted,iou_before,iou_after\na,x,x,0.5,0.5\n")
    write_text(folder / "confusion.csv", "truth,predicted,images\nx,x,1\n")
    counts = np.zeros((1, 2, 256), np.int32)
    counts[0, :, 9] = 24
    write_image_counts(folder / "image_counts.npz", ImageCounts(("a",), counts, counts))
    write_text(folder / "history.csv", "epoch,train_loss,val_loss,val_accuracy\n1,0.5,,\n")
    write_json(folder / "diagnostics.json", {"note": "nothing was kept"})
    write_text(folder / "params.yaml", params)
    paths = ["--params", str(folder / "params.yaml"), "--data", str(folder), "--scores", str(folder)]
    return ["--track", "track3", *paths, "--out", str(folder / "reports/index.html")]


def test_report_writes_a_page_and_its_gallery(tmp_path: Path) -> None:
    main(_arguments(tmp_path))
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == ["examples", "gallery", "index.html"]
    assert [path.name for path in (tmp_path / "reports/examples").iterdir()] == ["a.png"]
    page = (tmp_path / "reports/index.html").read_text(encoding="utf-8")
    assert ">0.438<" in page
    assert "TAP, θ = 0.25" in page
    assert "made <b>20" in page
    assert '"id": "a"' in page
    assert "Not measured: nothing was kept." in page
    assert "measured on a sample" not in page
    assert "4\u2009711" not in page


def test_counts_are_shown_if_given(tmp_path: Path) -> None:
    write_json(tmp_path / "refine.json", {"images": 4711})
    main(_arguments(tmp_path))
    assert "4\u2009711" in (tmp_path / "reports/index.html").read_text(encoding="utf-8")


def _without_date(page: Path) -> str:
    return re.sub(r"made <b>[^<]*</b>", "", page.read_text(encoding="utf-8"))


def test_settings_stand_on_the_page_once(tmp_path: Path) -> None:
    """Those that a stage keeps beside its counts are the section of the params file that the page shows anyway."""
    arguments = _arguments(tmp_path)
    write_json(tmp_path / "refine.json", {"images": 4711})
    main(arguments)
    before = _without_date(tmp_path / "reports/index.html")
    kept = {"images": 4711, "settings": {"exponent": 0.123}, "track": "track3", "class_names": ["a name"]}
    write_json(tmp_path / "refine.json", kept)
    main(arguments)
    assert _without_date(tmp_path / "reports/index.html") == before


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"tracks\.track3\.report\.width: expected"):
        main(_arguments(tmp_path, PARAMS.replace("width: 64", "width: 8")))


def _finished(run: MadeRun) -> list[str]:
    """Refine and evaluate a made run; return the arguments of its report."""
    data, out, settings = run.folder / "data", run.folder / "out", check(run.params)["track3"]
    track = get_track("track3")
    refine(read_manifest(data / "manifest"), data / "maps", data / "refined", settings["refine"])
    predictions = (data / "manifest", data / "maps", data / "refined")
    evaluate(*predictions, out, settings["evaluate"], track)
    write_diagnostics(
        data / "manifest", data / "features", data / "maps", out / "diagnostics.json", get_track("track3")
    )
    write_text(data / "history.csv", "epoch,train_loss\n1,0.5\n")
    for split in ("val", "test"):
        finish(data / "student" / split, [], {})
    paths = ["--params", str(run.params), "--data", str(data), "--scores", str(out)]
    return ["--track", "track3", *paths, "--out", str(run.folder / "page.html")]


def test_the_diagnosis_of_a_run_is_shown(make_run: Callable[..., MadeRun]) -> None:
    run = make_run()
    main(_finished(run))
    page = (run.folder / "page.html").read_text(encoding="utf-8")
    words = read_json(run.folder / "out" / "diagnostics.json")["words"]
    assert "Why it works" in page
    assert all(text in html.unescape(page) for text in words.values())
