"""Messages: samples of long lists, the hint of swapped sizes, and an error that ends a program with one line."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import DataError, PipelineError, command, run, sample, swap_hint, unusable_paths
from pipeline.core.files import write_text

Capture = pytest.CaptureFixture[str]


@given(st.lists(st.text(max_size=5)), st.integers(1, 5))
def test_a_sample_shows_the_first_items_and_counts_the_rest(items: list[str], most: int) -> None:
    shown = sample(items, most)
    assert all(repr(item) in shown for item in items[:most])
    assert shown.endswith(f"… {len(items)} in all]") == (len(items) > most)


def test_swapped_sizes_are_named_only_where_turning_explains_them() -> None:
    assert swap_hint((375, 500), (500, 375)) == "; likely width and height swapped"
    assert swap_hint((375, 375), (375, 375)) == swap_hint((375, 500), (500, 376)) == swap_hint((5, 3), (5, 3)) == ""


def test_an_error_of_ours_ends_a_program_with_its_message() -> None:
    def fails() -> None:
        raise DataError("a.png: expected an image, found no file")

    with pytest.raises(SystemExit, match=r"^error: a\.png: expected an image, found no file$"):
        run(fails)


def test_another_error_keeps_its_traceback() -> None:
    def breaks() -> None:
        raise ZeroDivisionError

    assert not issubclass(ZeroDivisionError, PipelineError)
    with pytest.raises(ZeroDivisionError):
        run(breaks)


def test_a_reading_process_that_is_killed_is_one_message_wherever_it_is_noticed() -> None:
    def main() -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    with pytest.raises(SystemExit) as caught:
        run(main)
    assert str(caught.value).startswith("error: expected the processes that read images to live, got DataLoader worker")


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda here: (here / "file").mkdir(exist_ok=True), "{}/file: expected a folder, found a file"),
        (lambda here: write_text(here / "file" / "x" / "y", ""), "{}/file: expected a folder, found a file"),
        (lambda here: write_text(here / "folder", ""), "{}/folder: expected a file, found a folder"),
        (lambda here: (here / "folder").read_text(), "{}/folder: expected a file, found a folder"),
        (lambda here: (here / "folder").mkdir(), "{}/folder: expected a path that can be used, got 'File exists' of "),
    ],
)
def test_a_path_that_cannot_be_used_is_one_line(
    tmp_path: Path, use: Callable[[Path], object], message: str, capsys: Capture
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()

    @command
    def main(arguments: object = None) -> int:
        use(tmp_path)
        return 0

    assert main([]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith(message.format(tmp_path))
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "a file"),
        (OSError(errno.ENOSPC, "No space left on device", "maps/a"), "maps/a"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "a", None, "maps/b"), "maps/b"),
    ],
)
def test_a_full_disk_is_one_line_wherever_it_is_noticed(error: OSError, place: str) -> None:
    message = rf"^{place}: expected room to write, found none \({error.strerror}\); free some, `df -h` shows which"
    with pytest.raises(PipelineError, match=message), unusable_paths():
        raise error


def test_a_forbidden_path_is_one_line() -> None:
    message = r"^a/b: expected a path that can be used, got 'Permission denied' of "
    with pytest.raises(PipelineError, match=message), unusable_paths():
        raise PermissionError(errno.EACCES, "Permission denied", "a/b")


def test_a_path_inside_of_a_closed_folder_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even asking whether such a path exists is an error."""

    def refuse(path: Path, **given: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(PipelineError, match=r"^a/b: expected a path that can be used"), unusable_paths():
        Path("a/b").stat()


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory", "a"),
        PermissionError(errno.EPERM, "Operation not permitted"),
        PermissionError(errno.EACCES, "Permission denied", 3),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        OSError(errno.EIO, "Input/output error", "a"),
    ],
)
def test_other_errors_of_the_system_keep_their_traceback(error: OSError) -> None:
    with pytest.raises(type(error)) as caught, unusable_paths():
        raise error
    assert caught.value is error
