"""How one params file differs from another."""

from pathlib import Path

import pytest
from support.helpers import ROOT

from pipeline.core.settings import read_params
from pipeline.params.difference import differences, main

FILES = [ROOT / "params.yaml", *sorted((ROOT / "recipes").glob("*.yaml"))]


def test_each_key_that_differs_has_a_line_also_where_one_file_lacks_it() -> None:
    first = {"tracks": {"t": {"epochs": 60, "flip": True, "sizes": [320]}}}
    second = {"tracks": {"t": {"epochs": 2, "flip": 1, "sizes": [320], "crop": 8}}}
    assert list(differences(first, second)) == [
        "tracks.t.epochs: 60 -> 2",
        "tracks.t.flip: True -> 1",  # equal for Python, not for a params file
        "tracks.t.crop: (missing) -> 8",
    ]
    assert list(differences(second, first))[-1] == "tracks.t.crop: 8 -> (missing)"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_does_not_differ_from_itself_and_says_so_by_silence(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(path), str(path)]) == 0
    assert capsys.readouterr().out == ""


def test_the_other_file_is_the_run_if_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text("x: 1\n")
    (tmp_path / "params.yaml").write_text("x: 2\n")
    monkeypatch.chdir(tmp_path)
    assert main(["a.yaml"]) == 0
    assert capsys.readouterr().out == "x: 1 -> 2\n"
    assert main(["b.yaml"]) == 1
    assert "b.yaml: expected a params file, found none" in capsys.readouterr().err


def test_recipes_have_the_keys_of_the_demo() -> None:
    demo = read_params(ROOT / "params.yaml")
    for path in FILES[1:]:
        lines = [line for line in differences(demo, read_params(path)) if "(missing)" in line]
        assert [line for line in lines if ".preprocess.source." not in line] == []
