"""Several formats in one pass: whole folders or none, read back by other libraries, equal bytes, flat memory."""

import json
import re
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import supervision
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO
from support.export import LABELS, NAMES, make_image, union
from support.helpers import ROOT, write_png

from pipeline.core.errors import DataError, SettingsError, StoreError
from pipeline.core.tracks import TRACKS
from pipeline.export import FORMAT_NAMES
from pipeline.export.formats import FORMATS, export, replaced_when_whole
from pipeline.export.images import ExportImage, Named, segmented
from pipeline.export.sources import Source

OTHER = np.kron(np.array([[0, 2, 2], [3, 0, 2]], np.uint8), np.ones((9, 8), np.uint8))


def source_of(images: Iterable[ExportImage], count: int = 2) -> Source:
    return Source("a run", TRACKS["track1"], NAMES, None, "class ids above background", 1, count, images)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, label_map in (("a", LABELS), ("b", OTHER)):
        write_png(tmp_path / "photos" / f"{name}.png", np.repeat(label_map[..., None] * 60, 3, axis=2))
    return tmp_path / "photos"


def images_of(photos: Path) -> list[ExportImage]:
    known = {"a": LABELS, "b": OTHER}
    return [
        segmented(Named(name, f"{name}.png", photos / f"{name}.png"), label_map, np.ones(3, np.float32), NAMES)
        for name, label_map in known.items()
    ]


def test_all_formats_in_one_pass(photos: Path, tmp_path: Path) -> None:
    assert tuple(FORMATS) == FORMAT_NAMES
    done = export(source_of(iter(images_of(photos))), ["csv", "voc", "yolo", "coco"], tmp_path / "out")
    assert done.folders == tuple(tmp_path / "out" / name for name in FORMATS)
    assert (done.images, done.instances, done.left_out) == (2, 6, 0)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FORMATS)
    about = json.loads((tmp_path / "out" / "csv" / "export.json").read_text())
    assert about == {
        "format": "csv", "source": "a run", "track": "track1", "classes": list(NAMES), "threshold": None,
        "threshold_rule": "class ids above background", "connectivity": 8, "min_area": 1, "images": 2, "instances": 6,
        "left_out": 0,
    }  # fmt: skip


