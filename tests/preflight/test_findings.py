"""Rows as they are shown."""

from pipeline.preflight.findings import Row, fail, limit, ok, row_of_line, show


def test_a_row_shows_level_track_check_place_and_hint() -> None:
    text = show(
        Row("FAIL", "a/very/long/path.png", "expected L, got P", "unpack it again", "masks", "track1"), width=61
    )
    assert text.splitlines() == [
        "FAIL  track1  masks      a/very/long/path.png: expected L,",
        "                         got P",
        "                         → unpack it again",
    ]


def test_messages_without_a_form_are_kept_whole() -> None:
    assert row_of_line("FAIL", "something odd", "look").found == "something odd"


def test_many_rows_of_a_kind_are_cut_and_counted() -> None:
    many = [fail(f"{n}.png", "broken", "mend") for n in range(30)]
    kept = limit([*many, ok("fine")], most=3)
    assert [row.where for row in kept] == ["0.png", "1.png", "2.png", "", ""]
    assert [row.found for row in kept[3:]] == ["… 30 of these in all, 3 are shown", "fine"]
    assert limit(many[:3], most=3) == many[:3]
