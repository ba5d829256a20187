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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.core.errors import SettingsError
from pipeline.core.files import write_json
from pipeline.core.settings import RENAMED, read_params, section, write_yaml
from pipeline.core.tracks import Track
from pipeline.core.typed_json import to_json
from pipeline.experiments.ablation_rows import (
    PLAN,
    Plan,
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
PREPROCESS = "params/preprocess.yaml"
RESULTS = ("results.json", "table.csv", "table.md", "figure.svg", "strip.png")
SCORES = ("metrics.json", "table.csv", "per_image.csv", "diagnostics.json")  # of the stage evaluate
CODE = ("pipeline/", "stages/")
MANIFEST = {"manifest": ["manifest"]}
# What the scripts of the experiments depend on. The first list is complete (a test compares it with the import graph).
# The other reads finished results and draws: of what it imports, only what changes its numbers is listed.
OWN_DEPS = {
    "rescale": ("pipeline/core", "pipeline/extract", "pipeline/experiments/rescale.py"),
    "compare": tuple(
        f"pipeline/experiments/{name}.py"
        for name in ("ablation_results", "ablation_rows", "ablation_tables", "compare", "plots")
    ),
}

Runs = Sequence[tuple[Variant, int]]  # variants, each with a seed
Paths = Mapping[str, Sequence[str]]  # files or folders by option of a command, below the ablation's folder


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

    def plan(self) -> Plan:
        """The rows of every table."""
        output = section(self.values(), f"tracks.{self.track.name}.refine.output", self.recipe)
        groups = {
            "additive": additive_rows(output),
            "without_crf": without_crf(output),
            "outputs": output_rows(self.track, output),
            "grid": grid(output) if self.with_grid else (),
        }
        recipe = self.recipe.name if self.recipe.is_absolute() else self.recipe.as_posix()
        known = {name: rows for name, rows in groups.items() if rows}
        return Plan(self.track.name, recipe, self.seeds, known, dict(self.changes))


def write_plan(ablation: Ablation) -> None:
    """Write params, `plan.json` and `dvc.yaml` into the folder; what is the same as before stays untouched.

    Raises:
        SettingsError: if the seeds or the recipe are wrong, or the project's dvc.yaml is not where this runs
    """
    check_seeds(ablation.seeds)
    values, plan = ablation.values(), ablation.plan()
    variants = dict.fromkeys(row.variant for rows in plan.groups.values() for row in rows)
    runs = [(variant, seed) for seed in ablation.seeds for variant in variants]
    base = plan.groups["additive"][-1].variant
    for variant, seed in runs:
        for key, known in _levels(variant, base).items():
            path = ablation.folder / params_file(key, seed)
            write_yaml(path, variant_params(values, ablation.track.name, known, seed))
    write_yaml(ablation.folder / PREPROCESS, values)
    write_json(ablation.folder / PLAN, to_json(plan))
    write_yaml(ablation.folder / "dvc.yaml", {"stages": _Stages(ablation).all(runs)})


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


def _grouped(runs: Runs, part: Callable[[Variant], str], name: Callable[[Variant, int], str]) -> dict[str, Runs]:
    """The runs that one stage computes in one go, by the name of the stage; one of those with the same part."""
    groups: dict[str, Any] = {}
    for variant, seed in {(part(variant), seed): (variant, seed) for variant, seed in runs}.values():
        groups.setdefault(name(variant, seed), []).append((variant, seed))
    return groups


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

    def all(self, runs: Runs) -> dict[str, Any]:
        """Every stage once. On a frozen backbone one stage trains all classifiers of a seed, and one makes all maps,
        with one pass of each image; else a stage trains one classifier, and one makes its maps."""
        stages = {"preprocess": self._preprocess()}
        training = "train-{0.training}-seed{1}" if self.trained else "train-seed{1}"
        extraction = "extract-{0.training}-seed{1}" if self.trained else "extract"
        for name, some in _grouped(runs, lambda variant: variant.training, training.format).items():
            stages[name] = self._train(some)
        for name, some in _grouped(runs, lambda variant: variant.maps, extraction.format).items():
            stages[name] = self._extract(some)
        for variant, seed in runs:
            stages[f"refine-{variant.name}-seed{seed}"] = self._refine(variant, seed)
            stages[f"evaluate-{variant.name}-seed{seed}"] = self._evaluate(variant, seed)
            if variant.scale == "max":
                stages[f"rescale-{variant.scaled}-seed{seed}"] = self._rescale(variant, seed)
        return {**stages, "compare": self._compare(runs)}

    def _stage(
        self,
        words: Sequence[str],
        section: str,
        code: Sequence[str],
        params: Sequence[str],
        reads: Paths,
        writes: Paths,
        listed: Sequence[str] = (),
    ) -> dict[str, Any]:
        """One stage, for one run or for several in one go: then each list has one entry a run.

        Args:
            words: the program
            section: of the settings that it reads
            code: files that it imports, from the project's folder
            params: files with its settings
            reads: its data
            writes: its results
            listed: the files that it writes, where an option names their folder
        """
        options = {"params": params, **reads, **writes}
        words = [*words, "--track", self.track]
        words += [
            word for key, paths in options.items() for word in (f"--{key}", *(f"{self.here}/{path}" for path in paths))
        ]
        return {
            "cmd": f"cd {shlex.quote(self.up)} && {shlex.join(words)}",
            "deps": [*(f"{self.up}/{dep}" for dep in code), *_each(reads)],
            "params": [{path: [f"tracks.{self.track}.{section}"]} for path in params],
            "outs": list(listed) or _each(writes),
        }

    def _of_chain(self, script: str, params: str, reads: Paths, writes: Paths, listed: Sequence[str] = ()) -> Any:
        """A stage of the chain."""
        return self._stage(
            ["python", f"stages/{script}.py"], script, self._code(script), [params], reads, writes, listed
        )

    def _shared(self, script: str, params: Sequence[str], reads: Paths, writes: Paths) -> Any:
        """A stage of the chain for several runs in one go."""
        code = [*(dep for dep in self._code(script) if not dep.startswith("stages/")), "pipeline/experiments/shared.py"]
        words = ["python", "-m", "pipeline.experiments.shared", script]
        return self._stage(words, script, code, params, reads, writes)

    def _code(self, script: str) -> list[str]:
        """What a stage of the chain imports, as the project's dvc.yaml says."""
        entry = self.chain[script]
        return [dep for dep in entry.get("do", entry)["deps"] if dep.startswith(CODE)]

    def _preprocess(self) -> Any:
        writes = {**MANIFEST, "drawn": ["drawn"], "report": ["preprocess.json"]}
        stage = self._of_chain("preprocess", PREPROCESS, {}, writes)
        stage["deps"].append(Path(self.up, self.watch).as_posix())  # an absolute path stays one
        return stage

    def _train(self, runs: Runs) -> Any:
        folders = [f"models/{variant.training}-seed{seed}" for variant, seed in runs]
        files = {"model": "model", "history": "history.csv", "report": "train.json"}
        writes = {option: [f"{folder}/{file}" for folder in folders] for option, file in files.items()}
        return self._shared("train", [params_file(v.training, seed) for v, seed in runs], MANIFEST, writes)

    def _extract(self, runs: Runs) -> Any:
        maps = [f"maps/{variant.maps}-percentile-seed{seed}" for variant, seed in runs]
        writes = {
            "out": maps,
            "features": [_features(*one) for one in runs],
            "report": [f"{path}.json" for path in maps],
        }
        reads = {**MANIFEST, "model": [f"models/{variant.training}-seed{seed}/model" for variant, seed in runs]}
        return self._shared("extract", [params_file(f"{v.maps}-percentile", s) for v, s in runs], reads, writes)

    def _rescale(self, variant: Variant, seed: int) -> Any:
        reads = {**MANIFEST, "maps": [f"maps/{variant.maps}-percentile-seed{seed}"]}
        writes = {"out": [f"maps/{variant.scaled}-seed{seed}"]}
        words = ["python", "-m", "pipeline.experiments.rescale"]
        params = [params_file(variant.scaled, seed)]
        return self._stage(words, "extract", OWN_DEPS["rescale"], params, reads, writes)

    def _refine(self, variant: Variant, seed: int) -> Any:
        out = f"refined/{variant.name}-seed{seed}"
        reads = {**MANIFEST, "maps": [f"maps/{variant.scaled}-seed{seed}"]}
        writes = {"out": [out], "report": [f"{out}.json"]}
        return self._of_chain("refine", params_file(variant.name, seed), reads, writes)

    def _evaluate(self, variant: Variant, seed: int) -> Any:
        reads = {
            **MANIFEST,
            "maps": [f"maps/{variant.scaled}-seed{seed}"],
            "features": [_features(variant, seed)],
            "refined": [f"refined/{variant.name}-seed{seed}"],
        }
        out = f"scores/{variant.name}-seed{seed}"
        files = [f"{out}/{name}" for name in SCORES]
        return self._of_chain("evaluate", params_file(variant.name, seed), reads, {"out": [out]}, files)

    def _compare(self, runs: Runs) -> Any:
        shown = [f"refined/{variant.name}-seed{seed}" for variant, seed in runs if seed == runs[0][1]]
        scores = [f"scores/{variant.name}-seed{seed}/{file}" for variant, seed in runs for file in SCORES]
        words = ["python", "-m", "pipeline.experiments.compare", "--folder", self.here]
        return {
            "cmd": f"cd {shlex.quote(self.up)} && {shlex.join(words)}",
            "deps": [*(f"{self.up}/{dep}" for dep in OWN_DEPS["compare"]), PLAN, "manifest", *scores, *shown],
            "outs": list(RESULTS),
        }


def _features(variant: Variant, seed: int) -> str:
    """Where the kept features of one classifier lie, from the folder."""
    return f"features/{variant.training}-seed{seed}"


def _each(paths: Paths) -> list[str]:
    """Every path once."""
    return list(dict.fromkeys(path for some in paths.values() for path in some))
