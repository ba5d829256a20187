"""Whether the hub can be reached."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from pipeline.models import hub


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
    assert hub.can_reach(address)
    thread.join()
    server.server_close()
    assert not hub.can_reach(address)
