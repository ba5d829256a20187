"""Bad input of every kind, and what the project makes of it: the rows of docs/bad_input.md.

Each case is a call that reads what was made in a folder. It returns what is done with it, in words, or raises an error
of the project; any other error is a fault.
"""

import csv
import io
import json
import os
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from support.broken_images import BROKEN, FORMATS, SHALLOW, UNUSUAL, File, encoded
from support.helpers import TINY, recipe, write_png
from support.inspection import inspected

from pipeline.core.errors import PipelineError
from pipeline.core.settings import write_yaml
from pipeline.extract.scale import apply_standard, find_standard
from pipeline.models.backbones import build_backbone
from pipeline.models.settings import BackboneSettings
from pipeline.models.weights import load_weights
from pipeline.params.check import check_file
from pipeline.params.networks import name_mistakes
from pipeline.preprocess.annotations import read_boxes, read_labels
from pipeline.preprocess.coco_annotations import Instances
from pipeline.preprocess.folders import Problems, files_by_id, walk
from pipeline.preprocess.id_lists import read_ids, read_numbered_ids
from pipeline.preprocess.known_defects import RULES
from pipeline.preprocess.layouts.folder import list_folder

TRAIN = 12  # images beside the odd one


@dataclass(frozen=True)
class Row:
    """What happened to one kind of input: `used`, `refused` or `left out`, and what is said of it."""

    group: str
    kind: str
    happened: str
    message: str


@dataclass(frozen=True)
class Case:
    """A kind of input; `call` gets an empty folder."""

    group: str
    kind: str
    call: Callable[[Path], str]


def outcome(case: Case, root: Path) -> Row:
    """Run a case in a new folder; its path is not part of the message."""
    root.mkdir()
    try:
        happened, message = "used", case.call(root)
    except PipelineError as error:
        happened, message = "refused", str(error)
    message = message.replace(f"{root}/", "").replace(str(root), "<root>")
    return Row(case.group, case.kind, happened, message.removeprefix("<root>: 1 bad files:\n  "))


# --- images -----------------------------------------------------------------------------------------------------------


def make_folder(root: Path, odd: str = "", split: str = "train") -> dict[str, str]:
    """A small folder of two classes in the `folder` layout, with one more image of the given name; its source."""
    rows = [(f"{n}.png", ("cat", "dog")[n % 2], "train") for n in range(TRAIN)]
    rows += [(f"val{n}.png", ("cat", "dog")[n], "val") for n in range(2)] + [("test0.png", "", "test")]
    for name, _, _ in rows:
        (root / name).write_bytes(FORMATS["PNG"]())
    if odd:
        rows.append((odd, "" if split == "test" else "cat", split))
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([("image", "labels", "split"), *rows])
    (root / "index.csv").write_text(stream.getvalue(), encoding="utf-8")
    (root / "classes.txt").write_text("cat\ndog\n")
    return {"name": "folder", "root": str(root), "masks": "labels"}


def inspect_with(root: Path, file: File, split: str = "train", **changes: Any) -> str:
    """Inspect a folder with one odd image; which rule it met, or that it was left out and why."""
    source = make_folder(root, file.name, split)
    file.make(root / file.name)
    inspection = inspected(source, **changes)
    if inspection.skipped:
        return f"left out: {inspection.skipped[0]}"
    (record,) = [record for record in inspection.manifest if record.file.name == file.name]
    met = inspection.manifest.with_ids([record.id]).table["quirks"].to_pylist()[0] or []
    if max(record.width, record.height) > 1000:
        met.append("long_sides")
    return "; ".join(RULES[rule] for rule in met) or "read as it is"


def image_cases() -> Iterator[Case]:
    for file in (*BROKEN, *SHALLOW, *UNUSUAL):
        yield Case("Images", file.kind, lambda root, file=file: inspect_with(root, file))  # type: ignore[misc]


# --- names and folders ------------------------------------------------------------------------------------------------


SPACED = b"cat\nbig dog\n"


def listed(root: Path, rows: str, classes: bytes = b"cat\ndog\n") -> str:
    """List a folder whose index has these rows below the header."""
    (root / "classes.txt").write_bytes(classes)
    (root / "index.csv").write_bytes(b"image,labels,split\n" + rows.encode())
    return f"{len(list_folder(root))} rows are read"


def latin_name(root: Path) -> str:
    path = os.path.join(os.fsencode(root), b"caf\xe9.JPEG")  # noqa: PTH118
    with open(path, "wb") as stream:  # noqa: PTH123
        stream.write(FORMATS["JPEG"]())
    return f"{len(files_by_id([root]))} files"


def looping_folder(root: Path) -> str:
    (root / "images").mkdir()
    (root / "images/a.jpg").write_bytes(b"")
    (root / "images/again").symlink_to(root / "images")
    return f"listed once: {walk(root / 'images')}"


