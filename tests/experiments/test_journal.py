"""The file of finished trials."""

from pipeline.experiments.journal import Journal


def test_a_journal_keeps_whole_lines_only(tmp_path):
    path = tmp_path / "j.jsonl"
    journal = Journal(path)
    journal.add({"key": "a", "score": 1.0})
    with path.open("a") as stream:
        stream.write('{"key": "b", "sc')
    again = Journal(path)
    assert again.records == {"a": {"key": "a", "score": 1.0}}
    again.add({"key": "c", "score": 2.0})
    assert Journal(path).records.keys() == {"a", "c"}
