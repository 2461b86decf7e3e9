//! Copies of calls for another app.

use http::uri::PathAndQuery;
use http_body::Frame;
use http_body_util::channel::Channel;
use tokio::sync::Notify;

use super::*;
use crate::BodyError;
use crate::routing::{Mirror, Routed, Sticky};
use crate::targets::Copied;

/// Says what came, to which app, and whether it was a copy. What is for `next` waits if that is wanted.
#[derive(Default)]
struct Both {
    seen: Mutex<Vec<(String, String, bool, Bytes)>>,
    next_waits: bool,
    next_fails: bool,
    go_on: Notify,
}

impl Both {
    async fn take(
        &self,
        app: &AppRef,
        to: &Endpoint,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(), InvokeError> {
        let is_next = app.id.as_str() == "next";
        if is_next && self.next_waits {
            self.go_on.notified().await;
        }
        let body = body.collect().await.unwrap().to_bytes();
        let is_copy = headers.contains_key("x-daprd-mirrored");
        let to = to.address().to_string();
        self.seen
            .lock()
            .unwrap()
            .push((app.id.as_str().to_owned(), to, is_copy, body));
        if is_next && self.next_fails {
            return Err(unavailable(Delivery::Maybe));
        }
        Ok(())
    }

    fn seen(&self, app: &str) -> Vec<Bytes> {
        let seen = self.seen.lock().unwrap();
        let of_app = seen.iter().filter(|(id, _, is_copy, _)| {
            assert_eq!(*is_copy, id == "next");
            id == app
        });
        of_app.map(|(_, _, _, body)| body.clone()).collect()
    }
}

impl Peers for Arc<Both> {
    async fn invoke(
        &self,
        app: &AppRef,
        to: &Endpoint,
        head: &Head,
        _: Option<std::time::Instant>,
        body: Body,
    ) -> Result<Reply, InvokeError> {
        self.take(app, to, &head.headers, body).await?;
        Ok(Reply::new(WireStatus::http(http::StatusCode::OK), Route::Local))
    }

