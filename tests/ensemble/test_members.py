"""Which runs make an ensemble, what does not fit, and how many parameters they have together."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import SettingsError, StoreError
from pipeline.core.files import read_json, write_json
from pipeline.core.manifest import from_rows, read_manifest, write_manifest
from pipeline.core.settings import write_yaml
from pipeline.core.tracks import get_track
from pipeline.ensemble.members import (
    LIMIT,
    Member,
    Network,
    check_parameters,
    choose_of,
    count_parameters,
    limit_of,
    networks_of,
    open_members,
    predicted_ids,
    shared_manifest,
)

Checkouts = dict[str, tuple[Path, Path]]


def opened(runs: tuple[Path, Path], track: str = "track3", **given: Any) -> list[Member]:
    return open_members([f"a={runs[0]}", f"b={runs[1] / 'data' / track}"], track, **given)


def test_a_checkout_and_its_data_are_the_same_run(maps: Checkouts) -> None:
    a, b = opened(maps["track3"], weights=[1.0, 0.0])
    assert (a.name, a.data, a.weight, a.has_student) == ("a", maps["track3"][0] / "data" / "track3", 1.0, False)
    assert (b.data, b.weight) == (maps["track3"][1] / "data" / "track3", 0.0)


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, float("nan")], [float("inf"), 1.0]])
def test_weights_that_do_not_fit(maps: Checkouts, weights: list[float]) -> None:
    with pytest.raises(
        SettingsError, match=r"^--weights: expected 2 numbers of at least 0, one for each run and not all"
    ):
        opened(maps["track3"], weights=weights)


def test_what_is_no_run_of_the_track(maps: Checkouts, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="expected at least two runs"):
        open_members([str(maps["track3"][0])], "track3")
    with pytest.raises(SettingsError, match="expected a run of track3, got one of track1"):
        open_members([str(maps["track3"][0]), str(maps["track1"][0] / "data" / "track1")], "track3")
    with pytest.raises(StoreError, match="expected the folder of a finished run, such as data/track3, found none"):
        open_members([str(maps["track3"][0]), str(tmp_path / "nothing")], "track3")
    with pytest.raises(StoreError, match=r"extract\.json: expected a file, found none; likely not the folder of a"):
        open_members([str(maps["track3"][0]), str(tmp_path)], "track3")


def test_a_run_that_is_there_twice_is_refused_and_its_copy_is_not(maps: Checkouts, tmp_path: Path) -> None:
    run = maps["track3"][0]
    (tmp_path / "link").symlink_to(run)
    for again in (run / "data" / "track3", tmp_path / "link"):
        with pytest.raises(
            SettingsError, match=r"^expected every run once, got a second time: \['.*track3'\]; --weights"
        ):
            open_members([str(run), str(maps["track3"][1]), str(again)], "track3")
    copy = shutil.copytree(run / "data" / "track3", tmp_path / "copy" / "data" / "track3")
    assert len(open_members([str(run), str(copy)], "track3")) == 2


def test_what_is_averaged(maps: Checkouts, students: Checkouts) -> None:
    first, both = opened(maps["track3"]), opened(students["track3"])
    assert (choose_of(first, "auto"), choose_of(both, "auto"), choose_of(both, "maps")) == ("maps", "student", "maps")
    assert choose_of([first[0], both[1]], "auto") == "maps"
    with pytest.raises(SettingsError, match=r"expected runs with a student, got \['a'\] without one"):
        choose_of([first[0], both[1]], "student")
    with pytest.raises(SettingsError, match=r"^--of: expected one of"):
        choose_of(both, "logits")


# --- the same images --------------------------------------------------------------------------------------------------


def test_images_have_the_places_of_the_first_run(maps: Checkouts) -> None:
    found = shared_manifest(opened(maps["track3"]))
    assert found.ids() == [f"val_{n}" for n in range(8)]
    assert found.root == maps["track3"][0] / "images"


def changed(run: Path, to: Path, **columns: Any) -> Path:
    """A copy of a run, its first val image with other columns."""
    shutil.copytree(run, to)
    data = to / "data" / "track3"
    rows = read_manifest(data / "manifest").table.to_pylist()
    rows[0] |= columns
    write_manifest(data / "manifest", from_rows(rows, ("ant", "bee", "cow"), Path("images"), "foreground"))
    return to


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": "other"}, r"expected the 8 images of a in split val, missing=\['val_0'\], extra=\['other'\]"),
        ({"width": 65}, r"expected the files of a in split val, got other sizes or bytes of \['val_0'\]; likely"),
        ({"split": "test"}, r"expected the 8 images of a in split val, missing=\['val_0'\], extra=\[\]"),
    ],
)
def test_other_images_are_refused(maps: Checkouts, tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    other = changed(maps["track3"][1], tmp_path / "other", **columns)
    with pytest.raises(StoreError, match=message):
        shared_manifest(opened((maps["track3"][0], other)))


def test_a_size_that_is_not_known_is_no_difference(maps: Checkouts, tmp_path: Path) -> None:
    other = changed(maps["track3"][1], tmp_path / "other", width=0, height=0)
    assert len(shared_manifest(opened((maps["track3"][0], other)))) == 8


def test_other_classes_are_refused(maps: Checkouts) -> None:
    a, b = opened(maps["track3"])
    with pytest.raises(StoreError, match=r"expected the 3 classes of a, missing=\['cow'\], extra=\['dog'\]"):
        shared_manifest([a, replace(b, class_names=("ant", "bee", "dog"))])
    with pytest.raises(StoreError, match="expected the 3 classes of a, got them in another order"):
        shared_manifest([a, replace(b, class_names=("bee", "ant", "cow"))])


def test_images_that_a_run_has_not_predicted_are_named(maps: Checkouts, tmp_path: Path) -> None:
    members = opened(maps["track3"])
    ids = shared_manifest(members).ids()
    assert predicted_ids(members, "maps", "val", ids) == ids
    assert predicted_ids(members, "student", "val", ids) == []
    with pytest.raises(StoreError, match=r"maps/val: expected the 9 images of split val, missing=\['new'\]"):
        predicted_ids(members, "maps", "val", [*ids, "new"])
    lacking = replace(members[1], data=tmp_path)
    with pytest.raises(StoreError, match=r"maps/val: expected the 8 images .*, missing=\['val_0', .* 8 in all\]"):
        predicted_ids([members[0], lacking], "maps", "val", ids)


# --- parameters -------------------------------------------------------------------------------------------------------


def test_every_network_that_takes_part_counts(students: Checkouts) -> None:
    members = opened(students["track3"])
    classifiers = networks_of(members, "maps")
    assert [(one.member, one.kind, one.parameters) for one in classifiers] == [
        ("a", "classifier", 100), ("b", "classifier", 120),
    ]  # fmt: skip
    assert [one.parameters for one in networks_of(members, "student")] == [100, 70, 120, 70]
    assert [one.member for one in networks_of([members[0], replace(members[1], weight=0.0)], "maps")] == ["a"]


def test_the_same_weights_count_once(students: Checkouts) -> None:
    """Both runs of the test have the same random classifier; their students have no file."""
    classifiers = networks_of(opened(students["track3"]), "maps")
    assert classifiers[0].digest == classifiers[1].digest != ""
    assert count_parameters(classifiers) == 120
    assert count_parameters([replace(one, digest="") for one in classifiers]) == 220


def test_the_limit_lists_the_counts() -> None:
    networks = [Network("a", "classifier", 1000, "x"), Network("a", "student", 50, ""), Network("b", "student", 5, "")]
    assert check_parameters(networks, 1056) == check_parameters(networks, 0) == 1055
    with pytest.raises(SettingsError) as refused:
        check_parameters(networks, 1055)
    assert str(refused.value).startswith(
        "expected fewer than 1,055 parameters of all networks together, got 1,055: a: classifier 1,000, a: student 50, "
        "b: student 5; "
    )


def test_a_run_that_does_not_say_its_parameters(maps: Checkouts, tmp_path: Path) -> None:
    shutil.copytree(maps["track3"][0], tmp_path / "run")
    write_json(tmp_path / "run" / "data" / "track3" / "train.json", {"epochs": 3})
    members = opened((tmp_path / "run", maps["track3"][1]))
    with pytest.raises(StoreError, match=r"train\.json: expected the number of parameters, got None; likely a run of"):
        networks_of(members, "maps")
    write_json(tmp_path / "run" / "data" / "track3" / "train.json", [1])
    with pytest.raises(StoreError, match="expected the report of a stage, got a list"):
        members[0].report("train")


def test_the_limit_is_that_of_the_params_file(maps: Checkouts, tmp_path: Path) -> None:
    shutil.copytree(maps["track3"][0], tmp_path / "run")
    member = opened((tmp_path / "run", maps["track3"][1]))[0]
    track = get_track("track3")
    assert limit_of(member, track) == LIMIT == 150_000_000
    write_yaml(tmp_path / "run" / "params.yaml", {"tracks": {"track3": {"train": {"parameter_limit": 9}}}})
    assert limit_of(member, track) == 9
    (tmp_path / "run" / "params.yaml").unlink()
    assert limit_of(member, track) == LIMIT
    assert read_json(member.data / "train.json") == {"parameters": 100}
