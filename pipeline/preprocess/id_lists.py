"""Lists of image ids, with or without a number on each line, and what the number means.

ILSVRC counts its 1,000 classes in two orders. The *class index* is the rank of the WNID in sorted order, from 0: the
order of the training folders, of every pretrained network, and of this pipeline. The *devkit id*, ILSVRC2012_ID of the
development kit, runs from 1 in another order; not one class has the same place in both. Some published val lists
have devkit id - 1: numbers in the right range, all of them wrong. So a setting says what the numbers of your list mean,
and images that are also in the challenge's own list are compared with it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pipeline.core.errors import DataError, sample
from pipeline.core.text import read_text
from pipeline.preprocess.challenge_lists import cls_classes
from pipeline.preprocess.folders import IMAGE_SUFFIXES, Problems, ProblemsError, stem

Numbers = Literal["class_index", "devkit_id", "devkit_id_minus_1"]
READINGS: tuple[Numbers, ...] = ("class_index", "devkit_id", "devkit_id_minus_1")


def read_ids(path: Path, problems: Problems) -> tuple[str, ...]:
    """Read one image id a line; the rest of the line is ignored. An image that is named twice is a problem.

    Raises:
        DataError: if the list is empty
    """
    return tuple(image_id for image_id, _ in _read(path, problems))


def read_numbered_ids(path: Path, problems: Problems) -> tuple[tuple[str, int | None], ...]:
    """Read `<image id> [<number>]` lines; the id may be a path, with or without extension.

    An image that is named twice is a problem.

    Raises:
        DataError: if the list is empty, or holds something else than a whole number; all bad lines
    """
    rows, bad = [], []
    for line, (image_id, words) in enumerate(_read(path, problems), start=1):
        if len(words) > 1 or not all(word.isdecimal() for word in words):
            bad.append(
                f"entry {line}, {image_id!r}: expected `<image id> [<whole number>]`, got {' '.join(words)!r} after it"
            )
            continue
        rows.append((image_id, int(words[0]) if words else None))
    if bad:
        raise ProblemsError(path, bad, what="bad lines")
    return tuple(rows)


def _read(path: Path, problems: Problems) -> list[tuple[str, list[str]]]:
    lines = [line.replace(",", " ").split() for line in read_text(path).splitlines()]
    rows = [(_image_id(words[0]), words[1:]) for words in lines if words]
    ids = [image_id for image_id, _ in rows]
    if not ids:
        raise DataError(f"{path}: expected one image id a line, got an empty file")
    if len(set(ids)) < len(ids):
        twice = [image_id for image_id, times in Counter(ids).items() if times > 1]
        problems.add(f"{path}: expected every image once, got some twice: {sample(twice)}")
    first: dict[str, list[str]] = {}
    for image_id, words in rows:
        first.setdefault(image_id, words)
    return list(first.items())


def oddities(path: Path, official: Sequence[str] = ()) -> list[str]:
    """What is unusual in a list but accepted: `expected ..., got ...; what to do`.

    `official` are the challenge's own ids, if they are used instead.
    """
    raw = path.read_bytes()
    lines = raw.decode("utf-8-sig", errors="replace").splitlines()
    blank = [n for n, line in enumerate(lines, start=1) if not line.strip()]
    words = [line.replace(",", " ").split()[0] for line in lines if line.strip(" ,")]
    suffixed = [word for word in words if word.lower().endswith(IMAGE_SUFFIXES)]
    found = []
    if ends := raw.count(b"\r\n"):
        found.append(f"expected lines that end in \\n, got \\r\\n in {ends}; dos2unix makes them plain")
    if raw.startswith(b"\xef\xbb\xbf"):
        found.append("expected plain text, got a byte order mark in front; save it without one")
    if blank:
        found.append(f"expected one id a line, got {len(blank)} blank lines: {sample(blank)}; take them out")
    if suffixed:
        found.append(f"expected bare ids, got {len(suffixed)} with an extension: {sample(suffixed)}; it is dropped")
    given, known = {_image_id(word) for word in words}, set(official)
    if known and given != known:
        extra = f"missing={sample(sorted(known - given))}, extra={sample(sorted(given - known))}"
        found.append(
            f"expected the challenge's {len(known):,} ids, got {len(given):,}, {extra}; "
            "preprocess.source.lists: shipped uses the challenge's, download would take these"
        )
    return found


def _image_id(word: str) -> str:
    name = word.rsplit("/", 1)[-1]
    return stem(name) if name.lower().endswith(IMAGE_SUFFIXES) else name


def to_class_indices(
    numbered: Sequence[tuple[str, int | None]], meaning: Numbers, official: Mapping[str, int], path: Path
) -> dict[str, int]:
    """Translate the numbers of a val list to class indices, and compare them with the challenge's list.

    Args:
        numbered: image ids and numbers; images without a number get the official class index, if there is one
        meaning: what the numbers are
        official: class indices of the challenge's own list, by image id
        path: named in errors

    Returns:
        class indices by image id; images of which nothing is known are left out

    Raises:
        DataError: if a number is out of range, or an image of the challenge's list has another class there
    """
    given = {image_id: number for image_id, number in numbered if number is not None}
    indices = _reading(meaning)
    outside = sorted({number for number in given.values() if number not in indices})
    if outside:
        raise DataError(
            f"{path}: expected numbers {min(indices)}..{max(indices)} ({meaning}), got {sample(outside)}; "
            "likely preprocess.source.val_numbers names another order"
        )
    found = {image_id: indices[number] for image_id, number in given.items()}
    wrong = [image_id for image_id, k in found.items() if official.get(image_id, k) != k]
    if wrong:
        raise DataError(_disagreement(given, meaning, official, path, wrong))
    return {image_id: official[image_id] for image_id, _ in numbered if image_id in official} | found


def _reading(meaning: Numbers) -> dict[int, int]:
    """Class index by number."""
    shift = 1 if meaning == "devkit_id_minus_1" else 0
    return {k if meaning == "class_index" else row.devkit_id - shift: k for k, row in enumerate(cls_classes())}


def _disagreement(
    given: Mapping[str, int], meaning: Numbers, official: Mapping[str, int], path: Path, wrong: Sequence[str]
) -> str:
    known = [image_id for image_id in given if image_id in official]
    right = {
        name: sum(_reading(name).get(given[image_id]) == official[image_id] for image_id in known) for name in READINGS
    }
    best = max(READINGS, key=lambda name: right[name])
    message = (
        f"{path}: expected numbers that are the {meaning} of each image, got numbers that differ from the challenge's "
        f"list in {len(wrong)} of {len(known)} images: {sample(wrong)}"
    )
    if right[best] == len(known):
        return f"{message}; read as {best} all of them agree: set preprocess.source.val_numbers: {best}"
    return (
        f"{message}; no order of classes explains them (best: {best}, {right[best]} agree), likely a list of another "
        "set"
    )
