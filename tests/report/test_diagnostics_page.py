"""The page of the diagnosis."""

import html
import json

import pytest

from pipeline.core.tracks import get_track
from pipeline.evaluate.diagnostics import write_diagnostics
from pipeline.evaluate.diagnostics_text import say
from pipeline.report.diagnostics_page import draw, main, numbers


def _values(run):
    data, out = run.folder / "data", run.folder / "out" / "diagnostics.json"
    write_diagnostics(data / "manifest", data / "features", data / "maps", out, get_track(run.track))
    return json.loads(out.read_text())


def _main(run):
    return main(["--track", run.track, "--reports", str(run.folder / "out")])


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_it_writes_figures_and_a_page(make_run, track):
    run = make_run(track)
    values, out = _values(run), run.folder / "out" / "diagnostics"
    assert _main(run) == 0
    names = {path.name for path in out.iterdir()}
    assert names == {"index.html", "p1.svg", "p2.svg", "p3.svg"}
    page = (out / "index.html").read_text()
    assert page.count("<svg") == 3
    assert all(html.escape(text) in page for text in values["words"].values())
    assert "http" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    before = {name: (out / name).read_bytes() for name in names}
    _main(run)
    assert {name: (out / name).read_bytes() for name in names} == before


def test_what_has_no_truth_has_no_page(make_run, capsys):
    run = make_run(val=0)
    _values(run)
    assert _main(run) == 1
    assert "nothing to draw: expected val images" in capsys.readouterr().err


def _mean_and_spread(value):
    return f"{value['mean']:.4f} ± {value['spread']:.4f}"


def test_missing_numbers_are_said_and_drawn(make_run):
    values = _values(make_run())
    assert ("p2.separation_keep", _mean_and_spread(values["p2"]["separation_keep"])) in numbers(values)
    for phenomenon in ("p2", "p3"):
        for value in values[phenomenon].values():
            if isinstance(value, dict):
                value.update(mean=None, spread=None)
    values["p1"]["correlation_positive"] = None
    values["p3"]["standards"] = []
    values["words"] = say(values)
    assert all(values["words"].values())
    assert set(draw(values)) == {"p1", "p2", "p3"}
