//! How long an origin keeps idle connections.
//!
//! A server closes a connection that was idle for too long. A request that is written at that moment is lost: the
//! server never reads it, and the client cannot know that. An idempotent request is sent again (RFC 9110, section
//! 9.2.2). Any other request must avoid that moment: it gets a connection that has been idle for a much shorter time
//! than the origin is known to allow.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderName};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// What is assumed of an origin that nothing is known of: the shortest time that a common server waits if it is not
/// told otherwise (gunicorn with threads: 2 s; Node, uvicorn and Apache: 5 s; Tomcat: 20 s).
const ASSUMED: Duration = Duration::from_secs(2);
/// Known is never less than this, so that it can grow again. The half of it is nothing: no connection is young then.
const LEAST: Duration = Duration::from_millis(1);
/// Nobody announces more than this and means it.
const MOST: Duration = Duration::from_secs(24 * 60 * 60);

/// What is known of one origin. It is two numbers, whatever happens.
#[derive(Debug)]
pub(super) struct Keeping {
    /// So many milliseconds it keeps an idle connection at least, as far as is known.
    known: AtomicU64,
    /// What it announced last, in milliseconds; [`NOTHING`] if it announced nothing.
    announced: AtomicU64,
}

const NOTHING: u64 = u64::MAX;

impl Keeping {
    pub(super) fn new() -> Self {
        Self {
            known: AtomicU64::new(millis(ASSUMED)),
            announced: AtomicU64::new(NOTHING),
        }
    }

    /// For how long a connection may have been idle that is to carry a request which may not be repeated. Half of
    /// what is known: clocks differ, timers are coarse, and requests take their time to arrive.
    pub(super) fn young(&self) -> Duration {
        Duration::from_millis(self.known.load(Ordering::Relaxed) / 2)
    }

    /// Takes in what an answer says about its connection (`Keep-Alive: timeout=5`, in seconds).
    pub(super) fn hear(&self, headers: &HeaderMap) {
        let Some(announced) = headers
            .get(KEEP_ALIVE)
            .and_then(|value| timeout(value.as_bytes()))
        else {
            return;
        };
        let announced = millis(announced.min(MOST));
        if self.announced.swap(announced, Ordering::Relaxed) != announced {
            self.known.store(announced, Ordering::Relaxed);
        }
    }

    /// A connection that was idle for so long was still open. That raises what is known, but step by step: there may
    /// be several servers behind one address, of which one is more patient than the others.
    pub(super) fn was_open(&self, idle: Duration) {
        let known = self.known.load(Ordering::Relaxed);
        let open = millis(idle).min(known.saturating_mul(2));
        if open > known {
            self.known.store(open, Ordering::Relaxed);
        }
    }

    /// The origin closed a connection that was idle for so long.
    pub(super) fn was_closed(&self, idle: Duration) {
        self.known.fetch_min(millis(idle.max(LEAST)), Ordering::Relaxed);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The parameter `timeout` of a `Keep-Alive` header; others say nothing about time.
pub(crate) fn timeout(value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?;
    let (_, seconds) = text
        .split(',')
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?;
    seconds
        .trim()
        .trim_matches('"')
        .parse()
        .ok()
        .map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn announced(keeping: &Keeping, value: &'static str) -> Duration {
        let mut headers = HeaderMap::new();
        headers.insert(KEEP_ALIVE, value.parse().unwrap());
        keeping.hear(&headers);
        keeping.young()
    }

    #[test]
    fn what_is_announced() {
        for (value, wanted) in [
            ("timeout=5", Some(5)),
            ("timeout=5, max=100", Some(5)),
            ("max=100, Timeout = 20", Some(20)),
            ("timeout=\"7\"", Some(7)),
            ("timeout=0", Some(0)),
            ("timeout=18446744073709551615", Some(u64::MAX)),
            ("max=5", None),
            ("timeout", None),
            ("timeout=", None),
            ("timeout=-1", None),
            ("timeout=5s", None),
            ("", None),
        ] {
            assert_eq!(
                timeout(value.as_bytes()),
                wanted.map(Duration::from_secs),
                "{value:?}"
            );
        }
    }

    #[test]
    fn nothing_is_known_at_first() {
        let keeping = Keeping::new();
        assert_eq!(keeping.young(), ms(1000));
        keeping.hear(&HeaderMap::new());
        assert_eq!(keeping.young(), ms(1000));
    }

    #[test]
    fn an_announcement_counts_until_something_else_is_seen() {
        let keeping = Keeping::new();
        assert_eq!(announced(&keeping, "timeout=5"), ms(2500));
        keeping.was_closed(ms(3000));
        assert_eq!(keeping.young(), ms(1500));
        assert_eq!(announced(&keeping, "timeout=5"), ms(1500), "it says nothing new");
        assert_eq!(announced(&keeping, "timeout=20"), ms(10_000));
        assert_eq!(announced(&keeping, "timeout=0"), ms(0), "nothing may be reused");
        assert_eq!(
            announced(&keeping, "timeout=99999999999999"),
            MOST / 2,
            "no number is too large"
        );
    }

    #[test]
    fn what_is_seen_counts() {
        let keeping = Keeping::new();
        keeping.was_open(ms(1500));
        assert_eq!(keeping.young(), ms(1000), "no more than was known");
        keeping.was_open(ms(3000));
        assert_eq!(keeping.young(), ms(1500));
        keeping.was_open(ms(60_000));
        assert_eq!(keeping.young(), ms(3000), "twice as much at most");
        keeping.was_closed(ms(5000));
        assert_eq!(keeping.young(), ms(2500));
        keeping.was_closed(ms(30_000));
        assert_eq!(keeping.young(), ms(2500), "another server, or another reason");
    }

    #[test]
    fn a_restart_is_forgotten_soon() {
        let keeping = Keeping::new();
        keeping.was_closed(ms(0));
        assert_eq!(keeping.young(), ms(0));
        for _ in 0..13 {
            keeping.was_open(ms(5000));
        }
        assert_eq!(keeping.young(), ms(2500));
    }
}
