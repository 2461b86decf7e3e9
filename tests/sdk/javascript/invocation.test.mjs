// The published JavaScript SDK, unmodified, against two sidecars.
//
// Run by `cargo xtask sdk javascript`, which installs what `package-lock.json` names and sets `DAPRD_BIN`.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import dapr from "@dapr/dapr";

import { Sidecars, freePort } from "./sidecars.mjs";

const { CommunicationProtocolEnum, DaprClient, DaprServer, HttpMethod, LogLevel } = dapr;
const { GRPC, HTTP } = CommunicationProtocolEnum;
const TOKEN = "secret";
const logger = { level: LogLevel.Error };

let sidecars;
let caller;
const servers = [];

// An app on the SDK's server, and its sidecar. The SDK's server waits for the sidecar, and the sidecar for it.
async function app(appId, protocol) {
  const appPort = String(await freePort());
  const ports = { http: await freePort(), grpc: await freePort() };
  const server = new DaprServer({
    serverHost: "127.0.0.1",
    serverPort: appPort,
    communicationProtocol: protocol,
    logger,
    clientOptions: {
      daprHost: "127.0.0.1",
      daprPort: String(protocol === GRPC ? ports.grpc : ports.http),
      communicationProtocol: protocol,
      logger,
    },
  });
  const seen = ({ body, query, metadata, headers }) => ({ body, query, type: metadata.contentType, headers });
  for (const method of [HttpMethod.GET, HttpMethod.POST, HttpMethod.PUT]) {
    await server.invoker.listen("hello", async (request) => ({ by: appId, method, ...seen(request) }), { method });
  }
  await server.invoker.listen("fail", async () => Promise.reject(new Error("the app broke")), {
    method: HttpMethod.POST,
  });
  servers.push(server);
  const args = protocol === GRPC ? ["--app-protocol=grpc"] : [];
  await Promise.all([server.start(), sidecars.start(appId, { appPort, args, ports })]);
}

function client(communicationProtocol, { sidecar = caller, ...options } = {}) {
  const daprPort = communicationProtocol === GRPC ? sidecar.grpc : sidecar.http;
  return new DaprClient({ daprHost: "127.0.0.1", daprPort, communicationProtocol, logger, ...options });
}

before(async () => {
  sidecars = await Sidecars.create();
  await Promise.all([
    app("http-app", HTTP),
    app("grpc-app", GRPC),
    sidecars.start("caller").then((started) => (caller = started)),
  ]);
});

after(async () => {
  // The servers of the SDK wait for the connections of the sidecars.
  await sidecars.stop();
  await Promise.all(servers.map((server) => server.stop()));
});

for (const [name, protocol] of Object.entries({ http: HTTP, grpc: GRPC })) {
  describe(`the ${name} client`, () => {
    let sdk;
    before(() => (sdk = client(protocol)));
    after(() => sdk.stop());

    for (const appId of ["http-app", "grpc-app"]) {
      test(`invokes ${appId}`, async () => {
        const answer = await sdk.invoker.invoke(appId, "hello", HttpMethod.POST, { who: "you" });
        assert.equal(answer.by, appId);
        assert.equal(answer.method, "post");
        assert.deepEqual(JSON.parse(answer.body), { who: "you" });
        assert.match(answer.type, /^application\/json/);
        if (appId === "http-app") assert.equal(answer.headers["dapr-caller-app-id"], "caller");
      });

      test(`invokes ${appId} with other verbs`, async () => {
        assert.equal((await sdk.invoker.invoke(appId, "hello", HttpMethod.GET)).method, "get");
        assert.equal((await sdk.invoker.invoke(appId, "hello", HttpMethod.PUT, "text")).method, "put");
      });
    }

    test("sees the error of an app", async () => {
      await assert.rejects(sdk.invoker.invoke("grpc-app", "fail", HttpMethod.POST, {}));
      await assert.rejects(sdk.invoker.invoke("http-app", "nothing", HttpMethod.POST, {}), /404|not.found/i);
    });

    test("sees that nobody has an app", async () => {
      await assert.rejects(sdk.invoker.invoke("nobody", "hello", HttpMethod.POST, {}), /nobody/);
    });

    test("reads and writes metadata", async () => {
      await sdk.metadata.set("colour", name);
      const metadata = await sdk.metadata.get();
      assert.equal(metadata.id, "caller");
      const extended = metadata.extended ?? metadata.extendedMetadata;
      assert.equal(extended.colour ?? new Map(extended).get("colour"), name);
    });

    test("sees health", async () => {
      assert.equal(await sdk.health.isHealthy(), true);
    });

    test("stops a sidecar", async () => {
      const stopped = await sidecars.start(`stopped-${name}`);
      const its = client(protocol, { sidecar: stopped });
      await its.sidecar.shutdown();
      assert.equal(await stopped.ended, 0);
      await its.stop();
    });

    test("shows the API token", async () => {
      const guarded = await sidecars.start(`guarded-${name}`, { env: { DAPR_API_TOKEN: TOKEN } });
      const allowed = client(protocol, { sidecar: guarded, daprApiToken: TOKEN });
      const answer = await allowed.invoker.invoke("http-app", "hello", HttpMethod.GET);
      assert.equal(answer.by, "http-app");
      await allowed.stop();
    });
  });
}
