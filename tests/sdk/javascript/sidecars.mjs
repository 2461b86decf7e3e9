// Sidecars for the tests: processes on free ports of the loopback interface that find each other by a SQLite file.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { openSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const configuration = (folder) => `\
apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata:
  name: sdk
spec:
  nameResolution:
    component: sqlite
    configuration:
      connectionString: ${folder}/names.db
`;

// How long anything may take that must happen, in milliseconds. It bounds hangs and measures nothing.
export const PATIENCE = 30_000;

// A port that nothing listens on.
export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

// A folder, a configuration, and the sidecars that share it.
export class Sidecars {
  #processes = [];

  static async create() {
    const sidecars = new Sidecars();
    sidecars.folder = await mkdtemp(join(tmpdir(), "daprd-sdk-"));
    await writeFile(join(sidecars.folder, "config.yaml"), configuration(sidecars.folder));
    return sidecars;
  }

  // Starts a sidecar and waits until it is healthy. With `ports`, on these.
  async start(appId, { appPort, args = [], env = {}, ports = {} } = {}) {
    const http = String(ports.http ?? (await freePort()));
    const grpc = String(ports.grpc ?? (await freePort()));
    const log = openSync(join(this.folder, `${appId}.log`), "w");
    const child = spawn(
      process.env.DAPRD_BIN,
      [
        `--app-id=${appId}`,
        `--dapr-http-port=${http}`,
        `--dapr-grpc-port=${grpc}`,
        `--dapr-internal-grpc-port=${await freePort()}`,
        "--dapr-listen-addresses=127.0.0.1",
        "--enable-metrics=false",
        `--config=${this.folder}/config.yaml`,
        ...(appPort ? [`--app-port=${appPort}`] : []),
        ...args,
      ],
      { stdio: ["ignore", log, log], env: { DAPR_HOST_IP: "127.0.0.1", ...env } },
    );
    const ended = once(child, "exit").then(([code]) => code);
    this.#processes.push({ child, ended });
    await eventually(async () => (await fetch(`http://127.0.0.1:${http}/v1.0/healthz`)).ok);
    return { http, grpc, ended };
  }

  async stop() {
    for (const { child } of this.#processes) child.kill();
    await Promise.all(this.#processes.map(({ ended }) => ended));
    await rm(this.folder, { recursive: true });
  }
}

async function eventually(condition) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    try {
      if (await condition()) return;
    } catch (error) {
      if (Date.now() > end) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
