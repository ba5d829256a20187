"""One CSV of all instances: image, class, score and box, a line each; no masks."""

import csv
from collections.abc import Sequence
from pathlib import Path

from pipeline.export.images import ExportImage

TABLE = "instances.csv"
COLUMNS = ("image", "class", "score", "x0", "y0", "x1", "y1")


class TableWriter:
    """Writes `instances.csv`: boxes in inclusive pixels, x1 - x0 + 1 wide; scores in [0, 1]."""

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self._stream = (folder / TABLE).open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._stream, lineterminator="\n")
        self._rows.writerow(COLUMNS)

    def add(self, image: ExportImage) -> None:
        for one in image.instances:
            self._rows.writerow([image.name, one.class_name, f"{one.score:.6f}", *one.box])

    def finish(self) -> None:
        """Close the table."""
        self.close()

    def close(self) -> None:
        self._stream.close()
