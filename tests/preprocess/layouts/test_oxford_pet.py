"""Oxford-IIIT Pet."""

import cv2
import numpy as np
import pytest
from support.inspection import inspected, listed
from support.trees import make_oxford_pet

from pipeline.core.errors import DataError
from pipeline.core.images import read_mask
from pipeline.core.truth import read_foreground, read_label_map


def test_a_trimap_is_foreground_background_and_ignored_border(tmp_path):
    tree = make_oxford_pet(tmp_path)
    manifest = inspected(tree.source).manifest
    assert manifest.mask_kind == "trimap"
    for record in manifest.select("val"):
        stored = read_mask(record.mask)
        foreground, ignored = read_foreground(record, "trimap")
        assert set(np.unique(stored).tolist()) == {1, 2, 3}
        assert (foreground == (stored == 1)).all()
        assert (ignored == (stored == 3)).all()
        label_map = read_label_map(record, "trimap", 3)
        assert (label_map[stored == 1] == record.labels[0] + 1).all()
        assert (label_map[stored == 2] == 0).all()
        assert (label_map[stored == 3] == 255).all()


def test_a_value_that_no_trimap_has_is_refused(tmp_path):
    tree = make_oxford_pet(tmp_path)
    (record,) = listed(tree.source).with_ids(tree.ids["val"][:1])
    mask = read_mask(record.mask)
    mask[0, 0] = 0
    cv2.imwrite(str(record.mask), mask)
    with pytest.raises(
        DataError, match=r"expected mask values 1 \(foreground\), 2 \(background\) or 3 \(ignored\), got \[0\]"
    ):
        inspected(tree.source)


def test_a_list_of_pets_that_is_cut_is_refused(tmp_path):
    tree = make_oxford_pet(tmp_path)
    path = tmp_path / "oxford-iiit-pet/annotations/test.txt"
    path.write_text("Abyssinian_1\n")
    with pytest.raises(DataError, match=r"test.txt: expected `<id> <class> <species> <breed>` on every line"):
        listed(tree.source)
    path.write_text("pug_1 9 1 1\n")
    with pytest.raises(DataError, match=r"expected class numbers from 1 without a gap, got \[1, 2, 3, 9\]"):
        listed(tree.source)
