"""Each image of an epoch in one part of one rank, once, for any number of ranks."""

import json
import math
from itertools import takewhile
from pathlib import Path

import pytest
import safetensors.torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.helpers import train_settings
from support.ranks import rows, train_all, under_torchrun, weights_of

from pipeline.core.manifest import Manifest, write_manifest
from pipeline.train.sharding import Sharding, alone, part_of, shard

COUNTS = st.integers(1, 300)
RANKS = st.integers(1, 20)


@settings(deadline=None)
@given(COUNTS, st.integers(1, 40), st.integers(1, 6), RANKS, st.booleans())
def test_every_image_is_in_one_part_and_the_shares_of_a_step_add_up_to_one(
    images: int, batch_size: int, accumulated: int, ranks: int, whole_batches: bool
) -> None:
    together = 1 if whole_batches else min(ranks, accumulated)
    step = batch_size * accumulated
    every = [Sharding(images, step, batch_size * together, rank, ranks) for rank in range(ranks)]
    seen: list[int] = []
    for start in range(0, images, step):
        of_step = min(step, images - start)
        batches = list(takewhile(lambda batch, stop=start + of_step: batch.start < stop, every[0].batches(start)))
        assert len(batches) == every[0].batches_of_step(of_step)
        shares = []
        for batch in batches:
            assert [len(one.own(batch)) for one in every] == every[0].parts(batch)
            for one in every:
                own = one.own(batch)
                seen += own
                assert len(own) <= batch_size, "what one device holds"
                shares.append(len(own) / of_step)
        assert math.isclose(sum(shares), 1)
        assert sum(one.own_of_step(start, of_step) for one in every) == of_step
    assert seen == list(range(images))


@given(st.integers(0, 100), st.integers(0, 500), RANKS)
def test_parts_differ_by_one_image_at_most(start: int, count: int, ranks: int) -> None:
    parts = [part_of(range(start, start + count), rank, ranks) for rank in range(ranks)]
    assert [place for part in parts for place in part] == list(range(start, start + count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert [len(part) for part in parts] == sorted(map(len, parts), reverse=True)


def test_the_published_batch_over_eight_devices() -> None:
    for accumulated, batch in ((5, 42), (1, 210), (10, 21)):
        sharding = Sharding(1000, 210, batch * min(8, accumulated), 0, 8)
        assert sharding.batches_of_step(210) == {5: 1, 1: 1, 10: 2}[accumulated]
    assert Sharding(1000, 210, 210, 0, 8).parts(range(210, 420)) == [27, 27, 26, 26, 26, 26, 26, 26]


def test_one_process_has_the_batches_of_the_settings() -> None:
    options = train_settings(batch_size=4, accumulation_steps=3)
    sharding = shard(22, options)
    assert sharding == alone(22, options) == Sharding(images=22, step=12, batch=4)
    assert [len(batch) for batch in sharding.batches()] == [4, 4, 4, 4, 4, 2]
    assert list(sharding.batches(12)) == [range(12, 16), range(16, 20), range(20, 22)]
    assert [sharding.own(batch) for batch in sharding.batches()] == list(sharding.batches())


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_several_ranks_train_as_one_process(ranks: int, colors: Manifest, start: str, tmp_path: Path) -> None:
    """The gradient of a step is one sum of float32 values, in another order: each value of it moves by some 1e-7 of the
    largest summand, and so do weights and losses: by far less than a hundredth of what training moves them. AdamW
    divides a gradient by its own size, so that of a gradient near 0 the rounding is what remains.

    The head on pooled features has the same bytes: a rank computes whole batches of features, and one trains.
    """
    write_manifest(tmp_path / "manifest", colors)
    under_torchrun(ranks, "train", str(tmp_path / "manifest"), str(tmp_path), start)
    initial = safetensors.torch.load_file(start)
    for name, single in train_all(colors, start).items():
        found = safetensors.torch.load_file(tmp_path / name)
        history, world_size = json.loads((tmp_path / f"{name}.json").read_text())
        assert world_size == ranks
        expected = weights_of(single)
        assert expected.keys() == found.keys()
        apart = max(float((found[key] - value).abs().max()) for key, value in expected.items())
        if name in ("head", "folds"):
            assert (apart, history) == (0.0, rows(single))
            continue
        moved = max(float((expected[f"backbone.{key}"] - initial[key]).abs().max()) for key in initial)
        print(f"{name}: {apart:.1e} apart, {moved:.1e} moved")
        assert moved > 1e-4, name
        assert apart < moved * (0.05 if name == "accumulated" else 0.01), name
        for one, other in zip(history, rows(single), strict=True):
            assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-5), name
            assert one["val_loss"] == pytest.approx(other["val_loss"], rel=1e-5), name
            assert one["val_accuracy"] == other["val_accuracy"]
