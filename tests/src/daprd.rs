//! A `daprd` process.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;

use crate::binary::daprd_binary;
use crate::ports::free_port;
use crate::{PATIENCE, eventually};

/// What to start.
#[derive(Clone, Debug)]
pub struct DaprdBuilder {
    app_id: String,
    /// The program; the one under test unless given.
    binary: Option<PathBuf>,
    log_level: String,
    app_port: Option<u16>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    /// How many files the process may have open.
    open_files: Option<u32>,
    log_reader: LogReader,
    /// Whether the test waits for `/v1.0/healthz` before it goes on.
    await_health: bool,
}

/// What becomes of what a sidecar prints on standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogReader {
    /// It is read, and [`Daprd::log`] has it.
    #[default]
    Reads,
    /// Nobody reads it, until [`Daprd::read_log`].
    Stalls,
    /// Whoever was to read it is gone.
    Closes,
}

impl DaprdBuilder {
    /// A sidecar with free ports on the loopback interface and nothing else.
    pub fn new(app_id: &str) -> Self {
        Self {
            app_id: app_id.to_owned(),
            binary: None,
            log_level: "debug".to_owned(),
            app_port: None,
            args: Vec::new(),
            env: Vec::new(),
            open_files: None,
            log_reader: LogReader::default(),
            await_health: true,
        }
    }

    /// Starts this program instead of the one under test. It must know the same command line.
    #[must_use]
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }

    /// What the process logs; `debug` unless given.
    #[must_use]
    pub fn log_level(mut self, level: &str) -> Self {
        level.clone_into(&mut self.log_level);
        self
    }

    /// The port of the app.
    #[must_use]
    pub fn app_port(mut self, port: u16) -> Self {
        self.app_port = Some(port);
        self
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// One more environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets the process have no more than so many files open.
    #[must_use]
    pub fn open_files(mut self, limit: u32) -> Self {
        self.open_files = Some(limit);
        self
    }

    /// How standard output is read.
    #[must_use]
    pub fn log_reader(mut self, reader: LogReader) -> Self {
        self.log_reader = reader;
        self
    }

    /// Goes on without waiting for the sidecar to become healthy.
    #[must_use]
    pub fn without_waiting(mut self) -> Self {
        self.await_health = false;
        self
    }

    /// Starts the process.
    ///
    /// # Panics
    /// When it does not start, or does not become healthy.
    pub async fn start(self) -> Daprd {
        let daprd = Daprd::spawn(&self);
        if self.await_health {
            daprd.await_health().await;
        }
        daprd
    }
}

/// How a process ended.
#[derive(Clone, Debug)]
pub struct Exit {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// All that it printed on standard output.
    pub stdout: String,
    /// All that it printed on standard error.
    pub stderr: String,
}

/// A running sidecar. Dropping it kills the process; a failing test prints its log first.
pub struct Daprd {
    /// The app id.
    pub app_id: String,
    /// The port of the HTTP API.
    pub http_port: u16,
    /// The port of the gRPC API.
    pub grpc_port: u16,
    /// The port that other sidecars call.
    pub internal_port: u16,
    /// The port of the public HTTP server.
    pub public_port: u16,
    /// The port of the metrics.
    pub metrics_port: u16,
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    /// Standard output, while nobody reads it.
    unread: Option<ChildStdout>,
}

impl Daprd {
    fn spawn(builder: &DaprdBuilder) -> Self {
        let [http_port, grpc_port, internal_port, public_port, metrics_port] = [(); 5].map(|()| free_port());
        let binary = builder.binary.as_deref().unwrap_or_else(|| daprd_binary());
        let mut command = match builder.open_files {
            None => Command::new(binary),
            Some(limit) => {
                let mut shell = Command::new("/bin/sh");
                shell
                    .args(["-c", &format!("ulimit -n {limit}; exec \"$@\""), "sh"])
                    .arg(binary);
                shell
            }
        };
        command
            .args([
                format!("--app-id={}", builder.app_id),
                format!("--dapr-http-port={http_port}"),
                format!("--dapr-grpc-port={grpc_port}"),
                format!("--dapr-internal-grpc-port={internal_port}"),
                format!("--dapr-public-port={public_port}"),
                format!("--metrics-port={metrics_port}"),
                "--dapr-listen-addresses=127.0.0.1".to_owned(),
                "--dapr-internal-grpc-listen-address=127.0.0.1".to_owned(),
                "--dapr-public-listen-address=127.0.0.1".to_owned(),
                "--metrics-listen-address=127.0.0.1".to_owned(),
                format!("--log-level={}", builder.log_level),
            ])
            .args(builder.app_port.map(|port| format!("--app-port={port}")))
            .args(&builder.args)
            .env_clear()
            .envs(builder.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("daprd starts");
        let (stdout, stderr) = (Arc::default(), Arc::default());
        let mut readers = vec![collect(child.stderr.take().expect("piped"), Arc::clone(&stderr))];
        let mut unread = child.stdout.take();
        match builder.log_reader {
            LogReader::Reads => {
                readers.extend(unread.take().map(|output| collect(output, Arc::clone(&stdout))));
            }
            LogReader::Closes => unread = None,
            LogReader::Stalls => {}
        }
        let app_id = builder.app_id.clone();
        Self {
            app_id,
            http_port,
            grpc_port,
            internal_port,
            public_port,
            metrics_port,
            child,
            stdout,
            stderr,
            readers,
            unread,
        }
    }

    /// Begins to read what nobody read so far.
    pub fn read_log(&mut self) {
        let output = self.unread.take();
        self.readers
            .extend(output.map(|output| collect(output, Arc::clone(&self.stdout))));
    }

    /// The URL of a path of the HTTP API.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http_port)
    }

