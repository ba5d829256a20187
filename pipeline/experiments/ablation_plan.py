"""The ablation as a DVC pipeline of its own, in a folder of its own.

Every stage runs one script of the chain with a params file of its own, once for all rows that need it: two trainings a
seed, maps for each training with and without NWC, one refinement for each variant. Runs of the same frozen backbone on
the same images are one stage with one pass over the images (`shared`): one training a seed for GAP and TAP, and one
extraction for all maps. DVC skips finished stages, so a stopped ablation continues where it stopped, and a changed CRF,
another seed or the grid runs only new stages, except for the one extraction, which runs again.

The folder is a separate DVC project (`dvc init --no-scm`): the chain's own commands do not include it or wait for it.
"""

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.core.errors import SettingsError
from pipeline.core.files import write_json
from pipeline.core.settings import RENAMED, read_params, section, write_yaml
from pipeline.core.tracks import Track
from pipeline.experiments.ablation_rows import (
    Row,
    Variant,
    additive_rows,
    check_seeds,
    grid,
    output_rows,
    variant_params,
    without_crf,
)
from pipeline.params.check import check_values

CHAIN = Path("dvc.yaml")  # of the project, whose stages say which files their scripts import
PLAN = "plan.json"
PREPROCESS = "params/preprocess.yaml"
RESULTS = ("results.json", "table.csv", "table.md", "figure.svg", "strip.png")
SCORES = ("metrics.json", "table.csv", "per_image.csv", "diagnostics.json")  # of the stage evaluate
CODE = ("pipeline/", "stages/")
# What the scripts of the experiments depend on. The first list is complete (a test compares it with the import graph).
# The other reads finished results and draws: of what it imports, only what changes its numbers is listed.
OWN_DEPS = {
    "rescale": ("pipeline/core", "pipeline/extract", "pipeline/experiments/rescale.py"),
    "compare": tuple(
        f"pipeline/experiments/{name}.py"
        for name in ("ablation_results", "ablation_tables", "compare", "plots", "typed_json")
    ),
}


@dataclass(frozen=True, slots=True)
class Ablation:
    """What is to be compared.

    Attributes:
        recipe: a complete params file
        track: whose sections are varied
        seeds: of `train.seed`
        with_grid: whether all 16 combinations are wanted beside the five rows
        folder: of all its files
        changes: of keys of the recipe, below the track, such as `train.epochs`
    """

    recipe: Path
    track: Track
    seeds: tuple[int, ...]
    with_grid: bool
    folder: Path
    changes: Mapping[str, Any] = field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """The recipe with the changes.

        Raises:
            SettingsError: if it has not all of these keys, or the result is no valid params file
        """
        values = read_params(self.recipe)
        for key, value in self.changes.items():
            if key in RENAMED:
                raise SettingsError(f"{key}: expected {RENAMED[key].key!r}, as this key is called now")
            place, _, name = f"tracks.{self.track.name}.{key}".rpartition(".")
            section(values, f"{place}.{name}", self.recipe)  # refuses a key that is not there
            section(values, place, self.recipe)[name] = value
        check_values(values, self.recipe)
        return values

    def groups(self) -> dict[str, list[Row]]:
        """The rows by table."""
        output = section(self.values(), f"tracks.{self.track.name}.refine.output", self.recipe)
        rows = {
            "additive": additive_rows(output),
            "without_crf": without_crf(output),
            "outputs": output_rows(self.track, output),
        }
        return {**rows, "grid": grid(output)} if self.with_grid else rows


def write_plan(ablation: Ablation) -> None:
    """Write params, `plan.json` and `dvc.yaml` into the folder; what is the same as before stays untouched.

    Raises:
        SettingsError: if the seeds or the recipe are wrong, or the project's dvc.yaml is not where this runs
    """
    check_seeds(ablation.seeds)
    values = ablation.values()
    groups = ablation.groups()
    runs = [(variant, seed) for seed in ablation.seeds for variant in _unique(groups)]
    base = additive_rows(runs[0][0].output)[-1].variant
    for variant, seed in runs:
        for key, known in _levels(variant, base).items():
            path = ablation.folder / params_file(key, seed)
            write_yaml(path, variant_params(values, ablation.track.name, known, seed))
    write_yaml(ablation.folder / PREPROCESS, values)
    write_json(ablation.folder / PLAN, _plan(ablation, groups))
    write_yaml(ablation.folder / "dvc.yaml", {"stages": _Stages(ablation).all(runs, groups)})


def _unique(groups: dict[str, list[Row]]) -> list[Variant]:
    return list(dict.fromkeys(row.variant for rows in groups.values() for row in rows))


def _levels(variant: Variant, base: Variant) -> dict[str, Variant]:
    """The params files of a variant by key, one for each depth of the chain; later settings are those of `base`, so
    that rows share files."""
    training = replace(base, pooling=variant.pooling)
    maps = replace(training, negative_weights=variant.negative_weights)
    scaled = replace(maps, scale=variant.scale)
    return {
        variant.training: training,
        f"{variant.maps}-percentile": maps,
        variant.scaled: scaled,
        variant.name: variant,
    }


