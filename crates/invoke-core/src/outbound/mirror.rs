//! Copies of calls for another app, which cost the call itself nothing.
//!
//! A copy shares the bytes of the body. Of a body that is at hand it is sent at once, beside the call; of a stream the
//! pieces are kept as they go by, and the copy is sent when the last of them has: nobody waits for it, and a stream that
//! does not end soon has none. It is sent once, under no policy, and its answer is read and dropped.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use http_body::{Body as _, Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::time::{Duration, Instant, timeout};

use super::Outbound;
use super::attempt::{Answer, Judged, ToPeer, attempts};
use super::messages::Count;
use crate::attempts::{Attempts, Never};
use crate::balance::Affinity;
use crate::body::{Body, BodyError, Replay};
use crate::error::code;
use crate::invocation::Head;
use crate::observe::{Observe, status_in};
use crate::ports::{AppChannel, Authorize, ExternalEndpoints, Peers, Resolver};
use crate::proxied::ProxiedHead;
use crate::routing::Routed;
use crate::targets::{App, Copied, KeptBytes, Peer, Place};

/// The longest body of a stream that is kept for a copy, in bytes.
const LONGEST: u64 = 64 * 1024;
/// A copy has so long, its answer included.
const TIME: Duration = Duration::from_secs(30);
/// By this header an app can tell a copy, which nobody waits for, from a call.
const MIRRORED: HeaderName = HeaderName::from_static("x-daprd-mirrored");

/// Of which call it is a copy.
pub(super) enum Original<'a> {
    Invoked(&'a Head),
    Proxied(&'a ProxiedHead),
}

enum Copy {
    Invoked(Head),
    Proxied(ProxiedHead),
}

impl<A, P, S, X, T, O> Outbound<A, P, S, X, T, O>
where
    A: AppChannel,
    P: Authorize,
    S: Peers,
    X: ExternalEndpoints,
    T: Attempts,
    O: Observe,
{
    /// Copies a call if it is one of those that are to be copied. The body that comes back is the one to be sent.
    pub(super) fn mirrored(&self, routed: &Routed, original: Original<'_>, mut body: Body) -> Body {
        let Some(mirror) = routed.mirror.as_ref().filter(|mirror| mirror.takes()) else {
            return body;
        };
        let (Ok(runtime), Some(resolver)) = (Handle::try_current(), &self.resolver) else {
            return body;
        };
        // Not of an app to itself: its copy would be called in the place of the call that it is a copy of.
        let Ok(found) = self.find_one(&mirror.app) else {
            return body;
        };
        let (None, Some(App::Peer(peer))) = (&found.external, &found.app) else {
            return body;
        };
        let peer = Arc::clone(peer);
        // Seen early, a call that can have no copy costs nothing at all.
        if peer.copies().are_enough(mirror.at_once) {
            peer.copies().tell(Copied::Busy);
            return body;
        }
        let (copy, affinity) = self.copy(routed, &original, &peer);
        let messages = matches!(original, Original::Proxied(_)).then(Count::default);
        let delivery = {
            let (peers, resolver) = (Arc::clone(&self.peers), Arc::clone(resolver));
            let (inbound, peer) = (Arc::clone(&self.inbound), Arc::clone(&peer));
            async move |body| {
                let to = Receiver {
                    peers: &*peers,
                    resolver: &*resolver,
                    peer: &peer,
                    affinity,
                    observer: inbound.observer(),
                    meters: &found.meters,
                };
                to.deliver(copy, body).await
            }
        };
        let launch = Launch {
            peer,
            at_once: mirror.at_once,
            send: Box::new(move |body, place: Place| {
                runtime.spawn(async move {
                    let is_answered = timeout(TIME, delivery(body)).await.unwrap_or(false);
                    let what = if is_answered {
                        Copied::Answered
                    } else {
                        Copied::Failed
                    };
                    place.peer().copies().tell(what);
                });
            }),
        };
        match body.take_full() {
            Some(data) => {
                launch.send(Body::full(data.clone()));
                Body::full(data)
            }
            None => Body::stream(Tee::new(body, launch, messages)),
        }
    }

    /// The head of the copy, as it is sent.
    fn copy(&self, routed: &Routed, original: &Original<'_>, peer: &Peer) -> (Copy, Option<Affinity>) {
        let mark = HeaderValue::from_static("true");
        let until = (Instant::now() + TIME).into_std();
        let soonest = |deadline: Option<std::time::Instant>| deadline.map_or(until, |own| own.min(until));
        match original {
            Original::Invoked(head) => {
                let affinity = routed.affinity(&head.headers);
                let mut head = (*head).clone();
                head.headers.insert(MIRRORED, mark);
                self.identity.stamp_remote(&mut head.headers, peer.callee());
                head.deadline = Some(soonest(head.deadline));
                head.trail = None;
                (Copy::Invoked(head), affinity)
            }
            Original::Proxied(head) => {
                let affinity = routed.affinity(&head.headers);
                let mut head = (*head).clone();
                head.headers.insert(MIRRORED, mark);
                self.identity.stamp_proxied(&mut head.headers, peer.callee());
                head.deadline = Some(soonest(head.deadline));
                head.trail = None;
                (Copy::Proxied(head), affinity)
            }
        }
    }
}

/// Who gets a copy.
struct Receiver<'a, S, O: Observe> {
    peers: &'a S,
    resolver: &'a dyn Resolver,
    peer: &'a Peer,
    affinity: Option<Affinity>,
    observer: &'a O,
    meters: &'a O::Meters,
}

