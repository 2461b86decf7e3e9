//! A connection of HTTP/1: its calls, the silence between them, and its end.
//!
//! Most connections are silent most of the time, and hyper holds buffers for each of them. So a connection that had
//! no call for a while is taken out of hyper's hands, and given back with the first bytes that come.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lifecycle::Shutdown;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use super::Handler;
use super::framing::Watched;
use super::http::{Answered, Server};
use super::rewound::Rewound;
use super::upgrade::UpgradeRequest;
use super::watch::Watch;
use crate::descriptors::Member;

/// A connection that had no call for so long gives its buffers back.
const QUIET: Duration = Duration::from_secs(1);
/// If more connections than this have buffers, new ones give theirs back sooner: a client that opens many
/// connections at once rarely uses them all. A connection that has had a call after its silence is in use, and keeps its
/// buffers for the usual time.
const FEW: usize = 32;
/// But not sooner than this.
const LEAST_QUIET: Duration = Duration::from_millis(20);
/// How long a client that was answered before it had sent everything may go on sending.
const LINGER: Duration = Duration::from_secs(2);

/// What a while of serving came to.
enum Outcome<S> {
    /// There was no call for a while.
    Quiet(Rewound<S>),
    /// hyper is done with the connection.
    Ended(Rewound<S>),
    /// Waiting is over.
    Forced,
}

/// Serves a connection to its end, which may be the beginning of HTTP/2: then the request that asked for it and
/// the connection come back.
pub(super) async fn serve<H, S>(
    server: &Arc<Server<H>>,
    socket: S,
    peer: Option<SocketAddr>,
    member: &mut Member,
) -> Option<(UpgradeRequest, Rewound<Watched<S>>)>
where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let watch = Watch::new();
    let upgrade = Arc::<OnceLock<UpgradeRequest>>::default();
    let mut io = Rewound {
        first: Bytes::new(),
        io: Watched::new(socket, Arc::clone(&watch), server.config.header_timeout),
    };
    let mut is_new = true;
    loop {
        match while_busy(server, io, peer, &watch, &upgrade, is_new).await {
            Outcome::Quiet(quiet) => {
                member.set_idle(true);
                io = woken(quiet, member, &server.shutdown).await?;
                member.set_idle(false);
                is_new = false;
            }
            Outcome::Ended(io) => {
                if let Some(kept) = upgrade.get() {
                    return Some((kept.clone(), io));
                }
                end(io, &watch).await;
                return None;
            }
            Outcome::Forced => return None,
        }
    }
}

/// Leaves the connection to hyper, as long as there are calls.
async fn while_busy<H, S>(
    server: &Arc<Server<H>>,
    io: Rewound<Watched<S>>,
    peer: Option<SocketAddr>,
    watch: &Arc<Watch>,
    upgrade: &Arc<OnceLock<UpgradeRequest>>,
    is_new: bool,
) -> Outcome<Watched<S>>
where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| begin(server, request, peer, watch, upgrade));
    let limit = server.config.max_header_bytes;
    let mut connection = http1::Builder::new()
        .max_header_size(limit)
        .max_buf_size(limit.max(64 * 1024))
        .title_case_headers(true)
        .header_read_timeout(None)
        .half_close(false)
        .serve_connection(TokioIo::new(io), service);
    let busy = Busy::one_of(&server.busy);
    let shutdown = &server.shutdown;
    let mut is_draining = false;
    let mut calls = watch.calls();
    let mut look = pin!(sleep(busy.quiet(is_new)));
    loop {
        tokio::select! {
            biased;
            ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => {
                if let Err(error) = ended {
                    tracing::trace!("connection ended: {error}");
                }
                return Outcome::Ended(Rewound::of(connection.into_parts()));
            }
            () = poll_fn(|cx| watch.unread.poll_read(watch, cx)) => {}
            () = shutdown.draining(), if !is_draining => {
                is_draining = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            () = shutdown.forced(), if is_draining => return Outcome::Forced,
            () = look.as_mut(), if !is_draining => {
                if watch.is_quiet() && watch.calls() == calls {
                    return Outcome::Quiet(Rewound::of(connection.into_parts()));
                }
                calls = watch.calls();
                // A call that goes on, for however long, is nothing to look at often.
                let is_idle = watch.is_quiet();
                look.as_mut().reset(Instant::now() + busy.quiet(is_new && is_idle));
            }
        }
    }
}

/// Begins a call. hyper keeps room for the future as long as it has the connection, and that of a call is large. In a box
/// that is there before it, and in a function of its own, compilers make it in its place; `Box::pin` copies all of it.
#[inline(never)]
fn begin<H: Handler>(
    server: &Arc<Server<H>>,
    request: Request<Incoming>,
    peer: Option<SocketAddr>,
    watch: &Arc<Watch>,
    upgrade: &Arc<OnceLock<UpgradeRequest>>,
) -> Pin<Box<impl Future<Output = Answered<H>> + use<H>>> {
    Box::into_pin(Box::write(
        Box::new_uninit(),
        Arc::clone(server).answer(request, peer, Arc::clone(watch), Arc::clone(upgrade)),
    ))
}

/// One of the connections that have buffers.
struct Busy<'a>(&'a AtomicUsize);

impl<'a> Busy<'a> {
    fn one_of(all: &'a AtomicUsize) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(all)
    }

    /// How long a connection may be without a call before it gives its buffers back.
    fn quiet(&self, is_new: bool) -> Duration {
        let all = self.0.load(Ordering::Relaxed);
        if !is_new || all <= FEW {
            return QUIET;
        }
        QUIET.mul_f64((FEW as f64 / all as f64).powi(2)).max(LEAST_QUIET)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits for the next bytes; nothing when the client or the server is at its end, or others need the descriptor.
async fn woken<S>(mut quiet: Rewound<S>, member: &mut Member, shutdown: &Shutdown) -> Option<Rewound<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if !quiet.first.is_empty() {
        return Some(quiet);
    }
    let mut first = [0; 64];
    let read = tokio::select! {
        biased;
        () = shutdown.draining() => 0,
        read = quiet.io.read(&mut first) => read.unwrap_or(0),
        () = poll_fn(|cx| member.poll_unwanted(cx)) => 0,
    };
    if read == 0 {
        let _ = quiet.io.shutdown().await;
        return None;
    }
    quiet.first = Bytes::copy_from_slice(&first[..read]);
    Some(quiet)
}

/// Closes a connection. If the client has more to say than was read, closing at once would reset the connection and
/// take the answer with it (RFC 9112, section 9.6): it gets a moment to read and to end by itself.
async fn end<S>(mut io: Rewound<S>, watch: &Watch)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if io.shutdown().await.is_err() || watch.is_between_calls() {
        return;
    }
    let rest = async {
        let mut rest = vec![0; 8 * 1024];
        while io.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    };
    let _ = timeout(LINGER, rest).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_connections_are_quiet_the_sooner_the_more_there_are() {
        let quiet = |others: usize, is_new| {
            let all = AtomicUsize::new(others);
            Busy::one_of(&all).quiet(is_new)
        };
        assert_eq!(quiet(0, true), QUIET);
        assert_eq!(quiet(FEW - 1, true), QUIET);
        assert_eq!(quiet(2 * FEW - 1, true), QUIET / 4);
        assert_eq!(quiet(10_000, true), LEAST_QUIET);
        assert_eq!(quiet(10_000, false), QUIET, "one that came back is in use");
        let all = AtomicUsize::new(0);
        drop(Busy::one_of(&all));
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }
}
