"""Check a whole params file at once: `python -m pipeline.params.check [--machine] [params.yaml]`.

Stages load their own section. This reads all of them first, and what two sections say together, so that a mistake in
the last one is found before the first hour is spent. With `--machine`, in front of the first stage, it also looks for
files of weights and devices. It is a program of its own, in front of every stage: a change here
can change no result, so no stage depends on it.
"""

if __name__ == "__main__":  # before libraries that take seconds to load
    from pipeline.core.signals import end_on_signals

    end_on_signals()

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.auto import TYPICAL, settle
from pipeline.core.errors import SettingsError, command
from pipeline.core.settings import PARAMS, build, read_params, section, unknown_key
from pipeline.core.tracks import TRACKS, Track
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.extract.settings import ExtractSettings
from pipeline.package.settings import PackageSettings
from pipeline.params.networks import machine_mistakes, name_mistakes, watch_mistakes
from pipeline.preprocess.settings import PreprocessSettings
from pipeline.refine.settings import RefineSettings, wrong_output
from pipeline.report.settings import ReportSettings
from pipeline.student.settings import StudentSettings
from pipeline.train.settings import TrainSettings

SECTIONS: dict[str, type] = {
    "preprocess": PreprocessSettings,
    "train": TrainSettings,
    "extract": ExtractSettings,
    "refine": RefineSettings,
    "student": StudentSettings,
    "evaluate": EvaluateSettings,
    "package": PackageSettings,
    "report": ReportSettings,
}


def check(path: Path) -> dict[str, dict[str, Any]]:
    """Load every section of every track; return the settings by track and section.

    Raises:
        SettingsError: with one line for every mistake in the file
    """
    return check_values(read_params(path), path)


def check_values(values: dict[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    """As `check`, of values that are read already; `path` names them in messages."""
    settings, lines = load_sections(values, path)
    if lines:
        raise SettingsError("\n".join(lines))
    return settings


def load_sections(values: dict[str, Any], path: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The sections without a mistake, by track of the file, and a line for every mistake.

    Raises:
        SettingsError: if there is no key `tracks`
    """
    lines = list(_unknown_keys(values, "", ["tracks"], path))
    given = section(values, "tracks", path)
    lines += _unknown_keys(given, "tracks.", TRACKS, path)
    chosen = [track for name, track in TRACKS.items() if isinstance(given, Mapping) and name in given]
    if not chosen:
        lines.append(f"{path}: tracks: expected one or both of {list(TRACKS)}, found none")
    return {track.name: _check_track(values, track, path, lines) for track in chosen}, lines


def _check_track(values: dict[str, Any], track: Track, path: Path, lines: list[str]) -> dict[str, Any]:
    """Load the sections of one track; what is wrong is added to `lines`."""
    where = f"tracks.{track.name}"
    found: dict[str, Any] = {}
    try:
        given = section(values, where, path)
    except SettingsError as error:
        lines.append(str(error))
        return {}
    lines += _unknown_keys(given, f"{where}.", SECTIONS, path)
    for name, kind in SECTIONS.items():
        try:
            found[name] = build(
                kind, _typical(section(values, f"{where}.{name}", path), track, name), path, f"{where}.{name}"
            )
        except SettingsError as error:
            lines += str(error).splitlines()
    lines += (
        [f"{path}: {where}.{line}" for line in _contradictions(found, track)] if len(found) == len(SECTIONS) else []
    )
    return found


def _typical(given: Any, track: Track, name: str) -> Any:
    """A section whose values that follow the data are those of a typical data set: its own is not known here."""
    return settle(given, track.name, name, TYPICAL) if isinstance(given, Mapping) else given


def _unknown_keys(given: object, where: str, known: Iterable[str], path: Path) -> Iterator[str]:
    if isinstance(given, Mapping):  # what is none lacks every key, and is told so
        yield from (
            unknown_key(path, f"{where}{key}", value, known) for key, value in given.items() if key not in known
        )


def _contradictions(found: dict[str, Any], track: Track) -> list[str]:
    """What no section can see alone."""
    lines = []
    train, extract, refine, package = found["train"], found["extract"], found["refine"], found["package"]
    if refine.output not in track.outputs:
        lines.append(wrong_output(refine.output, track.outputs))
    if refine.shape == "box" and track.task == "segmentation":
        lines.append("refine.shape: expected 'free', got 'box'; only score maps have level sets")
    if package.split not in extract.splits:
        lines.append(f"package.split: expected one of extract.splits {list(extract.splits)}, got {package.split!r}")
    if extract.classes == "label" and package.split != "test":
        lines.append(
            f"package.split: expected 'test' with extract.classes 'label', got {package.split!r}; "
            "labels would choose the classes of the submission"
        )
    if "val" not in extract.splits:
        lines.append(
            f"extract.splits: expected 'val' among them, got {list(extract.splits)}; the stage evaluate scores it"
        )
    if refine.output == "label_map" and extract.max_classes == 1:
        lines.append("extract.max_classes: expected 2 or more with refine.output 'label_map', got 1")
    student = found["student"]
    if student.enabled and refine.output == "label_map_one_class":
        lines.append(
            "refine.output: expected 'label_map' with student.enabled, got 'label_map_one_class'; the student learns "
            "every class of an image"
        )
    if student.shape == "box" and track.task == "segmentation":
        lines.append("student.shape: expected 'free', got 'box'; only score maps have level sets")
    if refine.output == "label_map" and train.loss == "single_label":
        lines.append(
            "train.loss: expected 'multi_label' with refine.output 'label_map', got 'single_label'; "
            "its probabilities add up to 1, so that two classes are never certain at once"
        )
    if extract.class_thresholds != "fixed" and refine.output != "label_map":
        lines.append(
            f"extract.class_thresholds: expected 'fixed' with refine.output {refine.output!r}, got "
            f"{extract.class_thresholds!r}; only label maps of several classes read thresholds"
        )
    if extract.class_thresholds == "train" and not train.class_folds:
        lines.append(
            "train.class_folds: expected 2 or more with extract.class_thresholds 'train', got 0; 5 trains five heads "
            "more"
        )
    if extract.min_first_probability and refine.output == "score_map":
        lines.append(
            f"extract.min_first_probability: expected 0 with refine.output 'score_map', got "
            f"{extract.min_first_probability}; a score map is of one class"
        )
    if refine.output == "label_map" and refine.min_probability < extract.min_probability:
        lines.append(
            f"refine.min_probability: expected at least extract.min_probability, {extract.min_probability}, "
            f"got {refine.min_probability}; maps below it are not kept"
        )
    return lines


def check_file(path: Path, finders: Sequence[Callable[[Mapping[str, Any]], Iterator[str]]]) -> None:
    """As `check`, and what the finders find in the sections of each track.

    Raises:
        SettingsError: with one line for every mistake
    """
    settings = check(path)
    lines = [f"{path}: tracks.{name}.{line}" for name in settings for find in finders for line in find(settings[name])]
    if lines:
        raise SettingsError("\n".join(lines))


@command
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, nargs="?", default=PARAMS)
    parser.add_argument("--machine", action="store_true", help="also what this machine lacks: files, devices")
    args = parser.parse_args(arguments)
    check_file(args.path, [name_mistakes, *([watch_mistakes, machine_mistakes] if args.machine else [])])
    return 0


if __name__ == "__main__":
    sys.exit(main())
