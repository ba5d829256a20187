"""The weights that a run would load."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from support.preflight import RECIPE, recipe_settings

from pipeline.preflight import model, run
from pipeline.preflight.context import Context


@pytest.mark.parametrize(
    ("cached", "reachable", "offline", "level"),
    [
        (True, False, "1", "OK"),
        (False, True, "", "OK"),
        (False, True, "0", "OK"),
        (False, True, "1", "FAIL"),
        (False, False, "", "FAIL"),
    ],
)
def test_hub_weights_are_looked_for_not_downloaded(
    monkeypatch: pytest.MonkeyPatch, cached: bool, reachable: bool, offline: str, level: str
) -> None:
    monkeypatch.setattr(model, "is_cached", lambda repository: cached)
    monkeypatch.setattr(model, "can_reach", lambda address: reachable)
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    context = Context(RECIPE)
    context.settings = recipe_settings()
    (row,) = model.check_weights(context, run.TRACKS["track1"])
    assert row.level == level
    assert "seresnet50.ra2_in1k" in row.found


def test_a_server_that_refuses_is_reached_and_a_closed_port_is_not() -> None:
    class Refuses(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(403)

        def log_message(self, *given: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Refuses)
    address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    assert model.can_reach(address)
    thread.join()
    server.server_close()
    assert not model.can_reach(address)
