"""One checksum over the files of a small demo of both tracks, at several sizes. Prints it when run as a script."""

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Literal

import cv2

from pipeline.preprocess.demo.source import DemoPlan, render

SIZES: tuple[tuple[Literal["track1", "track3"], int, int], ...] = (  # track, long side, images of train
    ("track1", 64, 16), ("track1", 201, 4), ("track3", 96, 8), ("track3", 256, 2),
)  # fmt: skip


def checksum(root: Path) -> str:
    """Render the plans into `root`.

    Sha256 over names and bytes of all images, masks and tables, in the order of the names.
    """
    total = hashlib.sha256()
    for track, long_side, images in SIZES:
        plan = DemoPlan(track=track, train=images, val=2, test=1, long_side=long_side, classes=20, seed=3)
        folder = render(plan, root, jobs=1)
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            total.update(path.relative_to(folder).as_posix().encode())
            total.update(path.read_bytes())
    return total.hexdigest()


if __name__ == "__main__":
    cv2.setNumThreads(int(sys.argv[1]))
    with tempfile.TemporaryDirectory() as folder:
        print(checksum(Path(folder)))