def class_folders(root: Path) -> str:
    (root / "cat").mkdir()
    (root / "cat/1.jpg").write_bytes(FORMATS["JPEG"]())
    return str(list_folder(root))


def dead_root(root: Path) -> str:
    (root / "photos").symlink_to(root / "nowhere")
    return str(list_folder(root / "photos"))


NAMES = (
    Case(
        "Names and folders", "two files of one stem", lambda root: listed(root, "a/1.jpg,cat,train\nb/1.jpg,dog,val\n")
    ),
    Case("Names and folders", "one image in two rows", lambda root: listed(root, "1.jpg,cat,train\n1.jpg,dog,val\n")),
    Case(
        "Names and folders",
        "names that differ in case alone",
        lambda root: listed(root, "a.jpg,cat,train\nA.jpg,dog,val\n"),
    ),
    Case(
        "Names and folders",
        "one name, its accent written in two ways (NFC, NFD)",
        lambda root: listed(root, "caf\u00e9.jpg,cat,train\ncafe\u0301.jpg,dog,val\n"),
    ),
    Case("Names and folders", "a name that is no UTF-8", latin_name),
    Case("Names and folders", "a folder with a link to itself", looping_folder),
    Case("Names and folders", "a folder for each class, no index.csv", class_folders),
    Case("Names and folders", "a root that is a link that leads nowhere", dead_root),
)


# --- tables and lists -------------------------------------------------------------------------------------------------


def index_of(data: bytes) -> Callable[[Path], str]:
    def call(root: Path) -> str:
        (root / "classes.txt").write_text("cat\ndog\n")
        (root / "index.csv").write_bytes(data)
        return f"{len(list_folder(root))} rows are read"

    return call


def classes_of(data: bytes) -> Callable[[Path], str]:
    return lambda root: listed(root, "a.jpg,cat,train\n", data)


HEAD = b"image,labels,split\n"
GOOD = HEAD + b"a.jpg,cat,train\nb.jpg,dog,val\nc.jpg,,test\n"


def same_labels(root: Path) -> str:
    source = make_folder(root)
    (root / "index.csv").write_text((root / "index.csv").read_text().replace(",dog,", ",cat,"))
    (root / "classes.txt").write_text("cat\n")
    return str(inspected(source))


TABLES = tuple(
    Case("index.csv and classes.txt", kind, call)
    for kind, call in (
        ("a byte order mark", index_of(b"\xef\xbb\xbf" + GOOD)),
        ("line ends of Windows", index_of(GOOD.replace(b"\n", b"\r\n"))),
        ("blank lines", index_of(GOOD.replace(b"\n", b"\n\n"))),
        ("semicolons", index_of(GOOD.replace(b",", b";"))),
        ("tabs", index_of(GOOD.replace(b",", b"\t"))),
        ("more cells than columns", index_of(HEAD + b"a.jpg,cat,dog,train\n")),
        ("a quote that is not closed", index_of(HEAD + b'a.jpg,"cat,train\nb.jpg,dog,val\n')),
        ("a NUL character", index_of(GOOD.replace(b"dog", b"d\0g"))),
        ("UTF-16", index_of(GOOD.decode().encode("utf-16"))),
        ("nothing", index_of(b"")),
        ("a header alone", index_of(HEAD)),
        ("a column that is missing", index_of(GOOD.replace(b"labels", b"label"))),
        ("split: valid, in nine rows", index_of(HEAD + b"".join(b"%d.jpg,cat,valid\n" % n for n in range(9)))),
        ("labels joined by semicolons", index_of(HEAD + b"a.jpg,cat;dog,train\n")),
        ("a label that is misspelled", index_of(HEAD + b"\na.jpg,dgo,train\n")),
        (
            "classes.txt in Windows-1252",
            lambda root: listed(root, "a.jpg,cat,train\n", "cat\ncaf\u00e9\n".encode("cp1252")),
        ),
        ("classes.txt in UTF-16", lambda root: listed(root, "a.jpg,cat,train\n", "cat\n".encode("utf-16"))),
        (
            "a space between labels, a class name with a space",
            lambda root: listed(root, "a.jpg,cat big dog,train\n", SPACED),
        ),
        ("the same labels on every train image", same_labels),
    )
)


def ids_of(data: bytes, numbers: bool = False) -> Callable[[Path], str]:
    def call(root: Path) -> str:
        (root / "val.txt").write_bytes(data)
        problems = Problems(root)
        found = (read_numbered_ids if numbers else read_ids)(root / "val.txt", problems)
        problems.stop_if_any()
        return f"{len(found)} ids are read"

    return call