    /// The URL that invokes a method of an app.
    pub fn invoke_url(&self, app_id: &str, method: &str) -> String {
        self.url(&format!("/v1.0/invoke/{app_id}/method/{method}"))
    }

    /// Waits until `/v1.0/healthz` answers 204.
    ///
    /// # Panics
    /// When it does not.
    pub async fn await_health(&self) {
        self.await_status("/v1.0/healthz", 204).await;
    }

    /// Waits until a path of the HTTP API answers with a status.
    ///
    /// # Panics
    /// When it does not.
    pub async fn await_status(&self, path: &str, status: u16) {
        let url = self.url(path);
        let client = reqwest::Client::new();
        eventually(&format!("{status} from {path} of {}", self.app_id), || async {
            matches!(client.get(&url).send().await, Ok(answer) if answer.status() == status)
        })
        .await;
    }

    /// What the process printed on standard output so far.
    ///
    /// # Panics
    /// Never.
    pub fn log(&self) -> String {
        self.stdout.lock().expect("readers do not panic").clone()
    }

    /// Waits for a line of the log that contains `text`.
    ///
    /// # Panics
    /// When there is none.
    pub async fn await_log(&self, text: &str) {
        eventually(&format!("the log line {text:?} of {}", self.app_id), || async {
            self.log().contains(text)
        })
        .await;
    }

    /// The process id.
    ///
    /// # Panics
    /// When the process was waited for already.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("running")
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id");
        rustix::process::kill_process(pid, signal).expect("the process is there");
    }

    /// Asks the process to stop, as a platform does, and waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn stop(self) -> Exit {
        self.signal(Signal::TERM);
        self.exit().await
    }

    /// Waits for the end of the process.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn exit(mut self) -> Exit {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = status
            .expect("daprd ends in time")
            .expect("daprd can be waited for");
        for reader in self.readers.drain(..) {
            let _ = tokio::time::timeout(Duration::from_secs(5), reader).await;
        }
        let text = |output: &Mutex<String>| output.lock().expect("readers do not panic").clone();
        Exit {
            code: status.code(),
            stdout: text(&self.stdout),
            stderr: text(&self.stderr),
        }
    }

    /// Kills the process at once, as a crash would.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("daprd can be killed");
    }

    /// Resident memory in bytes.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most resident memory that the process ever had, in bytes.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn peak_resident_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("running");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .expect("a resident size");
        line.trim()
            .trim_end_matches(" kB")
            .trim()
            .parse::<u64>()
            .expect("a number")
            * 1024
    }
}

/// Runs `daprd` with these arguments alone and waits for its end.
///
/// # Panics
/// When it does not end.
pub async fn run_daprd<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Exit {
    let output = Command::new(daprd_binary())
        .args(args)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, output).await;
    let output = output.expect("daprd ends in time").expect("daprd starts");
    Exit {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Drop for Daprd {
    fn drop(&mut self) {
        let keep = std::env::var_os("KEEP_LOGS").is_some();
        if !std::thread::panicking() && !keep {
            return;
        }
        let mut text = String::new();
        for (name, output) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if let Ok(output) = output.lock() {
                let _ = writeln!(text, "--- {name} of {} ---\n{output}", self.app_id);
            }
        }
        println!("{text}");
    }
}

fn collect(output: impl AsyncRead + Unpin + Send + 'static, into: Arc<Mutex<String>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut into = into.lock().expect("nobody panics with it");
            into.push_str(&line);
            into.push('\n');
        }
    })
}