def params_file(key: str, seed: int) -> str:
    """Where the params of one run lie, from the folder."""
    return f"params/{key}-seed{seed}.yaml"


def _plan(ablation: Ablation, groups: dict[str, list[Row]]) -> dict[str, Any]:
    """The rows of every table with the folders of their numbers, as `compare` reads them."""
    return {
        "track": ablation.track.name,
        "recipe": ablation.recipe.name if ablation.recipe.is_absolute() else ablation.recipe.as_posix(),
        "changes": dict(ablation.changes),
        "seeds": list(ablation.seeds),
        "groups": {name: [_plan_row(row, ablation.seeds) for row in rows] for name, rows in groups.items() if rows},
    }


def _plan_row(row: Row, seeds: Iterable[int]) -> dict[str, Any]:
    return {
        "title": row.title,
        "crf": row.crf,
        "parts": list(row.parts),
        "output": row.variant.output,
        "published": row.published,
        "params": [params_file(row.variant.name, seed) for seed in seeds],
        "scores": [f"scores/{row.variant.name}-seed{seed}" for seed in seeds],
        "refined": [f"refined/{row.variant.name}-seed{seed}" for seed in seeds],
    }


def _features(variant: Variant, seed: int) -> str:
    """Where the kept features of one classifier lie, from the folder."""
    return f"features/{variant.training}-seed{seed}"


