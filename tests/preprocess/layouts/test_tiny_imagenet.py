"""Tiny ImageNet."""

import pytest
from support.inspection import inspected, listed
from support.trees import make_tiny_imagenet

from pipeline.core.errors import DataError


def test_tiny_boxes_are_those_of_the_list(tmp_path):
    tree = make_tiny_imagenet(tmp_path)
    lines = [line.split() for line in (tmp_path / "tiny-imagenet-200/val/val_annotations.txt").read_text().splitlines()]
    found = {record.file.name: record.boxes for record in inspected(tree.source).manifest.select("val")}
    assert found == {name: (tuple(map(int, corners)),) for name, _, *corners in lines}


def test_a_bad_line_of_tiny_annotations_is_refused(tmp_path):
    tree = make_tiny_imagenet(tmp_path)
    (tmp_path / "tiny-imagenet-200/val/val_annotations.txt").write_text("val_0.JPEG\tn99999999\t0\t0\t1\t1\n")
    with pytest.raises(DataError, match=r"val_annotations.txt: expected `<file> <wnid> .*KeyError\('n99999999'\)"):
        listed(tree.source)