impl<'a, S: Peers, O: Observe> Receiver<'a, S, O> {
    fn way<H>(&self, head: &'a H) -> ToPeer<'a, S, H, O> {
        ToPeer {
            peers: self.peers,
            resolver: self.resolver,
            peer: self.peer,
            head,
            affinity: self.affinity,
            observer: self.observer,
            meters: self.meters,
        }
    }
}

impl<S: Peers, O: Observe> Receiver<'_, S, O> {
    /// Sends a copy and takes its answer in: whether that is none of a failure. An answer that was broken off would look
    /// to the app as if its caller had gone away.
    async fn deliver(&self, copy: Copy, body: Body) -> bool {
        let call = Judged::<Never> {
            run: None,
            replay: Replay::new(body, 0),
            messages: None,
            // Whoever waits for the copy has a limit of its own.
            end: None,
        };
        match copy {
            Copy::Invoked(head) => match attempts(call, &self.way(&head)).await {
                Ok(answer) => answer.is_success() && drained(answer.body).await.is_some(),
                Err(_) => false,
            },
            Copy::Proxied(head) => match attempts(call, &self.way(&head)).await {
                Ok(answer) => {
                    let is_success = answer.is_success();
                    let last = drained(answer.into_body()).await;
                    is_success && last.is_some_and(|status| status.is_none_or(|status| status == code::OK))
                }
                Err(_) => false,
            },
        }
    }
}

/// Reads a body to its end: the status among its trailers, if there is one; `None` if it broke.
async fn drained(mut body: Body) -> Option<Option<i32>> {
    let mut status = None;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        status = frame.ok()?.trailers_ref().and_then(status_in).or(status);
    }
    Some(status)
}

/// Sends a copy once its body is whole.
struct Launch {
    peer: Arc<Peer>,
    at_once: usize,
    send: Box<dyn FnOnce(Body, Place) + Send>,
}

impl Launch {
    fn send(self, body: Body) {
        match Place::take(&self.peer, self.at_once) {
            Some(place) => (self.send)(body, place),
            None => self.peer.copies().tell(Copied::Busy),
        }
    }

    /// Of all bodies together so many bytes are kept.
    fn most_kept(&self) -> u64 {
        LONGEST * self.at_once as u64
    }
}

/// A body of which the pieces that go by are kept for a copy.
struct Tee {
    body: Body,
    /// Nothing when the copy was sent, or will not be.
    keeping: Option<Keeping>,
}

struct Keeping {
    pieces: VecDeque<Bytes>,
    bytes: KeptBytes,
    /// Of a call that is passed on: one with several messages is a stream, which may last for ever.
    messages: Option<Count>,
    launch: Launch,
}

impl Tee {
    fn new(body: Body, launch: Launch, messages: Option<Count>) -> Self {
        let keeping = Keeping {
            pieces: VecDeque::new(),
            bytes: KeptBytes::none(&launch.peer),
            messages,
            launch,
        };
        Self {
            body,
            keeping: Some(keeping),
        }
    }

    fn keep(&mut self, data: &Bytes) {
        let Some(keeping) = &mut self.keeping else { return };
        let is_kept = keeping
            .bytes
            .add(data.len() as u64, LONGEST, keeping.launch.most_kept());
        let is_stream = keeping.messages.as_mut().is_some_and(|messages| {
            messages.add(data);
            messages.is_stream()
        });
        if is_kept && !is_stream {
            keeping.pieces.push_back(data.clone());
        } else {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        if let Some(keeping) = self.keeping.take() {
            keeping.launch.peer.copies().tell(Copied::Unfit);
        }
    }

    /// Whoever sends a body of known length stops after its last byte, and never asks for its end.
    fn is_whole(&self) -> bool {
        self.body.is_end_stream() || self.body.size_hint().exact() == Some(0)
    }

    fn launch(&mut self) {
        if let Some(Keeping { pieces, launch, .. }) = self.keeping.take() {
            launch.send(Gathered::body(pieces));
        }
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        if self.is_whole() {
            self.launch();
        } else {
            self.give_up();
        }
    }
}

impl http_body::Body for Tee {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &next {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.keep(data);
                }
                if self.is_whole() {
                    self.launch();
                }
            }
            Some(Err(_)) => self.give_up(),
            None => self.launch(),
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body in pieces that are all there.
struct Gathered {
    pieces: VecDeque<Bytes>,
    left: u64,
}

impl Gathered {
    fn body(mut pieces: VecDeque<Bytes>) -> Body {
        pieces.retain(|piece| !piece.is_empty());
        match pieces.len() {
            0 => Body::empty(),
            1 => Body::full(pieces.pop_front().unwrap_or_default()),
            _ => Body::stream(Self {
                left: pieces.iter().map(|piece| piece.len() as u64).sum(),
                pieces,
            }),
        }
    }
}

impl http_body::Body for Gathered {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let piece = self.pieces.pop_front();
        self.left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
