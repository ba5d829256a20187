"""The function that lists each layout; new layouts are added here."""

from pathlib import Path

from pipeline.core.manifest import Manifest
from pipeline.core.tracks import Track
from pipeline.preprocess.demo.source import DemoPlan, render
from pipeline.preprocess.layouts.coco import list_coco
from pipeline.preprocess.layouts.cub import list_cub
from pipeline.preprocess.layouts.folder import list_folder
from pipeline.preprocess.layouts.ilsvrc_cls import list_ilsvrc_cls
from pipeline.preprocess.layouts.ilsvrc_det import list_ilsvrc_det
from pipeline.preprocess.layouts.oxford_pet import list_oxford_pet
from pipeline.preprocess.layouts.pascal_voc import list_pascal_voc
from pipeline.preprocess.layouts.tiny_imagenet import list_tiny_imagenet
from pipeline.preprocess.settings import (
    CocoSource,
    CubSource,
    DemoSource,
    FolderSource,
    IlsvrcClsSource,
    IlsvrcDetSource,
    OxfordPetSource,
    PascalVocSource,
    Source,
    TinyImagenetSource,
)


def list_images(source: Source, track: Track, jobs: int) -> Manifest:
    """List the images of a source as a manifest; sizes are not read yet.

    Raises:
        DataError: if the layout is not as the source expects it
    """
    match source:
        case FolderSource():
            return list_folder(Path(source.root), "foreground" if source.masks == "foreground" else "labels")
        case DemoSource():
            return list_folder(
                _render_demo(source, track, jobs), "foreground" if track.task == "localization" else "labels"
            )
        case IlsvrcClsSource():
            return list_ilsvrc_cls(source)
        case IlsvrcDetSource():
            return list_ilsvrc_det(source, jobs)
        case OxfordPetSource():
            return list_oxford_pet(source)
        case PascalVocSource():
            return list_pascal_voc(source, jobs)
        case CubSource():
            return list_cub(source)
        case TinyImagenetSource():
            return list_tiny_imagenet(source)
        case CocoSource():
            return list_coco(source)


def _render_demo(source: DemoSource, track: Track, jobs: int) -> Path:
    plan = DemoPlan(
        track=track.name,
        train=source.train,
        val=source.val,
        test=source.test,
        long_side=source.long_side,
        classes=source.classes,
        seed=source.seed,
    )
    return render(plan, Path(source.root), jobs)
