"""Downloads: the folder is made, and a failure says what to do instead."""

from pathlib import Path

import pytest

from pipeline.core.errors import DataError
from pipeline.preprocess.download import download


def test_the_folder_is_there_when_the_download_starts(tmp_path: Path) -> None:
    root = tmp_path / "data" / "set"
    download(root, "the set", lambda: (root / "archive.tar").write_bytes(b"1"))
    assert (root / "archive.tar").is_file()


@pytest.mark.parametrize("error", [OSError("no route to host"), RuntimeError("File not found or corrupted.")])
def test_a_failure_names_folder_cause_and_remedy(tmp_path: Path, error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(DataError, match=r"expected to download the set .*likely no network") as caught:
        download(tmp_path, "the set", fail)
    assert str(tmp_path) in str(caught.value)
    assert str(error) in str(caught.value)
    assert caught.value.__cause__ is error
