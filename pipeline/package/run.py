"""Stage `package`: the predictions of one split as a submission, checked before it gets its name."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.core.archives import write_zip
from pipeline.core.errors import SubmissionError, sample
from pipeline.core.files import sha256
from pipeline.core.manifest import Manifest, Split
from pipeline.core.progress import progress
from pipeline.core.store import Store
from pipeline.core.tracks import Track
from pipeline.package.contents import content_problems, content_warnings
from pipeline.package.validate import expected_sizes, validate


class Packaged(NamedTuple):
    """What the stage tells about a zip.

    Attributes:
        counts: for package.json: images, bytes, sha256, split, smallest and largest value, and what is suspicious
        warnings: what keeps the rules and mostly is not meant; `lid check` refuses a zip without a prediction that says
            where anything is, which is warned of here
    """

    counts: dict[str, Any]
    warnings: tuple[str, ...]


def package(manifest: Manifest, refined: Store, out: Path, track: Track, split: Split) -> Packaged:
    """Write the predictions to all images of one split as a submission, and check it before it gets its name.

    The zip is built beside `out`, validated, and renamed: whatever happens, `out` is the old file or a whole and valid
    new one. Equal predictions give equal bytes. One prediction at a time is in memory.

    Args:
        manifest: images of that split at least
        refined: holds `after` for every image of the split: the bytes of a PNG. Shape: (bytes,), uint8
        out: the zip
        track: decides on the values that a prediction may hold
        split: whose images are predicted

    Returns:
        counts for package.json, and warnings

    Raises:
        SubmissionError: if the split is empty, a prediction is missing, or the server would refuse the zip
    """
    expected = expected_sizes(manifest.select(split), split)
    missing = [image_id for image_id in expected if image_id not in refined]
    if missing:
        raise SubmissionError(
            f"{out.name}: expected predictions for the {len(expected)} images of split {split!r} "
            f"in {refined.folder}, missing={sample(missing)}; likely `extract.splits` leaves the split out"
        )
    largest = track.largest_value(len(manifest.classes))
    with _built_beside(out) as temporary:
        write_zip(temporary, _predictions(refined, expected))
        contents = validate(temporary, expected, largest, name=out.name)
        facts = {"split": split, "bytes": temporary.stat().st_size, "sha256": sha256(temporary)}
    return Packaged(
        facts | contents.summarize(track),
        (*content_problems(contents, track, out.name), *content_warnings(contents)),
    )


def _predictions(refined: Store, image_ids: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    for name in progress(sorted(f"{image_id}.png" for image_id in image_ids), title="pack"):
        yield name, refined.read(name.removesuffix(".png"))["after"].tobytes()


@contextmanager
def _built_beside(out: Path) -> Iterator[Path]:
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex}")  # same folder, hence the same file system
    try:
        yield temporary
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
