//! One thread that writes the log.

use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::SystemTime;

use super::format::{Constant, Format, Record, Value, line};

/// How many lines may wait. Whoever logs more waits for the writer: no line is ever lost.
const QUEUE: usize = 8192;

/// The log of the process. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Log {
    lines: SyncSender<Message>,
    format: Format,
    constant: Arc<Constant>,
}

#[derive(Debug)]
enum Message {
    Line(String),
    Flush(SyncSender<()>),
}

impl Log {
    pub(super) fn start(output: Box<dyn Write + Send>, format: Format, constant: Constant) -> Self {
        let (lines, queue) = sync_channel(QUEUE);
        // The thread lives as long as the process; `flush` is how its work is waited for.
        let _ = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(output, &queue));
        Self {
            lines,
            format,
            constant: Arc::new(constant),
        }
    }

    pub(super) fn write(&self, record: Record<'_>) {
        let _ = self
            .lines
            .send(Message::Line(line(self.format, &self.constant, record)));
    }

    /// Prints a line at the level `fatal`, which `tracing` does not have.
    pub fn fatal(&self, scope: &str, message: &str) {
        self.write(Record {
            time: SystemTime::now(),
            level: "fatal",
            scope,
            message,
            fields: Vec::new(),
        });
    }

    /// Prints the line of an API call, whatever the level is.
    pub fn api_call(&self, call: ApiCall<'_>) {
        let mut fields = vec![
            ("method", Value::Text(call.method.to_owned())),
            ("code", Value::Number(call.code.into())),
            ("duration", Value::Number(call.duration_ms.into())),
        ];
        if let Some(size) = call.size {
            fields.push(("size", Value::Number(size.into())));
        }
        if let Some(agent) = call.user_agent {
            fields.push(("useragent", Value::Text(agent.to_owned())));
        }
        let (scope, message) = (call.scope, call.message);
        self.write(Record {
            time: SystemTime::now(),
            level: "info",
            scope,
            message,
            fields,
        });
    }

    /// Waits until everything logged so far is written.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.lines.send(Message::Flush(done)).is_ok() {
            let _ = wait.recv();
        }
    }
}

/// A call of one of the APIs.
#[derive(Clone, Copy, Debug)]
pub struct ApiCall<'a> {
    /// `dapr.runtime.http-info` or `dapr.runtime.grpc.api-info`.
    pub scope: &'a str,
    /// `HTTP API Called` or `gRPC API Called`.
    pub message: &'a str,
    /// Verb and path, or the full gRPC method.
    pub method: &'a str,
    /// The status.
    pub code: i64,
    /// The time it took, in milliseconds.
    pub duration_ms: u64,
    /// The bytes of the answer, for HTTP.
    pub size: Option<u64>,
    /// What the caller calls itself.
    pub user_agent: Option<&'a str>,
}

/// Writes until the process ends; a closed output is no reason to stop anything.
fn write(output: Box<dyn Write + Send>, queue: &Receiver<Message>) {
    let mut output = BufWriter::with_capacity(64 * 1024, output);
    let mut next = queue.recv().ok();
    while let Some(message) = next {
        match message {
            Message::Line(line) => {
                let _ = output.write_all(line.as_bytes());
            }
            Message::Flush(done) => {
                let _ = output.flush();
                let _ = done.send(());
            }
        }
        next = match queue.try_recv() {
            Ok(message) => Some(message),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => {
                let _ = output.flush();
                queue.recv().ok()
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_logged_is_there_after_a_flush() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let constant = Constant {
            app_id: String::new(),
            instance: "h".into(),
            version: "edge",
        };
        let log = Log::start(Box::new(file.reopen().unwrap()), Format::Text, constant);
        for index in 0..10_000 {
            log.fatal("dapr.runtime", &format!("line{index}"));
        }
        log.api_call(ApiCall {
            scope: "dapr.runtime.http-info",
            message: "HTTP API Called",
            method: "GET /v1.0/healthz",
            code: 204,
            duration_ms: 0,
            size: Some(0),
            user_agent: None,
        });
        log.flush();
        let written = fs::read_to_string(file.path()).unwrap();
        assert_eq!(written.lines().count(), 10_001);
        let last = written.lines().last().unwrap();
        assert!(
            last.ends_with(
                "msg=\"HTTP API Called\" code=204 duration=0 instance=h method=\"GET /v1.0/healthz\" \
                 scope=dapr.runtime.http-info size=0 type=log ver=edge"
            ),
            "{last}"
        );
    }
}