class _Stages:
    """The stages of dvc.yaml, each under a name made of its key and seed."""

    def __init__(self, ablation: Ablation) -> None:
        self.track = ablation.track.name
        project, folder = Path.cwd().resolve(), ablation.folder.resolve()
        self.up = Path(os.path.relpath(project, folder)).as_posix()
        self.here = Path(os.path.relpath(folder, project)).as_posix()
        if not CHAIN.is_file():
            raise SettingsError(
                f"{CHAIN}: expected the project's pipeline, found none; run this from the project's folder"
            )
        self.chain = section(read_params(CHAIN), "stages", CHAIN)
        sections = ablation.values()["tracks"][self.track]
        self.trained = sections["train"]["backbone"]["trained"]
        self.watch = sections["preprocess"]["watch"]

    def all(self, runs: Sequence[tuple[Variant, int]], groups: dict[str, list[Row]]) -> dict[str, Any]:
        """Every stage once."""
        stages = {"preprocess": self._preprocess(), **self._trainings(runs), **self._extractions(runs)}
        for variant, seed in runs:
            stages |= {
                f"refine-{variant.name}-seed{seed}": self._refine(variant, seed),
                f"evaluate-{variant.name}-seed{seed}": self._evaluate(variant, seed),
            }
            if variant.scale == "max":
                stages[f"rescale-{variant.scaled}-seed{seed}"] = self._rescale(variant, seed)
        return {**stages, "compare": self._compare(runs)}

    def _trainings(self, runs: Sequence[tuple[Variant, int]]) -> dict[str, Any]:
        """On a frozen backbone one stage a seed, whose classifiers share each pass of an image.

        Else one a training.
        """
        trainings = {(variant.training, seed): (variant, seed) for variant, seed in runs}
        if self.trained:
            return {f"train-{training}-seed{seed}": self._train([pair]) for (training, seed), pair in trainings.items()}
        by_seed = {seed: [pair for (_, other), pair in trainings.items() if other == seed] for _, seed in trainings}
        return {f"train-seed{seed}": self._train(pairs) for seed, pairs in by_seed.items()}

    def _extractions(self, runs: Sequence[tuple[Variant, int]]) -> dict[str, Any]:
        """On a frozen backbone one stage for all maps, whose heads share each pass of an image.

        Else one a training.
        """
        maps = {(variant.maps, seed): (variant, seed) for variant, seed in runs}
        if not self.trained:
            return {"extract": self._extract(list(maps.values()))}
        by_backbone = {
            (one.training, seed): [
                pair for pair in maps.values() if (pair[0].training, pair[1]) == (one.training, seed)
            ]
            for one, seed in maps.values()
        }
        return {
            f"extract-{training}-seed{seed}": self._extract(pairs) for (training, seed), pairs in by_backbone.items()
        }

    def _stage(
        self, script: str, params: str, data: dict[str, str], outs: dict[str, str], listed: Sequence[str] = ()
    ) -> Any:
        """One stage that runs a script of the chain or of the experiments.

        Args:
            script: a stage of the chain, or a module of the experiments
            params: file with its settings
            data: what it reads, by option
            outs: what it writes, by option
            listed: the files that it writes, where an option names their folder
        """
        of_chain = script in self.chain
        sections = script if of_chain else "extract"
        code = self._code(script) if of_chain else OWN_DEPS[script]
        words = ["python", f"stages/{script}.py"] if of_chain else ["python", "-m", f"pipeline.experiments.{script}"]
        words += ["--track", self.track, "--params", f"{self.here}/{params}"]
        words += [word for option, path in {**data, **outs}.items() for word in (f"--{option}", f"{self.here}/{path}")]
        return {
            "cmd": f"cd {shlex.quote(self.up)} && {shlex.join(words)}",
            "deps": [*(f"{self.up}/{dep}" for dep in code), *data.values()],
            "params": [{params: [f"tracks.{self.track}.{sections}"]}],
            "outs": list(listed or outs.values()),
        }

    def _code(self, script: str) -> list[str]:
        """What a stage of the chain imports, as the project's dvc.yaml says."""
        entry = self.chain[script]
        return [dep for dep in entry.get("do", entry)["deps"] if dep.startswith(CODE)]

    def _preprocess(self) -> Any:
        stage = self._stage("preprocess", PREPROCESS, {}, {**MANIFEST, "drawn": "drawn", "report": "preprocess.json"})
        stage["deps"].append(Path(self.up, self.watch).as_posix())  # an absolute path stays one
        return stage

    def _train(self, pairs: Sequence[tuple[Variant, int]]) -> Any:
        params, outs = [], []
        for variant, seed in pairs:
            folder = f"models/{variant.training}-seed{seed}"
            params.append(params_file(variant.training, seed))
            outs.append(
                {"model": f"{folder}/model", "history": f"{folder}/history.csv", "report": f"{folder}/train.json"}
            )
        return self._shared("train", params, MANIFEST, [{} for _ in pairs], outs)

    def _extract(self, pairs: Sequence[tuple[Variant, int]]) -> Any:
        params, data, outs = [], [], []
        for variant, seed in pairs:
            maps = f"{variant.maps}-percentile"
            params.append(params_file(maps, seed))
            data.append({"model": f"models/{variant.training}-seed{seed}/model"})
            report = f"maps/{maps}-seed{seed}.json"
            outs.append({"out": f"maps/{maps}-seed{seed}", "features": _features(variant, seed), "report": report})
        return self._shared("extract", params, MANIFEST, data, outs)

    def _shared(
        self,
        script: str,
        params: Sequence[str],
        common: dict[str, str],
        data: Sequence[dict[str, str]],
        outs: Sequence[dict[str, str]],
    ) -> Any:
        """A stage of the chain for several runs in one go; the lists have one entry a run, each as in `_stage`."""
        words = ["python", "-m", "pipeline.experiments.shared", script, "--track", self.track]
        words += [word for option, path in common.items() for word in (f"--{option}", f"{self.here}/{path}")]
        words += ["--params", *(f"{self.here}/{path}" for path in params)]
        every = [{**one, **more} for one, more in zip(data, outs, strict=True)]
        words += [
            word
            for option in every[0]
            for word in (f"--{option}", *(f"{self.here}/{paths[option]}" for paths in every))
        ]
        code = [*(dep for dep in self._code(script) if not dep.startswith("stages/")), "pipeline/experiments/shared.py"]
        read = dict.fromkeys(path for paths in data for path in paths.values())
        return {
            "cmd": f"cd {shlex.quote(self.up)} && {shlex.join(words)}",
            "deps": [*(f"{self.up}/{dep}" for dep in code), *common.values(), *read],
            "params": [{path: [f"tracks.{self.track}.{script}"]} for path in params],
            "outs": list(dict.fromkeys(path for paths in outs for path in paths.values())),
        }

    def _rescale(self, variant: Variant, seed: int) -> Any:
        data = {**MANIFEST, "maps": f"maps/{variant.maps}-percentile-seed{seed}"}
        outs = {"out": f"maps/{variant.scaled}-seed{seed}"}
        return self._stage("rescale", params_file(variant.scaled, seed), data, outs)

    def _refine(self, variant: Variant, seed: int) -> Any:
        outs = {"out": f"refined/{variant.name}-seed{seed}", "report": f"refined/{variant.name}-seed{seed}.json"}
        data = {**MANIFEST, "maps": f"maps/{variant.scaled}-seed{seed}"}
        return self._stage("refine", params_file(variant.name, seed), data, outs)

    def _evaluate(self, variant: Variant, seed: int) -> Any:
        data = {
            **MANIFEST,
            "maps": f"maps/{variant.scaled}-seed{seed}",
            "features": _features(variant, seed),
            "refined": f"refined/{variant.name}-seed{seed}",
        }
        out = f"scores/{variant.name}-seed{seed}"
        files = [f"{out}/{name}" for name in SCORES]
        return self._stage("evaluate", params_file(variant.name, seed), data, {"out": out}, files)

    def _compare(self, runs: Sequence[tuple[Variant, int]]) -> Any:
        names = [f"{variant.name}-seed{seed}" for variant, seed in runs]
        shown = [f"refined/{variant.name}-seed{seed}" for variant, seed in runs if seed == runs[0][1]]
        scores = [f"scores/{name}/{file}" for name in names for file in SCORES]
        words = ["python", "-m", "pipeline.experiments.compare", "--folder", self.here]
        return {
            "cmd": f"cd {shlex.quote(self.up)} && {shlex.join(words)}",
            "deps": [*(f"{self.up}/{dep}" for dep in OWN_DEPS["compare"]), PLAN, *MANIFEST.values(), *scores, *shown],
            "outs": list(RESULTS),
        }


MANIFEST = {"manifest": "manifest"}
