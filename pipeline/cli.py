"""The command `lid`: run, predict, check, score, and what else the project can do, from anywhere.

Only what a sub-command needs is imported, when it runs: help comes at once. Exit status: 0, 1 for a finding or an error
that is raised on purpose, 2 for wrong usage. With `--json`, stdout holds one JSON object and nothing else.
"""

import argparse
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.arguments import amount, whole
from pipeline.core.errors import DataError, PipelineError, SettingsError, StoreError, command, unusable_paths
from pipeline.core.files import unused
from pipeline.core.signals import end_on_signals
from pipeline.core.tracks import TRACKS
from pipeline.dvc_runs import INTERRUPTED, dvc, dvc_at_once
from pipeline.export import AREA_HELP, FORMAT_NAMES, MIN_AREA

CHAIN = Path("dvc.yaml")
PARAMS = Path("params.yaml")  # as in `pipeline.core.settings`, which loads a library
LAST = "report"  # the stage that needs all others of its track
GPU_DRIVERS = ("/dev/nvidiactl", "/dev/nvmap", "/dev/kfd", "/dev/dxg")  # NVIDIA, its Jetsons, AMD, Windows' Linux
MEMORY = 4  # GiB free for each track that runs at the same time as others; the demo takes 1.1
OK, FINDING, WRONG_USAGE = 0, 1, 2
GOING_ON = ("run", "report", "predict", "ensemble", "ablate", "search")  # commands that go on where they were stopped
EXAMPLES = """examples:
  lid run package@track3                                     the chain, as far as one submission
  lid predict data/track3 photos/ --out predicted            photographs, with a finished run
  lid check mine.zip --track track3 --images val/            a zip made elsewhere: would it be taken?
  lid score mine.zip --track track3 --truth masks/ --json    and how good is it?

`lid COMMAND --help` shows the options of one command.
"""


@dataclass(frozen=True, slots=True)
class Passed:
    """A command that stands elsewhere and gets all arguments behind its name.

    Attributes:
        about: one line
        main: `module:function`, called with the arguments; returns the exit status
    """

    about: str
    main: str