LISTS = tuple(
    Case("Lists of ids", kind, call)
    for kind, call in (
        ("a byte order mark, line ends of Windows, blank lines", ids_of(b"\xef\xbb\xbfa\r\n\r\nb.JPEG\r\n")),
        ("an id twice", ids_of(b"a\nb\na\n")),
        ("an empty file", ids_of(b"\n")),
        ("a binary file", ids_of(b"\x89PNG\0\0")),
        ("a word where a number belongs", ids_of(b"a 3\nb cat\n", numbers=True)),
    )
)


# --- masks and annotations --------------------------------------------------------------------------------------------


def masked(mask: Callable[[Path], object], kind: str) -> Callable[[Path], str]:
    """A folder whose val images have one mask, read as `kind`."""

    def call(root: Path) -> str:
        source = {**make_folder(root), "masks": kind}
        rows = (root / "index.csv").read_text().splitlines()
        rows = [f"{row},{'mask.png' if row.endswith(',val') and row.startswith('val0') else ''}" for row in rows]
        (root / "index.csv").write_text("\n".join(["image,labels,split,mask", *rows[1:]]) + "\n")
        mask(root / "mask.png")
        return f"read as {inspected(source).manifest.mask_kind}"

    return call


def of_values(*values: int) -> Callable[[Path], object]:
    pixels = np.zeros((24, 32), np.uint8)
    pixels[: len(values), :5] = np.array(values)[:, None]
    return lambda path: write_png(path, pixels)


def of_image(kind: str, mode: str) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(encoded(kind, mode))


MASKS = tuple(
    Case("Masks", kind, masked(make, read_as))
    for kind, make, read_as in (
        ("foreground saved as 128", of_values(128), "foreground"),
        ("foreground saved as 1", of_values(1), "foreground"),
        ("class ids read as foreground", of_values(1, 2), "foreground"),
        ("gray values read as class ids", of_values(77, 255), "labels"),
        ("class ids with 16 bits", of_image("PNG", "I;16"), "labels"),
        ("a colored copy", of_image("PNG", "RGBA"), "labels"),
        ("scores in floating point", of_image("TIFF", "F"), "foreground"),
        ("the size of another image", lambda path: write_png(path, np.zeros((32, 24), np.uint8)), "labels"),
    )
)


def boxes_of(xml: bytes) -> Callable[[Path], str]:
    def call(root: Path) -> str:
        (root / "a.xml").write_bytes(xml)
        return f"boxes {read_boxes(root / 'a.xml')}"

    return call


def box_xml(*corners: object) -> bytes:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    inside = "".join(f"<{side}>{corner}</{side}>" for side, corner in sides)
    return f"<annotation><object><name>dog</name><bndbox>{inside}</bndbox></object></annotation>".encode()


def unknown_object(root: Path) -> str:
    (root / "a.xml").write_bytes(box_xml(1, 2, 3, 4))
    found = read_labels({root: ["a.xml"]}, {"cat": 0}, 1)
    problems = Problems(root)
    problems.lines += found.problems
    problems.stop_if_any()
    return str(found.counts)


XML = tuple(
    Case("Annotations in XML", kind, call)
    for kind, call in (
        ("half a file", boxes_of(box_xml(1, 2, 3, 4)[:60])),
        ("max before min", boxes_of(box_xml(9, 2, 3, 4))),
        ("a corner that is no number", boxes_of(box_xml(1, 2, "x", 4))),
        ("a corner that is infinite", boxes_of(box_xml(1, 2, "inf", 4))),
        ("another root than annotation", boxes_of(b"<html></html>")),
        ("an object of an unknown class", unknown_object),
    )
)


def coco(*annotations: Any, truth: Any = "boxes", **parts: Any) -> Callable[[Path], str]:
    def call(root: Path) -> str:
        images = [{"id": 7, "file_name": "a.jpg", "width": 4, "height": 3}]
        content = {"categories": [{"id": 9, "name": "dog"}], "images": images, "annotations": annotations, **parts}
        (root / "instances.json").write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
        problems = Problems(root)
        found = Instances(root / "instances.json", truth, problems)
        problems.stop_if_any()
        return f"{sum(map(len, found.annotations.values()))} annotations are read"

    return call


def half_a_json(root: Path) -> str:
    (root / "instances.json").write_text('{"images": [')
    return str(Instances(root / "instances.json", "none", Problems(root)))


