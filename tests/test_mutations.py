"""The list of mutations is true to the code; running the tests under each takes half an hour and is a command."""

import sys
from pathlib import Path

import pytest
from support.checkout import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
from mutations import MUTATIONS, Mutation, mutate


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_changes_one_line_and_its_tests_exist(mutation: Mutation, tmp_path: Path) -> None:
    source = (ROOT / "pipeline" / mutation.module).read_text()
    copy = tmp_path / "pipeline" / mutation.module
    copy.parent.mkdir(parents=True)
    copy.write_text(source)
    mutate(tmp_path, mutation)
    before, after = source.splitlines(), copy.read_text().splitlines()
    assert len(before) == len(after)
    assert sum(old != new for old, new in zip(before, after, strict=True)) == 1
    compile("\n".join(after), mutation.module, "exec")
    assert all((ROOT / "tests" / name).exists() for name in mutation.tests)


def test_a_line_that_has_changed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "a.py").write_text("x = 1\nx = 1\n")
    with pytest.raises(ValueError, match="expected 'x = 1' once, found it 2 times"):
        mutate(tmp_path, Mutation("double", "a.py", "x = 1", "x = 2", ()))
