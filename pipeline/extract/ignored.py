"""Keys that a run sets and that its training method or its maps do not read: named once, never an error."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pipeline.extract.settings import ExtractSettings
from pipeline.models.classifier import Classifier

if TYPE_CHECKING:
    from pipeline.extract.run import Extraction


def ignored_keys(classifier: Classifier, settings: ExtractSettings) -> list[str]:
    """A line for each key of the section `extract` that is set and has no effect on the maps."""
    if not classifier.method.reads_weights:
        reader = f"train.method {classifier.design.method!r}, whose maps are not made with the weights of the head"
        usual: dict[str, Any] = {"map": "cam", "map_levels": (), "negative_weights": "keep"}
    elif settings.map != "cam":
        reader, usual = f"extract.map {settings.map!r}, which does not clamp weights", {"negative_weights": "keep"}
    else:
        return []
    set_keys = {name: getattr(settings, name) for name, value in usual.items() if getattr(settings, name) != value}
    return [f"extract.{name}: {value!r} is not read with {reader}" for name, value in set_keys.items()]


def tell_ignored(extractions: Iterable["Extraction"]) -> None:
    """Print each such line once."""
    lines = [line for one in extractions for line in ignored_keys(one.classifier, one.settings)]
    for line in dict.fromkeys(lines):
        print(f"note: {line}")
