//! `--wait`: until a sidecar on this host can call out.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);
const ATTEMPT: Duration = Duration::from_millis(500);

/// Asks until the answer is 204, at most for a minute. Scripts rely on the exit code being 0 in every case.
pub fn for_outbound_health(port: &str) {
    let path = "/v1.0/healthz/outbound";
    let mut stderr = std::io::stderr();
    let url = format!("http://localhost:{port}{path}");
    let _ = writeln!(
        stderr,
        "Waiting for Dapr to be outbound ready (timeout: 60 seconds): url={url}\n"
    );
    let begun = Instant::now();
    let mut told = begun.checked_sub(LIMIT);
    loop {
        let error = match ask(port, path) {
            Ok(204) => {
                let _ = writeln!(stderr, "Dapr is outbound ready!");
                return;
            }
            Ok(status) => format!("HTTP status code {status}"),
            Err(error) => error.to_string(),
        };
        if begun.elapsed() >= LIMIT {
            let _ = writeln!(
                stderr,
                "timeout waiting for Dapr to become outbound ready. Last error: {error}"
            );
            return;
        }
        if told.is_none_or(|told| told.elapsed() >= Duration::from_secs(1)) {
            let _ = writeln!(stderr, "Dapr outbound NOT ready yet: {error}");
            told = Some(Instant::now());
        }
        sleep(PAUSE);
    }
}

fn ask(port: &str, path: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(format!("localhost:{port}"))?;
    stream.set_read_timeout(Some(ATTEMPT))?;
    stream.set_write_timeout(Some(ATTEMPT))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}
