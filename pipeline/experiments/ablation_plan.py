"""The ablation as a DVC pipeline of its own, in a folder of its own.

Every stage runs one script of the chain with a params file of its own, once for all rows that need it: two trainings a
seed, maps for each training with and without NWC, one refinement for each variant. Runs of the same frozen backbone on
the same images are one stage with one pass over the images: one training a seed for GAP and TAP, and one extraction for
all maps. DVC skips finished stages, so a stopped ablation continues where it stopped, and a changed CRF,
another seed or the grid runs only new stages, except for the one extraction, which uses its finished shards again.

The folder is a separate DVC project (`dvc init --no-scm`): the chain's own commands do not include it or wait for it.
The stages are templates in `ablation.yaml`.
"""

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.core.errors import SettingsError
from pipeline.core.files import write_json
from pipeline.core.settings import read_params, section, write_yaml
from pipeline.core.typed_json import to_json
from pipeline.experiments.ablation_rows import PLAN, PREPROCESS, Plan, Variant, variant_changes
from pipeline.params.changes import changed

CHAIN = Path("dvc.yaml")  # of the project, whose stages say which files their scripts import
TEMPLATES = Path(__file__).with_name("ablation.yaml")

Run = tuple[Variant, int]  # with its seed


@dataclass(frozen=True, slots=True)
class Template:
    """The stages of one kind; `ablation.yaml` says what the fields mean."""

    command: str
    settings: str = ""
    params: str = ""
    writes: Mapping[str, str] = field(default_factory=dict)
    reads: Mapping[str, str] = field(default_factory=dict)
    outs: Sequence[str] = ()
    code: Sequence[str] = ()
    name_alone: str = ""


def write_plan(folder: Path, plan: Plan, values: Mapping[str, Any]) -> None:
    """Write params, `plan.json` and `dvc.yaml` into the folder; what is the same as before stays untouched.

    Args:
        values: the recipe with its changes

    Raises:
        SettingsError: if the project's dvc.yaml is not where this runs
    """
    templates = {name: Template(**entry) for name, entry in read_params(TEMPLATES).items()}
    comparison = templates.pop("compare")
    variants = dict.fromkeys(row.variant for rows in plan.groups.values() for row in rows)
    runs = [(variant, seed) for seed in plan.seeds for variant in variants]
    project = Project.around(folder, plan.track)
    stages = _stages(project, templates, runs, values["tracks"][plan.track])
    for path, (variant, seed) in _params_files(templates, runs).items():
        write_yaml(folder / path, changed(values, plan.track, variant_changes(variant, seed), folder / path))
    write_yaml(folder / PREPROCESS, values)
    write_json(folder / PLAN, to_json(plan))
    write_yaml(folder / "dvc.yaml", {"stages": {**stages, "compare": project.compare(comparison, stages, runs)}})


def _params_files(templates: Mapping[str, Template], runs: Iterable[Run]) -> dict[str, Run]:
    """The params files of the runs, each with the first run that has it."""
    files: dict[str, Run] = {}
    for variant, seed in runs:
        stored = replace(variant, scale="percentile")
        for name, template in templates.items():
            run = (stored if name == "extract" else variant, seed)  # maps are extracted with PaS
            files.setdefault(_fill([template.params], [run])[0], run)
    del files[PREPROCESS]  # of no run
    return files


def _stages(
    project: "Project", templates: Mapping[str, Template], runs: Sequence[Run], sections: Mapping[str, Any]
) -> dict[str, Any]:
    """Every stage of the pipeline, by name."""
    is_trained = sections["train"]["backbone"]["trained"]
    stages: dict[str, Any] = {}
    for name, template in templates.items():
        some = [run for run in runs if run[0].scale == "max"] if name.startswith("rescale") else runs
        for stage, group in _grouped((is_trained and template.name_alone) or name, template.params, some).items():
            stages[stage] = project.stage(template, group)
    watched = Path(project.up, sections["preprocess"]["watch"])  # an absolute path stays one
    stages["preprocess"]["deps"].append(watched.as_posix())
    return stages


def _grouped(name: str, params: str, runs: Iterable[Run]) -> dict[str, list[Run]]:
    """The runs that one stage computes in one go, by the name of the stage; one of those with the same params."""
    groups: dict[str, dict[str, Run]] = {}
    for run in runs:
        stage, path = _fill([name, params], [run])
        groups.setdefault(stage, {}).setdefault(path, run)
    return {stage: list(some.values()) for stage, some in groups.items()}


def _fill(templates: Iterable[str], runs: Sequence[Run]) -> list[str]:
    """The text of each template for each run, every one once."""
    return list(dict.fromkeys(text.format(**asdict(v), seed=seed) for text in templates for v, seed in runs))


@dataclass(frozen=True, slots=True)
class Project:
    """What the entries of dvc.yaml need of the project."""

    track: str  # whose stages they are
    up: str  # from the ablation's folder to the project's
    here: str  # the way back
    chain: Mapping[str, Any]  # the stages of the project's dvc.yaml

    @classmethod
    def around(cls, folder: Path, track: str) -> "Project":
        """The project in the current folder."""
        if not CHAIN.is_file():
            raise SettingsError(
                f"{CHAIN}: expected the project's pipeline, found none; run this from the project's folder"
            )
        project, folder = Path.cwd().resolve(), folder.resolve()
        up, here = (Path(os.path.relpath(*pair)).as_posix() for pair in ((project, folder), (folder, project)))
        return cls(track, up, here, section(read_params(CHAIN), "stages", CHAIN))

    def stage(self, template: Template, runs: Sequence[Run]) -> dict[str, Any]:
        """A stage of the chain, for one run or for several in one go."""
        words = [*template.command.split(), "--track", self.track]
        for option, path in {"params": template.params, **template.reads, **template.writes}.items():
            one_each = [found for run in runs for found in _fill([path], [run])] if "{" in path else [path]
            words += [f"--{option}", *(f"{self.here}/{found}" for found in one_each)]
        return {
            "cmd": self._command(words),
            "deps": [*self._above(template.code or self._code(template)), *_fill(template.reads.values(), runs)],
            "params": [{path: [f"tracks.{self.track}.{template.settings}"]} for path in _fill([template.params], runs)],
            "outs": _fill(template.outs or template.writes.values(), runs),
        }

    def compare(self, template: Template, stages: Mapping[str, Any], runs: Sequence[Run]) -> dict[str, Any]:
        """The stage that reads the scores of all others, and shows the images of the first seed."""
        scores = [out for name, stage in stages.items() if name.startswith("evaluate") for out in stage["outs"]]
        refined = [name for name in stages if name.startswith("refine") and name.endswith(f"-seed{runs[0][1]}")]
        shown = [stages[name]["outs"][0] for name in refined]
        return {
            "cmd": self._command([*template.command.split(), "--folder", self.here]),
            "deps": [*self._above(template.code), *template.reads.values(), *scores, *shown],
            "outs": list(template.outs),
        }

    def _command(self, words: Iterable[str]) -> str:
        return f"cd {shlex.quote(self.up)} && {shlex.join(words)}"

    def _above(self, code: Iterable[str]) -> list[str]:
        return [f"{self.up}/{path}" for path in code]

    def _code(self, template: Template) -> list[str]:
        """What a stage of the chain imports, as the project's dvc.yaml says."""
        entry = self.chain[template.settings]
        return [dep for dep in entry.get("do", entry)["deps"] if dep.startswith(("pipeline/", "stages/"))]
