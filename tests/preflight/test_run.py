"""Preflight on trees in the official layouts: all that is wrong is named at once, and what is right passes."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.defects import DEFECTS, Defect, truncated_jpeg
from support.preflight import RECIPE, all_rows, make_disks, make_project, of

from pipeline.preflight import costs, listing, machine, model, params, run, timing
from pipeline.preflight.context import Context
from pipeline.preflight.findings import Row, ok, show

MODULES = (costs, listing, machine, model, params, timing)


@dataclass
class Broken:
    """One preflight of a project in which everything is broken at once."""

    rows: list[Row]
    where: dict[str, str]  # by name of what was broken


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Broken:
    disks = make_disks(tmp_path_factory.mktemp("broken"))
    where = {}
    for defect in DEFECTS:
        place = defect.break_it(disks)
        where[defect.break_it.__name__] = (
            place.relative_to(disks.folder).as_posix()
            if isinstance(place, Path) and place != disks.folder.resolve()
            else str(place)
        )
    real = machine.installed_version
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(disks.folder)
        patch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))
        other = {"opencv-python-headless": "4.9.0.80"}
        patch.setattr(machine, "installed_version", lambda name: other.get(name) or real(name))
        patch.setattr(
            machine, "unmet_requirements", lambda: ["lid-pipeline 0.1.0 requires timm, which is not installed."]
        )
        return Broken(all_rows(disks), where)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.break_it.__name__)
def test_a_defect_among_forty_is_named_with_place_and_hint(broken: Broken, defect: Defect) -> None:
    place = broken.where[defect.break_it.__name__]
    same = [
        row for row in broken.rows if (row.level, row.track, row.check) == (defect.level, defect.track, defect.check)
    ]
    fitting = [row for row in same if place in row.where and defect.found in row.found and defect.hint in row.hint]
    assert fitting, f"no row at {place!r} says {defect.found!r} and {defect.hint!r} among:\n" + "\n".join(
        map(show, same)
    )


def test_what_is_fine_beside_the_defects_is_left_alone(broken: Broken) -> None:
    of_track1 = [row.where for row in broken.rows if row.track == "track1" and row.level == "FAIL"]
    assert not [where for where in of_track1 if "LID_track3" in where], "the other track's files"
    swapped = "ILSVRC2012_val_00017615"  # a known rule turns it
    assert not [row for row in of(broken.rows, "FAIL") if swapped in row.where]


def test_no_check_breaks_and_none_is_dropped(broken: Broken) -> None:
    crashed = [row for row in broken.rows if row.where.startswith("pipeline.preflight")]
    assert not crashed, "\n".join(map(show, crashed))
    skipped = [row for row in broken.rows if "not checked" in row.found or "not counted" in row.found]
    assert skipped, "a section with mistakes leaves checks undone, which has to be said"
    assert all(row.level == "WARN" and row.hint for row in skipped)


def test_everything_but_what_is_fine_has_a_place_and_a_hint(broken: Broken) -> None:
    for row in broken.rows:
        if row.level != "OK" and "not checked" not in row.found and "not counted" not in row.found:
            assert row.where, show(row)
            assert row.hint, show(row)


def test_what_is_right_passes(
    tmp_path: Path, in_project: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    disks = make_disks(tmp_path)
    disks.write_params()
    in_project(tmp_path)
    assert run.run_checks(Context(Path("params.yaml"), minutes=0, sample=1000)) == 0
    out = capsys.readouterr().out
    assert "FAIL" not in out.replace("0 FAIL", "")
    for text in (
        "train 19, val 12, test 6 images of 200 classes",
        "train 40, val 14, test 6 images of 10 classes",
        "decoded train 40 of 40, val 14 of 14, test 6 of 6",
        "grey images: 1",
        "24 x 24 at 384",
        "effective batch 210 = 70 x 3",
        "ready: dvc repro",
    ):
        assert text in " ".join(out.split()), text
    assert "left out: 1 (images without annotation)" in out
    assert not list((tmp_path / "data").glob("track*")), "a preflight makes nothing"


def test_a_broken_file_gives_exit_code_1(
    tmp_path: Path, in_project: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    disks = make_disks(tmp_path)
    path = truncated_jpeg(disks)  # the listing is fine: found by opening it
    disks.write_params()
    in_project(tmp_path)
    assert run.run_checks(Context(Path("params.yaml"), minutes=0, sample=1000)) == 1
    out = capsys.readouterr().out
    assert path.relative_to(tmp_path).as_posix() in out
    assert "1 FAIL" in out


def test_roots_that_lead_nowhere_are_named_once_for_each_track(
    tmp_path: Path, in_project: Callable[[Path], None]
) -> None:
    disks = make_disks(tmp_path)
    in_project(tmp_path)
    shutil.rmtree(disks.lid / "LID_track3")
    shutil.rmtree(disks.lid / "LID_track1_annotations/track1_val_annotations_raw")
    (disks.lid / "LID_track1/val/val.txt").unlink()
    shutil.move(disks.ilsvrc.parent, tmp_path / "gone")
    disks.ilsvrc.parent.symlink_to(tmp_path / "nowhere")
    found = of(all_rows(disks), "FAIL")
    for track in ("track1", "track3"):
        of_root = [
            row for row in found if row.track == track and "a link that leads nowhere at data/raw/ilsvrc" in row.found
        ]
        assert [row.where for row in of_root] == [f"params.yaml: tracks.{track}.preprocess.source.root"]
        assert "ln -s" in of_root[0].hint
    text = "\n".join(row.where + row.found for row in found)
    assert "expected the list of the val ids" in text
    assert "expected the list of the test ids" in text
    assert "found only this palette copy" in text
    assert not [row for row in found if row.where.startswith("pipeline.preflight")]


def test_no_params_file_is_one_finding_and_the_machine_is_checked(
    tmp_path: Path, in_project: Callable[[Path], None]
) -> None:
    make_project(tmp_path)
    in_project(tmp_path)
    found = list(run.preflight(Context(Path("params.yaml"), minutes=0.0)))
    assert [row.where for row in of(found, "FAIL")] == ["params.yaml"]
    assert {"packages", "opencv", "dvc", "outputs"} <= {row.check for row in of(found, "OK")}
    assert of(found, "WARN") == []  # the one finding is not buried below what cannot be checked without the file


def test_the_demo_needs_no_disk(tmp_path: Path, in_project: Callable[[Path], None]) -> None:
    shutil.copy(RECIPE.parent.parent / "params.yaml", tmp_path)
    make_project(tmp_path)
    in_project(tmp_path)
    found = list(run.preflight(Context(Path("params.yaml"), minutes=0.0)))
    assert not of(found, "FAIL")
    assert not (tmp_path / "data/raw/demo").exists(), "the stage renders it, not the preflight"


def test_a_check_that_breaks_is_a_finding_and_keeps_its_rows() -> None:
    def breaks(context: Context) -> Iterator[Row]:
        yield ok("before")
        raise RuntimeError("two\nlines")

    first, second = run.guarded(("disk", breaks), Context(RECIPE))
    assert (first.found, first.check) == ("before", "disk")
    assert (second.level, second.found) == ("FAIL", "expected this check to end, got RuntimeError: two lines")


def test_every_check_is_registered() -> None:
    registered = [call for _, call in (*run.OF_THE_MACHINE, *run.OF_A_TRACK, run.LAST)]
    written = {
        value
        for module in MODULES
        for name, value in vars(module).items()
        if name.startswith("check_") and value.__module__ == module.__name__
    }
    assert set(registered) == written
    assert len(registered) == len(written)
