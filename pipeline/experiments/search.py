"""Search settings of scale, output and CRF on split val, on existing maps: nothing is trained.

See `pipeline.experiments.search_arguments` for the command line.
"""

import json
import sys
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
from optuna.trial import TrialState
from tqdm import tqdm

from pipeline.core.errors import SettingsError, command
from pipeline.core.files import write_bytes, write_text
from pipeline.core.reuse import digest
from pipeline.core.tracks import get_track
from pipeline.evaluate.metrics import ranking
from pipeline.experiments.search_arguments import parse
from pipeline.experiments.search_results import Result, best_of, page, table, write_recipe
from pipeline.experiments.search_space import Space, make_space
from pipeline.experiments.search_trials import Run, Score, Scoring, prepare

JOURNAL = "journal.log"
MAKE_SAMPLER = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}


@dataclass(frozen=True, slots=True)
class Search:
    """What every worker needs.

    Attributes:
        scoring: what scores a point
        space: the points
        sampler: a key of `MAKE_SAMPLER`
        seed: of the sampler
        window: where the peak threshold may lie (Track 3)
    """

    scoring: Scoring
    space: Space
    sampler: str
    seed: int
    window: tuple[int, int]

    def study(self, number: int = 0) -> optuna.Study:
        """The trials so far, with the sampler of the next one.

        Its name is a digest of all that the trials depend on, so that a study has no trials of other maps, params,
        images or code. The random state of a sampler is not kept, so each trial has one of its own.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        about = [self.scoring.key, asdict(self.space), self.sampler, self.seed, self.window]
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        return optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(self.scoring.run.scratch / JOURNAL))),
            sampler=MAKE_SAMPLER[self.sampler](seed=seed),
            study_name=digest(about),
            direction="maximize",
            load_if_exists=True,
        )

    def results(self) -> list[Result]:
        """The finished trials, by number."""
        return sorted(_results(self.study()), key=lambda result: result.number)

    def value(self, score: Score) -> float:
        """The score; 1 less, hence below every other, where the peak lies outside the window."""
        low, high = self.window
        is_inside = score.threshold is None or low <= score.threshold <= high
        return score.value if is_inside else score.value - 1


def _results(study: optuna.Study) -> list[Result]:
    return [Result(**trial.user_attrs["result"]) for trial in study.get_trials(states=(TrialState.COMPLETE,))]


def objective(search: Search, number: int, trial: optuna.Trial) -> float:
    """Score the point of a trial; one that was scored before keeps its score."""
    point, start = search.space.suggest(trial), time.perf_counter()
    earlier = [one for one in _results(trial.study) if one.point == point]
    score = Score(earlier[0].score, earlier[0].threshold) if earlier else search.scoring.score(point)
    seconds, value = round(time.perf_counter() - start, 2), search.value(score)
    result = Result(number, point, score.value, score.threshold, value, seconds)
    trial.set_user_attr("result", asdict(result))
    return value


def run_trial(search: Search, number: int, end: float = float("inf")) -> None:
    """One trial, in a process of its own, unless the time is over; `end` in seconds of `time.time`."""
    if time.time() >= end:
        return
    study = search.study(number)
    if number == 0 and not study.get_trials(states=(TrialState.WAITING,)):
        study.enqueue_trial(search.space.positions(search.space.start))
    study.optimize(partial(objective, search, number), n_trials=1)


def run_search(search: Search, budget: int, minutes: float, jobs: int) -> list[Result]:
    """Run the trials that are not finished yet, the recipe's own settings first; return the finished ones.

    One call at a time: trials that seem to be running are taken for those of a call that was stopped.

    Args:
        budget: trials in all, those of earlier calls among them
        minutes: after which no trial of this call begins; 0 is no limit
        jobs: processes; -1 is one for each core
    """
    drop_half_line(search.scoring.run.scratch / JOURNAL)
    study = search.study()
    for trial in study.get_trials(states=(TrialState.RUNNING,)):  # the process that ran it was stopped
        study.tell(trial.number, state=TrialState.FAIL)
    end = time.time() + 60 * minutes if minutes else float("inf")
    known = {result.number for result in search.results()}
    missing = [number for number in range(budget) if number not in known]
    if missing and missing[0] == 0:  # alone: the maps that most trials need are made meanwhile
        run_trial(search, missing.pop(0))
    tasks = (joblib.delayed(run_trial)(search, number, end) for number in missing)
    done = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(tasks)
    for _ in tqdm(done, desc="search", unit="trial", initial=budget - len(missing), total=budget):
        pass
    return [result for result in search.results() if result.number < budget]


def drop_half_line(journal: Path) -> None:
    """Cut off what a crash left of a line: Optuna would append to it, and could read the journal no more."""
    content = journal.read_bytes() if journal.is_file() else b""
    if content and not content.endswith(b"\n"):
        write_bytes(journal, content[: content.rfind(b"\n") + 1])


# --- command line -----------------------------------------------------------------------------------------------------


@command
def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    data = args.data or Path("data") / args.track
    run = Run(
        params=args.params,
        track=args.track,
        manifest=args.manifest or data / "manifest",
        maps=args.maps or data / "maps" / "val",
        model=args.model or data / "model",
        scratch=data / "search",
    )
    track = get_track(args.track)
    scoring = prepare(run, args.images, args.seed)
    space = make_space(scoring.sections, track, _parameters(args.parameter))
    search = Search(scoring, space, args.sampler, args.seed, tuple(args.thresholds))
    results = run_search(search, args.budget, args.minutes, args.jobs)
    label = ranking(track.task).label
    images = f"{scoring.images} images of split val"
    text = page(results, space, f"{args.track}, {images}, sampler {args.sampler}", label)
    path = args.table or Path("reports") / args.track / "search.csv"
    write_text(path, table(results, space, scoring.images))
    write_text(path.with_suffix(".md"), text)
    best = best_of(results)
    note = (
        f"{args.params.name} with the settings that `make search` found for {args.track}: {best.score:.4f} on {images}"
    )
    write_recipe(args.params, args.track, best.point, args.out, note)
    print(text)
    print(f"recipe: {args.out}, trials: {path}")
    return 0


def _parameters(given: Sequence[str]) -> dict[str, list[Any]]:
    """Levels from the command line.

    >>> _parameters(["extract.percentile=[80, 90]"])
    {'extract.percentile': [80, 90]}
    """
    parameters = {}
    for text in given:
        key, _, levels = text.partition("=")
        try:
            parameters[key] = json.loads(levels)
        except json.JSONDecodeError:
            parameters[key] = None
        if not isinstance(parameters[key], list) or not parameters[key]:
            raise SettingsError(f"parameter: expected key=[levels] such as extract.percentile=[80, 90], got {text!r}")
    return parameters


if __name__ == "__main__":
    sys.exit(main())
