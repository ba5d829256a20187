"""The rows of an ablation on resamples of its images: intervals, and what choosing a row is worth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pipeline.evaluate.image_counts import IMAGE_COUNTS, read_image_counts, score_of_counts
from pipeline.evaluate.intervals import Score, mean_score, percentile_interval, resampled_scores
from pipeline.evaluate.metrics import Task
from pipeline.evaluate.nested import nested_choice
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.experiments.ablation_rows import Plan, Row
from pipeline.experiments.ablation_tables import Choice, ScoredRow


@dataclass(frozen=True, slots=True)
class RowScores:
    """Gives the ranking score of a row on resamples of the images, as the mean over its seeds."""

    folder: Path  # of the ablation
    seeds: tuple[int, ...]
    task: Task
    settings: EvaluateSettings

    def __call__(self, row: Row) -> Score:
        """Read the counts of the row."""
        counts = [read_image_counts(self.folder / row.folder("scores", seed) / IMAGE_COUNTS) for seed in self.seeds]
        scored = [one.after if row.crf else one.before for one in counts]
        return mean_score([score_of_counts(one, self.task, self.settings) for one in scored])


def add_intervals(scored: Sequence[ScoredRow], scores: Sequence[Score], images: int) -> tuple[ScoredRow, ...]:
    """The rows with the intervals over images of their scores and, where a row has a gain, of it: both rows on the same
    resamples."""
    resampled = resampled_scores(scores, images)
    return tuple(
        replace(
            row,
            interval=percentile_interval(resampled[place]),
            gain_interval=percentile_interval(resampled[place] - resampled[place - 1]) if row.gain else None,
        )
        for place, row in enumerate(scored)
    )


def choose_row(plan: Plan, scores: RowScores, images: int) -> Choice | None:
    """The best of all rows, and what this choice is worth on other images, compared with the whole method's row."""
    whole = plan.groups["additive"][-1]
    rows = list({(row.variant, row.crf): row for rows in plan.groups.values() for row in (whole, *rows)}.values())
    nested = nested_choice([partial(scores, row) for row in rows], images)
    return Choice(rows[nested.chosen].title, len(rows), nested) if nested else None
