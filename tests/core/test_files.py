"""Files: whole or not at all, the same content the same bytes."""

import errno
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.helpers import ROOT

from pipeline.core.errors import StoreError
from pipeline.core.files import (
    explained,
    make_once,
    read_json,
    sha256,
    why_unwritable,
    write_bytes,
    write_json,
    write_pieces,
    write_text,
)


def test_what_is_written_is_read_and_hashed(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file"
    data = bytes(range(256)) * 9000  # more than the two blocks in which it is hashed
    assert len(data) > 2 << 20
    assert write_bytes(path, data) == hashlib.sha256(data).hexdigest() == sha256(path)
    assert path.read_bytes() == data
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_pieces_are_written_as_their_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert write_pieces(path, (data for data in (b"ab", b"", b"c"))) == hashlib.sha256(b"abc").hexdigest()
    assert path.read_bytes() == b"abc"


def test_pieces_that_cannot_be_made_leave_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def pieces() -> Iterator[bytes]:
        yield b"new"
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        write_pieces(path, pieces())
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    step: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(os if step == "fsync" else Path, step, fail)
    with pytest.raises(type(error)):
        write_bytes(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_readers_of_the_old_file_are_not_disturbed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with path.open("rb") as stream:
        write_bytes(path, b"new")
        assert stream.read() == b"old"
    assert path.read_bytes() == b"new"


def test_text_is_utf_8_with_unix_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "text", "Krähenbühl\n≥\n")
    assert (tmp_path / "text").read_bytes() == "Krähenbühl\n≥\n".encode()


def test_json_is_the_same_bytes_whatever_the_order_of_keys(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": 1, "a": {"d": [0.1, None], "c": "ä"}})
    write_json(tmp_path / "b", {"a": {"c": "ä", "d": [0.1, None]}, "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes().endswith(b"}\n")
    assert read_json(tmp_path / "a") == {"b": 1, "a": {"d": [0.1, None], "c": "ä"}}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_json_refuses_what_json_has_not(value: float, tmp_path: Path) -> None:
    write_json(tmp_path / "a", 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a", {"loss": value})
    assert read_json(tmp_path / "a") == 1


def test_a_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        StoreError, match=r"none\.json: expected a file, found none; likely the stage that makes it has not run"
    ):
        read_json(tmp_path / "none.json")
    for data in (b"{", b"\xff\xfe", b"", b"[" * 20_000):
        (tmp_path / "a.json").write_bytes(data)
        with pytest.raises(StoreError, match=r"a\.json: expected JSON, got "):
            read_json(tmp_path / "a.json")
    assert json.loads("1") == 1


# --- our source ------------------------------------------------------------------------------------------------------

SOURCES = sorted(path for folder in ("pipeline", "stages", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
FORBIDDEN = {
    "pickle": r"^\s*(import|from)\s+(c?pickle|dill|cloudpickle|shelve|marshal)\b",
    "numpy's pickles": r"allow_pickle\s*=\s*True",
    "pandas' or joblib's pickles": r"\b(read_pickle|to_pickle|joblib\.(load|dump))\b",
    "torch.load that may run code": r"(?<!safetensors\.)torch\.load\((?![^)]*weights_only=True)",
    "code from text": r"(?<![\w.])(eval|exec)\(",
}


def offences(text: str) -> list[str]:
    return [name for name, pattern in FORBIDDEN.items() if re.search(pattern, text, re.MULTILINE)]


def test_nothing_that_is_read_can_run_code() -> None:
    assert len(SOURCES) > 40
    found = {path.relative_to(ROOT).as_posix(): offences(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("import pickle", 1),
        ("    from pickle import loads", 1),
        ("np.load(f, allow_pickle = True)", 1),
        ("torch.load(path)", 1),
        ("torch.load(path, weights_only=False)", 1),
        ("torch.load(\n    path,\n    map_location='cpu',\n)", 1),
        ("torch.load(path, map_location='cpu', weights_only=True)", 0),
        ("torch.load(\n    path,\n    weights_only=True,\n)", 0),
        ("pd.read_pickle(p)", 1),
        ("model.eval()", 0),
        ("# arrays, pickle-free", 0),
    ],
)
def test_the_search_finds_what_it_is_for(line: str, count: int) -> None:
    assert len(offences(line)) == count


def test_a_folder_that_another_process_made_meanwhile_is_used(tmp_path):
    def make(out):
        out.mkdir()
        (out / "a").write_text("ours")
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "a").write_text("theirs")

    assert (make_once(tmp_path / "made", make) / "a").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_folder_that_could_not_be_finished_is_not_there(tmp_path):
    def fail(out):
        out.mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_once(tmp_path / "made", fail)
    assert not any(tmp_path.iterdir())


def test_a_full_disk_is_named_with_the_file_the_room_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "maps" / "shard-00000.safetensors"

    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError) as caught:
        write_bytes(path, bytes(3_000_000))
    assert re.fullmatch(
        rf"{path}: expected room for 3.0 MB in {path.parent}, found [0-9.]+ MB free \(No space left on device\); free "
        r"some, `dvc gc --workspace` removes what no run uses, and start the stage again",
        str(caught.value),
    )
    assert list(path.parent.iterdir()) == []
    monkeypatch.undo()
    write_bytes(path, b"after some was freed")
    assert path.read_bytes() == b"after some was freed"


def test_other_errors_of_the_system_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), explained(tmp_path / "file"):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_a_folder_that_takes_no_file_is_named(tmp_path: Path) -> None:
    assert why_unwritable(tmp_path / "new" / "deep") is None
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, kind in (("file", "a file"), ("link", "a link that leads nowhere")):
        place = tmp_path / name
        expected = (place, f"expected a folder to write to, got {kind}", f"mv {place} elsewhere")
        assert why_unwritable(place / "deep") == expected
