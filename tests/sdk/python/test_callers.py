"""HTTP clients that people call a sidecar with, unmodified: `http.client` on one connection, and `httpx` over HTTP/2.

Run by `cargo xtask sdk python`, which installs what `requirements.txt` names and sets `DAPRD_BIN`.
"""

import asyncio
import http.client
import http.server
import threading
import unittest

import httpx

from sidecars import PATIENCE, Sidecars, await_answer

HERE = "/v1.0/invoke/app/method"


class App(http.server.BaseHTTPRequestHandler):
    """Reads what it is sent and tells how much that was; what is sent to `/early` it answers first."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        if self.path == "/early":
            self.answer(403, b"no")
        length = self.headers.get("content-length")
        read = len(self.rfile.read(int(length))) if length is not None else self.chunks()
        if self.path != "/early":
            self.answer(200, b"%d" % read)

    def do_GET(self):
        self.answer(200, b"here")

    def do_HEAD(self):
        self.answer(200, b"")

    def chunks(self):
        read = 0
        while size := int(self.rfile.readline(), 16):
            read += len(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return read

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1000


class Callers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        app = Server(("127.0.0.1", 0), App)
        threading.Thread(target=app.serve_forever, daemon=True).start()
        sidecars = cls.enterClassContext(Sidecars())
        sidecars.start("app", app_port=app.server_address[1])
        cls.port = sidecars.start("caller").http_port
        cls.guarded = sidecars.start("guarded", env={"DAPR_API_TOKEN": "secret"}).http_port
        for sidecar in sidecars.started:
            await_answer(sidecar.http_port)

    def one_connection(self, port, calls):
        """Calls one after the other. `http.client` sends a head and a body apart, and connects anew only if it was told
        that the connection closes."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.addCleanup(connection.close)
        for verb, path, body, status in calls:
            with self.subTest(verb=verb, path=path):
                connection.request(verb, path, body, {"content-type": "text/plain"})
                answer = connection.getresponse()
                answer.read()
                self.assertEqual(answer.status, status)

    def test_one_connection_for_everything(self):
        small, large = b"x" * 10, b"x" * 100_000
        calls = [
            ("POST", "/v1.0/nothing", small, 404),
            ("GET", "/v1.0/healthz", None, 204),
            ("POST", f"{HERE}/echo", large, 200),
            ("POST", "/v1.0/nothing", large, 404),
            ("POST", f"{HERE}/early", small, 403),
            ("POST", "/v1.0/state/nothing", b"[]", 500),
            ("POST", "/v1.0/invoke/a.b.c/method/m", small, 500),
            ("POST", "/v1.0/invoke/caller/method/m", small, 500),
            ("HEAD", f"{HERE}/head", None, 200),
            ("HEAD", "/v1.0/nothing", None, 404),
            ("POST", "/v1.0/nothing", iter([small] * 3), 404),
            ("POST", f"{HERE}/echo", iter([small] * 3), 200),
            ("GET", f"{HERE}/get", None, 200),
        ]
        for _ in range(20):
            again = [(verb, path, body if body is None or isinstance(body, bytes) else iter([small] * 3), status)
                     for verb, path, body, status in calls]
            self.one_connection(self.port, again)

    def test_one_connection_without_a_token(self):
        self.one_connection(self.guarded, [("POST", f"{HERE}/echo", b"x" * 10, 401), ("GET", "/v1.0/healthz", None, 204)] * 50)

    def over_http2(self, calls, at_once):
        """Calls on one connection, so many at once. `httpx` sends the end of a body in a frame of its own."""

        async def all_of_them():
            limits = httpx.Limits(max_connections=1)
            client = httpx.AsyncClient(http1=False, http2=True, limits=limits, timeout=PATIENCE)
            async with client:
                places = asyncio.Semaphore(at_once)

                async def one(verb, path, body, status):
                    async with places:
                        answer = await client.request(verb, f"http://127.0.0.1:{self.port}{path}", content=body)
                    self.assertEqual((answer.http_version, answer.status_code), ("HTTP/2", status), path)
                    return answer

                return await asyncio.gather(*(one(*call) for call in calls))

        return asyncio.run(all_of_them())

    def test_uploads_over_http2_at_once(self):
        for path, status in ((f"{HERE}/echo", 200), (f"{HERE}/early", 403), ("/v1.0/nothing", 404)):
            for size in (1, 1_000, 100_000):
                with self.subTest(path=path, size=size):
                    self.over_http2([("POST", path, b"x" * size, status)] * 60, 60)

    def test_all_kinds_of_calls_over_http2(self):
        calls = [
            ("GET", f"{HERE}/get", None, 200),
            ("HEAD", f"{HERE}/head", None, 200),
            ("HEAD", "/v1.0/nothing", None, 404),
            ("POST", "/v1.0/nothing", b"x" * 1_000, 404),
            ("POST", f"{HERE}/echo", b"", 200),
            ("POST", f"{HERE}/echo", b"x" * 300_000, 200),
            ("GET", "/v1.0/healthz", None, 204),
        ]
        for answer in self.over_http2(calls * 20, 20):
            if answer.request.method == "POST" and answer.status_code == 200:
                self.assertEqual(int(answer.text), len(answer.request.content))

    def test_a_client_that_does_not_know_its_length(self):
        async def pieces():
            for _ in range(5):
                yield b"x" * 1_000
                await asyncio.sleep(0.01)

        for path, status in ((f"{HERE}/echo", 200), ("/v1.0/nothing", 404)):
            answers = self.over_http2([("POST", path, pieces(), status) for _ in range(20)], 20)
            if status == 200:
                self.assertEqual({answer.text for answer in answers}, {"5000"})


if __name__ == "__main__":
    unittest.main()
