//! One thread that writes the log.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use super::format::{Constant, Format, Record, Value, line};
use super::queue::{Batch, Queue, Worth};

/// How long the end of the process waits for whoever reads the log, each time that nothing is read.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause after an output said that it takes nothing now: pipes may be set so by those who read them.
const PAUSE: Duration = Duration::from_millis(10);

/// The log of the process. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Log {
    queue: Arc<Queue>,
    form: Arc<Form>,
}

/// How lines look.
#[derive(Debug)]
struct Form {
    format: Format,
    constant: Constant,
}

impl Form {
    fn line(&self, record: Record<'_>) -> String {
        line(self.format, &self.constant, record)
    }
}

impl Log {
    pub(super) fn start(output: Box<dyn Write + Send>, format: Format, constant: Constant) -> Self {
        let log = Self {
            queue: Arc::default(),
            form: Arc::new(Form { format, constant }),
        };
        let (queue, form) = (Arc::clone(&log.queue), Arc::clone(&log.form));
        // The thread lives as long as the process; `flush` is how its work is waited for.
        let _ = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(output, &queue, &form));
        log
    }

    pub(super) fn write(&self, record: Record<'_>) {
        let worth = match record.level {
            "debug" => Worth::Debug,
            "fatal" => Worth::Fatal,
            _ => Worth::Usual,
        };
        self.queue.push(worth, self.form.line(record));
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

    /// Prints the line of a call, whatever the level is. If not all lines can be written, these go first: there is one for
    /// each call.
    pub fn access(&self, message: &str) {
        let line = self.form.line(Record {
            time: SystemTime::now(),
            level: "info",
            scope: "daprd.access",
            message,
            fields: Vec::new(),
        });
        self.queue.push(Worth::Debug, line);
    }

    /// How many lines went without being written, because whoever reads the log is too slow.
    pub fn lost(&self) -> u64 {
        self.queue.all_lost()
    }

    /// Waits until everything logged so far is written. A reader who reads nothing for five seconds is not waited for:
    /// the process must be able to end.
    pub fn flush(&self) {
        self.queue.flush(PATIENCE);
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
fn write(mut output: Box<dyn Write + Send>, queue: &Queue, form: &Form) {
    let mut batch = Batch::default();
    loop {
        queue.take(&mut batch);
        if batch.lost > 0 {
            let message = format!(
                "{} lines of the log are lost here: whoever reads it is too slow",
                batch.lost
            );
            let told = form.line(Record {
                time: SystemTime::now(),
                level: "warning",
                scope: "dapr.runtime",
                message: &message,
                fields: Vec::new(),
            });
            put(&mut output, told.as_bytes());
        }
        put(&mut output, batch.text.as_bytes());
        let _ = output.flush();
    }
}

/// Writes all of it, unless the output is closed.
fn put(output: &mut impl Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{self, Read};
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    fn constant() -> Constant {
        Constant {
            app_id: String::new(),
            instance: "h".into(),
            version: "edge",
        }
    }

    #[test]
    fn what_was_logged_is_there_after_a_flush() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let log = Log::start(Box::new(file.reopen().unwrap()), Format::Text, constant());
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
        // What is written already is not waited for.
        log.flush();
    }

    /// An output that takes nothing until it is told to, and then says once that it takes nothing now.
    struct Stalled {
        go: Receiver<()>,
        written: Sender<Vec<u8>>,
        has_refused: bool,
    }

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.go.recv();
            if !std::mem::replace(&mut self.has_refused, true) {
                return Err(ErrorKind::WouldBlock.into());
            }
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_holds_nobody_up_and_is_told_what_it_missed() {
        let ((goes, go), (written, lines)) = (channel(), channel());
        let output = Stalled {
            go,
            written,
            has_refused: false,
        };
        let log = Log::start(Box::new(output), Format::Text, constant());
        for index in 0..100_000 {
            log.write(Record {
                time: SystemTime::now(),
                level: if index % 2 == 0 { "debug" } else { "info" },
                scope: "dapr.runtime",
                message: &format!("line{index}"),
                fields: Vec::new(),
            });
        }
        log.fatal("dapr.runtime", "the end");
        log.queue.flush(Duration::from_millis(100));
        drop(goes);
        log.flush();
        drop(log);
        let written: Vec<u8> = lines.try_iter().flatten().collect();
        let text = String::from_utf8(written).unwrap();
        let mut lost = 0;
        for line in text
            .lines()
            .filter(|line| line.contains("lines of the log are lost"))
        {
            let count = line
                .split("msg=\"")
                .nth(1)
                .and_then(|rest| rest.split(' ').next());
            lost += count.unwrap().parse::<usize>().unwrap();
        }
        let told = text.matches("lines of the log are lost").count();
        assert_eq!(
            text.lines().count() - told + lost,
            100_001,
            "each is there or told of"
        );
        assert!(
            text.contains("msg=line99999") && lost > 50_000,
            "the latest are there"
        );
        assert!(text.lines().last().unwrap().contains("msg=\"the end\""));
    }

    #[test]
    fn a_closed_output_stops_nothing() {
        let (mut reader, writer) = io::pipe().unwrap();
        let log = Log::start(Box::new(writer), Format::Text, constant());
        log.fatal("dapr.runtime", "first");
        let mut first = [0; 10];
        reader.read_exact(&mut first).unwrap();
        drop(reader);
        for _ in 0..20_000 {
            log.fatal("dapr.runtime", "nobody reads this");
        }
        log.flush();
    }
}
