//! What tests may see of the state, and tests of what no peer can bring about in short time.

use std::task::Waker;

use bytes::Bytes;
use http::Request;

use super::*;

/// What is left on a connection when it should have nothing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leftovers {
    pub(crate) streams: usize,
    pub(crate) active: usize,
    pub(crate) ready: usize,
    /// How much of the connection's window for receiving is lost.
    pub(crate) credit: i64,
    pub(crate) held: usize,
}

pub(crate) const NOTHING: Leftovers = Leftovers {
    streams: 0,
    active: 0,
    ready: 0,
    credit: 0,
    held: 0,
};

impl State {
    pub(crate) fn left(&self) -> Leftovers {
        let window = INITIAL_WINDOW.max(i64::from(self.config.connection_window));
        Leftovers {
            streams: self.streams.len(),
            active: self.active,
            ready: self.ready.len(),
            credit: window - self.recv_window - i64::from(self.unreported),
            held: self.held(),
        }
    }

    /// How much of the connection's window one side believes to have, and the other to have given.
    pub(crate) fn windows(&self) -> (i64, i64) {
        (self.send_window, self.recv_window)
    }

    pub(crate) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    pub(crate) fn set_next_id(&mut self, id: u32) {
        self.next_id = id;
    }
}

fn client() -> State {
    State::new(Role::Client, Config::default())
}

fn opened(state: &mut State) -> Key {
    let request = Request::post("http://peer/").body(()).unwrap();
    state.send_request(&request, false)
}

#[test]
fn streams_that_are_gone_do_not_pile_up_in_the_list_of_those_that_send() {
    let mut state = client();
    state.send_window = 0;
    let kept = opened(&mut state);
    state.send_data(kept, Bytes::from_static(b"kept"), false);
    for _ in 0..10_000 {
        let key = opened(&mut state);
        state.send_data(key, Bytes::from_static(b"data"), false);
        state.release(key, Reason::CANCEL);
    }
    assert!(state.ready.len() < 100, "{}", state.ready.len());
    // What remains in it still is sent, and once.
    state.output = Output::default();
    state.send_window = 1000;
    state.fill();
    assert_eq!(state.send_window, 996);
    assert!(state.ready.is_empty());
}

#[test]
fn nothing_is_sent_in_longer_frames_than_the_peer_takes_now() {
    let mut state = client();
    state.peer.max_frame = 40_000;
    let key = opened(&mut state);
    let data = Bytes::from(vec![1; 40_000]);
    state.streams.get(key).unwrap().sending.window = 0;
    state.send_data(key, data, false);
    state.peer.max_frame = 16_384;
    state.output = Output::default();
    state.streams.get(key).unwrap().sending.window = 65_535;
    state.list(key);
    state.fill();
    assert_eq!(state.output.len(), 40_000 + 3 * frame::HEAD);
}

#[test]
fn an_empty_end_goes_out_below_a_window_of_zero() {
    let mut state = client();
    let key = opened(&mut state);
    state.streams.get(key).unwrap().sending.window = -5;
    state.output = Output::default();
    state.send_data(key, Bytes::new(), true);
    assert_eq!(state.output.len(), frame::HEAD);
    assert!(state.streams.get(key).unwrap().sending.end.is_sent());
}

#[test]
fn ids_end() {
    let mut state = client();
    state.set_next_id(u32::MAX >> 1);
    let cx = Context::from_waker(Waker::noop());
    assert!(matches!(state.poll_open(&mut None, &cx), Poll::Ready(Ok(()))));
    let last = opened(&mut state);
    assert!(matches!(
        state.poll_open(&mut None, &cx),
        Poll::Ready(Err(Error::Closed))
    ));
    // What is there goes on.
    assert!(state.streams.get(last).is_some() && !state.is_done());
    state.release(last, Reason::CANCEL);
    assert!(state.is_done());
}

#[test]
fn what_config_says_is_kept_within_what_the_protocol_allows() {
    let config = Config {
        stream_window: u32::MAX,
        connection_window: u32::MAX,
        max_frame: 1,
        ..Config::default()
    };
    let state = State::new(Role::Server, config);
    assert_eq!(state.recv_window, frame::GREATEST_WINDOW);
    assert_eq!(state.config.max_frame, frame::LEAST_MAX_FRAME);
    assert_eq!(state.config.stream_window, u32::MAX >> 2);
}

#[test]
fn no_call_begins_while_much_waits_for_the_socket() {
    let mut state = client();
    let mut ticket = None;
    let cx = Context::from_waker(Waker::noop());
    let mut begun = 0;
    while state.poll_open(&mut ticket, &cx).is_ready() {
        opened(&mut state);
        // Whoever gives up at once must not make room for the next.
        let key = state.streams.key(state.next_id - 2).unwrap();
        state.release(key, Reason::CANCEL);
        begun += 1;
    }
    assert!(begun > 1000 && state.output.len() < UNWRITTEN + 100);
    state.output = Output::default();
    assert!(state.poll_open(&mut ticket, &cx).is_ready());
}
