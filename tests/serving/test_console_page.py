"""The console's first page in Chromium: a request is tried without a mouse, in Arabic and on a phone."""

import threading

from console_browser import Console
from desk_browser import chromium
from fake_service import FakeService
from werkzeug.serving import make_server

from serving.app import create_app
from serving.console.sessions import ConsoleSettings


def test_a_request_is_tried_without_a_mouse(tmp_path):
    server = make_server("127.0.0.1", 0, create_app(FakeService(), console=ConsoleSettings("secret")), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with chromium(tmp_path) as driver:
        console = Console(driver, f"http://127.0.0.1:{server.port}", "ar")
        console.open("try")
        assert not console.all("#query")[0].is_displayed()  # the home page has no words
        console.choose("#surface", "search")
        console.fill("#query", "<coffee>\n")
        console.until(lambda: len(console.all("table.slate tbody tr")) == 10)
        assert "query=%3Ccoffee%3E" in driver.current_url
        assert (console.faults(), console.phone_faults(), console.errors()) == ([], [], [])
    server.shutdown()
