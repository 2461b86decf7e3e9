"""Apps on `grpc.aio` that allow few streams and short-lived connections: no call is lost.

Run by `cargo xtask sdk python` as everything here.
"""

import asyncio
import threading
import unittest

import grpc

from sidecars import PATIENCE, Sidecars, await_answer

UNARY = "/limits.Service/Unary"


class Service(grpc.GenericRpcHandler):
    """Gives back what it is sent, after a moment."""

    def service(self, details):
        async def unary(request, _):
            await asyncio.sleep(0.005)
            return request

        async def both(requests, _):
            async for request in requests:
                yield request

        return {
            UNARY: grpc.unary_unary_rpc_method_handler(unary),
            "/limits.Service/Both": grpc.stream_stream_rpc_method_handler(both),
        }.get(details.method)


class AioApp:
    """A server of `grpc.aio` on a thread of its own."""

    def __init__(self, options):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.run(self.start(options))

    async def start(self, options):
        self.server = grpc.aio.server(options=options)
        self.server.add_generic_rpc_handlers((Service(),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def stop(self):
        self.run(self.server.stop(None))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)


class StreamLimits(unittest.TestCase):
    def check(self, name, options, rounds):
        app = AioApp((("grpc.so_reuseport", 0), *options))
        self.addCleanup(app.stop)
        sidecars = self.enterContext(Sidecars())
        sidecars.start(name, "--app-protocol=grpc", app_port=app.port)
        caller = sidecars.start("caller")
        for sidecar in sidecars.started:
            await_answer(sidecar.http_port)
        asyncio.run(self.call(caller.grpc_port, (("dapr-app-id", name),), rounds))

    async def call(self, port, target, rounds):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            unary = channel.unary_unary(UNARY)
            for round_ in range(rounds):
                calls = (
                    unary(b"%d %d" % (round_, number), metadata=target, timeout=PATIENCE) for number in range(100)
                )
                answers = await asyncio.gather(*calls)
                self.assertEqual(answers, [b"%d %d" % (round_, number) for number in range(100)])

    def test_five_streams_at_once(self):
        self.check("limited", (("grpc.max_concurrent_streams", 5),), 5)

    def test_one_stream_at_once(self):
        self.check("alone", (("grpc.max_concurrent_streams", 1),), 1)

    def test_connections_of_a_certain_age(self):
        options = (
            ("grpc.max_concurrent_streams", 20),
            ("grpc.max_connection_age_ms", 150),
            ("grpc.max_connection_age_grace_ms", 1000 * PATIENCE),
        )
        self.check("ageing", options, 40)


if __name__ == "__main__":
    unittest.main()
