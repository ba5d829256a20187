"""From a source to the module of `pipeline/preprocess/layouts/` that lists it: the one that has its name."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from pipeline.core.errors import DataError
from pipeline.core.manifest import Manifest, Split
from pipeline.core.tracks import Track
from pipeline.preprocess import layouts
from pipeline.preprocess.demo.source import DemoPlan, render
from pipeline.preprocess.folders import Problems, ProblemsError
from pipeline.preprocess.inspect import inspect
from pipeline.preprocess.layouts.folder import list_folder
from pipeline.preprocess.leakage import leaked_masks
from pipeline.preprocess.settings import (
    OWN,
    CocoSource,
    DemoSource,
    FolderSource,
    OxfordPetSource,
    PascalVocSource,
    PreprocessSettings,
    Source,
    WsolSource,
)


class Layout(Protocol):
    """What a module in `layouts/` has."""

    def list_images(self, source: Source, jobs: int) -> Manifest:
        """List the images of a source, with `jobs` processes where annotation files are read."""


def list_images(source: Source, track: Track, jobs: int) -> Manifest:
    """List the images of a source as a manifest; sizes are not read yet.

    Raises:
        DataError: if the layout is not as the source expects it
    """
    if isinstance(source, FolderSource):
        return list_folder(Path(source.root), "foreground" if source.masks == "foreground" else "labels")
    if isinstance(source, DemoSource):
        rendered = _render_demo(source, track, jobs)
        return list_folder(rendered, "foreground" if track.task == "localization" else "labels")
    layout = cast(Layout, import_module(f"{layouts.__name__}.{source.name}"))
    return layout.list_images(source, jobs)


def try_to_list(
    settings: PreprocessSettings, track: Track, packaged: Split = "test"
) -> tuple[Manifest | None, list[str]]:
    """List the images of a source, and look for what `check: list` finds; nothing is downloaded or drawn.

    The split `packaged` has to hold images, beside train and val.

    Returns:
        what could be listed, None if nothing could; and the problems, one message each
    """
    source: Source = settings.source
    if isinstance(source, OxfordPetSource | PascalVocSource):
        source = replace(source, download=False)
    if isinstance(source, CocoSource):
        source = replace(source, truth="boxes")  # masks would be drawn
    if isinstance(source, WsolSource) and source.truth == "masks":
        source = replace(source, truth="none")  # they, too
    problems = Problems(Path(source.root))
    try:
        manifest = list_images(source, track, settings.jobs)
    except ProblemsError as error:
        return error.manifest, list(error.lines)
    except DataError as error:
        return None, [str(error)]
    plain = replace(source, masks="labels") if isinstance(source, OWN) else source
    settings = replace(settings, source=plain, check="list")
    problems.attempt(lambda: inspect(manifest, settings, packaged=packaged))  # opens no file
    return manifest, problems.lines or leaked_masks(manifest, compare_bytes=True)


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
