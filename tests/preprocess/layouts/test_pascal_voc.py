"""Pascal VOC 2012."""

import numpy as np
import pytest
from support.inspection import ids_by_split, inspected, listed
from support.trees import make_pascal_voc, write_lines

from pipeline.core.truth import read_label_map


def test_palette_masks_are_class_ids_with_255_ignored(tmp_path):
    tree = make_pascal_voc(tmp_path)
    for record in inspected(tree.source, "track1").manifest.select("val"):
        label_map = read_label_map(record, "labels", 20)
        assert set(np.unique(label_map).tolist()) - {0, 255} == {k + 1 for k in record.labels}
        assert (label_map[:, -1] == 255).all()


def test_half_of_val_and_all_of_trainval(tmp_path):
    tree = make_pascal_voc(tmp_path)
    found = ids_by_split(listed({**tree.source, "train": "trainval", "test": "half_of_val"}))
    assert found == {
        "train": tree.ids["train"] + tree.ids["more"],
        "val": tree.ids["val"][0::2],
        "test": tree.ids["val"][1::2],
    }


@pytest.mark.parametrize("name", ["train_aug.txt", "trainaug.txt"])
def test_the_list_of_papers_in_either_form(tmp_path, name):
    tree = make_pascal_voc(tmp_path)
    wanted = [*tree.ids["train"], *tree.ids["more"]]
    lines = [f"/JPEGImages/{wanted[0]}.jpg /SegmentationClassAug/{wanted[0]}.png", *wanted[1:]]
    write_lines(tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation" / name, lines)
    assert ids_by_split(listed({**tree.source, "train": "train_aug"}))["train"] == wanted
