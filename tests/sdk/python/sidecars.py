"""Sidecars for the tests: processes on free ports of the loopback interface that find each other by a SQLite file."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

CONFIGURATION = """\
apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata:
  name: sdk
spec:
  nameResolution:
    component: sqlite
    configuration:
      connectionString: {folder}/names.db
"""

# How long anything may take that must happen. It bounds hangs and measures nothing.
PATIENCE = 30


def free_port():
    """A port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Sidecar:
    """A running `daprd`."""

    def __init__(self, process, http_port, grpc_port):
        self.process = process
        self.http_port = http_port
        self.grpc_port = grpc_port

    def wait(self):
        """The exit code, once the process has ended."""
        return self.process.wait(PATIENCE)


class Sidecars:
    """A folder, a configuration, and the sidecars that share it. Leaving the block ends them."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="daprd-sdk-")
        self.started = []

    def __enter__(self):
        with open(os.path.join(self.folder, "config.yaml"), "w", encoding="utf-8") as file:
            file.write(CONFIGURATION.format(folder=self.folder))
        return self

    def __exit__(self, *_):
        for sidecar in self.started:
            sidecar.process.terminate()
        for sidecar in self.started:
            sidecar.process.wait(PATIENCE)
        shutil.rmtree(self.folder)

    def start(self, app_id, *args, app_port=None, env=None):
        """Starts a sidecar without waiting for it: that is what SDKs do."""
        http_port, grpc_port, internal_port = free_port(), free_port(), free_port()
        command = [
            os.environ["DAPRD_BIN"],
            f"--app-id={app_id}",
            f"--dapr-http-port={http_port}",
            f"--dapr-grpc-port={grpc_port}",
            f"--dapr-internal-grpc-port={internal_port}",
            "--dapr-listen-addresses=127.0.0.1",
            "--enable-metrics=false",
            f"--config={self.folder}/config.yaml",
            *args,
        ]
        if app_port:
            command.append(f"--app-port={app_port}")
        with open(os.path.join(self.folder, f"{app_id}.log"), "wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env={"DAPR_HOST_IP": "127.0.0.1", **(env or {})}
            )
        sidecar = Sidecar(process, http_port, grpc_port)
        self.started.append(sidecar)
        return sidecar


def await_answer(port, path="/v1.0/healthz"):
    """Waits until a path of the HTTP API answers with success."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE):
                return
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
