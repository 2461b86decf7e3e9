"""The published Python SDK, unmodified, against two sidecars.

Run by `cargo xtask sdk python`, which installs what `requirements.txt` names and sets `DAPRD_BIN`.
"""

import http.server
import json
import threading
import unittest
import warnings

import grpc
from dapr.clients import DaprClient
from dapr.clients.exceptions import DaprHttpError
from dapr.clients.grpc._response import InvokeMethodResponse
from dapr.clients.health import DaprHealth
from dapr.conf import settings
from dapr.ext.grpc import App
from google.protobuf.wrappers_pb2 import StringValue

from sidecars import PATIENCE, Sidecars, await_answer, free_port

TOKEN = "secret"


class Echo(http.server.BaseHTTPRequestHandler):
    """An HTTP app that tells what it was asked."""

    protocol_version = "HTTP/1.1"

    def body(self):
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def answer(self):
        body = self.body()
        missing = self.path.startswith("/missing")
        seen = {
            "method": self.command,
            "target": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": body.decode(),
        }
        text = b"no such thing" if missing else json.dumps(seen).encode()
        self.send_response(404 if missing else 200)
        self.send_header("content-type", "text/plain" if missing else "application/json")
        self.send_header("content-length", str(len(text)))
        self.send_header("x-answered-by", "the app")
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *_):
        pass


def http_app():
    """Starts the HTTP app; its port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


class Greeter(grpc.GenericRpcHandler):
    """A service of the app's own, on the server of the SDK: all four kinds of calls, with texts as messages."""

    def service(self, details):
        def unary(request, context):
            context.send_initial_metadata((("x-head", "early"),))
            context.set_trailing_metadata((("x-tail", "late"), ("x-tail-bin", b"\x00\xff")))
            seen = dict(context.invocation_metadata())
            if request == b"metadata":
                return json.dumps({key: str(value) for key, value in seen.items()}).encode()
            if request == b"fail":
                context.abort(grpc.StatusCode.DATA_LOSS, "lost – really")
            return b"hello " + request

        def server_stream(request, _):
            for number in range(3):
                yield b"%d %s" % (number, request)

        def client_stream(requests, _):
            return b",".join(requests)

        def both(requests, _):
            for request in requests:
                yield request[::-1]

        def endless(_, context):
            gone = threading.Event()
            context.add_callback(lambda: (gone.set(), GONE.set()))
            while not gone.wait(0.01):
                yield b"more"

        return {
            "/greet.Greeter/Unary": grpc.unary_unary_rpc_method_handler(unary),
            "/greet.Greeter/ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
            "/greet.Greeter/ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
            "/greet.Greeter/Both": grpc.stream_stream_rpc_method_handler(both),
            "/greet.Greeter/Endless": grpc.unary_stream_rpc_method_handler(endless),
        }.get(details.method)


GONE = threading.Event()


def grpc_app():
    """Starts the gRPC app on the server of the SDK; its port."""
    app = App()

    @app.method("echo")
    def echo(request):
        seen = {key: str(value[0]) for key, value in request.metadata.items()}
        return InvokeMethodResponse(
            json.dumps({"body": request.text(), "metadata": seen}), content_type="application/json"
        )

    @app.method("typed")
    def typed(request):
        value = StringValue()
        request.unpack(value)
        return InvokeMethodResponse(StringValue(value=value.value.upper()))

    @app.method("fail")
    def fail(_):
        raise ValueError("the app broke")

    app.add_external_service(lambda greeter, server: server.add_generic_rpc_handlers((greeter,)), Greeter())
    port = free_port()
    threading.Thread(target=app.run, args=(port, "127.0.0.1"), daemon=True).start()
    return app, port


