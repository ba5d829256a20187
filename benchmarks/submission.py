"""Time and memory of `lid check` and `lid score` at the size of the challenge: images a second and core, peak memory.

    python benchmarks/submission.py --images 23151

Predictions are smooth score maps, or label maps of one class, of 500 x 375 pixels, 16 different ones in turn; the truth
of score maps are foreground masks, as in Track 3. Each measurement is a process of its own on one core; a tenth of the
images comes first, so that what grows is seen. Time is that of the processor.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.archives import write_zip
from pipeline.core.images import encode_png

SHAPE = (375, 500)
DIFFERENT = 16
CODE = """
import json, resource, sys, time
from dataclasses import replace
from pipeline.submission.check import inspect_submission
from pipeline.submission.score import CHALLENGE, score_submission
action, zipped, truth, track, count = sys.argv[1:]
ids = [f"{number:05d}" for number in range(int(count))]
start = time.process_time()
if action == "check":
    found = inspect_submission(zipped, track, ids=ids)
    assert found.problems == [] and found.counts["images"] == len(ids)
else:
    found = score_submission(zipped, truth, track, settings=replace(CHALLENGE, jobs=1))
    assert found["images"] == len(ids)
seconds = time.process_time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"images_per_second": round(len(ids) / seconds), "peak_mib": round(peak)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=23_151, help="as Track 3 has for test; default: 23151")
    parser.add_argument("--tracks", nargs="+", default=["track1", "track3"])
    parser.add_argument("--actions", nargs="+", default=["check", "score"])
    args = parser.parse_args()
    print("| track | action | images | images a second | peak memory, MiB |\n|---|---|---|---|---|")
    for track in args.tracks:
        for count in (args.images // 10, args.images):
            with tempfile.TemporaryDirectory() as folder:
                zipped, truth = make(Path(folder), track, count)
                for action in args.actions:
                    found = measure(action, zipped, truth, track, count)
                    cells = (track, action, count, found["images_per_second"], found["peak_mib"])
                    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def make(folder: Path, track: str, count: int) -> tuple[Path, Path]:
    """A submission of `count` predictions, and masks, which are links to a few files."""
    maps = [score_map(seed) for seed in range(DIFFERENT)]
    if track == "track1":
        maps = [(values > 127).astype(np.uint8) * (1 + seed) for seed, values in enumerate(maps)]
    pngs = [encode_png(values) for values in maps]
    masks = pngs
    if track == "track3":
        masks = [encode_png(np.roll(np.where(values > 127, 255, 0).astype(np.uint8), 20)) for values in maps]
    (folder / "truth").mkdir()
    for number, data in enumerate(masks):
        (folder / f"mask{number}.png").write_bytes(data)
    for number in range(count):
        (folder / "truth" / f"{number:05d}.png").symlink_to(folder / f"mask{number % DIFFERENT}.png")
    write_zip(folder / "x.zip", ((f"{number:05d}.png", pngs[number % DIFFERENT]) for number in range(count)))
    return folder / "x.zip", folder / "truth"


def score_map(seed: int) -> NDArray[np.uint8]:
    """A smooth map with all values, as the CRF leaves them. Shape: SHAPE"""
    coarse = np.random.default_rng(seed).random((12, 16)).astype(np.float32)
    smooth = cv2.resize(coarse, SHAPE[::-1], interpolation=cv2.INTER_CUBIC)
    return np.rint(255 / (1 + np.exp(-18 * (smooth - 0.5)))).astype(np.uint8)


def measure(action: str, zipped: Path, truth: Path, track: str, count: int) -> dict[str, int]:
    """One measurement, in a process of its own."""
    words = [sys.executable, "-c", CODE, action, str(zipped), str(truth), track, str(count)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    result: dict[str, int] = json.loads(done.stdout)
    return result


if __name__ == "__main__":
    main()
