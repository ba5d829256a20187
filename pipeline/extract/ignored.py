"""Keys that a run sets and that its training method does not read: named once, never an error."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pipeline.extract.settings import ExtractSettings
from pipeline.models.classifier import Classifier

if TYPE_CHECKING:
    from pipeline.extract.run import Extraction


def ignored_keys(classifier: Classifier, settings: ExtractSettings) -> list[str]:
    """A line for each key of the section `extract` that is set and has no effect on the maps."""
    lines = []
    if settings.negative_weights == "clamp" and not classifier.method.reads_weights:
        lines.append(
            f"extract.negative_weights: 'clamp' is not read with train.method {classifier.design.method!r}, whose maps "
            "are not made with the weights of the head"
        )
    return lines


def tell_ignored(extractions: Iterable["Extraction"]) -> None:
    """Print each such line once."""
    lines = [line for one in extractions for line in ignored_keys(one.classifier, one.settings)]
    for line in dict.fromkeys(lines):
        print(f"note: {line}")
