"""The names in a submission: one flat `<id>.png` for each image, and nothing else."""

import re
import unicodedata
import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.core.errors import sample
from pipeline.package.container import is_outside

SUFFIX = ".png"

_METADATA = re.compile(r"(^|[/\\])(__MACOSX[/\\]|\.DS_Store$|\._|Thumbs\.db$|desktop\.ini$)")
_SEPARATOR = re.compile(r"[/\\]")
_IMAGE_SUFFIX = re.compile(r"\.(jpe?g|png|bmp|tiff?)$", re.IGNORECASE)
_WORD = re.compile(r"[-_ ](pred(iction)?|mask|label|map|score|cam|out(put)?|result)s?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Members:
    """The members of a zip by their names.

    Attributes:
        predictions: by image id; of two with one id the first
        folders: names that stand in a folder, and folders
        metadata: files that an operating system adds
        misnamed: names that do not end with `.png`
        doubled: names whose id occurred before
    """

    predictions: dict[str, zipfile.ZipInfo] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    misnamed: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)


def sort_members(infos: Sequence[zipfile.ZipInfo]) -> Members:
    """Tell predictions from what does not belong into a submission, by names alone."""
    members = Members()
    for info in infos:
        name = info.filename
        *folders, last = _SEPARATOR.split(name)
        if _METADATA.search(name):
            members.metadata.append(name)
            continue
        if folders and not is_outside(name):
            members.folders.append(name)
        if last and not last.endswith(SUFFIX):
            members.misnamed.append(name)
        elif last.removesuffix(SUFFIX) in members.predictions:
            members.doubled.append(name)
        elif last:
            members.predictions[last.removesuffix(SUFFIX)] = info
    return members


def name_problems(members: Members, expected: Collection[str], name: str) -> Iterator[str]:
    """What is wrong with the names in a submission; one message a kind, with the first names.

    Args:
        members: by their names
        expected: the image ids
        name: what messages call the zip
    """
    if members.folders:
        yield (
            f"{name}: expected a flat zip, got {len(members.folders)} members in folders: {sample(members.folders)}; "
            "likely the folder was zipped instead of its files, use `zip -j`"
        )
    if members.metadata:
        yield (
            f"{name}: expected predictions only, got {len(members.metadata)} files of the operating system: "
            f"{sample(members.metadata)}; likely zipped in the Finder, use `zip -X -j`"
        )
    if members.misnamed:
        yield (
            f"{name}: expected names of the form <id>.png, got {len(members.misnamed)} others: "
            f"{sample(members.misnamed)}{_misnamed_hint(members.misnamed)}"
        )
    if members.doubled:
        yield (
            f"{name}: expected every id once, got {len(members.doubled)} members a second time: "
            f"{sample(members.doubled)}; likely zipped twice into one file, delete it first"
        )
    missing = sorted(set(expected) - members.predictions.keys())
    extra = sorted(members.predictions.keys() - set(expected))
    if missing or extra:
        yield (
            f"{name}: expected {len(expected)} ids, got {len(members.predictions)}; "
            f"missing={sample(missing)}, extra={sample(extra)}{_ids_hint(missing, extra, len(expected))}"
        )


def _misnamed_hint(names: Sequence[str]) -> str:
    """The likely cause of names with another ending, by the first one."""
    first = names[0]
    if first.lower().rstrip().endswith(SUFFIX):
        return "; likely the wrong case of the extension, which is .png in small letters"
    if _IMAGE_SUFFIX.search(first):
        return "; likely saved in the format of the images, save as PNG"
    return "; likely other files of the same folder"


@dataclass(frozen=True, slots=True)
class _Change:
    """How ids get changed: what brings both sides together, and how to say it."""

    undo: Callable[[str], str]
    cause: str


_CHANGES = (
    _Change(str.casefold, "likely the wrong case of letters in names"),
    _Change(lambda text: _IMAGE_SUFFIX.sub("", text), "likely the extension of the image was kept before .png"),
    _Change(lambda text: _WORD.sub("", text), "likely a word was added to the ids"),
    _Change(lambda text: unicodedata.normalize("NFC", text), "likely another Unicode form of names (NFC, NFD)"),
    _Change(str.strip, "likely spaces around names"),
    _Change(lambda text: text.lstrip("0"), "likely leading zeros were added or lost"),
)


def _ids_hint(missing: Sequence[str], extra: Sequence[str], expected: int) -> str:
    """The likely cause of ids that are not there and others that are."""
    if missing and extra:
        for change in _CHANGES:
            if {change.undo(one) for one in missing} & {change.undo(one) for one in extra}:
                return f"; {change.cause}"
        return "; likely the predictions for another split" if len(missing) == expected else ""
    if len(missing) == expected:
        return "; likely no file matched when the zip was made"
    if missing:
        return "; likely predicting was stopped, or images were skipped"
    return "; likely files of an earlier run were still in the folder"
