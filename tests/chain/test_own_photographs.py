"""As a new user: forty images in class folders, without masks, to a zip, a page and predictions of others."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.checkout import ROOT, Checkout
from support.trees import draw_image

from pipeline.core.files import read_json

CLASSES = ("prairie dog", "red  fox", "cat", "Ähre")  # spaces, two of them, and a letter beyond ASCII
COMMANDS = 3  # init, run, predict


def draw(path: Path, class_id: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels, _ = draw_image(np.random.default_rng(seed), (120, 90), [class_id])
    Image.fromarray(pixels).save(path, quality=92)


@pytest.mark.slow
def test_class_folders_become_a_zip_a_page_and_predictions(
    make_checkout: Callable[[], Checkout], tmp_path: Path
) -> None:
    photos, others = tmp_path / "my photos", tmp_path / "new ones"
    for k, name in enumerate(CLASSES):
        for n in range(10):
            draw(photos / name / f"IMG {n}.jpg", k + 1, 100 * k + n)  # equal names in all folders
    for n in range(5):
        draw(others / f"{n}.jpg", n % 4 + 1, 1000 + n)
    checkout = make_checkout()
    shutil.copytree(ROOT / "recipes", checkout.file("recipes"))
    shutil.copy(ROOT / "recipes/butterflies.yaml", checkout.file("params.yaml"))  # a recipe: not edited
    ran = [
        checkout.run("lid", "init", str(photos)),
        checkout.run("lid", "run"),
        checkout.run("lid", "predict", "data/track3", str(others), "--out", "predicted"),
    ]
    assert len(ran) == COMMANDS
    assert "40 images" in ran[0].stdout
    val = {row.split(",")[0] for row in checkout.file("reports/track3/per_image.csv").read_text().splitlines()[1:]}
    with zipfile.ZipFile(checkout.file("submissions/track3.zip")) as archive:
        names = archive.namelist()
        assert names
        assert all(name.split("__")[0] in CLASSES for name in names)
        with Image.open(archive.open(names[0])) as image:
            assert image.size == (120, 90)
    assert not val, "nothing can be scored"
    assert read_json(checkout.file("reports/track3/metrics.json"))["peak_iou"] is None
    assert read_json(checkout.file("data/track3/preprocess.json"))["splits"]["val"]["images"] == len(names)
    assert "prairie dog" in checkout.file("reports/track3/index.html").read_text()
    said = checkout.run("python", "-m", "pipeline.evaluate.headline").stdout
    assert said.startswith("track3: no peak IoU on val: none of its images has a mask")
    found = json.loads(checkout.file("predicted/predictions.json").read_text())["images"]
    assert len(found) == 5
    tops = [image["classes"][0]["class_name"] for image in found]
    assert sum(top == CLASSES[n % 4] for n, top in enumerate(tops)) >= 4, tops
    draw(photos / "cat/later.jpg", 3, 77)
    assert "preprocess@track3" in checkout.repro("preprocess@track3")  # a new photograph is noticed
