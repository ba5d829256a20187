"""Preprocess at the size of the real challenge, with empty images: does listing stay within minutes and megabytes?

    python benchmarks/full_listing.py /tmp/full_listing    # makes the trees (a minute), runs the stage on each, prints
    rm -r /tmp/full_listing                                # 2 million files

It fails if a count is another one than the challenge's, or if the stage passes `LIMITS`. The trees have the official
layout and every entry of the official lists: 1,281,167 / 23,151 / 21,120 (Track 3) and 349,319 / 4,690 / 10,000 (Track
1). Images and masks are empty files, annotations are real XML, 4.5 % of them without an object. `check: list` opens no
image. What the numbers do not cover: disks slower than this one's page cache.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.files import read_json
from pipeline.preprocess.challenge_lists import COUNTS, cls_classes, det_classes, track1_ids, track3_val

REPOSITORY = Path(__file__).resolve().parent.parent
TEST = 21_120  # Track 3; its list comes with the challenge download
LIMITS = (180.0, 3.0)  # seconds, GB of all processes together
SOURCES: dict[str, dict[str, str]] = {
    "track3": {
        "name": "ilsvrc_cls",
        "classes": "all",
        "val_list": "shipped",
        "val_numbers": "class_index",
        "test_list": "auto",
        "masks": "auto",
        "boxes": "annotations",
        "swapped_masks": "transpose",
    },
    "track1": {
        "name": "ilsvrc_det",
        "labels": "annotations",
        "partial_labels": "ignore",
        "lists": "shipped",
        "empty_classes": "error",
    },
}
OBJECT = """	<object>
		<name>{}</name>
		<bndbox>
			<xmin>24</xmin>
			<xmax>311</xmax>
			<ymin>81</ymin>
			<ymax>275</ymax>
		</bndbox>
		<truncated>0</truncated>
		<difficult>0</difficult>
	</object>
"""
ANNOTATION = """<annotation>
	<folder>{}</folder>
	<filename>{}</filename>
	<source>
		<database>ILSVRC_2013</database>
	</source>
	<size>
		<width>500</width>
		<height>375</height>
		<depth>3</depth>
	</size>
	<segmented>0</segmented>
{}</annotation>
"""


def make_track3(root: Path, train: int = COUNTS["track3"]["train"]) -> None:
    """The CLS-LOC disk and the Track 3 download: 1.3 million empty files, `train` of them train images."""
    classes = cls_classes()
    share, rest = divmod(train, len(classes))
    for k, row in enumerate(classes):
        _touch(
            root / f"ILSVRC/Data/CLS-LOC/train/{row.wnid}", (f"{row.wnid}_{n}.JPEG" for n in range(share + (k < rest)))
        )
    val = [image_id for image_id, _ in track3_val()]
    chosen = set(val)
    everything = [f"ILSVRC2012_val_{n:08d}" for n in range(1, 50_001)]
    test = [image_id for image_id in everything if image_id not in chosen][:TEST]
    _touch(root / "ILSVRC/Data/CLS-LOC/val", (f"{image_id}.JPEG" for image_id in everything))
    _touch(root / "LID_track3/masks", (f"{image_id}.png" for image_id in val))
    annotations = root / "ILSVRC/Annotations/CLS-LOC/val"
    annotations.mkdir(parents=True)
    for image_id, k in track3_val():
        xml = ANNOTATION.format("val", image_id, OBJECT.format(classes[k].wnid))
        (annotations / f"{image_id}.xml").write_text(xml)
    (root / "LID_track3/test.txt").write_text("".join(f"{image_id}\n" for image_id in test))


def make_track1(root: Path) -> None:
    """The DET disk and the Track 1 download: 0.7 million files, half of them annotations."""
    wnids = [row.wnid for row in det_classes()]
    draw = random.Random(0)
    folders = [f"ILSVRC2013_train/{wnid}" for wnid in wnids for _ in range(7)]  # most images lie in class folders
    folders += [f"ILSVRC2013_train_extra{n}" for n in range(11)] * 40 + [
        f"ILSVRC2014_train_{n:04d}" for n in range(7)
    ] * 60
    names: dict[str, list[str]] = {folder: [] for folder in folders}
    for n in range(COUNTS["track1"]["train"]):
        folder = folders[n % len(folders)]
        names[folder].append(f"{Path(folder).name}_{n:08d}")
    for folder, stems in names.items():
        _touch(root / "ILSVRC/Data/DET/train" / folder, (f"{stem}.JPEG" for stem in stems))
        annotations = root / "ILSVRC/Annotations/DET/train" / folder
        annotations.mkdir(parents=True)
        for stem in stems:
            found = [] if draw.random() < 0.045 else draw.choices(wnids, k=draw.choice((1, 1, 1, 1, 1, 2, 2, 5)))
            objects = "".join(OBJECT.format(wnid) for wnid in found)
            (annotations / f"{stem}.xml").write_text(ANNOTATION.format(folder, stem, objects))
    for split in ("val", "test"):
        _touch(root / f"LID_track1/{split}", (f"{image_id}.JPEG" for image_id in track1_ids(split)))
    _touch(
        root / "LID_track1_annotations/track1_val_annotations_raw",
        (f"{image_id}.png" for image_id in track1_ids("val")),
    )


def _touch(folder: Path, names: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        for name in names:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=handle))
    finally:
        os.close(handle)


def run(root: Path, track: str) -> dict[str, Any]:
    """Run the stage on a tree.

    Return its counts, how long it took and how much memory all its processes had at most.
    """
    source = {"root": str(root), "challenge_root": str(root), **SOURCES[track]}
    section = {"source": source, "watch": str(root / "made"), "check": "list", "on_bad_image": "error", "jobs": 2}
    (root / "params.yaml").write_text(json.dumps({"tracks": {track: {"preprocess": section}}}))
    command = [sys.executable, REPOSITORY / "stages/preprocess.py", "--params", root / "params.yaml", "--track", track]
    command += ["--manifest", root / "manifest", "--drawn", root / "drawn", "--report", root / "preprocess.json"]
    start, most = time.perf_counter(), 0
    with subprocess.Popen(command, cwd=REPOSITORY) as process:
        while process.poll() is None:
            most = max(most, _resident(process.pid))
            time.sleep(0.1)
    if process.returncode:
        raise SystemExit(process.returncode)
    report = read_json(root / "preprocess.json")
    counts = {split: part["images"] for split, part in report["splits"].items()}
    return {**counts, "seconds": round(time.perf_counter() - start, 1), "gigabytes": round(most / 1e9, 2)}


def _resident(pid: int) -> int:
    """Resident bytes of a process and all below it; what they share counts for each."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it has ended meanwhile
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(_resident(int(child)) for child in children)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    root = parser.parse_args(arguments).root
    for track, make in (("track3", make_track3), ("track1", make_track1)):
        if not (root / track / "made").exists():
            start = time.perf_counter()
            make(root / track)
            (root / track / "made").touch()
            print(f"{track}: tree made in {time.perf_counter() - start:.0f} s", flush=True)
        result = run(root / track, track)
        print(f"{track}: {result}", flush=True)
        expected = COUNTS[track]
        if {split: result[split] for split in expected} != expected:
            raise SystemExit(f"{track}: expected {expected} images")
        if result["seconds"] > LIMITS[0] or result["gigabytes"] > LIMITS[1]:
            raise SystemExit(f"{track}: expected at most {LIMITS[0]:.0f} s and {LIMITS[1]} GB")


if __name__ == "__main__":
    main()
