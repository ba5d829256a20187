"""Pascal VOC 2012."""

import numpy as np
from support.inspection import ids_by_split, inspected, listed
from support.trees import make_pascal_voc

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
