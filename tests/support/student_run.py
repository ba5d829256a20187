"""A finished run whose student is made by hand: it predicts what the refined maps do, moved by two columns."""

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from support.evaluation import png_array

from pipeline.core.files import read_json, write_json
from pipeline.core.images import decode_png
from pipeline.core.store import Store, finish, write_shard
from pipeline.core.tracks import get_track
from pipeline.evaluate.run import evaluate
from pipeline.submission.score import CHALLENGE

PARAMETERS = 70  # of the student, by its report


def with_student(checkout: Path, track: str, to: Path, columns: int = 2) -> Path:
    """A copy of a finished checkout with a student, scored again; return its `data/<track>`."""
    shutil.copytree(checkout, to)
    data = to / "data" / track
    refined, items = Store(data / "refined" / "val"), dict[str, dict[str, NDArray[np.uint8]]]()
    for image_id, arrays in refined.items():
        moved: dict[str, NDArray[np.uint8]] = {
            name: np.roll(decode_png(arrays[name], name), columns, axis=1)
            for name in ("before", "after", "foreground")
            if name in arrays
        }
        if track == "track1":
            moved["foreground"] = np.where(moved["after"], 200, 90).astype(np.uint8)
        items[image_id] = {name: png_array(pixels) for name, pixels in moved.items()}
    about = {"classes": refined.about["classes"], "class_agnostic": track == "track3"}
    finish(data / "student" / "val", [write_shard(data / "student" / "val", 0, items)], about)
    report = read_json(data / "student.json")
    write_json(data / "student.json", {**report, "enabled": True, "parameters": PARAMETERS})
    evaluate(
        data / "manifest", data / "maps", data / "refined", to / "reports" / track, CHALLENGE, get_track(track),
        data / "student" / "val",
    )  # fmt: skip
    return data
