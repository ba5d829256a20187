"""Which source lists which layout: the one place to enter a new one."""

from pathlib import Path

from pipeline.manifest import Manifest
from pipeline.settings.preprocess import DemoSource, FolderSource, Source
from pipeline.sources.demo import DemoPlan, render
from pipeline.sources.folder import list_folder
from pipeline.tracks import Track


def list_images(source: Source, track: Track, jobs: int) -> Manifest:
    """List the images of a source as a manifest; sizes are not read yet.

    Raises:
        DataError: if the layout is not as the source expects it
    """
    if isinstance(source, FolderSource):
        return list_folder(Path(source.root), "foreground" if source.masks == "foreground" else "labels")
    return list_folder(_render_demo(source, track, jobs), "foreground" if track.task == "localization" else "labels")


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
