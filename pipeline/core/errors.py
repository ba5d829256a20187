"""All errors that are raised on purpose, one class for each kind of mistake.

A message says where (file, key, image id), what was expected, what was found, and, where it is known, the likely
cause and the remedy.
"""

import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of the disk, of the user, of one file
UNUSABLE = (FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)  # caused by a path that was given


class PipelineError(Exception):
    """Base of all errors below: catch this one to catch them all."""


class SettingsError(PipelineError):
    """A params file lacks what a stage needs, or contradicts itself."""


class DataError(PipelineError):
    """Images, lists, labels or masks are not as the layout requires."""


class StoreError(PipelineError):
    """A file that one stage left for another is missing, damaged or not what it claims to be."""


class TrainError(PipelineError):
    """A classifier cannot be built, loaded or trained."""


class MapError(PipelineError):
    """A class activation map cannot be computed or refined."""


class ScoreError(PipelineError):
    """A prediction cannot be compared with the truth."""


class SubmissionError(PipelineError):
    """A submission would be refused by the evaluation server."""


class LostRankError(PipelineError):
    """Another process of the same stage, a rank, has ended."""


def run(main: Callable[[], None]) -> None:
    """Run a program; an error that this project raises on purpose ends it with one message, without a traceback.

    Ctrl-C and SIGTERM end it at once, see `end_on_signals`.
    """
    from pipeline.core.rank import is_launched, tell_failure  # programs alone need them
    from pipeline.core.signals import end_on_signals

    end_on_signals()
    try:
        with unusable_paths():
            main()
    except PipelineError as error:
        sys.exit(tell_failure(error))
    except RuntimeError as error:  # raised wherever the program is when a process that reads images is killed
        if "DataLoader worker" not in str(error):
            if is_launched():
                tell_failure(error)
            raise
        lost = f"expected the processes that read images to live, got {error}; likely too little memory"
        sys.exit(tell_failure(PipelineError(lost)))
    except Exception as error:
        if is_launched():
            tell_failure(error)
        raise


def command(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Decorate a program that returns its exit code: as `run`, an error raised on purpose is printed, and the code is
    1. So is a path that cannot be used, see `unusable_paths`.

    Called without arguments, it is the program that was started, and signals end it as there.
    """

    @wraps(main)
    def guarded(arguments: Sequence[str] | None = None) -> int:
        from pipeline.core.signals import end_on_signals

        if arguments is None:
            end_on_signals()
        try:
            with unusable_paths():
                return main(arguments)
        except PipelineError as error:
            print(error, file=sys.stderr)
            return 1

    return guarded


@contextmanager
def unusable_paths() -> Iterator[None]:
    """Make an error of the system that names a path, of the kinds `UNUSABLE`, one line with the path and the reason.

    So is a disk that is full, wherever that is noticed; `core.files.explained` says more of the stages' own files.

    Raises:
        PipelineError: in its place
    """
    try:
        yield
    except UNUSABLE as error:
        if (path := _path_of(error)) is None:
            raise
        raise PipelineError(_unusable(path, error)) from error
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise PipelineError(
            f"{_path_of(error) or 'a file'}: expected room to write, found none ({error.strerror}); free some, `df -h` "
            "shows which disk is full, and start again"
        ) from error


def _path_of(error: OSError) -> Path | None:
    """The path that an error names, of two the target; None if it names none."""
    named = error.filename if error.filename2 is None else error.filename2
    return Path(os.fsdecode(named)) if isinstance(named, (str, bytes, os.PathLike)) else None


def _unusable(path: Path, error: OSError) -> str:
    file = next(filter(_is_no_folder, (path, *path.parents)), None)
    if isinstance(error, FileExistsError | NotADirectoryError) and file:
        return f"{file}: expected a folder, found a file"
    if isinstance(error, IsADirectoryError):
        return f"{path}: expected a file, found a folder"
    return f"{path}: expected a path that can be used, got {error.strerror!r} of the operating system"


def _is_no_folder(path: Path) -> bool:
    try:
        return path.exists() and not path.is_dir()
    except OSError:  # in a folder that is closed to this user
        return False


def sample(items: Iterable[object], most: int = 3) -> str:
    """Show at most `most` items and how many there are: `['a', 'b', 'c', … 12 in all]`.

    >>> sample(["a", "b"])
    "['a', 'b']"
    >>> sample(range(5))
    '[0, 1, 2, … 5 in all]'
    """
    every = list(items)
    shown = ", ".join(repr(item) for item in every[:most])
    return f"[{shown}]" if len(every) <= most else f"[{shown}, … {len(every)} in all]"


def swap_hint(found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """The end of a message about two sizes: a likely cause, if width and height are swapped.

    >>> swap_hint((375, 500), (500, 375))
    '; likely width and height swapped'
    >>> swap_hint((375, 500), (375, 500)), swap_hint((3, 4), (6, 8))
    ('', '')
    """
    return "; likely width and height swapped" if found != expected and found == expected[::-1] else ""
