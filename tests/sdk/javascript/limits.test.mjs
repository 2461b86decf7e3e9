// Apps on `grpc-js` that allow few streams and short-lived connections: no call is lost.
//
// Run by `cargo xtask sdk javascript` as everything here.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import grpc from "@grpc/grpc-js";

import { PATIENCE, Sidecars } from "./sidecars.mjs";

const same = (bytes) => bytes;
const service = {
  unary: {
    path: "/limits.Service/Unary",
    requestStream: false,
    responseStream: false,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  },
};
const Client = grpc.makeGenericClientConstructor(service, "limits.Service");

let sidecars;
before(async () => (sidecars = await Sidecars.create()));
after(() => sidecars.stop());

// A server that gives back what it is sent, after a moment, and a client of its sidecar's neighbour.
async function start(appId, options) {
  const server = new grpc.Server(options);
  server.addService(service, {
    unary: (call, answer) => setTimeout(() => answer(null, call.request), 5),
  });
  const port = await new Promise((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  await sidecars.start(appId, { appPort: String(port), args: ["--app-protocol=grpc"] });
  const caller = await sidecars.start(`caller-of-${appId}`);
  const client = new Client(`127.0.0.1:${caller.grpc}`, grpc.credentials.createInsecure());
  after(() => {
    client.close();
    server.forceShutdown();
  });
  return (text) => {
    const metadata = new grpc.Metadata();
    metadata.set("dapr-app-id", appId);
    const deadline = Date.now() + PATIENCE;
    return new Promise((resolve, reject) =>
      client.unary(Buffer.from(text), metadata, { deadline }, (error, answer) =>
        error ? reject(error) : resolve(answer.toString()),
      ),
    );
  };
}

async function rounds(call, count) {
  for (let round = 0; round < count; round++) {
    const texts = Array.from({ length: 100 }, (_, number) => `${round} ${number}`);
    assert.deepEqual(await Promise.all(texts.map(call)), texts);
  }
}

describe("an app on grpc-js", () => {
  test("that allows five streams at once", async () => {
    await rounds(await start("limited", { "grpc.max_concurrent_streams": 5 }), 5);
  });

  test("that allows one", async () => {
    await rounds(await start("alone", { "grpc.max_concurrent_streams": 1 }), 1);
  });

  test("whose connections reach a certain age", async () => {
    const options = {
      "grpc.max_concurrent_streams": 20,
      "grpc.max_connection_age_ms": 150,
      "grpc.max_connection_age_grace_ms": PATIENCE,
    };
    await rounds(await start("ageing", options), 40);
  });
});
