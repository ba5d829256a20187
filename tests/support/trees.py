"""Small data sets in official layouts, with the odd files that real copies hold: for tests, and for trying the chain.

Every `make_*` writes a tree and returns a `Tree`: the source's settings, as they stand under `preprocess.source`, and
what is in it. Images show rectangles in the color of their class on a grey background, so that there is something to
learn.

    tree = make_ilsvrc_cls(tmp_path / "ilsvrc", tmp_path / "lid", classes=10, images_per_class=20, val=30, test=20)
    params["tracks"]["track3"]["preprocess"]["source"] = tree.source
"""

import colorsys
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.preprocess.challenge_lists import cls_classes, det_classes, track1_ids, track3_val

Size = tuple[int, int]  # (width, height)
Layout = Literal["nested", "flat"]  # of the challenge's disks: as downloads unpack, or with a level less everywhere

RIFLE = 764  # class index of SWAPPED
SWAPPED = "ILSVRC2012_val_00017615"
ORIENTATION = 0x0112


@dataclass
class Tree:
    """A data set on disk.

    Attributes:
        source: `preprocess.source` of a params file
        ids: image ids by split
        labels: class indices by image id, of train and val; only those that are not empty
        classes: names by class index
        odd: image ids by the rule of `preprocess.json` that they meet
    """

    source: dict[str, Any]
    ids: dict[str, list[str]]
    labels: dict[str, list[int]]
    classes: list[str]
    odd: dict[str, list[str]] = field(default_factory=dict)


# --- images -----------------------------------------------------------------------------------------------------------


