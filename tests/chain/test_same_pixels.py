"""The same pixels whatever images are called, wherever they lie, and in whatever order val and test are listed.

The order of split train is the one thing that counts: the seed draws images by their place in it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.fixtures import single_thread
from support.helpers import merge, recipe, write_png
from support.inspection import inspected
from support.prediction import FAST, SEVERAL, scene
from support.training import quick, write_start

from pipeline.core.manifest import write_manifest
from pipeline.core.settings import write_yaml
from pipeline.core.store import Store
from pipeline.models.classifier import save_classifier
from pipeline.train.run import fit
from stages import extract, refine

__all__ = ["single_thread"]

CLASSES = ("ant", "bee", "cow")
SHAPES = ((48, 64), (64, 40), (48, 64), (40, 80))
SPLITS = ("train",) * 8 + ("val",) * 4 + ("test",) * 4
Pixels = dict[int, tuple[bytes, ...]]


def run(root: Path, track: str, start: str, names: Sequence[str], order: Sequence[int]) -> Pixels:
    """Preprocess, train, extract and refine sixteen images; what is predicted of val and test, by number."""
    rows = ["image,labels,split,mask"]
    for number in order:
        split, label = SPLITS[number], "" if SPLITS[number] == "test" else CLASSES[number % 3]
        image, mask = scene(number, SHAPES[number % 4])
        write_png(root / "images" / f"{names[number]}.png", image)
        mask_name = f"masks/{number}.png" if split == "val" else ""
        if mask_name:
            write_png(root / mask_name, (mask * (255 if track == "track3" else number % 3 + 1)).astype(np.uint8))
        rows.append(f'"images/{names[number]}.png",{label},{split},{mask_name}')
    (root / "index.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (root / "classes.txt").write_text("\n".join(CLASSES))
    kind = "foreground" if track == "track3" else "labels"
    manifest = inspected({"name": "folder", "root": str(root), "masks": kind}, track).manifest
    loss = "single_label" if track == "track3" else "multi_label"
    trained = fit(manifest, quick(start, epochs=2, batch_size=4, loss=loss, checkpoint="last", pooling="tap"))
    data = root / "data"
    write_manifest(data / "manifest", manifest)
    save_classifier(trained.classifier, data / "model")
    changes: dict[str, Any] = merge(FAST, SEVERAL if track == "track1" else {})
    write_yaml(root / "params.yaml", merge(recipe(), {"tracks": {track: changes}}))
    common = ["--track", track, "--params", f"{root}/params.yaml", "--manifest", f"{data}/manifest"]
    maps = ["--model", f"{data}/model", "--out", f"{data}/maps", "--features", f"{data}/features"]
    extract.main([*common, *maps, "--report", f"{data}/extract.json"])
    refine.main([*common, "--maps", f"{data}/maps", "--out", f"{data}/refined", "--report", f"{data}/refine.json"])
    refined = Store(data / "refined")
    predicted = [number for number in range(len(SPLITS)) if SPLITS[number] != "train"]
    assert len(refined) == len(predicted)
    return {n: tuple(refined.read(names[n])[key].tobytes() for key in ("before", "after")) for n in predicted}


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_names_order_and_place_change_no_pixel(track: str, tmp_path: Path, single_thread: None) -> None:
    start, numbers = write_start(tmp_path), range(len(SPLITS))
    plain = [f"{number:02d}" for number in numbers]
    expected = run(tmp_path / "a", track, start, plain, numbers)
    assert len(set(expected.values())) == len(expected)  # no two images have one prediction
    other = [f"z{97 - number} \u05d0 '{number}" for number in numbers]  # another alphabetical order
    assert run(tmp_path / "elsewhere" / "b c", track, start, other, numbers) == expected
    order = [*range(12, 16), *range(8), *reversed(range(8, 12))]  # test first, val backward
    assert run(tmp_path / "d", track, start, plain, order) == expected
