"""How many images each stage has to do with."""

from dataclasses import replace
from pathlib import Path

from support.helpers import row
from support.preflight import enabled_student

from pipeline.core.manifest import from_rows
from pipeline.core.tracks import TRACKS
from pipeline.preflight.context import Listing

TRACK1, TRACK3 = TRACKS["track1"], TRACKS["track3"]


def test_images_are_counted_by_what_is_known_of_them() -> None:
    """Track 3 learns from images of one class, Track 1 from all with a label; both get maps of all with a label."""
    context = enabled_student()
    context.settings["track1"] = {**context.settings["track1"], "student": context.settings["track3"]["student"]}
    assert context.count_taught(TRACK3) == 1_281_167, "nothing was listed: as in the challenge"
    labels = [[0], [0, 1], [], [1]]
    rows = [row(f"t{n}", f"t{n}.png", known, "train") for n, known in enumerate(labels)]
    rows += [row("v", "v.png", [0], "val"), row("w", "w.png", [], "test"), row("x", "x.png", [], "test")]
    for track, taught in ((TRACK3, 2), (TRACK1, 3)):
        context.listings[track.name] = Listing(from_rows(rows, ["a", "b"], Path(), None))
        assert context.count_targets(track) == 3
        assert context.count_taught(track) == taught
        assert context.count_predicted(track) == 3
    extract = context.settings["track3"]["extract"]
    context.settings["track3"]["extract"] = replace(extract, splits=("train", "val"))
    assert context.count_targets(TRACK3) == 0, "they are extracted without the student, too"
    assert context.count_predicted(TRACK3) == 1