def draw_image(
    rng: np.random.Generator, size: Size, class_ids: Sequence[int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A rectangle for each class id, side by side; RGB, shape (H, W, 3), and class ids, 0 background, shape (H, W)."""
    width, height = size
    rgb = rng.integers(96, 160, (height, width, 3)).astype(np.uint8)
    label_map = np.zeros((height, width), np.uint8)
    share = width // max(len(class_ids), 1)
    for n, class_id in enumerate(class_ids):
        x0, x1 = n * share + share // 8 + int(rng.integers(0, share // 8 + 1)), (n + 1) * share - share // 8
        y0, y1 = height // 8 + int(rng.integers(0, height // 4 + 1)), height - height // 8
        color = colorsys.hsv_to_rgb(class_id * 0.381966 % 1, 0.9, 0.9)
        rgb[y0:y1, x0:x1] = np.clip(np.array(color) * 255 + rng.integers(-12, 13, (y1 - y0, x1 - x0, 3)), 0, 255)
        label_map[y0:y1, x0:x1] = class_id
    return rgb, label_map


def write_image(path: Path, rgb: NDArray[np.uint8], oddity: str = "") -> None:
    """Write an image as JPEG, or as one of the odd files, named by the rule it meets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image, options = Image.fromarray(rgb), {"format": "JPEG", "quality": 90}
    if oddity == "cmyk_images":
        image = image.convert("CMYK")
    elif oddity == "grey_images":
        image = image.convert("L")
    elif oddity == "other_format_than_name":
        options = {"format": "PNG"}
    elif oddity == "exif_orientation":
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        options["exif"] = exif
    stream = io.BytesIO()
    image.save(stream, **options)
    path.write_bytes(stream.getvalue())


def write_mask(path: Path, values: NDArray[np.uint8], palette: bool = False) -> None:
    """Write a mask as PNG of mode L, or P with colors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette:
        image.putpalette([channel for n in range(256) for channel in (n * 37 % 256, n * 91 % 256, n * 53 % 256)])
    image.save(path)


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def box_of(label_map: NDArray[np.uint8], class_id: int | None = None) -> list[int]:
    """x0 y0 x1 y1, inclusive, of a class, or of all foreground."""
    rows, columns = np.nonzero(label_map == class_id if class_id else label_map)
    return [int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())]


def annotation(folder: str, image_id: str, size: Size, objects: Sequence[tuple[str, Sequence[int]]]) -> str:
    """The XML of an image: name and box of each object."""
    found = "".join(
        f"\t<object>\n\t\t<name>{name}</name>\n\t\t<bndbox>\n\t\t\t<xmin>{x0}</xmin>\n\t\t\t<ymin>{y0}</ymin>\n"
        f"\t\t\t<xmax>{x1}</xmax>\n\t\t\t<ymax>{y1}</ymax>\n\t\t</bndbox>\n\t</object>\n"
        for name, (x0, y0, x1, y1) in objects
    )
    return (
        f"<annotation>\n\t<folder>{folder}</folder>\n\t<filename>{image_id}</filename>\n\t<source>\n"
        "\t\t<database>ILSVRC_2013</database>\n\t</source>\n\t<size>\n"
        f"\t\t<width>{size[0]}</width>\n\t\t<height>{size[1]}</height>\n\t\t<depth>3</depth>\n\t</size>\n{found}</annotation>\n"
    )


def _write_xml(path: Path, *about: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(annotation(*about), encoding="utf-8")


def _sizes(rng: np.random.Generator, size: Size) -> Size:
    """A size near `size`, lying or standing."""
    width, height = size[0] - int(rng.integers(0, size[0] // 8)), size[1] - int(rng.integers(0, size[1] // 8))
    return (width, height) if rng.random() < 0.7 else (height, width)


# --- the challenge ----------------------------------------------------------------------------------------------------


def make_ilsvrc_cls(
    root: Path,
    challenge_root: Path,
    classes: int = 10,
    images_per_class: int = 6,
    val: int = 12,
    test: int = 8,
    layout: Layout = "nested",
    size: Size = (96, 64),
    seed: int = 0,
) -> Tree:
    """Track 3. The first train images are odd, one has a side over 1000 pixels; the first val mask is swapped, the
    second empty.

    Ids and classes are the challenge's, so that its own val list agrees; with `classes: present` the others are left
    out.
    """
    rng = np.random.default_rng(seed)
    home = root / "ILSVRC" if layout == "nested" else root
    chosen = sorted({RIFLE, *np.linspace(0, 999, classes, dtype=int).tolist()} - {0 if classes > 1 else RIFLE})[
        :classes
    ]
    wnids = [cls_classes()[k].wnid for k in chosen]
    tree = Tree({}, {"train": [], "val": [], "test": []}, {}, [cls_classes()[k].name for k in chosen])
    oddities = iter(("cmyk_images", "grey_images", "other_format_than_name", "exif_orientation", "long_sides"))
    for n in range(images_per_class):
        for k, wnid in enumerate(wnids):
            image_id, odd = f"{wnid}_{n + 1}", next(oddities, "")
            shape = (1010, 40) if odd == "long_sides" else _sizes(rng, size)
            write_image(home / f"Data/CLS-LOC/train/{wnid}/{image_id}.JPEG", draw_image(rng, shape, [k + 1])[0], odd)
            tree.ids["train"].append(image_id)
            tree.labels[image_id] = [k]
            tree.odd |= {odd: [image_id]} if odd else {}
    _cls_held_out(tree, rng, home, challenge_root, chosen, (val, test), layout, size)
    tree.ids["train"].sort()
    tree.source = {
        "name": "ilsvrc_cls",
        "root": str(root),
        "challenge_root": str(challenge_root),
        "classes": "present",
        "val_list": "LID_track3/val/val.txt" if layout == "nested" else "val.txt",
        "val_numbers": "class_index",
        "test_list": "auto",
        "masks": "auto",
        "boxes": "annotations",
        "swapped_masks": "transpose",
    }
    return tree


def _cls_held_out(
    tree: Tree,
    rng: np.random.Generator,
    home: Path,
    challenge: Path,
    chosen: Sequence[int],
    counts: Size,
    layout: Layout,
    size: Size,
) -> None:
    official = dict(track3_val())
    known = [SWAPPED, *(i for i, k in official.items() if k in chosen and i != SWAPPED)][: counts[0]]
    if len(known) < counts[0]:
        raise ValueError(
            f"expected at most {len(known)} val images of these classes, got {counts[0]}; take more classes"
        )
    unknown = [i for n in range(1, 50_001) if (i := f"ILSVRC2012_val_{n:08d}") not in official][: counts[1]]
    tree.ids |= {"val": sorted(known), "test": unknown}
    for split, ids in (("val", known), ("test", unknown)):
        folder = challenge / f"LID_track3/{split}" if layout == "nested" else home / "Data/CLS-LOC/val"
        for image_id in ids:
            k = chosen.index(official[image_id]) if split == "val" else int(rng.integers(len(chosen)))
            rgb, label_map = draw_image(rng, size if image_id == SWAPPED else _sizes(rng, size), [k + 1])
            write_image(folder / f"{image_id}.JPEG", rgb)
            if split == "val":
                tree.labels[image_id] = [k]
                _cls_truth(
                    tree, home, challenge, image_id, label_map, cls_classes()[chosen[k]].wnid, image_id == known[1:2][0]
                )
    lists = challenge / "LID_track3" if layout == "nested" else challenge
    nested = layout == "nested"
    write_lines(lists / ("val/val.txt" if nested else "val.txt"), [f"{i} {official[i]}" for i in known])
    write_lines(lists / ("test/test.txt" if nested else "test.txt"), unknown)


def _cls_truth(
    tree: Tree, home: Path, challenge: Path, image_id: str, label_map: NDArray[np.uint8], wnid: str, is_empty: bool
) -> None:
    """Box and mask of a val image; `SWAPPED` gets its mask transposed."""
    height, width = label_map.shape
    objects = [(wnid, box_of(label_map))]
    _write_xml(home / f"Annotations/CLS-LOC/val/{image_id}.xml", "val", image_id, (width, height), objects)
    mask = np.where(label_map > 0, 0 if is_empty else 255, 0).astype(np.uint8)
    write_mask(challenge / f"LID_track3/val_masks/{image_id}.png", mask.T if image_id == SWAPPED else mask)
    if is_empty:
        tree.odd["masks_without_foreground"] = [image_id]
    if image_id == SWAPPED:
        tree.odd["swapped_masks"] = [image_id]


def make_ilsvrc_det(
    root: Path,
    challenge_root: Path,
    classes: int = 6,
    images_per_class: int = 6,
    val: int = 10,
    test: int = 6,
    layout: Layout = "nested",
    size: Size = (96, 64),
    seed: int = 0,
) -> Tree:
    """Track 1: the first `classes` of 200 have images. Beside them: annotations without an object, images without one.

    Images lie in all three kinds of folders; ImageSets lists say what the annotations say, and call one object partial.
    """
    rng = np.random.default_rng(seed)
    home = root / "ILSVRC" if layout == "nested" else root
    every = det_classes()
    tree = Tree({}, {"train": [], "val": [], "test": []}, {}, [row.name for row in every])
    folders = ("ILSVRC2013_train/{wnid}", "ILSVRC2013_train_extra{n}", "ILSVRC2014_train_000{n}")
    lists: list[list[str]] = [[] for _ in every]
    for n in range(images_per_class * classes):
        k, turn = n % classes, n // classes
        folder = folders[turn % 3].format(wnid=every[k].wnid, n=turn % 7)
        image_id = f"{folder.rpartition('/')[2]}_{n:08d}"
        labels = [k] if n % 8 else sorted({k, (k + 1) % classes})
        _det_image(tree, rng, home, folder, image_id, _sizes(rng, size), labels)
        for j in range(classes):
            lists[j].append(f"{folder}/{image_id} {1 if j in labels else -1}")
    _det_image(tree, rng, home, "ILSVRC2013_train_extra0", "ILSVRC2013_train_00999998", size, [])
    lists[0].append("ILSVRC2013_train_extra0/ILSVRC2013_train_00999998 0")  # in part
    tree.odd["images_without_label"] = ["ILSVRC2013_train_00999998"]
    unannotated = home / "Data/DET/train/ILSVRC2013_train_extra0/ILSVRC2013_train_00999999.JPEG"
    write_image(unannotated, draw_image(rng, size, [])[0])
    for j, lines in enumerate(lists):
        write_lines(home / f"ImageSets/DET/train_{j + 1}.txt", lines)
    _det_held_out(tree, rng, home, challenge_root, classes, (val, test), layout, size)
    tree.source = {
        "name": "ilsvrc_det",
        "root": str(root),
        "challenge_root": str(challenge_root),
        "labels": "annotations",
        "partial_labels": "ignore",
        "lists": "download",
        "empty_classes": "allow",
    }
    return tree


def _det_image(
    tree: Tree, rng: np.random.Generator, home: Path, folder: str, image_id: str, size: Size, labels: list[int]
) -> None:
    rgb, label_map = draw_image(rng, size, [k + 1 for k in labels])
    write_image(home / f"Data/DET/train/{folder}/{image_id}.JPEG", rgb)
    objects = [(det_classes()[k].wnid, box_of(label_map, k + 1)) for k in labels]
    _write_xml(home / f"Annotations/DET/train/{folder}/{image_id}.xml", folder, image_id, size, objects)
    tree.ids["train"].append(image_id)
    if labels:
        tree.labels[image_id] = labels


def _det_held_out(
    tree: Tree,
    rng: np.random.Generator,
    home: Path,
    challenge: Path,
    classes: int,
    counts: Size,
    layout: Layout,
    size: Size,
) -> None:
    """Val and test; the first val mask has no foreground, all have a row of ignored pixels."""
    nested = layout == "nested"
    for split, count in (("val", counts[0]), ("test", counts[1])):
        ids = list(track1_ids("val" if split == "val" else "test")[:count])
        tree.ids[split] = ids
        write_lines(challenge / (f"LID_track1/{split}/{split}.txt" if nested else f"{split}.txt"), ids)
        for n, image_id in enumerate(ids):
            labels = sorted({n % classes, (n * 2 + 1) % classes})[: 1 + n % 2]
            rgb, label_map = draw_image(rng, _sizes(rng, size), [] if n == 0 else [k + 1 for k in labels])
            write_image(challenge / (f"LID_track1/{split}" if nested else split) / f"{image_id}.JPEG", rgb)
            if split == "test":
                continue
            label_map[-1] = 255
            if n:
                tree.labels[image_id] = labels
            folder = challenge / "LID_track1_annotations" if nested else challenge
            write_mask(folder / f"track1_val_annotations_raw/{image_id}.png", label_map)
            write_mask(folder / f"track1_val_annotations/{image_id}.png", label_map, palette=True)
    tree.odd["masks_without_foreground"] = tree.ids["val"][:1]
    tree.odd["labels_from_masks"] = tree.ids["val"][1:]


# --- other public sets ------------------------------------------------------------------------------------------------


def make_oxford_pet(
    root: Path, classes: int = 3, train: int = 5, test: int = 4, size: Size = (96, 64), seed: int = 0
) -> Tree:
    """Oxford-IIIT Pet: so many train and test images of each class; split as `half_of_test` does."""
    rng = np.random.default_rng(seed)
    names = ["Abyssinian", "american_bulldog", "Bombay", "Egyptian_Mau", "pug"][:classes]
    home = root / "oxford-iiit-pet"
    lines: dict[str, list[str]] = {"trainval": [], "test": []}
    tree = Tree({"name": "oxford_pet", "root": str(root), "val": "half_of_test", "download": False}, {}, {}, names)
    for k, name in enumerate(names):
        for n in range(train + test):
            image_id = f"{name}_{n + 1}"
            rgb, label_map = draw_image(rng, _sizes(rng, size), [k + 1])
            write_image(home / f"images/{image_id}.jpg", rgb)
            trimap = np.where(label_map > 0, 1, 2).astype(np.uint8)
            x0, y0, x1, _ = box_of(label_map)
            trimap[y0, x0 : x1 + 1] = 3
            write_mask(home / f"annotations/trimaps/{image_id}.png", trimap)
            lines["trainval" if n < train else "test"].append(f"{image_id} {k + 1} 1 {k + 1}")
            tree.labels[image_id] = [k]
    (home / "annotations/trimaps/._Abyssinian_1.png").write_bytes(b"what macOS leaves")
    ids = {name: [line.split()[0] for line in listed] for name, listed in lines.items()}
    for name, listed in lines.items():
        write_lines(home / f"annotations/{name}.txt", listed)
    tree.ids = {"train": ids["trainval"], "val": ids["test"][0::2], "test": ids["test"][1::2]}
    return tree


def make_pascal_voc(
    root: Path, train: int = 24, val: int = 8, test: int = 3, size: Size = (96, 64), seed: int = 0
) -> Tree:
    """Pascal VOC 2012: `test` images in the official test list, five images more in Main/trainval.txt."""
    from pipeline.preprocess.layouts.pascal_voc import CLASSES

    rng = np.random.default_rng(seed)
    home = root / "VOCdevkit/VOC2012"
    tree = Tree(
        {"name": "pascal_voc", "root": str(root), "train": "segmentation", "test": "official", "download": False},
        {},
        {},
        [*CLASSES],
    )
    numbers = iter(range(1, 10_000))
    for split, count in (("train", train), ("val", val), ("test", test), ("more", 5)):
        tree.ids[split] = [f"2007_{next(numbers):06d}" for _ in range(count)]
        for n, image_id in enumerate(tree.ids[split]):
            labels = sorted({n % 20, (n * 3 + 1) % 20})[: 1 + n % 2] if split != "train" else [n % 20]
            rgb, label_map = draw_image(rng, _sizes(rng, size), [k + 1 for k in labels])
            write_image(home / f"JPEGImages/{image_id}.jpg", rgb)
            if split == "test":
                continue
            shape = (label_map.shape[1], label_map.shape[0])
            objects = [(CLASSES[k], box_of(label_map, k + 1)) for k in labels]
            _write_xml(home / f"Annotations/{image_id}.xml", "VOC2012", f"{image_id}.jpg", shape, objects)
            tree.labels[image_id] = labels
            label_map[:, -1] = 255
            if split != "more":
                write_mask(home / f"SegmentationClass/{image_id}.png", label_map, palette=True)
    for split in ("train", "val", "test"):
        write_lines(home / f"ImageSets/Segmentation/{split}.txt", tree.ids[split])
    write_lines(home / "ImageSets/Main/trainval.txt", [*tree.ids["train"], *tree.ids["val"], *tree.ids["more"]])
    return tree


def make_cub(root: Path, classes: int = 3, train: int = 4, test: int = 4, size: Size = (96, 64), seed: int = 0) -> Tree:
    """CUB-200-2011 with segmentations: so many train and test images of each class; split as `half_of_test` does."""
    rng = np.random.default_rng(seed)
    names = ["001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross", "004.Groove_billed_Ani"][
        :classes
    ]
    home = root / "CUB_200_2011"
    tree = Tree({"name": "cub", "root": str(root), "val": "half_of_test", "truth": "boxes"}, {}, {}, names)
    lists: dict[str, list[str]] = {
        key: [] for key in ("images", "image_class_labels", "train_test_split", "bounding_boxes")
    }
    official: dict[str, list[str]] = {"train": [], "test": []}
    for k, name in enumerate(names):
        for n in range(train + test):
            number, image_id = len(lists["images"]) + 1, f"{name[4:]}_{n + 1:04d}_{k * 100 + n}"
            rgb, label_map = draw_image(rng, _sizes(rng, size), [k + 1])
            write_image(home / f"images/{name}/{image_id}.jpg", rgb)
            write_mask(root / f"segmentations/{name}/{image_id}.png", np.where(label_map > 0, 255, 0).astype(np.uint8))
            x0, y0, x1, y1 = box_of(label_map)
            lists["images"].append(f"{number} {name}/{image_id}.jpg")
            lists["image_class_labels"].append(f"{number} {k + 1}")
            lists["train_test_split"].append(f"{number} {int(n < train)}")
            lists["bounding_boxes"].append(f"{number} {x0}.0 {y0}.0 {x1 + 1 - x0}.0 {y1 + 1 - y0}.0")
            official["train" if n < train else "test"].append(image_id)
            tree.labels[image_id] = [k]
    for key, lines in lists.items():
        write_lines(home / f"{key}.txt", lines)
    write_lines(home / "classes.txt", [f"{k + 1} {name}" for k, name in enumerate(names)])
    tree.ids = {"train": official["train"], "val": official["test"][0::2], "test": official["test"][1::2]}
    return tree


def make_tiny_imagenet(
    root: Path, classes: int = 3, train: int = 4, val: int = 6, test: int = 4, seed: int = 0
) -> Tree:
    """Tiny ImageNet: `train` images of each class; two classes have the same name."""
    rng = np.random.default_rng(seed)
    home = root / "tiny-imagenet-200"
    wnids = ["n02012849", "n01443537", "n03126707", "n02124075"][:classes]
    words = {
        "n02012849": "crane",
        "n01443537": "goldfish, Carassius auratus",
        "n03126707": "crane",
        "n02124075": "Egyptian cat",
    }
    names = {
        "n02012849": "crane (n02012849)",
        "n01443537": "goldfish",
        "n03126707": "crane (n03126707)",
        "n02124075": "Egyptian cat",
    }
    tree = Tree({"name": "tiny_imagenet", "root": str(root)}, {"train": []}, {}, [names[wnid] for wnid in wnids])
    write_lines(home / "wnids.txt", wnids)
    write_lines(home / "words.txt", [f"{wnid}\t{name}" for wnid, name in words.items()])
    for k, wnid in enumerate(wnids):
        for n in range(train):
            write_image(home / f"train/{wnid}/images/{wnid}_{n}.JPEG", draw_image(rng, (64, 64), [k + 1])[0])
            tree.ids["train"].append(f"{wnid}_{n}")
            tree.labels[f"{wnid}_{n}"] = [k]
        write_lines(home / f"train/{wnid}/{wnid}_boxes.txt", [f"{wnid}_{n}.JPEG\t0\t0\t63\t63" for n in range(train)])
    lines = []
    for n in range(val):
        rgb, label_map = draw_image(rng, (64, 64), [n % classes + 1])
        write_image(home / f"val/images/val_{n}.JPEG", rgb)
        lines.append("\t".join([f"val_{n}.JPEG", wnids[n % classes], *map(str, box_of(label_map))]))
        tree.labels[f"val_{n}"] = [n % classes]
    write_lines(home / "val/val_annotations.txt", lines)
    for n in range(test):
        write_image(home / f"test/images/test_{n}.JPEG", draw_image(rng, (64, 64), [n % classes + 1])[0])
    tree.ids |= {"val": [f"val_{n}" for n in range(val)], "test": [f"test_{n}" for n in range(test)]}
    return tree


def make_coco(
    root: Path, mask_cache: Path, train: int = 9, val: int = 6, test: int = 3, size: Size = (96, 64), seed: int = 0
) -> Tree:
    """COCO 2017 with three categories, whose ids have a gap.

    The first val image has a crowd, the last train image nothing.
    """
    rng = np.random.default_rng(seed)
    categories = [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}, {"id": 90, "name": "toothbrush"}]
    source = {"name": "coco", "root": str(root), "test": "official", "truth": "boxes", "mask_cache": str(mask_cache)}
    tree = Tree(source, {}, {}, [str(category["name"]) for category in categories])
    number = 0
    for split, count in (("train", train), ("val", val), ("test", test)):
        images, annotations = [], []
        for n in range(count):
            number += 7
            labels = [] if split == "train" and n == count - 1 else sorted({n % 3, (n * 2 + 1) % 3})
            rgb, label_map = draw_image(rng, _sizes(rng, size), [k + 1 for k in labels])
            height, width = label_map.shape
            write_image(root / f"{split}2017/{number:012d}.jpg", rgb)
            images.append({"id": number, "file_name": f"{number:012d}.jpg", "width": width, "height": height})
            for k in labels:
                annotations.append(
                    {"image_id": number, "category_id": categories[k]["id"], **_polygon(label_map, k + 1)}
                )
            if split == "val" and n == 0:
                annotations.append({"image_id": number, "category_id": 1, **_crowd(label_map)})
                labels = sorted({0, *labels})
            if split != "test" and labels:
                tree.labels[f"{number:012d}"] = labels
        tree.ids[split] = [image["file_name"][:-4] for image in images]
        name = "image_info_test2017" if split == "test" else f"instances_{split}2017"
        content = {"images": images, "categories": categories} | (
            {} if split == "test" else {"annotations": annotations}
        )
        write_lines(root / f"annotations/{name}.json", [json.dumps(content)])
    return tree


def _polygon(label_map: NDArray[np.uint8], class_id: int) -> dict[str, Any]:
    x0, y0, x1, y1 = box_of(label_map, class_id)
    corners = [x0, y0, x1 + 1, y0, x1 + 1, y1 + 1, x0, y1 + 1]
    width, height = x1 + 1 - x0, y1 + 1 - y0
    return {"iscrowd": 0, "area": width * height, "bbox": [x0, y0, width, height], "segmentation": [corners]}


def _crowd(label_map: NDArray[np.uint8]) -> dict[str, Any]:
    """A crowd on the left half, as run lengths down the columns."""
    height, width = label_map.shape
    left = width // 2 * height
    runs = {"counts": [0, left, width * height - left], "size": [height, width]}
    return {"iscrowd": 1, "area": left, "bbox": [0, 0, width // 2, height], "segmentation": runs}


def make_wsol(root: Path, truth: str = "boxes", classes: int = 3, images: int = 6, seed: int = 0) -> Tree:
    """The lists of wsolevaluation and their images: a box an image, or two masks and an ignored region for each."""
    rng = np.random.default_rng(seed)
    names = ["001.Auk", "002.Bunting", "003.Crow"][:classes]
    source = {
        "name": "wsol", "root": str(root / "images"), "metadata_root": str(root / "metadata"), "scored": "test",
        "truth": truth, "mask_root": str(root / "masks"), "mask_cache": str(root / "cache"),
    }  # fmt: skip
    tree = Tree(source, {}, {}, names)
    for official, split in (("train", "train"), ("test", "val"), ("val", "test")):
        paths = [f"{names[n % classes]}/{official}_{n}.jpg" for n in range(images)]
        located = []
        for n, path in enumerate(paths):
            rgb, label_map = draw_image(rng, (48, 32), [n % classes + 1])
            write_image(root / "images" / path, rgb)
            located += _located(root / "masks", path, label_map, truth)
            if split != "test":
                tree.labels[path.removesuffix(".jpg").replace("/", "__")] = [n % classes]
        write_lines(root / f"metadata/{official}/image_ids.txt", paths)
        write_lines(
            root / f"metadata/{official}/class_labels.txt", [f"{path},{n % classes}" for n, path in enumerate(paths)]
        )
        if official != "train":
            write_lines(root / f"metadata/{official}/localization.txt", located)
        tree.ids[split] = [path.removesuffix(".jpg").replace("/", "__") for path in paths]
    return tree


def _located(masks: Path, path: str, label_map: NDArray[np.uint8], truth: str) -> list[str]:
    if truth == "boxes":
        return [f"{path},{','.join(map(str, box_of(label_map)))}"]
    middle = label_map.shape[1] // 2
    left, right, ignored = (np.where(label_map, 255, 0).astype(np.uint8) for _ in range(3))
    left[:, middle:], right[:, :middle], ignored[:] = 0, 0, 0
    ignored[0] = 255
    stem = path.removesuffix(".jpg").replace("/", "_")
    for name, mask in (("left", left), ("right", right), ("ignored", ignored)):
        write_mask(masks / f"{stem}_{name}.png", mask)
    return [f"{path},{stem}_left.png,{stem}_ignored.png", f"{path},{stem}_right.png,"]
