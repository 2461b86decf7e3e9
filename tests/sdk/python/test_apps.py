"""Apps on the servers that people use, unmodified and with their defaults, behind a sidecar.

Run by `cargo xtask sdk python`, which installs what `requirements.txt` names and sets `DAPRD_BIN`.
"""

import concurrent.futures
import http.client
import http.server
import json
import os
import random
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import unittest
import urllib.parse

from sidecars import PATIENCE, Sidecars, await_answer, free_port

HERE = os.path.dirname(os.path.abspath(__file__))

NODE = """
const answer = (request, response) => request.resume().on("end", () => response.end("done"));
require("http").createServer(answer).listen(Number(process.argv[1]), "127.0.0.1");
"""


def serve(test, *command):
    """Starts a server, and ends it with the test. `{port}` in the command is a free port, which is returned."""
    port = free_port()
    command = [part.replace("{port}", str(port)) for part in command]
    process = subprocess.Popen(command, cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    test.addClassCleanup(process.wait, PATIENCE)
    test.addClassCleanup(process.terminate)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return port
        except ConnectionError:
            if time.monotonic() > end or process.poll() is not None:
                raise
            time.sleep(0.05)


class Client:
    """One connection to the API of a sidecar."""

    def __init__(self, sidecar, app_id):
        self.connection = http.client.HTTPConnection("127.0.0.1", sidecar.http_port, timeout=PATIENCE)
        self.prefix = f"/v1.0/invoke/{app_id}/method"

    def call(self, verb, path, body=None, headers=()):
        self.connection.putrequest(verb, self.prefix + path)
        if body is not None:
            self.connection.putheader("Content-Length", str(len(body)))
        for name, value in headers:
            self.connection.putheader(name, value)
        self.connection.endheaders(body)
        answer = self.connection.getresponse()
        return answer.status, answer.read(), answer.headers


class Quiet(http.server.BaseHTTPRequestHandler):
    """Answers every GET, and says nothing."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"done")

    def log_message(self, *_):
        pass


class OnP521(unittest.TestCase):
    """A server on OpenSSL with a certificate on P-521. With TLS 1.2 it wants that curve for the keys as well."""

    DATA = os.path.join(HERE, "..", "..", "..", "crates", "transport", "tests-data")

    def test_both_versions_of_tls(self):
        certificate, key = (os.path.join(self.DATA, name) for name in ("p521.pem", "p521.key"))
        sidecars = self.enterContext(Sidecars())
        caller = sidecars.start("caller", env={"SSL_CERT_FILE": certificate})
        await_answer(caller.http_port, "/v1.0/healthz/outbound")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            context.minimum_version = context.maximum_version = version
            server = http.server.HTTPServer(("127.0.0.1", 0), Quiet)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            threading.Thread(target=server.handle_request, daemon=True).start()
            with self.subTest(version=version), server:
                client = Client(caller, f"https://localhost:{server.server_port}")
                self.addCleanup(client.connection.close)
                status, body, _ = client.call("GET", "/")
                self.assertEqual((status, body), (200, b"done"))


class BehindHttp2(unittest.TestCase):
    """A WSGI app on hypercorn, which the sidecar calls with HTTP/2: WSGI knows of no body without a length."""

    @classmethod
    def setUpClass(cls):
        cls.sidecars = cls.enterClassContext(Sidecars())
        port = serve(cls, sys.executable, "-m", "hypercorn", "--bind", "127.0.0.1:{port}", "wsgi:apps:wsgi")
        cls.app = cls.sidecars.start("flask", "--app-protocol=h2c", app_port=port)
        cls.caller = cls.sidecars.start("caller")
        for sidecar in cls.sidecars.started:
            await_answer(sidecar.http_port)

    def clients(self):
        for sidecar in (self.app, self.caller):
            yield Client(sidecar, "flask")

    def test_bodies(self):
        for client in self.clients():
            for text in ("x", "x" * 300_000):
                body = json.dumps({"text": text}).encode()
                status, answer, _ = client.call("POST", "/json", body, [("Content-Type", "application/json")])
                self.assertEqual(status, 200, answer)
                self.assertEqual(json.loads(answer), {"got": {"text": text}, "length": len(body)})
            body = urllib.parse.urlencode({"a": "1", "b": "2"}).encode()
            form = [("Content-Type", "application/x-www-form-urlencoded")]
            status, answer, _ = client.call("POST", "/form", body, form)
            self.assertEqual((status, json.loads(answer)), (200, {"got": {"a": "1", "b": "2"}}))

    def test_sessions(self):
        for client in self.clients():
            form = [("Content-Type", "application/x-www-form-urlencoded")]
            status, _, headers = client.call("POST", "/login", b"name=you", form)
            cookies = [line.split(";")[0] for line in headers.get_all("Set-Cookie")]
            self.assertEqual((status, len(cookies)), (200, 2))
            # One field for each, as clients of HTTP/2 send them.
            fields = [("Cookie", cookie) for cookie in cookies]
            status, answer, _ = client.call("GET", "/whoami", headers=fields)
            self.assertEqual((status, json.loads(answer)), (200, {"name": "you", "colour": "blue"}))


class ClosingIdleConnections(unittest.TestCase):
    """Calls that may not be repeated, made just when the app closes the connection of the call before."""

    # As many callers at once, so often.
    CALLERS = int(os.environ.get("CALLERS", "40"))
    ROUNDS = int(os.environ.get("ROUNDS", "3"))

    @classmethod
    def setUpClass(cls):
        cls.sidecars = cls.enterClassContext(Sidecars())
        python = (sys.executable, "-m")
        bind = "127.0.0.1:{port}"
        # The server, and after how many seconds of silence it closes a connection if nobody tells it otherwise.
        servers = {
            "uvicorn": ((*python, "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "apps:asgi"), 5),
            "gunicorn": ((*python, "gunicorn", "--threads", "4", "--bind", bind, "apps:wsgi"), 2),
        }
        if shutil.which("node"):
            servers["node"] = (("node", "-e", NODE, "{port}"), 5)
        cls.apps = {}
        for name, (command, seconds) in servers.items():
            port = serve(cls, *command)
            cls.apps[name] = (cls.sidecars.start(name, app_port=port), seconds)
        for sidecar in cls.sidecars.started:
            await_answer(sidecar.http_port)

    def lost(self, name):
        """How many calls of one caller fail."""
        sidecar, seconds = self.apps[name]
        client, lost = Client(sidecar, name), 0
        for call in range(self.ROUNDS + 1):
            if call > 0:
                time.sleep(max(0, seconds + random.uniform(-0.01, 0.02)))
            status, answer, _ = client.call("POST", "/add", b"1")
            lost += (status, answer) != (200, b"done")
        return lost

    def test_no_call_is_lost(self):
        callers = [name for name in self.apps for _ in range(self.CALLERS)]
        with concurrent.futures.ThreadPoolExecutor(len(callers)) as pool:
            lost = dict.fromkeys(self.apps, 0)
            for name, count in zip(callers, pool.map(self.lost, callers)):
                lost[name] += count
        self.assertEqual(lost, dict.fromkeys(self.apps, 0))


if __name__ == "__main__":
    unittest.main()
