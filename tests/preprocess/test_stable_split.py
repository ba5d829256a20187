"""The split by hash: against the rule written out, and what stays when images are added."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from pipeline.preprocess.stable_split import position, split_classes

NAMES = st.lists(st.text("abcdé_0", min_size=1, max_size=6), min_size=1, max_size=30, unique=True)
SEEDS = st.integers(0, 3)


def test_the_position_is_the_hash_as_a_share():
    digest = hashlib.sha256("7/café__1".encode()).hexdigest()
    assert position("café__1", seed=7) == int(digest[:13], 16) / 16**13


@given(NAMES, SEEDS, st.sampled_from([(0.2, 0.0), (0.3, 0.3), (0.05, 0.9)]))
def test_the_rule_image_by_image(names, seed, shares):
    val, test = shares
    found = split_classes([names], seed, val, test)
    assert found.keys() == set(names)
    plain = {
        name: "val" if (u := position(name, seed)) < val else "test" if u < val + test else "train" for name in names
    }
    rising = sorted(names, key=lambda name: (position(name, seed), name))
    if set(plain.values()).isdisjoint({"train"}):
        plain[rising[-1]] = "train"
    train = [name for name in rising if plain[name] == "train"]
    if "val" not in plain.values() and len(train) > 1:
        plain[train[0]] = "val"
    assert found == plain


@given(NAMES, NAMES, SEEDS)
def test_added_images_move_no_other_but_where_an_exception_applies(names, added, seed):
    every = sorted({*names, *added})
    before, after = split_classes([names], seed, 0.2), split_classes([every], seed, 0.2)
    by_rule = {name: "val" if position(name, seed) < 0.2 else "train" for name in every}
    exceptions = [name for found in (before, after) for name in found if found[name] != by_rule[name]]
    assert exceptions or all(after[name] == before[name] for name in names)


def test_every_class_keeps_a_train_image_and_classes_are_divided_apart():
    found = split_classes([["one"], ["a", "b"], [str(n) for n in range(1000)]], seed=0, val_share=0.2, test_share=0.1)
    assert found["one"] == "train"
    assert sorted([found["a"], found["b"]]) == ["train", "val"]
    many = [found[str(n)] for n in range(1000)]
    assert 160 < many.count("val") < 240
    assert 70 < many.count("test") < 130


def test_another_seed_divides_in_another_way():
    names = [str(n) for n in range(50)]
    assert split_classes([names], 0, 0.5) != split_classes([names], 1, 0.5)
