"""Files, folders and patterns to image files, and a name for what is written of each."""

import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
MAGIC = "*?["  # what makes a path a pattern


def find_images(paths: Iterable[Path | str], without: Sequence[Path] = ()) -> tuple[list[Path], dict[str, str]]:
    """Find image files, sorted by path, each once.

    A file is taken whatever its suffix, a folder with all its subfolders and a pattern (`photos/**/*.jpg`) for files
    with a suffix of `SUFFIXES`, in any case. Two paths to one file count as one.

    Args:
        paths: files, folders, or patterns
        without: folders whose files are no input, such as those of an earlier call

    Returns:
        image files, and by path why others are not among them
    """
    found: dict[Path, Path] = {}
    skipped: dict[str, str] = {}
    outside = [_real(folder) for folder in without]
    for given in map(Path, paths):
        files = sorted(_expand(given))
        kept = [file for file in files if not any(_real(file).is_relative_to(folder) for folder in outside)]
        if not kept:
            skipped[str(given)] = _why_none(given, files)
        for file in kept:
            found.setdefault(_real(file), file)
    return sorted(found.values()), skipped


def _real(path: Path) -> Path:
    """The path with all links followed, as far as they lead; `Path.resolve` stops at a link to itself."""
    return Path(os.path.realpath(path))


def _expand(given: Path) -> Iterable[Path]:
    if given.is_file():
        return [given]
    if given.is_dir():
        candidates: Iterable[Path] = given.rglob("*")
    else:
        candidates = _matches(given)
    # a link that leads nowhere is kept: it is named as one that cannot be read
    return [path for path in candidates if path.suffix.lower() in SUFFIXES and (path.is_file() or _is_dead_link(path))]


def _is_dead_link(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _matches(pattern: Path) -> Iterable[Path]:
    """The paths that match a pattern, which may be absolute."""
    magic = [any(sign in part for sign in MAGIC) for part in pattern.parts]
    if True not in magic:
        return []
    first = magic.index(True)
    try:
        return list(Path(*pattern.parts[:first]).glob("/".join(pattern.parts[first:])))
    except ValueError:  # no pattern, such as **.jpg
        return []


def _why_none(given: Path, files: Sequence[Path]) -> str:
    if files:
        return "expected an image, got an output of an earlier call"
    if given.is_dir() or any(sign in str(given) for sign in MAGIC):
        return f"expected images, found none with a suffix of {list(SUFFIXES)}"
    return "expected an image, found no file"


def output_names(files: Sequence[Path]) -> list[str]:
    """A name for the outputs of each file: its stem; of files with one stem, the second is `<stem>-2`, and so on.

    Stems that differ in case only, or in the way an accent is written, count as one, for file systems that hold them
    for the same. A numbered name that is the stem of another file is passed over.

    >>> output_names([Path("a/x.jpg"), Path("b/x.png"), Path("b/x-2.png"), Path("c/X.jpg")])
    ['x', 'x-3', 'x-2', 'X-4']
    """
    taken = {_folded(file.stem) for file in files}
    seen: set[str] = set()
    names = []
    for file in files:
        name, number = file.stem, 1
        if _folded(name) in seen:
            while _folded(name) in taken:
                number += 1
                name = f"{file.stem}-{number}"
            taken.add(_folded(name))
        seen.add(_folded(name))
        names.append(name)
    return names


def printable(path: str) -> str:
    """A path as UTF-8, whatever its bytes are: a name in another encoding must not cost the list of all images.

    >>> printable("caf\\udce9.jpg")
    'caf\ufffd.jpg'
    """
    return os.fsencode(path).decode("utf-8", "replace")


def by_printable_name(folder: Path, suffix: str) -> dict[str, Path]:
    """The files of a folder that end so, by their printable stem: what `predictions.json` calls them."""
    return {printable(path.stem): path for path in sorted(folder.glob(f"*{suffix}"))}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
