"""The lists that ship with the project."""

from pipeline.preprocess.challenge_lists import COUNTS, cls_classes, det_classes, track1_ids, track3_val


def test_the_shipped_lists_have_the_challenge_s_lengths():
    assert (len(track3_val()), len(set(track3_val()))) == (23_151, 23_151)
    assert (COUNTS["track3"]["val"], COUNTS["track1"]["val"], COUNTS["track1"]["test"]) == (23_151, 4_690, 10_000)
    val, test = track1_ids("val"), track1_ids("test")
    assert (len(set(val)), len(set(test)), len(set(val) & set(test))) == (4_690, 10_000, 0)
    # first and last lines of the challenge's files
    assert (val[0], test[0], test[4]) == (
        "ILSVRC2012_val_00004751",
        "ILSVRC2012_val_00044374",
        "ILSVRC2013_val_00002936",
    )
    assert track3_val()[:2] == (("ILSVRC2012_val_00000002", 970), ("ILSVRC2012_val_00000004", 809))


def test_the_class_tables_are_in_the_right_order():
    wnids = [row.wnid for row in cls_classes()]
    assert (len(set(wnids)), wnids) == (1_000, sorted(wnids))
    assert len({row.name for row in cls_classes()}) == 1_000
    assert sorted(row.devkit_id for row in cls_classes()) == list(range(1, 1_001))
    # three that everybody knows: 0 tench, 281 tabby, 999 toilet tissue
    assert [cls_classes()[k].name for k in (0, 281, 999)] == ["tench", "tabby", "toilet tissue"]
    assert (len(det_classes()), det_classes()[0].name, det_classes()[199].wnid) == (200, "accordion", "n02391049")


def test_no_class_has_the_same_place_in_both_orders():
    assert not [k for k, row in enumerate(cls_classes()) if row.devkit_id - 1 == k]
