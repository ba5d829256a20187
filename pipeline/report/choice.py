"""Which images the page shows: those of val, the scored ones first, and images of test beside them."""

from collections.abc import Sequence

import numpy as np

from pipeline.core.manifest import Record, Split
from pipeline.report.formatting import Row, number
from pipeline.report.results import Results

TEST_IMAGES = 200  # of split test, beside scored ones of val


def chosen_records(results: Results, most: int) -> list[Record]:
    """At most `most` images with a prediction: the scored ones, evenly by rank, then others of val, then some of test.

    Where there is no room for all of a list they are evenly spaced through it. If nothing could be scored, as many of
    test as there is room for; without val and test, images of train.
    """
    scored = [row["id"] for row in ranked(results.per_image)]
    ids = evenly_chosen(scored, most)
    ids += evenly_chosen(_predicted(results, "val", scored), most - len(ids))
    room = most - len(ids)
    ids += evenly_chosen(_predicted(results, "test"), min(TEST_IMAGES, room) if scored else room)
    ids = ids or evenly_chosen(_predicted(results, "train"), most)
    records = {record.id: record for record in results.manifest.with_ids(ids)}
    return [records[image_id] for image_id in ids]


def ranked(per_image: Sequence[Row]) -> list[Row]:
    """The scored images, the best first; equal ones by id."""
    scored = [row for row in per_image if number(row.get("iou_after")) is not None]
    return sorted(scored, key=lambda row: (-float(row["iou_after"]), row["id"]))


def evenly_chosen(ids: Sequence[str], most: int) -> list[str]:
    """At most `most` of the ids, evenly spaced."""
    return [ids[place] for place in evenly(len(ids), most)]


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of the positions 0..count-1, evenly spaced, the first and the last among them.

    >>> evenly(10, 4), evenly(2, 5), evenly(9, 1)
    ([0, 3, 6, 9], [0, 1], [0])
    """
    return [round(position) for position in np.linspace(0, count - 1, min(count, most)).tolist()]


def _predicted(results: Results, split: Split, without: Sequence[str] = ()) -> list[str]:
    """The images of a split with a prediction, in their order, but for some."""
    left_out = set(without)
    ids = (image_id for image_id in results.manifest.select(split).ids() if image_id not in left_out)
    return [image_id for image_id in ids if image_id in results.maps and image_id in results.predictions]
