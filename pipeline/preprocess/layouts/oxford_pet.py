"""Oxford-IIIT Pet in its official layout, which is torchvision's.

    <root>/oxford-iiit-pet/images/<id>.jpg                        <root> may also be oxford-iiit-pet itself
    <root>/oxford-iiit-pet/annotations/{trainval,test}.txt        `<id> <class> <species> <breed>`, class from 1
    <root>/oxford-iiit-pet/annotations/trimaps/<id>.png           1 foreground, 2 background, 3 border: ignored

The class name is the id without its number. Source: Parkhi et al., "Cats and Dogs", CVPR 2012
"""

from pathlib import Path

from pipeline.core.errors import DataError
from pipeline.core.manifest import Manifest
from pipeline.core.text import read_text
from pipeline.preprocess.download import download
from pipeline.preprocess.folders import Problems, files_by_id, find_folder, rows_of_splits
from pipeline.preprocess.held_out import split_in_three
from pipeline.preprocess.settings import OxfordPetSource

HOMES = ("oxford-iiit-pet/annotations", "annotations")


def list_images(source: OxfordPetSource, jobs: int = 1) -> Manifest:
    """List train, val and test; the official splits are trainval and test.

    Raises:
        DataError: with everything that is missing or does not fit together
    """
    root = Path(source.root)
    if source.download and not any((root / home).is_dir() for home in HOMES):
        _download(root)
    annotations = find_folder(root, HOMES, "Oxford-IIIT Pet, images/ and annotations/,")
    official = {name: _read_list(annotations / f"{name}.txt") for name in ("trainval", "test")}
    numbers = official["trainval"] | official["test"]
    classes = _class_names(numbers, annotations)
    labels = {image_id: [number - 1] for image_id, number in numbers.items()}
    images, masks = (files_by_id([annotations.parent / folder]) for folder in ("images", "annotations/trimaps"))
    splits = split_in_three([*official["trainval"]], [*official["test"]], source.val)
    problems = Problems(root)
    table = rows_of_splits(splits, root, images, problems, labels=labels, masks=masks)
    problems.stop_if_any()
    return Manifest(table, classes, root, "trimap")


def _download(root: Path) -> None:
    from torchvision.datasets import OxfordIIITPet  # torch takes seconds to import

    download(root, "Oxford-IIIT Pet", lambda: OxfordIIITPet(root, download=True))


def _read_list(path: Path) -> dict[str, int]:
    """Class number, from 1, by image id."""
    try:
        lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
        return {words[0]: int(words[1]) for words in lines}
    except (IndexError, ValueError) as error:
        raise DataError(f"{path}: expected `<id> <class> <species> <breed>` on every line, got {error!r}") from None


def _class_names(numbers: dict[str, int], annotations: Path) -> tuple[str, ...]:
    names = {number: image_id.rpartition("_")[0] for image_id, number in numbers.items()}
    if sorted(names) != list(range(1, len(names) + 1)):
        raise DataError(
            f"{annotations}: expected class numbers from 1 without a gap, got {sorted(names)}; likely a cut list"
        )
    return tuple(names[number] for number in sorted(names))
