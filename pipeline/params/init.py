"""`lid init FOLDER`: look at a folder of images, say what it is, and write the params file for it."""

import argparse
import hashlib
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.core.auto import data_facts, settled_keys
from pipeline.core.errors import DataError, SettingsError, command, sample
from pipeline.core.files import unused, write_text
from pipeline.core.manifest import SPLITS, Manifest
from pipeline.core.settings import PARAMS, read_params
from pipeline.core.text import escaped, is_utf8
from pipeline.core.tracks import MOST_CLASSES, TRACKS, get_track
from pipeline.params.changes import with_sections
from pipeline.params.check import check
from pipeline.params.doubtful import Looked, look
from pipeline.params.recognize import Recognized, recognize
from pipeline.params.yaml_text import read_text, shown
from pipeline.preprocess.settings import PreprocessSettings
from pipeline.preprocess.sources import list_images

RECIPE = Path("recipes/folder.yaml")
CONVERTED = Path("data/raw")  # where annotations that no source reads become an index.csv
MARK = "Digest of what follows"
Wanted = Literal["auto", "both", "track1", "track3"]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which tracks run, and why."""

    tracks: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Initialized:
    """What `init` found and wrote.

    Attributes:
        recognized: the layout
        manifest: its images, as listed
        looked: sizes, and what is doubtful
        choice: of tracks
        changes: keys below each track that follow from the folder, beside source and watch
        settled: values of the keys that are `auto`, by track
        kept: where an edited params file was kept; None if there was none
    """

    recognized: Recognized
    manifest: Manifest
    looked: Looked
    choice: Choice
    changes: dict[str, Any]
    settled: dict[str, dict[str, Any]]
    kept: Path | None


def init(
    folder: Path, out: Path = PARAMS, recipe: Path = RECIPE, track: Wanted = "auto", force: bool = False
) -> Initialized:
    """Write the recipe for any folder with the source that reads this folder.

    The keys that are `auto` stay `auto`: other images give other values, without another params file. A params file
    that was edited is replaced with `force` only, and kept beside it, as `<name>.bak`.

    Raises:
        DataError: if the folder is in no known layout, or its path is no UTF-8
        SettingsError: if the recipe is missing, or the params file was edited
    """
    if not is_utf8(str(folder)):
        raise DataError(f"{escaped(str(folder))}: expected a path in UTF-8, as a params file has to hold it; rename it")
    edited = is_edited(out, recipe.parent)
    if edited and not force:
        raise SettingsError(
            f"{out}: expected no file, a recipe, or what `lid init` wrote, found an edited file; --force replaces it, "
            f"and keeps it as {out.name}.bak"
        )
    recognized = recognize(folder, _place_of_index(folder, out))
    temporary = out.with_name(f".{out.name}.new")  # gets its name when the folder is known to be in order
    try:
        manifest, settings = _list(recognized, recipe, temporary)
        looked = look(manifest, settings.cuts_boxes)
        choice, changes = choose_tracks(manifest, track), follow(manifest, looked)
        write_text(temporary, _text(read_text(recipe), recognized, choice, changes, folder))
        check(temporary)
        settled = {name: _settled(temporary, name, manifest) for name in choice.tracks}
        kept = unused(out.with_name(f"{out.name}.bak")) if edited else None
        if kept:
            out.replace(kept)
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    return Initialized(recognized, manifest, looked, choice, changes, settled, kept)


def _place_of_index(folder: Path, out: Path) -> Path:
    name = re.sub(r"[^\w.-]+", "_", folder.resolve().name) or "images"
    return out.parent / CONVERTED / f"init-{name}"


def _list(recognized: Recognized, recipe: Path, temporary: Path) -> tuple[Manifest, PreprocessSettings]:
    """The images, by settings that are checked as those of any params file."""
    both = Choice(tuple(TRACKS), "")
    write_text(temporary, _text(read_text(recipe), recognized, both, {}, Path()))
    settings = check(temporary)["track3"]["preprocess"]
    return list_images(settings.source, get_track("track3"), settings.jobs), settings


def _settled(path: Path, track: str, manifest: Manifest) -> dict[str, Any]:
    return dict(settled_keys(read_params(path)["tracks"][track], track, data_facts(manifest)))


# --- rules ------------------------------------------------------------------------------------------------------------


def choose_tracks(manifest: Manifest, wanted: Wanted = "auto") -> Choice:
    """Track 1 if an image has several classes, else Track 3; or what is wanted."""
    several = sum(len(labels) > 1 for labels in manifest.labels())
    if wanted != "auto":
        return Choice(tuple(TRACKS) if wanted == "both" else (wanted,), "as asked by --track")
    if several and len(manifest.classes) <= MOST_CLASSES:
        return Choice(("track1",), f"{several} images have several classes: each pixel gets its class")
    if several:
        return Choice(
            ("track3",), f"{len(manifest.classes)} classes are more than {MOST_CLASSES}, too many for Track 1"
        )
    return Choice(
        ("track3",),
        "every image has one class: its object is located; `--track both` adds Track 1, a map of classes",
    )


def follow(manifest: Manifest, looked: Looked) -> dict[str, Any]:
    """Keys below a track that follow from the images, with their values."""
    changes: dict[str, Any] = {}
    if not len(manifest.select("test")):
        changes |= {"extract.splits": ["val"], "package.split": "val"}
    if looked.broken.get("train"):
        changes["preprocess.on_bad_image"] = "skip"
    return changes


# --- the file ---------------------------------------------------------------------------------------------------------


def _text(recipe: str, recognized: Recognized, choice: Choice, changes: Mapping[str, Any], folder: Path) -> str:
    own = {"preprocess.source": recognized.source, "preprocess.watch": recognized.watch.as_posix(), **changes}
    text = with_sections(recipe, choice.tracks, own)
    body = text[text.index("tracks:") :]
    digest = hashlib.sha256(body.encode()).hexdigest()[:16]
    about = f"`lid init` wrote this for {folder.name!a}: {recognized.what}. Keys: docs/parameters.md."
    return f"# {about}\n# {MARK}, which shows whether it was edited: {digest}\n\n{body}"


def is_edited(path: Path, recipes: Path) -> bool:
    """Whether a params file is there that is no recipe, not as `init` wrote it, and not as git has it."""
    if not path.is_file():
        return False
    data = path.read_bytes()
    written = re.search(rb"\n# " + MARK.encode() + rb"[^\n]*: ([0-9a-f]{16})\n\n", data)
    if written and hashlib.sha256(data[written.end() :]).hexdigest()[:16].encode() == written[1]:
        return False
    return data not in [recipe.read_bytes() for recipe in sorted(recipes.glob("*.yaml"))] and not _as_in_git(path)


def _as_in_git(path: Path) -> bool:
    """Whether git has the file as it is."""
    git = ["git", "-C", str(path.resolve().parent)]
    commands = (["ls-files", "--error-unmatch", "--", path.name], ["diff", "--quiet", "HEAD", "--", path.name])
    try:
        return all(
            subprocess.run([*git, *words], capture_output=True, check=False).returncode == 0 for words in commands
        )
    except OSError:  # no git here
        return False


# --- what people read -------------------------------------------------------------------------------------------------


def report(found: Initialized, out: Path) -> list[str]:
    """What was found, which rule set which value, and what to do next."""
    manifest = found.manifest
    lines = [f"found: {found.recognized.what}"]
    lines += [f"  {line}" for line in (*_counts(manifest), *found.looked.lines, *found.recognized.notes)]
    for name in found.choice.tracks:
        lines.append(f"{get_track(name).title}; {found.choice.why}")
        lines += [f"  {name}.{key}: {shown(value)}; {WHY[key]}" for key, value in found.changes.items()]
        lines += _by_stage(found.settled[name])
    if not _has_truth(manifest):
        lines.append(
            "no val image has a mask or boxes: maps, predictions, zip and report are made, but no score of them"
        )
    for split in ("val", "test"):
        if broken := found.looked.broken.get(split):
            lines.append(f"take out or repair the {len(broken)} broken images of split {split}: the run stops at them")
    lines.append(f"{out} is written" + (f"; the edited one is kept as {found.kept}" if found.kept else ""))
    lines.append(_next(out))
    for name in found.choice.tracks:
        lines.append(
            f"then: reports/{name}/index.html; `lid predict data/{name} PHOTOS --out predicted` for other images"
        )
    return lines


def _next(out: Path) -> str:
    """What to do with the params file; the commands read `params.yaml` where none is named."""
    words = ("", "") if out == PARAMS else (f" --params {shlex.quote(str(out))}", f" --recipe {shlex.quote(str(out))}")
    check, run = (f"`lid {name}{word}`" for name, word in zip(("preflight", "run"), words, strict=True))
    return f"next: {check} checks the run and says how long it takes (optional), {run} runs it"


def _by_stage(settled: Mapping[str, Any]) -> list[str]:
    """Values of the keys that are `auto`, a line for each stage; of a student that is switched off, that alone."""
    stages: dict[str, list[str]] = {}
    for key, value in settled.items():
        stage, _, name = key.partition(".")
        if stage == "student" and name != "enabled" and settled.get("student.enabled") is False:
            continue
        stages.setdefault(stage, []).append(f"{name} {shown(value)}")
    return [f"  auto, by the images: {stage}: {', '.join(words)}" for stage, words in stages.items()]


WHY = {
    "extract.splits": "there are no test images",
    "package.split": "there are no test images, so the zip holds the predictions of val",
    "preprocess.on_bad_image": "broken train images are left out, counted and named",
}


def _counts(manifest: Manifest) -> list[str]:
    counts = ", ".join(f"{split} {len(manifest.select(split))}" for split in SPLITS)
    val = manifest.select("val")
    masks, boxes = (sum(getattr(record, name) for record in val) for name in ("has_mask", "has_boxes"))
    truth = f"masks of {masks}" if masks else f"boxes of {boxes}" if boxes else "neither masks nor boxes of the"
    names = sample(manifest.classes, 10)
    return [f"{len(manifest)} images ({counts}) of {len(manifest.classes)} classes: {names}", f"{truth} val images"]


def _has_truth(manifest: Manifest) -> bool:
    return any(record.has_mask or record.has_boxes for record in manifest.select("val"))


@command
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="images: a folder for each class, index.csv, COCO, VOC, or a CSV")
    parser.add_argument("--track", choices=("auto", "both", *TRACKS), default="auto", help="default: auto, by labels")
    parser.add_argument("--out", type=Path, default=PARAMS, help=f"the params file; default: {PARAMS}")
    parser.add_argument("--force", action="store_true", help="replace an edited params file, which is kept as .bak")
    args = parser.parse_args(arguments)
    found = init(args.folder.expanduser(), args.out, track=args.track, force=args.force)
    print("\n".join(report(found, args.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