class Invocation(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        warnings.simplefilter("ignore", DeprecationWarning)
        cls.sidecars = cls.enterClassContext(Sidecars())
        cls.app, grpc_port = grpc_app()
        cls.sidecars.start("http-app", app_port=http_app())
        cls.sidecars.start("grpc-app", "--app-protocol=grpc", app_port=grpc_port, env={"APP_API_TOKEN": TOKEN})
        cls.caller = cls.sidecars.start("caller")
        settings.DAPR_HTTP_PORT = cls.caller.http_port
        for sidecar in cls.sidecars.started:
            await_answer(sidecar.http_port)

    @classmethod
    def tearDownClass(cls):
        cls.app.stop()

    def client(self, protocol):
        settings.DAPR_API_METHOD_INVOCATION_PROTOCOL = protocol
        return self.enterContext(DaprClient(f"127.0.0.1:{self.caller.grpc_port}"))

    def test_waiting_for_the_sidecar(self):
        DaprHealth.wait_for_sidecar()
        self.client("http").wait(PATIENCE)

    def test_http_client_and_http_app(self):
        answer = self.client("http").invoke_method(
            "http-app",
            "a/b",
            data="hello",
            content_type="text/plain",
            metadata=(("x-mine", "1"),),
            http_verb="PUT",
            http_querystring=(("q", "a b"),),
        )
        seen = json.loads(answer.data)
        self.assertEqual((seen["method"], seen["body"]), ("PUT", "hello"))
        self.assertEqual(seen["target"], "/a/b?q=a+b")
        self.assertEqual(seen["headers"]["x-mine"], "1")
        self.assertEqual(seen["headers"]["dapr-caller-app-id"], "caller")
        self.assertEqual(answer.content_type, "application/json")
        self.assertEqual(answer.headers["X-Answered-By"], ["the app"])

    def test_http_client_and_grpc_app(self):
        answer = self.client("http").invoke_method("grpc-app", "echo", data="hello", http_verb="POST")
        seen = json.loads(answer.data)
        self.assertEqual(seen["body"], "hello")
        self.assertEqual(seen["metadata"]["dapr-api-token"], TOKEN)

    def test_grpc_client_and_http_app(self):
        answer = self.client("grpc").invoke_method(
            "http-app",
            "a/b",
            data=b"hello",
            content_type="text/plain",
            metadata=(("x-mine", "1"),),
            http_verb="POST",
            http_querystring=(("q", "1"),),
        )
        seen = json.loads(answer.data)
        self.assertEqual((seen["method"], seen["target"]), ("POST", "/a/b?q=1"))
        self.assertEqual((seen["body"], seen["headers"]["x-mine"]), ("hello", "1"))
        headers = dict(answer.headers)
        self.assertEqual(headers["dapr-http-status"], ["200"])

    def test_grpc_client_and_grpc_app(self):
        client = self.client("grpc")
        answer = client.invoke_method("grpc-app", "echo", data="hello", content_type="text/plain")
        seen = json.loads(answer.data)
        self.assertEqual(seen["body"], "hello")
        self.assertEqual(seen["metadata"]["dapr-caller-app-id"], "caller")
        typed = StringValue()
        client.invoke_method("grpc-app", "typed", data=StringValue(value="loud")).unpack(typed)
        self.assertEqual(typed.value, "LOUD")

    def test_a_large_body(self):
        text = "x" * (3 << 20)
        for protocol in ("http", "grpc"):
            answer = self.client(protocol).invoke_method("http-app", "large", data=text, http_verb="POST")
            self.assertEqual(json.loads(answer.data)["body"], text)

    def test_errors_of_the_http_client(self):
        client = self.client("http")
        with self.assertRaises(DaprHttpError) as caught:
            client.invoke_method("http-app", "missing", http_verb="GET")
        self.assertEqual(caught.exception.status_code, 404)
        with self.assertRaises(DaprHttpError) as caught:
            client.invoke_method("nobody", "x", http_verb="GET")
        self.assertEqual(caught.exception.status_code, 500)
        self.assertEqual(caught.exception.error_code, "ERR_DIRECT_INVOKE")
        with self.assertRaises(DaprHttpError) as caught:
            client.invoke_method("grpc-app", "nothing", http_verb="POST")
        self.assertEqual(caught.exception.status_code, 501)

    def test_errors_of_the_grpc_client(self):
        client = self.client("grpc")
        for app_id, method, code, text in (
            ("http-app", "missing", grpc.StatusCode.NOT_FOUND, "Not Found"),
            ("nobody", "x", grpc.StatusCode.INTERNAL, "failed to invoke, id: nobody"),
            ("grpc-app", "nothing", grpc.StatusCode.UNIMPLEMENTED, "nothing"),
            ("grpc-app", "fail", grpc.StatusCode.UNKNOWN, "the app broke"),
        ):
            with self.subTest(app_id=app_id, method=method), self.assertRaises(grpc.RpcError) as caught:
                client.invoke_method(app_id, method, data="x", http_verb="POST")
            self.assertEqual(caught.exception.code(), code)
            self.assertIn(text, caught.exception.details())

    def test_metadata(self):
        client = self.client("grpc")
        client.set_metadata("colour", "blue")
        metadata = client.get_metadata()
        self.assertEqual(metadata.application_id, "caller")
        self.assertEqual(metadata.extended_metadata["colour"], "blue")

    def test_a_building_block_that_is_not_there(self):
        with self.assertRaises(grpc.RpcError) as caught:
            self.client("grpc").get_state("statestore", "key")
        self.assertIn("state store statestore is not configured", str(caught.exception))

    def test_shutdown(self):
        stopped = self.sidecars.start("stopped")
        await_answer(stopped.http_port)
        with DaprClient(f"127.0.0.1:{stopped.grpc_port}") as client:
            client.shutdown()
        self.assertEqual(stopped.wait(), 0)

    def test_the_api_token(self):
        guarded = self.sidecars.start("guarded", env={"DAPR_API_TOKEN": TOKEN})
        await_answer(guarded.http_port)
        address = f"127.0.0.1:{guarded.grpc_port}"
        with DaprClient(address) as client, self.assertRaises(grpc.RpcError) as caught:
            client.get_metadata()
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAUTHENTICATED)
        settings.DAPR_API_TOKEN = TOKEN
        self.addCleanup(setattr, settings, "DAPR_API_TOKEN", None)
        with DaprClient(address) as client:
            self.assertEqual(client.get_metadata().application_id, "guarded")