BOX = {"id": 1, "image_id": 7, "category_id": 9, "bbox": [0, 0, 2, 2]}
JSON = tuple(
    Case("COCO JSON", kind, call)
    for kind, call in (
        ("no iscrowd, no area", coco(BOX)),
        ("compressed run lengths", coco({**BOX, "segmentation": {"size": [3, 4], "counts": "084"}}, truth="masks")),
        ("run lengths that do not add up", coco({**BOX, "segmentation": {"counts": [5]}}, truth="masks")),
        ("no segmentation", coco(BOX, truth="masks")),
        ("no bbox", coco({**BOX, "bbox": None})),
        ("an unknown image", coco({**BOX, "image_id": 8})),
        ("an unknown category", coco({**BOX, "category_id": 3})),
        ("no annotations", coco(annotations=None)),
        ("half a file", half_a_json),
    )
)


# --- params and weights -----------------------------------------------------------------------------------------------


def backbone(name: str) -> Callable[[Path], str]:
    return params(lambda track: track["train"]["backbone"].update(name=name))


def params(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], str]:
    def call(root: Path) -> str:
        values = recipe()
        change(values["tracks"]["track3"])
        write_yaml(root / "params.yaml", values)
        check_file(root / "params.yaml", [name_mistakes])
        return "read"

    return call


def text_of_params(data: bytes) -> Callable[[Path], str]:
    def call(root: Path) -> str:
        (root / "params.yaml").write_bytes(data)
        check_file(root / "params.yaml", [name_mistakes])
        return "read"

    return call


PARAMS = tuple(
    Case("params.yaml", kind, call)
    for kind, call in (
        ("a key that is misspelled", params(lambda track: track["train"].update(epoch=track["train"].pop("epochs")))),
        ("a number in quotes", params(lambda track: track["train"]["optimizer"].update(learning_rate="1e-4"))),
        ("an unknown backbone", backbone("resnet5o")),
        (
            "a backbone without a package of weights",
            backbone("resnet50"),
        ),
        ("an unknown training method", params(lambda track: track["train"].update(method="hass"))),
        ("a key twice", text_of_params(b"tracks:\n  track1: 1\n  track1: 2\n")),
        ("a tab", text_of_params(b"tracks:\n\ttrack1: 1\n")),
        ("Windows-1252", text_of_params("# caf\u00e9\n".encode("cp1252"))),
        ("an empty file", text_of_params(b"")),
    )
)


def weights(content: Callable[[], Any], name: str = TINY) -> Callable[[Path], str]:
    """Load a file that `torch.save` wrote into a backbone."""

    def call(root: Path) -> str:
        made = content()
        if isinstance(made, bytes):
            (root / "w.pth").write_bytes(made)
        else:
            torch.save(made, root / "w.pth")
        settings = BackboneSettings(name, 32, "file", str(root / "w.pth"), True, "frozen")
        load_weights(build_backbone(name, 32), settings)
        return "all tensors fit"

    return call


def state(name: str = TINY, prefix: str = "") -> dict[str, torch.Tensor]:
    return {f"{prefix}{key}": value for key, value in timm.create_model(name).state_dict().items()}


def below(*prefixes: str) -> Callable[[Path], str]:
    return weights(lambda: {"state_dict": {k: v for prefix in prefixes for k, v in state(prefix=prefix).items()}})


def with_nan() -> dict[str, torch.Tensor]:
    tensors = state()
    next(iter(tensors.values()))[0] = float("nan")
    return tensors


WEIGHTS = tuple(
    Case("Weights", kind, call)
    for kind, call in (
        (
            "compiled, in two DataParallel",
            weights(lambda: {"model_state_dict": state(prefix="module.module._orig_mod.")}),
        ),
        ("of Lightning", weights(lambda: {"state_dict": state(prefix="model.backbone.")})),
        (
            "of MoCo",
            weights(lambda: {"state_dict": state(prefix="module.encoder_q.") | state(prefix="module.encoder_k.")}),
        ),
        ("below another prefix", weights(lambda: state(prefix="teacher."))),
        ("objects beside the tensors", weights(lambda: {"state_dict": state(), "args": Namespace(lr=0.1)})),
        ("of resnet34 for resnet18", weights(lambda: state("resnet34"), "resnet18")),
        ("with a NaN", weights(with_nan)),
        ("half a file", weights(lambda: b"PK\x03\x04 half")),
        ("an empty file", weights(bytes)),
    )
)


# --- maps -------------------------------------------------------------------------------------------------------------


def scaled(*values: float) -> Callable[[Path], str]:
    def call(root: Path) -> str:
        cam = np.array([values], np.float32)
        found = apply_standard(cam, find_standard(cam, "percentile", 90.0))
        return f"becomes {found.tolist()[0]}"

    return call


MAPS = (
    Case("Maps", "a constant map", scaled(3.0, 3.0, 3.0)),
    Case("Maps", "a map with a NaN", scaled(1.0, float("nan"), 3.0)),
)

CASES = (*image_cases(), *NAMES, *TABLES, *LISTS, *MASKS, *XML, *JSON, *PARAMS, *WEIGHTS, *MAPS)
