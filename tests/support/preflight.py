"""Projects for tests of the preflight: both tracks in the official layouts, nothing wrong."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from support.helpers import ROOT, TINY, merge
from support.trees import Tree, make_ilsvrc_cls, make_ilsvrc_det

from pipeline.core.settings import build, read_params
from pipeline.params.check import load_sections
from pipeline.preflight import run
from pipeline.preflight.context import Context
from pipeline.preflight.findings import Row
from pipeline.student.settings import StudentSettings

RECIPE = ROOT / "recipes" / "lid2020.yaml"


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
    """The files of a checkout that a preflight reads."""
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


def make_quick_disks(folder: Path) -> Disks:
    """As `make_disks`, with sizes that a trial of every step takes in seconds."""
    disks = make_disks(folder)
    for track in ("track1", "track3"):
        section = disks.params["tracks"][track]
        section["train"] = merge(section["train"], {"resize": 48, "crop": 32, "epochs": 3})
        section["extract"] = {**section["extract"], "sizes": [48]}
    return disks


def all_rows(disks: Disks, **options: Any) -> list[Row]:
    """All rows of a preflight in the current folder."""
    disks.write_params()
    return list(run.preflight(Context(Path("params.yaml"), sample=1000, **({"minutes": 0.0} | options))))


def guard(call: Callable[..., Iterator[Row]], *given: Any) -> list[Row]:
    """The rows of one check."""
    return run.guarded((call.__name__, call), *given)


def of(found: list[Row], level: str) -> list[Row]:
    return [row for row in found if row.level == level]


def recipe_settings() -> dict[str, dict[str, Any]]:
    return load_sections(read_params(RECIPE), RECIPE)[0]


def enabled_student(track: str = "track3", **changes: Any) -> Context:
    """The recipe with the student of one track switched on, and with `changes`."""
    context = Context(RECIPE)
    context.settings = recipe_settings()
    values = merge(read_params(RECIPE)["tracks"][track]["student"], {"enabled": True, **changes})
    context.settings[track]["student"] = build(StudentSettings, values, RECIPE, "student")
    return context
