"""gRPC's own library, with and without its decompressors, as app and as caller.

Run by `cargo xtask sdk python`, as `test_invocation.py` is.
"""

import concurrent.futures
import unittest

import grpc

from sidecars import PATIENCE, Sidecars, await_answer

GZIP, DEFLATE = grpc.Compression.Gzip, grpc.Compression.Deflate
# One bit for each algorithm; the first is "not at all".
NO_COMPRESSION = (("grpc.compression_enabled_algorithms_bitset", 1),)
TO_APP = (("dapr-app-id", "packed-app"),)
TEXT = b"hello " * 1000


class Service(grpc.GenericRpcHandler):
    """Gives messages back, one or many."""

    def service(self, details):
        def unary(request, context):
            if details.method.endswith("/Packed"):
                context.set_compression(GZIP)
            return request

        def stream(requests, _):
            yield from requests

        if details.method.endswith("/Stream"):
            return grpc.stream_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)


def app(options=()):
    """A running server and its port."""
    pool = concurrent.futures.ThreadPoolExecutor(8)
    server = grpc.server(pool, handlers=[Service()], options=options)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


class Packed(unittest.TestCase):
    def through(self, options):
        """A port at which an app with these options is called through two sidecars."""
        server, port = app(options)
        self.addCleanup(server.stop, None)
        sidecars = Sidecars()
        sidecars.__enter__()
        self.addCleanup(sidecars.__exit__)
        callee = sidecars.start("packed-app", "--app-protocol=grpc", app_port=port)
        caller = sidecars.start("packed-caller")
        await_answer(callee.http_port)
        await_answer(caller.http_port)
        return caller.grpc_port

    def calls(self, port, options=()):
        """Calls with either compression, and without; each more than once, since sidecars learn from answers."""
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            for _ in range(3):
                for compression in (None, GZIP, DEFLATE) if not options else (None,):
                    for method in ("Unary", "Packed"):
                        call = channel.unary_unary(f"/test.Service/{method}")
                        answer = call(TEXT, metadata=TO_APP, timeout=PATIENCE, compression=compression)
                        self.assertEqual(answer, TEXT)
                    call = channel.stream_stream("/test.Service/Stream")
                    messages = [TEXT, b"", b"short", TEXT * 20]
                    answers = call(
                        iter(messages), metadata=TO_APP, timeout=PATIENCE, compression=compression
                    )
                    self.assertEqual(list(answers), messages)

    def test_an_app_that_cannot_unpack(self):
        server, port = app(NO_COMPRESSION)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/test.Service/Unary")
            with self.assertRaises(grpc.RpcError) as refused:
                call(TEXT, timeout=PATIENCE, compression=GZIP)
        self.assertEqual(refused.exception.code(), grpc.StatusCode.UNIMPLEMENTED, "or this test proves nothing")
        server.stop(None)
        self.calls(self.through(NO_COMPRESSION))

    def test_an_app_that_can(self):
        self.calls(self.through(()))

    def test_a_caller_that_cannot_unpack(self):
        self.calls(self.through(()), NO_COMPRESSION)


if __name__ == "__main__":
    unittest.main()
