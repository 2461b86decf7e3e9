//! Conversations at random.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::testing::*;
use crate::{BoxError, Budget, Config};

/// What one side sends of a call.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) pieces: Vec<usize>,
    pub(super) trailers: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) request: Message,
    pub(super) answer: Message,
    /// The client gives up after so many pieces of the answer.
    pub(super) cancel_after: Option<usize>,
    /// The server reads nothing of the request before it answers.
    pub(super) is_deaf: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) exchanges: Vec<Exchange>,
    pub(super) window: u32,
    pub(super) connection_window: u32,
    pub(super) max_queued: usize,
    pub(super) socket: usize,
    pub(super) max_streams: u32,
    /// What each connection may hold. Enough for all exchanges, but for small windows only.
    pub(super) budget: usize,
}

fn message() -> impl Strategy<Value = Message> {
    let piece = prop_oneof![6 => 0..40_usize, 2 => 900..1200_usize, 1 => 16_000..40_000_usize];
    (vec(piece, 0..6), any::<bool>()).prop_map(|(pieces, trailers)| Message { pieces, trailers })
}

pub(super) fn plan() -> impl Strategy<Value = Plan> {
    let exchange = (
        message(),
        message(),
        prop_oneof![3 => Just(None), 1 => (0..4_usize).prop_map(Some)],
        prop::bool::weighted(0.2),
    )
        .prop_map(|(request, answer, cancel_after, is_deaf)| Exchange {
            request,
            answer,
            cancel_after,
            is_deaf,
        });
    let window = prop_oneof![Just(1_u32), 2..100_u32, Just(65_535), 100_000..300_000_u32];
    (
        vec(exchange, 1..8),
        window,
        any::<bool>(),
        1..2000_usize,
        50..5000_usize,
        1..10_u32,
        prop_oneof![Just(1_usize << 30), (3_usize << 20)..(8 << 20)],
    )
        .prop_map(
            |(exchanges, window, is_wide, max_queued, socket, max_streams, budget)| Plan {
                exchanges,
                window,
                connection_window: if is_wide { 1 << 20 } else { 65_535 },
                max_queued,
                socket,
                max_streams,
                budget,
            },
        )
}

impl Plan {
    /// Tiny windows take a round for each byte, so less is sent through them.
    pub(super) fn fit(mut self) -> Self {
        if self.window < 100 {
            for exchange in &mut self.exchanges {
                for message in [&mut exchange.request, &mut exchange.answer] {
                    message.pieces.iter_mut().for_each(|piece| *piece %= 50);
                }
            }
        }
        self
    }

    pub(super) fn config(&self) -> Config {
        Config {
            stream_window: self.window,
            connection_window: self.connection_window,
            max_queued: self.max_queued,
            max_streams: self.max_streams,
            budget: Budget::new(self.budget),
            ..Config::default()
        }
    }
}

impl Message {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let piece = |(n, length): (usize, &usize)| (0..*length).map(move |at| (n * 31 + at) as u8);
        self.pieces.iter().enumerate().flat_map(piece).collect()
    }

    pub(super) fn pieces(&self) -> Vec<Bytes> {
        let mut rest = Bytes::from(self.bytes());
        self.pieces.iter().map(|length| rest.split_to(*length)).collect()
    }

    pub(super) fn trailers(&self) -> Option<HeaderMap> {
        self.trailers
            .then(|| HeaderMap::from_iter([("trailer".parse().unwrap(), HeaderValue::from_static("yes"))]))
    }

    /// Pieces that come one after the other, with others acting in between.
    pub(super) fn body(&self) -> Body {
        let data = self.pieces().into_iter().map(http_body::Frame::data);
        let frames: Vec<_> = data
            .chain(self.trailers().map(http_body::Frame::trailers))
            .collect();
        let (mut sender, body) = http_body_util::channel::Channel::<Bytes, BoxError>::new(1);
        tokio::spawn(async move {
            for frame in frames {
                if sender.send(frame).await.is_err() {
                    return;
                }
            }
        });
        body.boxed_unsync()
    }

    pub(super) fn check(&self, body: &[u8], trailers: Option<&HeaderMap>) {
        assert!(
            body == self.bytes(),
            "{} of {} bytes",
            body.len(),
            self.bytes().len()
        );
        assert_eq!(trailers, self.trailers().as_ref());
    }
}

#[test]
fn a_plan_is_what_it_says() {
    let message = Message {
        pieces: vec![3, 0, 2],
        trailers: true,
    };
    assert_eq!(message.bytes(), [0, 1, 2, 62, 63]);
    assert_eq!(message.pieces().concat(), message.bytes());
}
