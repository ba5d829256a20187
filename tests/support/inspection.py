"""What the tests of sources share: from plain settings to a manifest that has been inspected."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.core.manifest import Manifest, Split
from pipeline.core.settings import build
from pipeline.core.tracks import get_track
from pipeline.preprocess.inspect import Inspection, inspect
from pipeline.preprocess.settings import PreprocessSettings
from pipeline.preprocess.sources import list_images


def preprocess_settings(source: Mapping[str, Any], **changes: Any) -> PreprocessSettings:
    """Settings of the stage with a source, one process, every pixel decoded, and `changes`."""
    values = {"source": dict(source), "watch": "", "check": "decode", "on_bad_image": "error", "jobs": 1}
    values["parallel"] = {"backend": "loky", "address": ""}
    return build(PreprocessSettings, {**values, **changes}, Path("params.yaml"), "preprocess")


def listed(source: Mapping[str, Any], track: str = "track3") -> Manifest:
    """The manifest as the source lists it."""
    return list_images(preprocess_settings(source, check="header").source, get_track(track), jobs=1)


def inspected(source: Mapping[str, Any], track: str = "track3", packaged: Split = "test", **changes: Any) -> Inspection:
    """The manifest after the inspection of the files."""
    settings = preprocess_settings(source, **changes)
    return inspect(list_images(settings.source, get_track(track), settings.jobs), settings, packaged=packaged)


def ids_by_split(manifest: Manifest) -> dict[str, list[str]]:
    """All image ids, in order, by split."""
    return {split: manifest.select(split).ids() for split in ("train", "val", "test")}


def labels_by_id(manifest: Manifest) -> dict[str, list[int]]:
    """The class indices of all images that have some."""
    return {record.id: list(record.labels) for record in manifest if record.labels}
