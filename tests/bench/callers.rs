//! Calls that no load generator at hand makes: messages on gRPC streams, and unary calls without a content length.
//!
//! oha keeps no streams open and times no single messages. It also declares the length of what it sends, which no
//! gRPC library does and which Dapr's `InvokeService` takes for the length of the app's body. So this load is ours:
//! a fixed number of callers, each with one call on the way. In the open loop every caller has its own schedule; a
//! call that goes out late because the one before it is not back yet counts from when it was due. The status of
//! every call is looked at.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;

use crate::chain::Running;
use crate::grpc;
use crate::kind::Scene;
use crate::load::{Load, Report, STREAMS};
use crate::pace::{self, Schedule};

/// How long a message may take to come back.
const PATIENCE: Duration = Duration::from_secs(30);

type Pieces = Channel<Bytes, std::io::Error>;

/// One who calls.
enum Caller {
    Stream(Stream),
    Unary(Unary),
}

/// One who makes unary calls.
struct Unary {
    connection: SendRequest<grpc::Undeclared>,
    port: u16,
    path: String,
    metadata: Vec<(&'static str, String)>,
}

/// An open stream.
struct Stream {
    sender: Sender<Bytes, std::io::Error>,
    answer: Incoming,
}

/// Sends messages of `length` bytes for the time of the load.
pub(crate) async fn run(running: &Running, length: usize, load: Load) -> Result<Report, String> {
    let (at_once, seconds, rate) = match load {
        Load::Closed { at_once, seconds } => (at_once, seconds, None),
        Load::Open {
            at_once,
            seconds,
            rate,
        } => (at_once, seconds, Some(rate)),
        Load::Crowd { calls } => (calls, 0, None),
    };
    let message = running.message(length);
    let callers = match running.scene() {
        Scene::GrpcStream => streams(running, at_once, &message).await?,
        _ => unary(running, at_once).await?,
    };
    let begun = Instant::now();
    let end = begun + Duration::from_secs(seconds);
    let schedules = match rate {
        Some(rate) => pace::start(callers.len(), rate, begun, end).map_err(|error| error.to_string())?,
        None => Vec::new(),
    };
    let mut schedules = schedules.into_iter();
    let talks = callers
        .into_iter()
        .map(|caller| tokio::spawn(talk(caller, message.clone(), schedules.next(), end)));
    let mut times = Vec::new();
    let mut reasons = Vec::new();
    for talk in talks.collect::<Vec<_>>() {
        match talk.await.map_err(|error| error.to_string())? {
            Ok(of_stream) => times.extend(of_stream),
            Err(problem) => reasons.push(problem),
        }
    }
    let lasted = begun.elapsed();
    Ok(report(times, reasons, lasted))
}

async fn streams(running: &Running, at_once: usize, message: &Bytes) -> Result<Vec<Caller>, String> {
    let mut callers = Vec::with_capacity(at_once);
    while callers.len() < at_once {
        let mut connection = grpc::connect(running.port()).await?;
        for _ in 0..STREAMS.min(at_once - callers.len()) {
            let stream = open(running, &mut connection, message).await?;
            callers.push(Caller::Stream(stream));
        }
    }
    Ok(callers)
}

async fn unary(running: &Running, at_once: usize) -> Result<Vec<Caller>, String> {
    let mut callers = Vec::with_capacity(at_once);
    while callers.len() < at_once {
        let connection = grpc::connect(running.port()).await?;
        let of_connection = STREAMS.min(at_once - callers.len());
        callers.extend((0..of_connection).map(|_| {
            Caller::Unary(Unary {
                connection: connection.clone(),
                port: running.port(),
                path: running.path(""),
                metadata: running.metadata(),
            })
        }));
    }
    Ok(callers)
}

async fn open(
    running: &Running,
    connection: &mut SendRequest<Pieces>,
    message: &Bytes,
) -> Result<Stream, String> {
    let (mut sender, body) = Pieces::new(1);
    let request = grpc::request(running.port(), grpc::ECHO, &running.metadata(), body);
    let answer = connection.send_request(request);
    // Some proxies open the next hop with the first message.
    sender
        .send_data(message.clone())
        .await
        .map_err(|error| error.to_string())?;
    let answer = tokio::time::timeout(PATIENCE, answer)
        .await
        .map_err(|_| "a stream that does not open".to_owned())?
        .map_err(|error| error.to_string())?;
    let mut stream = Stream {
        sender,
        answer: answer.into_body(),
    };
    stream.await_echo(message.len()).await?;
    Ok(stream)
}

/// One call after the other until the time is over; the time of each in milliseconds.
async fn talk(
    mut caller: Caller,
    message: Bytes,
    mut schedule: Option<Schedule>,
    end: Instant,
) -> Result<Vec<f64>, String> {
    let mut times = Vec::new();
    loop {
        let begun = match &mut schedule {
            Some(schedule) => match schedule.recv().await {
                Some(due) => due,
                None => return Ok(times),
            },
            None if Instant::now() >= end => return Ok(times),
            None => Instant::now(),
        };
        let called = tokio::time::timeout(PATIENCE, caller.call(&message)).await;
        called.map_err(|_| format!("a call that took {} s", PATIENCE.as_secs()))??;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
}

impl Caller {
    async fn call(&mut self, message: &Bytes) -> Result<(), String> {
        match self {
            Self::Stream(stream) => {
                let sent = stream.sender.send_data(message.clone()).await;
                sent.map_err(|error| error.to_string())?;
                stream.await_echo(message.len()).await
            }
            Self::Unary(unary) => {
                let body = grpc::Undeclared(Some(message.clone()));
                let request = grpc::request(unary.port, &unary.path, &unary.metadata, body);
                let answer = unary.connection.send_request(request).await;
                grpc::unary_answer(answer.map_err(|error| error.to_string())?)
                    .await
                    .map(drop)
            }
        }
    }
}

impl Stream {
    async fn await_echo(&mut self, length: usize) -> Result<(), String> {
        let mut came = 0;
        while came < length {
            let frame = self.answer.frame().await.ok_or("a stream that ended")?;
            let frame = frame.map_err(|error| error.to_string())?;
            if let Some(trailers) = frame.trailers_ref() {
                let text = |name| {
                    trailers
                        .get(name)
                        .map(|value| String::from_utf8_lossy(value.as_bytes()))
                };
                return Err(format!("{:?} {:?}", text("grpc-status"), text("grpc-message")));
            }
            came += frame.data_ref().map_or(0, Bytes::len);
        }
        Ok(())
    }
}

fn report(mut times: Vec<f64>, reasons: Vec<String>, lasted: Duration) -> Report {
    times.sort_by(f64::total_cmp);
    Report {
        calls: times.len() as u64,
        errors: reasons.len() as u64,
        reasons,
        per_second: times.len() as f64 / lasted.as_secs_f64(),
        p50: percentile(&times, 0.5),
        p90: percentile(&times, 0.9),
        p99: percentile(&times, 0.99),
    }
}

/// The smallest value that is not below this part of all.
fn percentile(sorted: &[f64], part: f64) -> f64 {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<f64> = (1..=200).map(f64::from).collect();
        for (part, wanted) in [(0.5, 100.0), (0.9, 180.0), (0.99, 198.0)] {
            assert!(
                (percentile(&sorted, part) - wanted).abs() < f64::EPSILON,
                "{part}"
            );
        }
        assert!(percentile(&[], 0.5).is_nan());
    }
}
