"""Do the tests notice a wrong line? 26 one-line mutations of central formulas, each of which tests must fail for.

    python benchmarks/mutations.py --out mutations.json             # all: half an hour on two cores
    python benchmarks/mutations.py --out mutations.json unary nwc   # some

Each mutation is made in a copy of the committed files and the tests of the packages it concerns are run. It ends with 1
if a mutation is not noticed. Finished mutations stand in the file and are not run again.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.files import read_json, write_json

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Mutation:
    """One changed line.

    Attributes:
        name: for the command line
        module: the changed file, below pipeline/
        old: what stands there, once
        new: what is put in its place
        tests: which tests are run, below tests/
    """

    name: str
    module: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTATIONS = (
    Mutation(
        "tap-strict",
        "models/pooling.py",
        "kept = (features > threshold).float()",
        "kept = (features >= threshold).float()",
        ("models",),
    ),
    Mutation("nwc", "extract/cam.py", "return weights.clamp(min=0)", "return weights.clamp(min=-1)", ("extract",)),
    Mutation(
        "offset-sign",
        "extract/cam.py",
        "* source / target - 0.5 - offset",
        "* source / target - 0.5 + offset",
        ("extract",),
    ),
    Mutation(
        "pas-fallback",
        "extract/scale.py",
        "return Standard(low, at_percentile if at_percentile > 0 else high - low)",
        "return Standard(low, at_percentile)",
        (
            "extract",
            "experiments",
            "core",
        ),
    ),
    Mutation(
        "min-prob",
        "refine/outputs.py",
        "kept |= probabilities >= min_probability",
        "kept |= probabilities > min_probability",
        ("refine",),
    ),
    Mutation("class-id", "refine/outputs.py", "[[0], classes + 1]", "[[0], classes]", ("refine",)),
    Mutation("student-band", "student/target_rules.py", "np.where(certain, of_", "np.where(True, of_", ("student",)),
    Mutation(
        "student-label", "student/target_rules.py", "of_labels(label_map, labels), I", "label_map, I", ("student",)
    ),
    Mutation("student-mode", "student/fit.py", "network.backbone.eval()", "network.backbone.train()", ("student",)),
    Mutation("student-mirror", "student/predict.py", "found.flip(3) if mirrored else found", "found", ("student",)),
    Mutation("walk-self", "student/random_walk.py", "weights[radius, radius] = 1", "pass", ("student",)),
    Mutation(
        "walk-first-round", "student/run.py", "return Store(paths.walked), {", "return source.teacher, {", ("student",)
    ),
    Mutation(
        "known-labels", "extract/network.py", "row[list(known)] += 1.0e6", "row[list(known)] += 0.0", ("extract",)
    ),
    Mutation(
        "test-labels",
        "extract/plan.py",
        'by_label = as_targets or (settings.classes == "label" and split != "test")',
        'by_label = as_targets or settings.classes == "label"',
        ("extract",),
    ),
    Mutation(
        "unary",
        "refine/crf.py",
        "return -np.log(np.clip(probabilities, SMALLEST, 1.0))",
        "return -np.log(np.clip(probabilities, 0.01, 1.0))",
        ("refine",),
    ),
    Mutation(
        "fg-above",
        "core/truth.py",
        "return values > FOREGROUND_ABOVE",
        "return values >= FOREGROUND_ABOVE",
        (
            "evaluate",
            "core",
            "preprocess",
        ),
    ),
    Mutation(
        "peak-tie",
        "evaluate/peak_iou.py",
        "LEVELS - 1 - int(curve[::-1].argmax()), curve)",
        "int(curve.argmax()), curve)",
        (
            "evaluate",
            "experiments",
        ),
    ),
    Mutation(
        "loc-iou",
        "evaluate/boxes.py",
        "self.largest += largest >= LOC_IOU",
        "self.largest += largest > LOC_IOU",
        ("evaluate",),
    ),
    Mutation(
        "rarest",
        "train/targets.py",
        'sign = 1 if choice == "rarest" else -1',
        'sign = -1 if choice == "rarest" else 1',
        ("train",),
    ),
    Mutation(
        "accum",
        "train/step.py",
        "state.scaler.scale(mean * len(inputs) / images).backward()",
        "state.scaler.scale(mean).backward()",
        ("train",),
    ),
    Mutation(
        "best",
        "train/trainer.py",
        "return new.val_loss < best.val_loss",
        "return new.val_loss <= best.val_loss",
        ("train",),
    ),
    Mutation(
        "mirror-offset",
        "models/cell_offset.py",
        "return _peak(y) / 2, _peak(x) / 2",
        "return _peak(y), _peak(x)",
        ("models",),
    ),
    Mutation("twice", "core/store.py", "if times > 1)", "if times > 2)", ("core/test_store.py",)),
    Mutation(
        "clock",
        "core/archives.py",
        "date_time=(1980, 1, 1, 0, 0, 0)",
        "date_time=(1981, 1, 1, 0, 0, 0)",
        (
            "core",
            "package",
        ),
    ),
    Mutation(
        "warmup",
        "train/optimizer.py",
        "return max(progress / schedule.warmup, 1e-3)",
        "return max(progress / schedule.warmup, 1e-2)",
        ("train",),
    ),
    Mutation(
        "swap",
        "core/errors.py",
        "found == expected[::-1]",
        "found == expected",
        (
            "core",
            "evaluate",
            "package",
        ),
    ),
)


def mutate(root: Path, mutation: Mutation) -> None:
    """Change the line in the tree at `root`.

    Raises:
        ValueError: if the old text does not stand in the module exactly once
    """
    path = root / "pipeline" / mutation.module
    source = path.read_text()
    if (count := source.count(mutation.old)) != 1:
        raise ValueError(f"{path}: expected {mutation.old!r} once, found it {count} times; adapt MUTATIONS")
    path.write_text(source.replace(mutation.old, mutation.new))


def failures(root: Path, tests: Sequence[str]) -> int:
    """How many of the tests fail in the tree at `root`.

    Raises:
        RuntimeError: if pytest did not run
    """
    command = [sys.executable, "-m", "pytest", "-m", "not slow", "-p", "no:cacheprovider"]
    command += [f"tests/{name}" for name in tests]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"expected pytest to run, it ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return sum(int(count) for count in re.findall(r"(\d+) (?:failed|error)", done.stdout.splitlines()[-1]))


def run(mutation: Mutation) -> int:
    """Failed tests of a fresh copy with this mutation."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "copy"
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(root)], check=True)
        mutate(root, mutation)
        return failures(root, mutation.tests)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="failed tests by mutation, JSON")
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutations; all by default")
    options = parser.parse_args(arguments)
    known = {mutation.name: mutation for mutation in MUTATIONS}
    if unknown := sorted(set(options.names) - set(known)):
        parser.error(f"expected names among {sorted(known)}, got {unknown}")
    found: dict[str, int] = read_json(options.out) if options.out.is_file() else {}
    for name in options.names or known:
        if name not in found:
            found[name] = run(known[name])
            write_json(options.out, found)
        print(f"{name:14} {found[name]:3} tests fail", flush=True)
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
