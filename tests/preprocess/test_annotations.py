"""The fast reading of annotations against a parser."""

from xml.etree import ElementTree

import numpy as np
import pytest
from support.trees import annotation

from pipeline.core.errors import DataError
from pipeline.preprocess.annotations import object_boxes, object_names, read_boxes, read_labels

VOC = """<annotation><filename>a.jpg</filename><owner><name>nobody</name></owner><size>
<width>50</width><height>40</height></size>
<object><pose>Left</pose><name>person</name><part><name>head</name><bndbox><xmin>3</xmin><ymin>4</ymin><xmax>5</xmax><ymax>6</ymax>
</bndbox></part></object><object>
<name> dog </name></object></annotation>
"""


def _by_parser(xml):
    return {node.findtext("name").strip() for node in ElementTree.fromstring(xml).iter("object")}


@pytest.mark.parametrize(
    "xml",
    [
        annotation("f", "a", (50, 40), []),
        annotation("f", "a", (50, 40), [("n02084071", (1, 2, 3, 4))]),
        annotation(
            "f", "a", (50, 40), [("n02084071", (1, 2, 3, 4)), ("n02121808", (1, 2, 3, 4)), ("n02084071", (5, 5, 9, 9))]
        ),
        VOC,  # the name is not the first child; owners and parts have names, too
        "<annotation><!-- <object><name>cat</name></object> --><object><name>dog</name></object></annotation>",
        "<annotation><object><name>a&amp;b</name></object></annotation>",
        "<?xml version='1.0'?>\n<annotation><object id='3'><name>dog</name></object></annotation>\n\n",
    ],
)
def test_names_are_those_that_a_parser_finds(xml):
    assert object_names(xml.encode()) == _by_parser(xml)


@pytest.mark.parametrize(
    "xml", [b"", b"<annotation><object><name>dog</name></object>", b"<html></html>", b"\xff\xfe\x00"]
)
def test_what_is_no_annotation_is_refused(xml):
    with pytest.raises(ValueError, match="expected"):
        object_names(xml)


NAMED = '<annotation><object id="1"><name>{}</name></object></annotation>'
NESTED = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(10))
LAUGHS = f"<!DOCTYPE annotation [{NESTED}]>{NAMED.format('&l9;')}"
OUTSIDE = f'<!DOCTYPE annotation [<!ENTITY file SYSTEM "file:///etc/passwd">]>{NAMED.format("&file;")}'
PLAIN = "<!DOCTYPE annotation><annotation><object><name>dog</name></object></annotation>"
PARAMETER = f'<!DOCTYPE annotation SYSTEM "http://localhost/x.dtd">{NAMED.format("a")}'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    "xml", [LAUGHS, OUTSIDE, PARAMETER, PLAIN], ids=["nested entities", "a file", "a document type", "plain"]
)
def test_entities_are_not_expanded(xml: str, encoding: str) -> None:
    data = xml.encode(encoding)
    for read in (object_names, object_boxes):
        with pytest.raises(ValueError, match="without a document type"):
            read(data)


def test_boxes_are_cut_at_the_size_of_the_file():
    xml = annotation("f", "a", (50, 40), [("x", (0, 0, 50, 40)), ("y", (3, 4, 5, 6))])
    assert object_boxes(xml.encode()) == [(0, 0, 49, 39), (3, 4, 5, 6)]


@pytest.mark.parametrize("corner", ["", "left", "nan", "inf", "-1e999"])
def test_a_corner_that_is_no_number_is_refused(corner):
    xml = annotation("f", "a", (50, 40), [("x", (1, 2, 3, 4))]).replace("<xmin>1<", f"<xmin>{corner}<")
    assert f"<xmin>{corner}<" in xml
    with pytest.raises(ValueError, match=r"expected|could not convert|cannot convert"):
        object_boxes(xml.encode())


def test_a_missing_file_of_boxes_is_named(tmp_path):
    with pytest.raises(DataError, match=r"a.xml: .*No such file"):
        read_boxes(tmp_path / "a.xml")


def test_labels_keep_the_order_of_the_files_and_name_what_fails(tmp_path):
    contents = {"c": ["y", "x", "y"], "a": [], "b": ["x"], "d": ["z"]}
    for name, objects in contents.items():
        (tmp_path / f"{name}.xml").write_text(annotation("f", name, (9, 9), [(each, (0, 0, 1, 1)) for each in objects]))
    found = read_labels({tmp_path: ["c.xml", "a.xml", "b.xml", "d.xml", "none.xml"]}, {"x": 0, "y": 1}, jobs=1)
    assert (found.counts.tolist(), found.values.tolist()) == ([2, 0, 1, 0, 0], [0, 1, 0])
    assert len(found.problems) == 2
    assert found.problems[0] == f"{tmp_path}/d.xml: expected objects of the 2 classes, got 'z'"
    assert "none.xml" in found.problems[1]
    assert found.counts.dtype == np.int32


@pytest.mark.parametrize(
    ("corners", "message"),
    [
        ((9, 2, 3, 4), r"expected xmin <= xmax and ymin <= ymax, got \[9, 2, 3, 4\]; likely corners in another order"),
        ((1, 5, 3, 4), "expected xmin <= xmax and ymin <= ymax"),
        ((1, 2, "x", 4), "expected a number in <xmax>, got 'x'"),
        ((1, 2, "inf", 4), "expected a number in <xmax>, got 'inf'"),
        ((1, 2, 3, "nan"), "expected a number in <ymax>, got 'nan'"),
    ],
)
def test_a_box_that_is_none_names_its_file(corners, message, tmp_path):
    (tmp_path / "a.xml").write_text(annotation("f", "a", (50, 40), [("x", corners)]))
    with pytest.raises(DataError, match=rf"^{tmp_path}/a.xml: {message}"):
        read_boxes(tmp_path / "a.xml")
