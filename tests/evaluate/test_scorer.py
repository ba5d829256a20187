"""What both scorers promise: images in pieces, merged in any order, give the scores of all images at once."""

from collections.abc import Sequence
from itertools import permutations

import pytest
from support.evaluation import CLASSES, SETTINGS, World

from pipeline.core.manifest import Record, read_manifest
from pipeline.core.tracks import get_track
from pipeline.evaluate.run import Plan, score_images
from pipeline.evaluate.scorer import Context, Scorer


def _plan(world: World) -> tuple[Plan, list[Record]]:
    world.run()  # writes the stores
    manifest = read_manifest(world.folder / "manifest", ("val",))
    context = Context(SETTINGS, CLASSES, manifest.mask_kind)
    plan = Plan(get_track(world.track), context, world.folder / "maps", world.folder / "refined")
    return plan, list(manifest)


def _merged(plan: Plan, pieces: Sequence[Sequence[Record]]) -> Scorer:
    total = plan.scorer()
    for piece in pieces:
        total.merge(score_images(plan, piece).scorer)
    return total


@pytest.mark.parametrize("task", ["localization", "segmentation"])
def test_merging_in_any_order_gives_the_same_scores(task: str, request: pytest.FixtureRequest) -> None:
    plan, records = _plan(request.getfixturevalue(task))
    whole = score_images(plan, records).scorer
    for order in permutations(records, len(records)):
        parts = _merged(plan, [[record] for record in order])
        assert parts.metrics() == whole.metrics()
        assert parts.table() == whole.table()
        assert parts.image_rows() == whole.image_rows()


@pytest.mark.parametrize("task", ["localization", "segmentation"])
def test_merging_nothing_changes_nothing(task: str, request: pytest.FixtureRequest) -> None:
    plan, records = _plan(request.getfixturevalue(task))
    scorer = score_images(plan, records).scorer
    before = scorer.metrics()
    scorer.merge(plan.scorer())
    assert scorer.metrics() == before
    assert before["images"] == {"localization": 3, "segmentation": 2}[task]


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_an_empty_scorer_has_scores_without_value_and_no_note(track: str) -> None:
    scorer = Plan(get_track(track), Context(SETTINGS, CLASSES, "foreground"), None, None).scorer()
    assert scorer.metrics()["images"] == 0
    assert scorer.note() is None
    assert len(scorer.table()) == 1  # the header
    assert scorer.image_rows() == {}