PASSED = {
    "compare": Passed("two or more runs or zips on one page, on the same images", "pipeline.compare.command:main"),
    "ensemble": Passed(
        "several finished runs averaged: a submission, its scores, a page", "pipeline.ensemble.command:main"
    ),
    "export": Passed("predictions in the formats of other tools: COCO, YOLO, VOC, CSV", "pipeline.export.command:main"),
    "init": Passed("look at a folder of images, and write a params file for it", "pipeline.params.init:main"),
    "ablate": Passed("what each part of the method contributes, on any recipe", "pipeline.experiments.ablation:main"),
    "ladder": Passed(
        "what each step of finished runs is worth, on a page with its cost", "pipeline.experiments.ladder:main"
    ),
    "search": Passed(
        "better settings for the maps of a finished run, chosen by split val", "pipeline.experiments.search:main"
    ),
    "numbers": Passed("the page of numbers, from records of finished runs", "pipeline.experiments.numbers:main"),
    "plan": Passed(
        "hours, disk, traffic and money of a run on machines that need not be here", "pipeline.plan.command:main"
    ),
    "stages": Passed("the stages as plain commands, or as JSON, for other engines than DVC", "pipeline.chain:main"),
    "plots": Passed("curves, bars and images of one run or several, on a page", "pipeline.dvc_plots:main"),
    "clean": Passed("what stopped and earlier runs have kept: shown, and removed on demand", "pipeline.clean:main"),
    "migrate": Passed(
        "rename what an earlier version of a params file called otherwise; adds no keys",
        "pipeline.params.migrate:main",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command; return the exit status. A reader of stdout may stop before the end, as `head` does.

    Called without arguments, it is the program that was started: Ctrl-C ends it with one line.
    """
    if arguments is None:
        end_on_signals(goes_on=sys.argv[1:2] != [] and sys.argv[1] in GOING_ON)
    try:
        status = _main(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's last flush fails
        return FINDING
    return status


def _main(arguments: Sequence[str] | None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in PASSED:
        return _pass(given[0], given[1:])
    if not given:
        _parser().print_help(sys.stderr)
        return WRONG_USAGE
    args = _parser().parse_args(given)
    as_json = getattr(args, "json", False)
    try:
        with unusable_paths():
            status, result = args.call(args)
    except PipelineError as error:
        status, result = FINDING, {"error": str(error)}
        print(f"error: {error}", file=sys.stderr)
    if as_json:
        _print(json.dumps(result, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False, default=str))
    return int(status)


# --- commands of this module ------------------------------------------------------------------------------------------

Result = tuple[int, dict[str, Any]]  # exit status, and what --json prints


def run(args: argparse.Namespace) -> Result:
    """`dvc repro`, after a recipe has become the params file."""
    if args.at_once and args.targets:
        raise SettingsError(f"--at-once: expected no stages, both tracks run to their end; got {args.targets}")
    if args.recipe:
        _use_recipe(args.recipe)
    _check_targets(args.targets)
    status = _repro_at_once() if args.at_once else _repro(args.targets)
    if status == OK and CHAIN.is_file() and not args.targets:  # the last lines of DVC are hints about git and remotes
        pages = [Path("reports") / track / "index.html" for track in _chosen_tracks()]
        print("\n".join(["", *(f"open {page}" for page in pages if page.is_file())]), flush=True)
    return status, {}


def _check_targets(targets: Sequence[str]) -> None:
    """Refuse a stage of a track that is not in the params file, which DVC calls a stage that is not there.

    Raises:
        SettingsError: naming the tracks that are there
    """
    tracks = _chosen_tracks() if targets and CHAIN.is_file() else sorted(TRACKS)
    for target in targets:
        track = target.partition("@")[2]
        if track in TRACKS and track not in tracks:
            raise SettingsError(
                f"{target}: expected a track of {PARAMS}, {' or '.join(tracks)}, got {track}; `lid init FOLDER --track "
                f"both` writes both"
            )


def report(args: argparse.Namespace) -> Result:
    """The stage `report` alone, on what the others left."""
    tracks = [args.track] if args.track else _chosen_tracks()
    for track in tracks if CHAIN.is_file() else ():
        if not Path(f"data/{track}/preprocess.json").is_file():
            raise StoreError(f"data/{track}: expected what the stages of a run leave, found none; `lid run` first")
    status = _repro(["--single-item", *(f"report@{track}" for track in tracks)])
    pages = [f"reports/{track}/index.html" for track in tracks]
    if status == OK:
        print("\n".join(pages))
    return status, {}


def _chosen_tracks() -> list[str]:
    from pipeline.core.settings import tracks_of

    return tracks_of(PARAMS) if PARAMS.is_file() else sorted(TRACKS)


def predict(args: argparse.Namespace) -> Result:
    """Photographs to masks, score maps and overlays."""
    from pipeline import load_run
    from pipeline.predict import predict_files

    predictor = load_run(
        args.run, device=args.device, precision=args.precision, threshold=args.threshold, stage=args.stage,
        classes=args.classes, min_area=args.min_area,
    )  # fmt: skip
    summary = predict_files(predictor, args.paths, args.out, args.shown)
    for path, reason in summary.skipped.items():
        print(f"skipped {path}: {reason}", file=sys.stderr)
    _say(args, f"{summary.images} images, {len(summary.skipped)} skipped: {summary.page or args.out}")
    if summary.left_out:
        _say(
            args, f"{summary.left_out} specks of the masks are too small to be instances (--min-area {args.min_area:g})"
        )
    exported = _export_predicted(args) if args.format else {}
    if summary.images and summary.too_many_skipped:
        print("error: more than a tenth was skipped; likely a damaged disk or an unfinished copy", file=sys.stderr)
    return FINDING if summary.too_many_skipped else OK, asdict(summary) | exported


def _export_predicted(args: argparse.Namespace) -> dict[str, Any]:
    """The predictions in the wanted formats, each a folder beside the masks."""
    from pipeline.export.command import describe
    from pipeline.export.formats import export
    from pipeline.export.sources import Choices, open_source

    done = export(open_source(args.out, Choices(min_area=args.min_area)), args.format, args.out)
    _say(args, describe(done))
    return {"exported": asdict(done)}


def check(args: argparse.Namespace) -> Result:
    """Does a zip keep the published rules?"""
    from pipeline.package.validate import show_problems
    from pipeline.submission.check import inspect_submission

    checked = inspect_submission(args.zip, args.track, args.ids, args.images, args.classes)
    found = show_problems(checked.problems) if checked.problems else f"ok: {checked.counts['images']} images"
    _say(args, found)
    for warning in checked.warnings:
        _say(args, f"warning: {warning}")
    if checked.record:
        _say(args, f"{checked.record.zip}: {checked.record.title}")
    return FINDING if checked.problems else OK, {"ok": not checked.problems, **asdict(checked)}


def score(args: argparse.Namespace) -> Result:
    """The board's numbers for a zip."""
    from pipeline.evaluate.metrics import METRICS, interval_of
    from pipeline.submission.score import score_submission

    scores = score_submission(args.zip, args.truth, args.track, args.classes, masks=args.masks, partial=args.partial)
    for metric in METRICS:
        if scores.get(metric.key) is not None:
            ends = interval_of(scores, metric.key)
            beside = f", 95 % interval [{ends[0]:.{metric.digits}f}, {ends[1]:.{metric.digits}f}]" if ends else ""
            _say(args, f"{metric.title}: {scores[metric.key]:.{metric.digits}f}{beside}")
    left_out = f"{scores['images_without_truth']} without truth, {scores['images_without_prediction']} not predicted"
    _say(args, f"{scores['images']} images, {left_out}")
    if "note" in scores:
        _say(args, scores["note"])
    for warning in scores["warnings"]:
        _say(args, f"warning: {warning}")
    return OK, scores


def preflight(args: argparse.Namespace) -> Result:
    """Everything that is wrong with a run; a library that cannot be imported is one message, not a traceback."""
    try:
        from pipeline.preflight.context import Context
        from pipeline.preflight.run import run_checks
    except Exception as error:  # a broken library can raise anything
        hint = "pip install --constraint constraints.txt --editable ."
        found = f"{type(error).__name__}: {error}; {hint}"
        raise SettingsError(f"expected to import all libraries, got {found}") from error
    if args.gpus < 1:
        raise SettingsError(f"--gpus: expected at least 1, got {args.gpus}")
    minutes = 0.0 if args.no_trial else args.minutes
    if args.gpus > 1 and not minutes:
        raise SettingsError(
            f"--gpus: expected a trial, whose times are divided among {args.gpus} GPUs, got none; leave --no-trial "
            "out, or ask `lid plan`, which needs none"
        )
    return run_checks(Context(args.params, minutes=minutes, sample=args.sample, seed=args.seed, gpus=args.gpus)), {}


# --- what they share --------------------------------------------------------------------------------------------------


def _say(args: argparse.Namespace, line: str) -> None:
    """Print a line for people; with --json, stdout belongs to the object."""
    if not args.json:
        _print(line)


def _print(text: str) -> None:
    """Print text that may hold the name of a file that is no UTF-8: such bytes are shown as escapes."""
    print(text.encode("utf-8", "backslashreplace").decode())


def _repro(words: Sequence[str]) -> int:
    """Run `dvc repro` in the foreground; 0, 1 if it failed, or 130; errors as `_check_params`."""
    _check_params()
    return _status(dvc(["repro", *words]))


def _repro_at_once() -> int:
    """Run `dvc repro` for all tracks at the same time, or one after the other, and say why; result and errors as
    `_repro`."""
    _check_params()
    tracks = _chosen_tracks()
    if len(tracks) == 1:
        return _status(dvc(["repro"]))
    if reason := _why_apart(tracks):
        print(f"note: one track after the other: {reason}", file=sys.stderr)
        return _status(dvc(["repro"]))
    return _status(dvc_at_once({track: ["repro", f"{LAST}@{track}"] for track in tracks}))


def _why_apart(tracks: Sequence[str]) -> str | None:
    """Why tracks should not run at the same time; None if they may.

    Two tracks would share the memory of a GPU, start programs that share out the machine by themselves, download the
    same files twice, or need more memory than there is. PyTorch, which takes seconds, is asked only if there may be a
    GPU.
    """
    import psutil

    from pipeline.core.settings import read_params

    free = psutil.virtual_memory().available / 2**30
    if free < MEMORY * len(tracks):
        return f"{free:.1f} GiB of memory are free, expected {MEMORY} for each"
    params = [read_params(PARAMS)["tracks"][track] for track in tracks]
    if any(one["preprocess"]["source"].get("download") for one in params):
        return "preprocess.source.download is set"
    sections = [section for one in params for section in _computing(one)]
    if any(section["launcher"] != "python" for section in sections):
        return "a launcher starts stages"
    if any(section["device"] not in ("auto", "cpu") for section in sections):
        return "a device is named"
    if all(section["device"] == "cpu" for section in sections) or not _may_have_gpu():
        return None
    from pipeline.core.device import choose_hardware

    found = choose_hardware("auto", "auto", learning=True).device
    return None if found.type == "cpu" else f"{found} computes"


def _computing(track: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The sections of the stages of a track that run a network."""
    return [track["train"], track["extract"], *([track["student"]] if track["student"]["enabled"] else [])]


def _may_have_gpu() -> bool:
    return platform.system() != "Linux" or any(map(os.path.exists, GPU_DRIVERS))


def _check_params() -> None:
    """Look for mistakes before DVC starts.

    Raises:
        SettingsError: with every mistake in the params file, and a watched file that is missing
    """
    if CHAIN.is_file() and PARAMS.is_file():
        from pipeline.params.check import check_file
        from pipeline.params.networks import name_mistakes, watch_mistakes

        check_file(PARAMS, [name_mistakes, watch_mistakes])


def _status(of_dvc: int) -> int:
    """The exit status for one of DVC."""
    return of_dvc if of_dvc in (OK, INTERRUPTED) else FINDING


def _use_recipe(recipe: Path) -> None:
    """Copy a recipe to params.yaml; a params file that was edited is kept beside it, as by `lid init`.

    Raises:
        DataError: if there is no such recipe
    """
    if not recipe.is_file():
        raise DataError(f"{recipe}: expected a recipe, a complete params file, found no file")
    from pipeline.params.init import is_edited

    if is_edited(PARAMS, recipe.parent):
        kept = unused(PARAMS.with_suffix(".yaml.bak"))
        shutil.copy(PARAMS, kept)
        print(f"{PARAMS} is now {recipe}; what it was before: {kept}", file=sys.stderr)
    PARAMS.write_bytes(recipe.read_bytes())


def _pass(name: str, arguments: list[str]) -> int:
    """Call a command that stands elsewhere, as `lid <name>`."""
    module, _, function = PASSED[name].main.partition(":")
    with _called(f"lid {name}"):
        call: Callable[[Sequence[str]], int] = getattr(import_module(module), function)
        return int(command(lambda given: call(given or []))(arguments))


@contextmanager
def _called(name: str) -> Iterator[None]:
    """What parsers call the program."""
    before, sys.argv[0] = sys.argv[0], name
    try:
        yield
    finally:
        sys.argv[0] = before


# --- command line -----------------------------------------------------------------------------------------------------


class _Version(argparse.Action):
    """`--version`, which reads the version only if it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        import pipeline

        print(f"lid {pipeline.__version__}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lid",
        description="From image-level labels to masks and boxes, one reproducible chain.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(commands)
    _add_predict(commands)
    _add_check(commands)
    _add_score(commands)
    _add_preflight(commands)
    _add_report(commands)
    for name, passed in PASSED.items():
        commands.add_parser(name, help=passed.about, add_help=False)
    return parser


def _add(
    commands: Any, name: str, call: Callable[[argparse.Namespace], Result], about: str, examples: str
) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = commands.add_parser(
        name,
        help=about,
        description=about[:1].upper() + about[1:] + ".",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added.set_defaults(call=call)
    return added


def _add_run(commands: Any) -> None:
    about = "run the chain with `dvc repro`: only what has changed"
    examples = "  lid run\n  lid run --at-once\n  lid run package@track3\n  lid run --recipe recipes/folder.yaml\n"
    parser = _add(commands, "run", run, about, examples)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="stages, such as report@track3; all if none")
    parser.add_argument(
        "--recipe", type=Path, help="copied to params.yaml first; a params.yaml that was edited is kept as .bak"
    )
    parser.add_argument(
        "--at-once", action="store_true", help="both tracks at the same time, each with its share of the cores; with a "
        "GPU one after the other"
    )  # fmt: skip


def _add_predict(commands: Any) -> None:
    about = "predict photographs with a finished run"
    examples = (
        "  lid predict data/track3 photo.jpg --out predicted\n"
        "  lid predict data/track3 photos/ --out predicted --format coco --format csv\n"
        "  lid predict data/track3 photos/ --out predicted --threshold 128 --json\n"
    )
    parser = _add(commands, "predict", predict, about, examples)
    parser.add_argument("run", type=Path, metavar="RUN", help="data/<track>, what the stages left, or its copy")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="images, or folders of images")
    parser.add_argument("--out", required=True, type=Path, help="folder for the results")
    parser.add_argument("--threshold", type=int, help="score from which a pixel is foreground, 0..255; default: of val")
    parser.add_argument(
        "--stage", choices=("auto", "first"), default="auto",
        help="auto: the student where the run has one; first: the maps alone; default: auto",
    )  # fmt: skip
    parser.add_argument(
        "--class", action="append", dest="classes", metavar="NAME",
        help="only maps of this class, as if the run knew no others; again for each further one",
    )  # fmt: skip
    parser.add_argument(
        "--format", action="append", choices=FORMAT_NAMES, help="what `lid export` would write, too; once for each"
    )
    parser.add_argument(
        "--min-area", type=float, default=MIN_AREA, metavar="AREA", help=f"{AREA_HELP}; default: {MIN_AREA}"
    )
    parser.add_argument(
        "--shown", type=whole(), default=1000, metavar="N", help="images on the page, 0: no page; default: 1000"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps; default: auto")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto", help="default: auto")
    parser.add_argument("--json", action="store_true", help="the summary as one JSON object")


def _add_check(commands: Any) -> None:
    about = "check a zip against the published rules; 1 if it breaks one"
    examples = (
        "  lid check mine.zip --track track3 --images LID_track3/val\n"
        "  lid check mine.zip --track track1 --ids val.txt --classes 12 --json\n"
    )
    parser = _add(commands, "check", _checked_usage(check), about, examples)
    _add_zip(parser)
    parser.add_argument("--ids", type=Path, metavar="FILE", help="the ids that have to be there, one a line")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="the predicted images: their stems and sizes")
    parser.set_defaults(parser=parser)


def _checked_usage(call: Callable[[argparse.Namespace], Result]) -> Callable[[argparse.Namespace], Result]:
    """Wrong usage, status 2, if nothing says which predictions have to be there."""

    def checked(args: argparse.Namespace) -> Result:
        if args.ids is None and args.images is None:
            args.parser.error("expected --ids, --images, or both: they say which predictions have to be there")
        return call(args)

    return checked


def _add_score(commands: Any) -> None:
    about = "the board's numbers for a zip; 1 if it would be refused"
    examples = (
        "  lid score mine.zip --track track3 --truth masks/\n"
        "  lid score mine.zip --track track1 --truth masks/ --classes 12 --json\n"
    )
    parser = _add(commands, "score", score, about, examples)
    _add_zip(parser)
    parser.add_argument(
        "--truth", required=True, type=Path, metavar="FOLDER", help="<id>.png masks, or boxes.csv (id,boxes), or both"
    )
    parser.add_argument(
        "--masks", choices=("auto", "foreground", "labels"), default="auto",
        help="foreground: above 128; labels: class ids, 255 ignored; default: auto, by the values of all masks",
    )  # fmt: skip
    parser.add_argument(
        "--partial", action="store_true", help="score the images that have a prediction and truth, refuse no others"
    )


def _add_zip(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("zip", type=Path, metavar="ZIP", help="the submission")
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    parser.add_argument("--classes", type=int, metavar="K", help="Track 1: largest class id; default: 200")
    parser.add_argument("--json", action="store_true", help="all of it as one JSON object")


def _add_preflight(commands: Any) -> None:
    about = "everything that is wrong with a run, before hours are spent; 1 if anything is FAIL"
    parser = _add(commands, "preflight", preflight, about, "  lid preflight\n  lid preflight --no-trial\n")
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--minutes", type=amount, default=1.0, help="length of the trial, about; default: 1")
    parser.add_argument("--no-trial", action="store_true", help="no trial, hence no durations")
    parser.add_argument("--sample", type=whole(), default=150, help="images of a split that are decoded; default: 150")
    parser.add_argument("--seed", type=whole(), default=0, help="which images; default: 0")
    parser.add_argument(
        "--gpus", type=int, default=1, metavar="N", help="durations on N GPUs like this one, too; default: 1"
    )


def _add_report(commands: Any) -> None:
    about = "make the page of a finished run again, from what its stages left"
    parser = _add(commands, "report", report, about, "  lid report\n  lid report --track track3\n")
    parser.add_argument("--track", choices=sorted(TRACKS), help="those of params.yaml if not given")


if __name__ == "__main__":
    sys.exit(main())
