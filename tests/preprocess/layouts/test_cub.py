"""CUB-200-2011."""

import numpy as np
import pytest
from support.inspection import inspected, listed
from support.trees import make_cub

from pipeline.core.errors import DataError
from pipeline.core.truth import read_foreground
from pipeline.preprocess.summary import summarize


def _lines(root, name):
    return (root / f"CUB_200_2011/{name}.txt").read_text().splitlines()


def test_boxes_and_segmentations_of_birds_agree(tmp_path):
    tree = make_cub(tmp_path)
    boxes = {record.id: record.boxes for record in inspected(tree.source).manifest.select("val")}
    for record in inspected({**tree.source, "truth": "segmentations"}).manifest.select("val"):
        rows, columns = np.nonzero(read_foreground(record, "foreground")[0])
        assert boxes[record.id] == ((columns.min(), rows.min(), columns.max(), rows.max()),)


def test_a_box_that_passes_the_border_is_cut_and_counted(tmp_path):
    tree = make_cub(tmp_path)
    path = tmp_path / "CUB_200_2011/bounding_boxes.txt"
    lines = path.read_text().splitlines()
    number = 1 + [line.split("/")[1][:-4] for line in _lines(tmp_path, "images")].index(tree.ids["val"][0])
    lines[number - 1] = f"{number} -2.0 3.5 500.0 500.0"
    path.write_text("\n".join(lines))
    inspection = inspected(tree.source)
    (record,) = inspection.manifest.with_ids(tree.ids["val"][:1])
    assert record.boxes == ((0, 3, record.width - 1, record.height - 1),)
    assert summarize(inspection)["quirks"]["boxes_cut"]["ids"] == tree.ids["val"][:1]


def test_lists_of_birds_that_differ_in_length_are_refused(tmp_path):
    tree = make_cub(tmp_path)
    path = tmp_path / "CUB_200_2011/train_test_split.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    with pytest.raises(DataError, match=r"expected every image number in all four lists, not so: \['24'\]"):
        listed(tree.source)


def test_segmentations_that_are_not_there_are_asked_for(tmp_path):
    tree = make_cub(tmp_path)
    (tmp_path / "segmentations").rename(tmp_path / "elsewhere")
    with pytest.raises(
        DataError, match="expected the segmentations of CUB-200-2011, a download of their own, at segmentations or"
    ):
        listed({**tree.source, "truth": "segmentations"})
