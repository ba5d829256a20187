"""The `folder` layout: what it lists, and what it says about mistakes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
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
    assert str(error.value).splitlines()[0].endswith("index.csv: 5 mistakes:")
    assert str(error.value).splitlines()[1:] == [
        "  line 3, 'images/b.jpg': label: expected a name of classes.txt, got 'dgo'; did you mean 'dog'?",
        "  line 4, 'images/c.jpg': split: expected one of ('train', 'val', 'test'), got 'valid'; did you mean 'val'?",
        "  line 5, '': expected the path of an image, got nothing",
        "  'images/a.jpg': image listed twice",
        "  'x/c.jpg': same image id as 'images/c.jpg'; the id is the file's stem, rename one",
    ]


def test_names_that_are_one_on_some_disks_are_refused_and_others_are_not(folder):
    rows = "image,labels,split\n{}.jpg,cat,train\n{}.jpg,dog,val\n"
    assert len(list_folder(folder(rows.format("stra\u00dfe", "strasse")))) == 2  # two files everywhere
    for one, other in (("a", "A"), ("\u00e9", "\u00c9"), ("caf\u00e9", "cafe\u0301")):
        with pytest.raises(DataError, match="but for case or accents"):
            list_folder(folder(rows.format(one, other)))


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


ROWS = "images/a.jpg,cat,train\nimages/b.jpg,dog,val\nimages/c.jpg,,test\n"


def message_of(root):
    with pytest.raises(DataError) as error:
        list_folder(root)
    return str(error.value).removeprefix(f"{root}/")


def test_no_cell_is_dropped(folder):
    root = folder("image,labels,split\n" + ROWS + "images/d.jpg,cat,dog,train\n")
    assert message_of(root) == (
        "index.csv: 1 mistakes:\n  line 5: expected 3 cells, image,labels,split, got 4: "
        "['images/d.jpg', 'cat', 'dog', 'train']; likely a comma inside a cell: labels are separated by spaces"
    )


def test_empty_cells_behind_the_last_column_and_missing_ones_are_no_mistake(folder):
    manifest = list_folder(folder("image,labels,split,mask\nimages/a.jpg,cat,train,,\nimages/b.jpg,dog,val\n"))
    assert [(record.id, record.mask) for record in manifest] == [("a", None), ("b", None)]


def test_lines_are_counted_as_an_editor_counts_them(folder):
    root = folder('image,labels,split\n\n"images/a\nb.jpg",cat,train\n\r\n   \nimages/b.jpg,dgo,val\n')
    assert message_of(root).splitlines()[1].startswith("  line 7, 'images/b.jpg': label: expected a name")


def test_one_mistake_in_many_rows_is_one_line(folder):
    rows = "".join(f"images/{n}.jpg,cat,{split}\n" for n, split in enumerate(["valid"] * 9 + ["Test", "Test"]))
    assert message_of(folder("image,labels,split\n" + rows)).splitlines()[1:] == [
        "  line 2, 'images/0.jpg' and 8 more rows: split: expected one of ('train', 'val', 'test'), got 'valid'; "
        "did you mean 'val'?",
        "  line 11, 'images/9.jpg' and line 12, 'images/10.jpg': split: expected one of ('train', 'val', 'test'), "
        "got 'Test'; did you mean 'test'?",
    ]


@pytest.mark.parametrize("joint", [";", ",", "|", "/"])
def test_labels_that_are_joined_by_another_sign_are_told_the_right_one(folder, joint):
    rows = f'images/a.jpg,"cat{joint}dog",train\n'
    assert message_of(folder("image,labels,split\n" + rows)).endswith(
        f"label: expected names of classes.txt separated by spaces, got 'cat{joint}dog'"
    )


@pytest.mark.parametrize("sign", [";", "\t"])
def test_a_table_with_other_separators_is_named_as_such(folder, sign):
    index = ("image,labels,split\n" + ROWS).replace(",", sign)
    assert message_of(folder(index)).endswith("likely separated by semicolons or tabs: save it with commas")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ('image,labels,split\nimages/a.jpg,"cat,train\n', "line 2: expected comma-separated values, got unex"),
        ("image,labels,split\nimages/a.jpg,c\0t,train\n", "line 2: expected text in UTF-8, got a NUL character"),
        ("image,labels,split,split\na.jpg,cat,train,val\n", "missing=[], unknown=[], twice=['split']"),
    ],
)
def test_damaged_tables_are_named(folder, index, message):
    assert message in message_of(folder(index))


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        (
            "cp1252",
            "line 2: expected text in UTF-8, got the byte 0xE9; likely Windows-1252, in which the line rea",
        ),
        ("utf-16", "expected text in UTF-8, got UTF-16; save it as UTF-8"),
        ("utf-16-le", "line 1: expected text in UTF-8, got a NUL character; likely UTF-16 without a mark"),
        ("utf-32", "expected text in UTF-8, got UTF-32"),
    ],
)
@pytest.mark.parametrize("name", ["classes.txt", "index.csv"])
def test_another_encoding_is_named_with_the_file(folder, name, encoding, found):
    root = folder()
    text = {"classes.txt": "cat\ncafé\n", "index.csv": "image,labels,split\ncafé\n"}[name]
    (root / name).write_bytes(text.encode(encoding))
    assert found in message_of(root)


@pytest.mark.parametrize("twin", ["images/A.jpg", "images/caf\N{LATIN SMALL LETTER E WITH ACUTE}.jpg"])
def test_ids_that_are_one_file_on_some_disks_are_refused(folder, twin):
    other = {"images/A.jpg": "images/a.jpg"}.get(twin, "images/cafe\N{COMBINING ACUTE ACCENT}.jpg")
    found = message_of(folder(f"image,labels,split\n{other},cat,train\n{twin},dog,val\n"))
    assert "expected an image id of its own" in found
    assert "rename one" in found


def test_class_folders_without_an_index_are_told_what_to_write(folder):
    root = folder()
    (root / "index.csv").unlink()
    (root / "cat").mkdir()
    (root / "cat/1.jpg").write_bytes(b"")
    assert message_of(root).endswith(
        f"found no file, but folders of images, ['cat']; likely a folder for each class: `lid init {root}` writes a "
        "params file for them"
    )


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("", "expected class names, got an empty file"),
        ("cat\ndog\ncat\n", r"expected different class names, got \['cat'\] more than once"),
        ("cat;dog\nbig dog\n", r"expected class names without ';', .* got \['cat;dog'\]"),
    ],
)
def test_bad_class_lists_are_refused(folder, classes, message):
    with pytest.raises(DataError, match=rf"classes.txt: {message}"):
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


CELLS = st.text(st.sampled_from("ab,;\"' \n\r\t.jpgcatdogtrainval0159\u00e9\0"), max_size=9)


@given(st.lists(st.lists(CELLS, max_size=5).map(",".join), max_size=5), st.booleans(), st.binary(max_size=4))
def test_any_index_is_read_whole_or_refused(tmp_path_factory, lines, headed, tail):
    root = tmp_path_factory.mktemp("folder")
    head = ["image,labels,split"] if headed else []
    (root / "index.csv").write_bytes("\n".join([*head, *lines]).encode() + tail)
    (root / "classes.txt").write_text("cat\ndog\n")
    try:
        manifest = list_folder(root)
    except DataError as error:
        assert str(error).startswith(f"{root}/index.csv: ")  # noqa: PT017
    else:
        assert len(manifest) > 0


def test_class_names_with_spaces_are_separated_by_semicolons(folder):
    rows = "image,labels,split\na.jpg,big dog; cat,train\nb.jpg,big dog,train\n"
    assert [record.labels for record in list_folder(folder(rows, "cat\nbig dog\n"))] == [(0, 1), (1,)]
    assert message_of(folder("image,labels,split\na.jpg,cat big dog,train\n", "cat\nbig dog\n")).endswith(
        "label: expected a name of classes.txt, got 'cat big dog'; did you mean 'big dog'?"
    )


def test_an_id_of_its_own_tells_equal_names_apart(folder):
    rows = "id,image,labels,split\ncat__1,cat/1.jpg,cat,train\ndog__1,dog/1.jpg,dog,train\n,x/2.jpg,cat,val\n"
    assert list_folder(folder(rows)).ids() == ["cat__1", "dog__1", "2"]
