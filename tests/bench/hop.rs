//! The proxies of a chain: two of the same kind, one behind the other.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use integration_tests::{Daprd, free_port};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::kind::Speech;
use crate::proxy_config;
use crate::relay::Wire;

/// How long a proxy may take to listen.
const START_PATIENCE: Duration = Duration::from_secs(15);
/// How long a proxy may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// One process of a chain.
pub(crate) enum Hop {
    Daprd(Box<Daprd>),
    Proxy(Box<Proxy>),
}

impl Hop {
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Daprd(daprd) => daprd.pid(),
            Self::Proxy(proxy) => proxy.pid,
        }
    }

    /// The port that a caller of this protocol calls.
    pub(crate) fn port(&self, speech: Speech) -> u16 {
        match (self, speech) {
            (Self::Daprd(daprd), Speech::Http) => daprd.http_port,
            (Self::Daprd(daprd), Speech::Grpc) => daprd.grpc_port,
            (Self::Proxy(proxy), _) => proxy.port,
        }
    }

    /// What it said so far.
    pub(crate) fn log(&self) -> String {
        match self {
            Self::Daprd(daprd) => daprd.log(),
            Self::Proxy(proxy) => {
                std::fs::read_to_string(proxy.folder.path().join("log")).unwrap_or_default()
            }
        }
    }

    /// Ends it as a platform does.
    pub(crate) async fn stop(self) {
        match self {
            Self::Daprd(daprd) => {
                daprd.stop().await;
            }
            Self::Proxy(proxy) => proxy.stop().await,
        }
    }
}

/// A proxy that is no daprd. It is killed when dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    pid: u32,
    child: Child,
    /// Its configuration and its log.
    folder: TempDir,
}

/// A proxy to start.
pub(crate) struct Plan<'a> {
    /// Where what comes in goes to.
    pub(crate) next: u16,
    pub(crate) speech: Speech,
    /// Whether it stands in front of the app.
    pub(crate) is_last: bool,
    pub(crate) program: &'a Path,
    /// Where the certificates are, when there is TLS between the hops.
    pub(crate) certificates: Option<&'a Path>,
}

impl Plan<'_> {
    /// Starts what only moves bytes; `program` is this one.
    pub(crate) async fn mover(&self) -> Result<(Proxy, Duration), String> {
        self.start(|port, _| Ok(vec!["mover".to_owned(), port.to_string(), self.next.to_string()]))
            .await
    }

    /// Starts the relay; `program` is this one.
    pub(crate) async fn relay(&self) -> Result<(Proxy, Duration), String> {
        let between = if self.certificates.is_some() {
            Wire::H2Tls
        } else {
            Wire::H2
        };
        let outside = match self.speech {
            Speech::Grpc => Wire::H2,
            Speech::Http => Wire::H1,
        };
        let (incoming, outgoing) = if self.is_last {
            (between, outside)
        } else {
            (outside, between)
        };
        self.start(|port, _| {
            let (port, next) = (port.to_string(), self.next.to_string());
            let args = ["relay", &port, incoming.name(), outgoing.name(), &next];
            let certificates = self.certificates.map(|folder| folder.display().to_string());
            Ok(args.map(str::to_owned).into_iter().chain(certificates).collect())
        })
        .await
    }

    /// Starts nginx. Between two of them is HTTP/1: it has no other client for HTTP.
    pub(crate) async fn nginx(&self) -> Result<(Proxy, Duration), String> {
        self.start(|port, folder| {
            let config = folder.join("nginx.conf");
            write(&config, &proxy_config::nginx(self, port, folder))?;
            let (config, folder) = (config.display().to_string(), folder.display().to_string());
            Ok(vec!["-c".to_owned(), config, "-p".to_owned(), folder])
        })
        .await
    }

    /// Starts `HAProxy`, which speaks HTTP/2 to the next one.
    pub(crate) async fn haproxy(&self) -> Result<(Proxy, Duration), String> {
        self.start(|port, folder| {
            let config = folder.join("haproxy.cfg");
            write(&config, &proxy_config::haproxy(self, port))?;
            Ok(vec![
                "-db".to_owned(),
                "-f".to_owned(),
                config.display().to_string(),
            ])
        })
        .await
    }

    /// Starts Envoy, which speaks HTTP/2 to the next one.
    pub(crate) async fn envoy(&self) -> Result<(Proxy, Duration), String> {
        self.start(|port, folder| {
            let config = folder.join("envoy.json");
            write(&config, &proxy_config::envoy(self, port))?;
            let mut args = vec!["-c".to_owned(), config.display().to_string()];
            let base = (std::process::id() % 10_000 * 100 + u32::from(port) % 100).to_string();
            args.extend(["--base-id", &base, "--log-level", "error"].map(str::to_owned));
            Ok(args)
        })
        .await
    }

    async fn start(
        &self,
        args: impl FnOnce(u16, &Path) -> Result<Vec<String>, String>,
    ) -> Result<(Proxy, Duration), String> {
        let folder = tempfile::Builder::new()
            .prefix("bench-")
            .tempdir()
            .map_err(|error| error.to_string())?;
        let port = free_port();
        let args = args(port, folder.path())?;
        let log = std::fs::File::create(folder.path().join("log")).map_err(|error| error.to_string())?;
        let mut command = Command::new(self.program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        let begun = Instant::now();
        let mut child = command
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", self.program.display()))?;
        let listens = || async { TcpStream::connect(("127.0.0.1", port)).await.is_ok() };
        while !listens().await {
            let is_gone = !matches!(child.try_wait(), Ok(None));
            if is_gone || begun.elapsed() > START_PATIENCE {
                let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                return Err(format!("{} does not listen: {log}", self.program.display()));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let took = begun.elapsed();
        let pid = child.id().ok_or("the proxy ended early")?;
        let proxy = Proxy {
            port,
            pid,
            child,
            folder,
        };
        Ok((proxy, took))
    }
}

impl Proxy {
    async fn stop(mut self) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(STOP_PATIENCE, self.child.wait())
            .await
            .is_err()
        {
            let _ = self.child.kill().await;
        }
    }
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}
