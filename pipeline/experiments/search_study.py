"""A search as a study of Optuna: its trials in several processes, a table and a page of them."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import optuna
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from pipeline.core.files import write_bytes
from pipeline.core.progress import progress
from pipeline.core.reuse import digest
from pipeline.evaluate.nested import NestedChoice, nested_choice
from pipeline.evaluate.run import to_csv
from pipeline.experiments.search_space import Space
from pipeline.experiments.search_trials import Scoring
from pipeline.report.formatting import markdown_table

JOURNAL = "journal.log"
MAKE_SAMPLER = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}


@dataclass(frozen=True, slots=True)
class Search:
    """What every worker needs."""

    scoring: Scoring
    space: Space
    sampler: str  # a key of `MAKE_SAMPLER`
    seed: int  # of the sampler
    window: tuple[int, int]  # where the peak threshold may lie (Track 3)

    def study(self, number: int = 0) -> optuna.Study:
        """The trials so far, with the sampler of the trial with this number.

        Its name is a digest of all that the trials depend on, so that a study has no trials of other maps, params,
        images or code. The random state of a sampler is not kept, so each trial has one of its own.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        about = [self.scoring.key, asdict(self.space), self.sampler, self.seed, self.window]
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        return optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(self.scoring.scratch / JOURNAL))),
            sampler=MAKE_SAMPLER[self.sampler](seed=seed),
            study_name=digest(about),
            direction="maximize",
            load_if_exists=True,
        )


def objective(search: Search, trial: optuna.Trial) -> float:
    """Score the point of a trial; one that was scored before keeps its score.

    Returns:
        the score; 1 less, hence below every other, where its peak lies outside the window
    """
    point = search.space.suggest(trial)
    known = [one.user_attrs for one in finished(trial.study) if one.params == trial.params]
    score, threshold = known[0].values() if known else search.scoring.score(point)
    for name, value in (("score", score), ("threshold", threshold)):
        trial.set_user_attr(name, value)
    low, high = search.window
    return score if threshold is None or low <= threshold <= high else score - 1


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that have a score, in order."""
    return study.get_trials(states=(TrialState.COMPLETE,))


def run_trial(search: Search, number: int, end: float = float("inf")) -> None:
    """One trial, in a process of its own, unless the time is over; `end` in seconds of `time.time`."""
    if time.time() >= end:
        return
    study = search.study(number)
    if number == 0 and not study.get_trials(states=(TrialState.WAITING,)):
        study.enqueue_trial(search.space.positions(search.space.start))
    study.optimize(partial(objective, search), n_trials=1)


def run_search(search: Search, budget: int, minutes: float, jobs: int) -> list[FrozenTrial]:
    """Run the trials that are not finished yet, the recipe's own settings first; return the finished ones.

    One call at a time: trials that seem to be running are taken for those of a call that was stopped.

    Args:
        budget: trials in all, those of earlier calls among them
        minutes: after which no trial of this call begins; 0 is no limit
        jobs: processes; -1 is one for each core
    """
    drop_half_line(search.scoring.scratch / JOURNAL)
    study = search.study()
    for trial in study.get_trials(states=(TrialState.RUNNING,)):  # the process that ran it was stopped
        study.tell(trial.number, state=TrialState.FAIL)
    end = time.time() + 60 * minutes if minutes else float("inf")
    if not finished(study):  # alone: the maps that most trials need are made meanwhile
        run_trial(search, 0)
    start = len(finished(study))
    tasks = (joblib.delayed(run_trial)(search, number, end) for number in range(start, budget))
    done = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(tasks)
    for _ in progress(done, total=budget, title="search", unit="trial", done=min(start, budget)):
        pass
    return finished(study)[:budget]


def drop_half_line(journal: Path) -> None:
    """Cut off what a crash left of a line: Optuna would append to it, and could read the journal no more."""
    content = journal.read_bytes() if journal.is_file() else b""
    if content and not content.endswith(b"\n"):
        write_bytes(journal, content[: content.rfind(b"\n") + 1])


def best_of(trials: Sequence[FrozenTrial]) -> FrozenTrial:
    """The trial with the highest value, the first of equal ones: the recipe's own point stays on a tie."""
    return max(trials, key=_value)


def _value(trial: FrozenTrial) -> float:
    return float(trial.values[0])


def table(trials: Sequence[FrozenTrial], space: Space, images: int) -> str:
    """All trials as CSV, the best first; those whose peak lies outside the window of thresholds come last."""
    rows = []
    for number in sorted(range(len(trials)), key=lambda number: -_value(trials[number])):
        trial, point = trials[number], space.point(trials[number].params)
        about = [number, images, trial.user_attrs["score"], trial.user_attrs["threshold"], f"{_seconds(trial):.1f}"]
        rows.append([*about, *(_cell(point[key]) for key in space.levels)])
    return to_csv([["trial", "images", "score", "threshold", "seconds", *space.levels], *rows])


def _seconds(trial: FrozenTrial) -> float:
    return trial.duration.total_seconds() if trial.duration else 0.0


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def choose(search: Search, trials: Sequence[FrozenTrial]) -> NestedChoice | None:
    """What the choice of the best trial is worth on images that did not choose it; the recipe's is the first trial."""
    allowed = [trial for trial in trials[1:] if _value(trial) == trial.user_attrs["score"]]
    points = [search.space.point(trial.params) for trial in (trials[0], *allowed)]
    return nested_choice([partial(search.scoring.resampled, point) for point in points], search.scoring.images)


def page(trials: Sequence[FrozenTrial], space: Space, title: str, label: str, nested: NestedChoice | None) -> str:
    """The results in Markdown: scores, with the label of theirs, changed keys, and the effect of every parameter."""
    best = best_of(trials)
    before, after = (trial.user_attrs["score"] for trial in (trials[0], best))
    minutes = sum(map(_seconds, trials)) / 60
    recipe, found = space.recipe, space.point(best.params)
    rows = [(key, _cell(recipe[key]), _cell(found[key])) for key in recipe if recipe[key] != found[key]]
    lines = [f"# Search: {title}", ""]
    lines += [f"{label} {before:.4f} → **{after:.4f}**: {len(trials)} trials, {minutes:.1f} minutes.", ""]
    lines += [*nested_lines(nested, label), *markdown_table(["key", "recipe", "best"], rows), ""]
    lines += [f"## {label} along each parameter: the best of the trials at each level", ""]
    for key in space.levels:
        if len(known := along(trials, space, key)) > 1:
            lines.append(f"- {key}: " + ", ".join(f"{_cell(level)}: {score:.4f}" for level, score in known))
    return "\n".join(lines) + "\n"


def nested_lines(nested: NestedChoice | None, label: str) -> list[str]:
    """What the choice is worth, and whether the recipe should be kept."""
    if nested is None:
        return []
    lines = [nested.show(label, "the recipe"), ""]
    if nested.gain_interval and nested.gain_interval[0] <= 0:
        lines += ["**Keep the recipe**: on images that chose nothing, the gain over it may be chance.", ""]
    return lines


def along(trials: Sequence[FrozenTrial], space: Space, key: str) -> list[tuple[Any, float]]:
    """The levels of a parameter that were tried, each with the score of its best trial."""
    tried = [(level, [one for one in trials if space.point(one.params)[key] == level]) for level in space.levels[key]]
    return [(level, best_of(found).user_attrs["score"]) for level, found in tried if found]
