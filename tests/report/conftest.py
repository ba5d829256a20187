"""Results of both tracks, made once: no test changes them."""

import pytest
from support.report_data import make_results

from pipeline.report.results import Results


@pytest.fixture(scope="session", params=["track1", "track3"])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return make_results(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="session")
def track3(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return make_results(tmp_path_factory.mktemp("only3"))


@pytest.fixture(scope="session")
def track1(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return make_results(tmp_path_factory.mktemp("only1"), "track1")
