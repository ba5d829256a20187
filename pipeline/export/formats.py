"""Several formats in one pass over the images: one image at a time is in memory, and a folder is whole or not there."""

import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from pipeline.core.archives import read_file
from pipeline.core.errors import DataError, SettingsError, StoreError
from pipeline.core.files import explained, write_json
from pipeline.core.progress import progress
from pipeline.export.coco import CocoWriter
from pipeline.export.images import ExportImage
from pipeline.export.sources import Source
from pipeline.export.table import TableWriter
from pipeline.export.voc import VocWriter
from pipeline.export.yolo import YoloWriter

ABOUT, IMAGES = "export.json", "images"
CONNECTIVITY = 8


class Writer(Protocol):
    """One format: made with an empty folder and the names of the K classes."""

    def add(self, image: ExportImage) -> None: ...

    def finish(self) -> None: ...

    def close(self) -> None: ...


FORMATS: Mapping[str, Callable[[Path, Sequence[str]], Writer]] = {
    "coco": CocoWriter,
    "yolo": YoloWriter,
    "voc": VocWriter,
    "csv": TableWriter,
}


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        folders: one a format
        images: how many
        instances: of all of them
        left_out: instances that were smaller than the least area
        threshold: of the masks in Track 3; None in Track 1
        threshold_rule: how it was chosen
    """

    folders: tuple[Path, ...]
    images: int
    instances: int
    left_out: int
    threshold: int | None
    threshold_rule: str


def export(source: Source, formats: Sequence[str], out: Path, copy_images: bool = False) -> Exported:
    """Write the images of a source as `<out>/<format>`, each folder completely or not at all.

    Images come in the order of their names, instances the largest first: equal predictions give equal bytes. A folder
    of an earlier export is replaced when the new one is complete. `export.json` in each says what was exported, by
    which rules.

    Args:
        source: from `open_source`
        formats: names of `FORMATS`
        out: where the folders are made
        copy_images: put the images beside the labels, as `<out>/<format>/images/<name><suffix>`

    Raises:
        SettingsError: if there is no such format
        StoreError: if a folder is there that no export made
        DataError: if images are to be copied, and it is not known where one lies
    """
    if unknown := sorted(set(formats) - FORMATS.keys()):
        raise SettingsError(f"format: expected some of {list(FORMATS)}, got {unknown}")
    folders = {name: out / name for name in FORMATS if name in formats}
    totals = {"images": 0, "instances": 0, "left_out": 0}
    with ExitStack() as stack:
        places = {name: stack.enter_context(replaced_when_whole(folder)) for name, folder in folders.items()}
        writers = {name: FORMATS[name](place, source.class_names) for name, place in places.items()}
        for writer in writers.values():
            stack.callback(writer.close)
        for image in progress(source.images, total=source.count, title="export"):
            kept = _copied(image, list(places.values())) if copy_images else image
            for name, writer in writers.items():
                with explained(folders[name]):
                    writer.add(kept)
            _count(totals, image)
        for name, writer in writers.items():
            with explained(folders[name]):
                writer.finish()
            write_json(places[name] / ABOUT, {"format": name, **_about(source), **totals})
    return Exported(tuple(folders.values()), **totals, threshold=source.threshold, threshold_rule=source.threshold_rule)


def _count(totals: dict[str, int], image: ExportImage) -> None:
    totals["images"] += 1
    totals["instances"] += len(image.instances)
    totals["left_out"] += image.left_out


def _about(source: Source) -> dict[str, Any]:
    return {
        "source": source.title,
        "track": source.track.name,
        "classes": list(source.class_names),
        "threshold": source.threshold,
        "threshold_rule": source.threshold_rule,
        "connectivity": CONNECTIVITY,
        "min_area": source.min_area,
    }


def _copied(image: ExportImage, places: Sequence[Path]) -> ExportImage:
    """Copy the file of an image into `images` of each folder; its file name is then that of the copies."""
    if image.file is None:
        raise DataError(f"{image.name}: expected to know where its image lies, to copy it; give the folder of images")
    name = f"{image.name}{Path(image.file_name).suffix}"
    try:
        data = read_file(image.file)
    except OSError as error:
        raise DataError(f"{image.file}: expected an image to copy, got {error.strerror or 'no file'}") from None
    for place in places:
        (place / IMAGES).mkdir(exist_ok=True)
        with explained(place / IMAGES / name, len(data)):
            (place / IMAGES / name).write_bytes(data)
    return replace(image, file_name=name)


@contextmanager
def replaced_when_whole(folder: Path) -> Iterator[Path]:
    """An empty folder beside this one, which takes its place when all is written; after an error it is removed.

    Raises:
        StoreError: if the folder is there and is not that of an earlier export
    """
    if folder.exists() and not (folder / ABOUT).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(
            f"{folder}: expected no folder, an empty one, or that of an earlier export ({ABOUT}), found another one; "
            "choose another --out, or move it away"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex
    made, old = (folder.with_name(f".{folder.name}.{mark}.{kind}") for kind in ("new", "old"))
    made.mkdir()
    try:
        yield made
        if folder.exists():
            folder.rename(old)
        try:
            made.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