class Proxying(unittest.TestCase):
    """A service of the app's own, called with gRPC's own client through the sidecars."""

    TARGET = (("dapr-app-id", "grpc-app"),)

    @classmethod
    def setUpClass(cls):
        Invocation.setUpClass.__func__(cls)
        cls.channel = cls.enterClassContext(grpc.insecure_channel(f"127.0.0.1:{cls.caller.grpc_port}"))

    @classmethod
    def tearDownClass(cls):
        cls.app.stop()

    def test_unary(self):
        answer, call = self.channel.unary_unary("/greet.Greeter/Unary").with_call(
            b"you", metadata=self.TARGET, timeout=PATIENCE
        )
        self.assertEqual(answer, b"hello you")
        self.assertEqual(dict(call.initial_metadata())["x-head"], "early")
        trailers = dict(call.trailing_metadata())
        self.assertEqual((trailers["x-tail"], trailers["x-tail-bin"]), ("late", b"\x00\xff"))

    def test_compression(self):
        answer = self.channel.unary_unary("/greet.Greeter/Unary")(
            b"y" * 10_000, metadata=self.TARGET, timeout=PATIENCE, compression=grpc.Compression.Gzip
        )
        self.assertEqual(answer, b"hello " + b"y" * 10_000)

    def test_metadata(self):
        metadata = (*self.TARGET, ("x-mine", "1"), ("x-mine-bin", b"\x01\x02"))
        answer = self.channel.unary_unary("/greet.Greeter/Unary")(b"metadata", metadata=metadata, timeout=PATIENCE)
        seen = json.loads(answer)
        self.assertEqual(seen["x-mine"], "1")
        self.assertEqual(seen["x-mine-bin"], str(b"\x01\x02"))
        self.assertEqual(seen["dapr-caller-app-id"], "caller")
        self.assertEqual(seen["dapr-api-token"], TOKEN)
        self.assertNotIn("dapr-app-id", seen)

    def test_streams(self):
        options = {"metadata": self.TARGET, "timeout": PATIENCE}
        answers = self.channel.unary_stream("/greet.Greeter/ServerStream")(b"x", **options)
        self.assertEqual(list(answers), [b"0 x", b"1 x", b"2 x"])
        answer = self.channel.stream_unary("/greet.Greeter/ClientStream")(iter([b"a", b"b"]), **options)
        self.assertEqual(answer, b"a,b")
        answers = self.channel.stream_stream("/greet.Greeter/Both")(iter([b"ab", b"cd"]), **options)
        self.assertEqual(list(answers), [b"ba", b"dc"])

    def test_errors(self):
        for metadata, request, code, text in (
            (self.TARGET, b"fail", grpc.StatusCode.DATA_LOSS, "lost – really"),
            ((("dapr-app-id", "nobody"),), b"x", grpc.StatusCode.UNKNOWN, "nobody"),
            ((), b"x", grpc.StatusCode.UNKNOWN, "missing dapr-callee-app-id or dapr-app-id"),
        ):
            with self.subTest(code=code), self.assertRaises(grpc.RpcError) as caught:
                self.channel.unary_unary("/greet.Greeter/Unary")(request, metadata=metadata, timeout=PATIENCE)
            self.assertEqual(caught.exception.code(), code)
            self.assertIn(text, caught.exception.details())
        with self.assertRaises(grpc.RpcError) as caught:
            self.channel.unary_unary("/greet.Greeter/Nothing")(b"", metadata=self.TARGET, timeout=PATIENCE)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNIMPLEMENTED)

    def test_cancellation_reaches_the_app(self):
        GONE.clear()
        answers = self.channel.unary_stream("/greet.Greeter/Endless")(b"", metadata=self.TARGET, timeout=PATIENCE)
        self.assertEqual(next(answers), b"more")
        answers.cancel()
        self.assertTrue(GONE.wait(PATIENCE))

    def test_a_deadline(self):
        answers = self.channel.unary_stream("/greet.Greeter/Endless")(b"", metadata=self.TARGET, timeout=0.3)
        with self.assertRaises(grpc.RpcError) as caught:
            for _ in answers:
                pass
        self.assertEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)


if __name__ == "__main__":
    unittest.main()