    async fn proxy(
        &self,
        app: &AppRef,
        to: &Endpoint,
        head: &ProxiedHead,
        _: Option<std::time::Instant>,
        body: Body,
    ) -> Result<Response<Body>, InvokeError> {
        self.take(app, to, &head.headers, body).await?;
        Ok(Response::new(Body::empty()))
    }
}

type Mirroring = Outbound<Echo, AllowAll, Arc<Both>, NoExternalEndpoints>;

fn routed(routed: Routed, both: Both) -> (Mirroring, Arc<Both>) {
    let both = Arc::new(both);
    let identity = Arc::new(Identity::new("me".into(), "ns".into(), "", ""));
    let outbound = Outbound::new(
        Arc::clone(&identity),
        Arc::new(Inbound::new(identity, Some(Echo), AllowAll)),
        Arc::clone(&both),
        NoExternalEndpoints,
        Some(Arc::new(Known(vec!["a:1", "b:1", "c:1"]))),
    );
    (outbound.routed(Routes::new([("shop".to_owned(), routed)])), both)
}

fn mirrored(at_once: usize, both: Both) -> (Mirroring, Arc<Both>) {
    mirrored_to("next", at_once, both)
}

fn mirrored_to(app: &str, at_once: usize, both: Both) -> (Mirroring, Arc<Both>) {
    let mirror = Some(Mirror {
        app: app.to_owned(),
        share: 1_000_000,
        at_once,
    });
    routed(
        Routed {
            mirror,
            ..Routed::default()
        },
        both,
    )
}

fn count(outbound: &Mirroring, what: Copied) -> u64 {
    let peers = outbound.targets.peers();
    let next = peers.iter().filter(|peer| peer.app().id.as_str() == "next");
    next.map(|peer| peer.copies().count(what)).sum()
}

/// Waits until so many calls had their copy, or went without.
async fn counted(outbound: &Mirroring, what: Copied, wanted: u64) {
    for _ in 0..1000 {
        if count(outbound, what) == wanted {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{what:?}: {} and not {wanted}", count(outbound, what));
}

#[tokio::test]
async fn another_app_gets_the_same_bytes() {
    let (outbound, both) = mirrored(4, Both::default());
    let body = Bytes::from_static(b"hello");
    outbound.invoke("shop", call(body.clone())).await.unwrap();
    counted(&outbound, Copied::Answered, 1).await;
    for app in ["shop", "next"] {
        let seen = both.seen(app);
        assert_eq!(seen, ["hello"]);
        assert_eq!(seen[0].as_ptr(), body.as_ptr(), "they are shared, not copied");
    }
    // Other apps are none of its matter.
    outbound.invoke("other", call("x")).await.unwrap();
    assert_eq!(both.seen("next").len(), 1);
}

#[tokio::test]
async fn what_becomes_of_a_copy_is_nothing_to_the_call() {
    let failing = Both {
        next_fails: true,
        ..Both::default()
    };
    let (outbound, both) = mirrored(4, failing);
    outbound.invoke("shop", call("x")).await.unwrap();
    counted(&outbound, Copied::Failed, 1).await;
    assert_eq!(both.seen("next").len(), 1, "and it is not tried again");
    // A name that nobody has.
    let (outbound, both) = mirrored_to("me", 4, Both::default());
    outbound.invoke("shop", call("x")).await.unwrap();
    assert_eq!(both.seen("shop").len(), 1);
}

#[tokio::test]
async fn a_few_are_under_way_and_the_others_are_not_made() {
    let waiting = Both {
        next_waits: true,
        ..Both::default()
    };
    let (outbound, both) = mirrored(2, waiting);
    for _ in 0..5 {
        outbound.invoke("shop", call("x")).await.unwrap();
    }
    assert_eq!(both.seen("shop").len(), 5, "nobody waits for a copy");
    assert_eq!(count(&outbound, Copied::Busy), 3);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    both.go_on.notify_waiters();
    counted(&outbound, Copied::Answered, 2).await;
    outbound.invoke("shop", call("x")).await.unwrap();
    assert_eq!(count(&outbound, Copied::Busy), 3, "the places are free again");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_takes_too_long_is_given_up() {
    let waiting = Both {
        next_waits: true,
        ..Both::default()
    };
    let (outbound, _both) = mirrored(1, waiting);
    outbound.invoke("shop", call("x")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(count(&outbound, Copied::Failed), 1);
}

/// A body that comes in pieces of these lengths.
fn pieces(lengths: &[usize]) -> Body {
    let (mut sender, body) = Channel::<Bytes, BodyError>::new(lengths.len() + 1);
    for length in lengths {
        let sent = sender.try_send(Frame::data(Bytes::from(vec![7; *length])));
        assert!(sent.is_ok());
    }
    drop(sender);
    Body::stream(body)
}

#[tokio::test]
async fn a_short_stream_is_copied_once_it_is_whole_and_a_long_one_is_not() {
    const MOST: usize = 64 * 1024;
    let (outbound, both) = mirrored(4, Both::default());
    for (lengths, is_copied) in [
        (&[3, 4][..], true),
        (&[MOST - 1, 1], true),
        (&[MOST, 1], false),
        (&[MOST + 1], false),
    ] {
        let before = [Copied::Answered, Copied::Unfit].map(|what| count(&outbound, what));
        let mut call = call("");
        call.body = pieces(lengths);
        outbound.invoke("shop", call).await.unwrap();
        counted(&outbound, Copied::Answered, before[0] + u64::from(is_copied)).await;
        counted(&outbound, Copied::Unfit, before[1] + u64::from(!is_copied)).await;
        let whole = lengths.iter().sum::<usize>();
        assert_eq!(both.seen("shop").pop().unwrap().len(), whole);
        let copies = both.seen("next");
        assert_eq!(copies.last().is_some_and(|copy| copy.len() == whole), is_copied);
    }
    assert_eq!(both.seen("next").len(), 2);
    // A body that breaks has no copy.
    let (sender, body) = Channel::<Bytes, BodyError>::new(1);
    sender.abort(BodyError::TooLarge);
    drop(outbound.mirrored(
        &outbound.routes.of("shop", None).unwrap(),
        Original::Invoked(&call("").head),
        Body::stream(body),
    ));
    counted(&outbound, Copied::Unfit, 3).await;
}

/// A message as gRPC frames it.
fn message(length: u8) -> Bytes {
    let mut framed = vec![0, 0, 0, 0, length];
    framed.extend(vec![7; usize::from(length)]);
    framed.into()
}

fn proxied(messages: &[Bytes]) -> Proxied {
    let (mut sender, body) = Channel::<Bytes, BodyError>::new(messages.len() + 1);
    for message in messages {
        assert!(sender.try_send(Frame::data(message.clone())).is_ok());
    }
    drop(sender);
    Proxied {
        head: ProxiedHead {
            path: PathAndQuery::from_static("/a.B/C"),
            headers: HeaderMap::new(),
            trace: None,
            deadline: None,
            trail: None,
        },
        body: Body::stream(body),
    }
}

#[tokio::test]
async fn a_proxied_call_with_one_message_is_copied_and_a_stream_is_not() {
    let (outbound, both) = mirrored(4, Both::default());
    outbound.proxy("shop", proxied(&[message(9)])).await.unwrap();
    counted(&outbound, Copied::Answered, 1).await;
    assert_eq!(both.seen("next"), [message(9)]);
    outbound
        .proxy("shop", proxied(&[message(1), message(2)]))
        .await
        .unwrap();
    counted(&outbound, Copied::Unfit, 1).await;
    assert_eq!(both.seen("next").len(), 1);
    assert_eq!(both.seen("shop").len(), 2);
}

/// All bodies that wait for their ends are bounded together.
#[tokio::test]
async fn bodies_that_do_not_end_are_bounded_together() {
    let (outbound, _both) = mirrored(1, Both::default());
    let routed = outbound.routes.of("shop", None).unwrap();
    let head = call("").head;
    let mut held = Vec::new();
    for unfit in [0, 1] {
        let (mut sender, body) = Channel::<Bytes, BodyError>::new(1);
        assert!(sender.try_send(Frame::data(vec![7; 40 * 1024].into())).is_ok());
        let mut body = outbound.mirrored(&routed, Original::Invoked(&head), Body::stream(body));
        assert!(body.frame().await.unwrap().is_ok());
        assert_eq!(count(&outbound, Copied::Unfit), unfit);
        held.push((sender, body));
    }
}

#[tokio::test]
async fn callers_stay_with_their_instance_on_all_roads() {
    let sticky = Sticky::Header(http::HeaderName::from_static("x-user"));
    let (outbound, both) = routed(
        Routed {
            instance: Some(sticky),
            ..Routed::default()
        },
        Both::default(),
    );
    let mut places = std::collections::HashMap::<usize, String>::new();
    for user in (0..40).cycle().take(120) {
        let name = user.to_string();
        let mut invoked = call("x");
        invoked.head.headers.insert("x-user", name.parse().unwrap());
        outbound.invoke("shop", invoked).await.unwrap();
        let mut passed_on = proxied(&[message(1)]);
        passed_on.head.headers.insert("x-user", name.parse().unwrap());
        outbound.proxy("shop", passed_on).await.unwrap();
        for (_, place, _, _) in both.seen.lock().unwrap().drain(..) {
            assert_eq!(*places.entry(user).or_insert_with(|| place.clone()), place);
        }
    }
    let used: std::collections::HashSet<_> = places.values().collect();
    assert_eq!(used.len(), 3);
    // Who says nothing goes anywhere.
    for _ in 0..100 {
        outbound.invoke("shop", call("x")).await.unwrap();
    }
    let seen = both.seen.lock().unwrap();
    assert!((0..3).all(|place| {
        seen.iter()
            .any(|(_, to, _, _)| to.starts_with(["a", "b", "c"][place]))
    }));
}
