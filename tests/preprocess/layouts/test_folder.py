"""The `folder` layout: what it lists, and what it says about mistakes."""

import pytest
from support.inspection import ids_by_split

from pipeline.core.errors import DataError
from pipeline.preprocess.layouts.folder import list_folder, parse_boxes

INDEX = """image,labels,split,mask,boxes
images/a.jpg,cat,train,,
images/b.jpg,dog cat,train,masks/b.png,
images/c.jpg,dog,val,,1 2 3 4;0 0 9 9
images/d.jpg,,test,,
"""


@pytest.fixture
def folder(tmp_path):
    def make(index=INDEX, classes="cat\ndog\n"):
        (tmp_path / "index.csv").write_text(index, encoding="utf-8")
        (tmp_path / "classes.txt").write_text(classes, encoding="utf-8")
        return tmp_path

    return make


def test_rows_become_records(folder):
    root = folder()
    manifest = list_folder(root)
    assert ids_by_split(manifest) == {"train": ["a", "b"], "val": ["c"], "test": ["d"]}
    first, second, third, fourth = manifest
    assert (first.labels, second.labels, third.labels, fourth.labels) == ((0,), (0, 1), (1,), ())
    assert (second.file, second.mask, first.mask) == (root / "images/b.jpg", root / "masks/b.png", None)
    assert (third.boxes, fourth.boxes) == (((1, 2, 3, 4), (0, 0, 9, 9)), ())
    assert (manifest.classes, manifest.mask_kind, first.shape) == (("cat", "dog"), "labels", (0, 0))


def test_what_spreadsheets_write_is_read(folder):
    root = folder("\ufeff" + INDEX.replace("\n", "\r\n"), "\ufeffcat\r\ndog\r\n\r\n")
    assert list_folder(root, "foreground").classes == ("cat", "dog")


def test_a_missing_root_and_a_dangling_link_name_the_hint(tmp_path):
    with pytest.raises(
        DataError, match=r"none: expected a folder with index.csv and classes.txt, found no such folder; link yours"
    ):
        list_folder(tmp_path / "none")
    (tmp_path / "link").symlink_to(tmp_path / "none")
    with pytest.raises(
        DataError, match=r"link: .* found a link that leads nowhere; link yours there .* or set preprocess.source.root"
    ):
        list_folder(tmp_path / "link")


@pytest.mark.parametrize("name", ["index.csv", "classes.txt"])
def test_a_missing_file_is_named(folder, name):
    root = folder()
    (root / name).unlink()
    with pytest.raises(DataError, match=rf"{name}: expected .* found no file"):
        list_folder(root)


def test_every_bad_row_is_named_with_its_line(folder):
    rows = [
        "images/a.jpg,cat,train",
        "images/b.jpg,dgo,train",
        "images/c.jpg,cat,valid",
        ",cat,val",
        "images/a.jpg,cat,val",
        "x/c.jpg,cat,test",
    ]
    with pytest.raises(DataError) as error:
        list_folder(folder("image,labels,split\n" + "\n".join(rows) + "\n"))
    assert str(error.value).splitlines()[0].endswith("index.csv: 5 bad rows:")
    assert str(error.value).splitlines()[1:] == [
        "  line 3, 'images/b.jpg': label: expected a name of classes.txt, got 'dgo'; did you mean 'dog'?",
        "  line 4, 'images/c.jpg': split: expected one of ('train', 'val', 'test'), got 'valid'",
        "  line 5, '': expected the path of an image, got nothing",
        "  'images/a.jpg': image listed twice",
        "  'x/c.jpg': same image id as 'images/c.jpg'; the id is the file's stem, rename one",
    ]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("image,split\na.jpg,train\n", r"expected the columns .* missing=\['labels'\], unknown=\[\]"),
        ("image,labels,split,masks\na.jpg,cat,train,m\n", r"missing=\[\], unknown=\['masks'\]"),
        ("image,labels,split\n", "index.csv: expected rows, got none"),
        ("", "index.csv: expected comma-separated values, got"),
    ],
)
def test_a_table_of_another_form_is_refused(folder, index, message):
    with pytest.raises(DataError, match=message):
        list_folder(folder(index))


@pytest.mark.parametrize(
    ("classes", "message"),
    [("", "got an empty file"), ("cat\ndog\ncat\n", r"got \['cat'\]"), ("cat\nbig dog\n", r"got \['big dog'\]")],
)
def test_bad_class_lists_are_refused(folder, classes, message):
    with pytest.raises(DataError, match=rf"classes.txt: expected different class names without spaces, {message}"):
        list_folder(folder(classes=classes))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3", "expected `x0 y0 x1 y1` in whole pixels, got '1 2 3'"),
        ("1 2 3 4.5", "expected `x0 y0 x1 y1` in whole pixels"),
        ("10 10 5 5", "expected 0 <= x0 <= x1 and 0 <= y0 <= y1, got '10 10 5 5'; likely width and height"),
        ("-1 0 5 5", "expected 0 <= x0"),
    ],
)
def test_bad_boxes_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_boxes(text)
