"""`lid plots`: DVC draws, the script of the page lies beside it."""

from pathlib import Path

import pytest
from support.helpers import ROOT

from pipeline import dvc_plots
from pipeline.core.files import write_text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], ["plots", "show", "--out", "dvc_plots"]),
        (["--open"], ["plots", "show", "--out", "dvc_plots", "--open"]),
        (["diff", "HEAD", "exp-a", "-o", "there"], ["plots", "diff", "--out", "there", "HEAD", "exp-a"]),
    ],
)
def test_dvc_gets_all_options(
    given: list[str], expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[list[str]] = []

    def draw(words: list[str]) -> int:
        called.append(words)
        write_text(tmp_path / words[3] / "index.html", "a page")
        return 0

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dvc_plots, "dvc", draw)
    assert dvc_plots.main(given) == 0
    assert called == [expected]
    script = (tmp_path / expected[3] / "vega.js").read_text(encoding="utf-8")
    assert script.rstrip().endswith(";")
    assert "window.vegaEmbed=" in script


def test_a_track_that_has_not_run_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dvc_plots, "vega_script", lambda: "")
    monkeypatch.setattr(dvc_plots, "dvc", lambda words: 0)
    write_text(tmp_path / "dvc_plots" / "index.html", "a page")
    (tmp_path / "data" / "track3").mkdir(parents=True)
    assert dvc_plots.main([]) == 0
    assert capsys.readouterr().out.startswith("no run of track1 in this folder: ")
    (tmp_path / "data" / "track1").mkdir()
    assert dvc_plots.main([]) == 0
    assert capsys.readouterr().out == ""


def test_without_a_page_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dvc_plots, "dvc", lambda words: 255)
    assert dvc_plots.main([]) == 255
    assert list(tmp_path.iterdir()) == []


def test_the_template_of_the_page_has_the_places_that_dvc_fills() -> None:
    page = (ROOT / ".dvc" / "page.html").read_text(encoding="utf-8")
    assert [page.count(f"{{{name}}}") for name in ("plot_divs", "scripts", "refresh_tag")] == [1, 1, 1]
    assert f'src="{dvc_plots.SCRIPT}"' in page
    assert "html_template = page.html" in (ROOT / ".dvc" / "config").read_text(encoding="utf-8")