def test_equal_predictions_give_equal_bytes_and_replace_an_earlier_export(photos: Path, tmp_path: Path) -> None:
    for _ in range(2):
        for out in ("one", "two"):
            export(source_of(images_of(photos)), list(FORMATS), tmp_path / out, copy_images=out == "no")
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) == 3 + 1 + 4 + 3 + 3 + 1
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_an_error_leaves_the_earlier_folders_and_nothing_else(photos: Path, tmp_path: Path) -> None:
    export(source_of(images_of(photos)), ["coco", "voc"], tmp_path / "out")
    before = (tmp_path / "out" / "coco" / "dataset.json").read_bytes()

    def failing() -> Iterator[ExportImage]:
        yield make_image(OTHER)
        raise DataError("b: damaged")

    for formats in (["coco", "voc"], ["yolo", "csv"]):
        with pytest.raises(DataError, match="b: damaged"):
            export(source_of(failing()), formats, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["coco", "voc"]
    assert (tmp_path / "out" / "coco" / "dataset.json").read_bytes() == before


def test_a_folder_of_others_is_never_replaced(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "coco").mkdir(parents=True)
    (tmp_path / "out" / "coco" / "mine.json").write_text("{}")
    with pytest.raises(StoreError, match=r"out/coco: expected no folder, an empty one, or that of an earlier export"):
        export(source_of(images_of(photos)), ["csv", "coco"], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["coco"]
    with pytest.raises(SettingsError, match=r"format: expected some of \['coco', .*, got \['xml'\]"):
        export(source_of(images_of(photos)), ["csv", "xml"], tmp_path / "out")


def test_the_old_folder_stays_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with replaced_when_whole(tmp_path / "x") as place:
        (place / "export.json").write_text("1")
    rename = Path.rename

    def failing(path: Path, to: Path) -> Path:
        if path.name.endswith(".new"):
            raise PermissionError("no")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(PermissionError), replaced_when_whole(tmp_path / "x") as place:
        (place / "export.json").write_text("2")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x" / "export.json").read_text() == "1"


def test_images_are_copied_under_the_names_of_the_labels(photos: Path, tmp_path: Path) -> None:
    export(source_of(images_of(photos)), ["yolo"], tmp_path / "out", copy_images=True)
    for name in ("a", "b"):
        assert (tmp_path / "out/yolo/images" / f"{name}.png").read_bytes() == (photos / f"{name}.png").read_bytes()
    with pytest.raises(DataError, match="a: expected to know where its image lies"):
        export(source_of([make_image(LABELS)]), ["yolo"], tmp_path / "out", copy_images=True)
    (photos / "b.png").unlink()
    with pytest.raises(DataError, match=r"b\.png: expected an image to copy, got No such file"):
        export(source_of(images_of(photos)), ["yolo"], tmp_path / "out", copy_images=True)


def test_no_more_than_one_image_is_in_memory(tmp_path: Path) -> None:
    """Each image can be freed when the next one is made."""
    alive: list[int] = []
    made: list[weakref.ref[NDArray[np.bool_]]] = []

    def watched() -> Iterator[ExportImage]:
        for n in range(6):
            alive.append(sum(one() is not None for one in made))
            image = make_image(OTHER, f"{n}")
            made.append(weakref.ref(image.instances[0].crop))
            yield image
            del image

    export(source_of(watched()), list(FORMATS), tmp_path / "out")
    assert len(alive) == 6
    assert max(alive) <= 1


# --- read by other libraries ------------------------------------------------------------------------------------------


def class_masks(found: supervision.Detections, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """The label map of what supervision read."""
    label_map = np.zeros(shape, np.uint8)
    for index in range(len(NAMES)):
        masks = [mask for mask, class_id in zip(found.mask, found.class_id, strict=True) if class_id == index]
        label_map[union(masks, shape)] = index + 1
    return label_map


def test_supervision_reads_coco_with_equal_masks(photos: Path, tmp_path: Path) -> None:
    export(source_of(images_of(photos)), ["coco"], tmp_path)
    read = supervision.DetectionDataset.from_coco(str(photos), str(tmp_path / "coco/dataset.json"), force_masks=True)
    assert read.classes == list(NAMES)
    found = {Path(path).stem: annotations for path, _, annotations in read}
    for name, label_map in (("a", LABELS), ("b", OTHER)):
        np.testing.assert_array_equal(class_masks(found[name], label_map.shape), label_map)
    boxes = [one.box for one in images_of(photos)[1].instances]
    assert found["b"].xyxy.tolist() == [[x0, y0, x1 + 1, y1 + 1] for x0, y0, x1, y1 in boxes]


def test_supervision_reads_yolo_with_masks_without_holes(photos: Path, tmp_path: Path) -> None:
    export(source_of(images_of(photos)), ["yolo"], tmp_path, copy_images=True)
    folder = tmp_path / "yolo"
    read = supervision.DetectionDataset.from_yolo(
        str(folder / "images"), str(folder / "labels"), str(folder / "data.yaml"), force_masks=True
    )
    found = {Path(path).stem: annotations for path, _, annotations in read}
    filled = LABELS.copy()
    filled[1, 1] = 1  # the hole of the ant
    for name, label_map in (("a", filled), ("b", OTHER)):
        np.testing.assert_array_equal(class_masks(found[name], label_map.shape), label_map)


def test_the_example_for_supervision_runs(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "exports.md").read_text(encoding="utf-8")
    (example,) = [text for text in re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S) if "supervision" in text]
    monkeypatch.chdir(tmp_path)
    export(source_of(images_of(photos)), ["coco"], Path("exported"))
    known: dict[str, object] = {}
    exec(compile(example, "exports.md", "exec"), known)
    assert isinstance(known["annotated"], np.ndarray)
    assert Path("annotated.png").is_file()
    with Image.open("annotated.png") as image:
        assert image.size == (7, 4)
    assert len(COCO("exported/coco/dataset.json").anns) == 6
