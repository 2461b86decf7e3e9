//! Sessions of browsers: in memory, found by a cookie.
//!
//! All components of a sidecar share them, as in Dapr: the cookie has one name.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hashlink::LruCache;
use http::header::{self, HeaderMap, HeaderValue};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

/// The name of the cookie.
const COOKIE: &str = "gosessionsid";
/// How long a session is good for after it began.
const LIFE: Duration = Duration::from_secs(2 * 60 * 60);
/// As many sessions are remembered: those that were used last.
const MOST: usize = 65_536;
/// As many components are remembered by one session.
const MOST_ENTRIES: usize = 8;
/// The longest target of a request that a session remembers, in bytes.
const LONGEST_TARGET: usize = 8 * 1024;

/// How far a browser has come with one component.
#[derive(Clone, Debug)]
pub(super) enum Progress {
    /// It was sent to log in: what must come back with it, and where it wanted to go.
    Sent { state: String, target: String },
    /// It has a token, until then.
    Has { value: HeaderValue, until: Instant },
}

#[derive(Debug)]
struct Session {
    until: Instant,
    entries: Vec<(String, Progress)>,
}

/// All sessions.
#[derive(Debug)]
pub(super) struct Sessions(Mutex<LruCache<String, Session>>);

/// Nobody can guess another one.
fn random<const LENGTH: usize>() -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes)
}

/// A state to send along: a random UUID, as Dapr's.
pub(super) fn state() -> Option<String> {
    let bytes: [u8; 16] = random()?;
    let number = u128::from_be_bytes(bytes);
    // Version 4 (RFC 9562, section 5.4).
    let number = number & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{number:032x}");
    Some(format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    ))
}

impl Sessions {
    /// Those of this process.
    pub(super) fn of_process() -> &'static Self {
        static SESSIONS: LazyLock<Sessions> = LazyLock::new(|| Sessions(Mutex::new(LruCache::new(MOST))));
        &SESSIONS
    }

    fn all(&self) -> MutexGuard<'_, LruCache<String, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the browser of a session has come with a component.
    pub(super) fn progress(&self, id: &str, component: &str) -> Option<Progress> {
        let mut all = self.all();
        let session = all.get(id).filter(|session| Instant::now() < session.until)?;
        let (_, progress) = session.entries.iter().find(|(known, _)| known == component)?;
        match progress {
            Progress::Has { until, .. } if *until <= Instant::now() => None,
            progress => Some(progress.clone()),
        }
    }

    /// Remembers that, under a new id, which is returned: whoever knew the old one knows nothing any more. What the
    /// session has of other components goes along. Nothing if there is no randomness to be had.
    pub(super) fn advance(&self, id: Option<&str>, component: &str, progress: Progress) -> Option<String> {
        let next = URL_SAFE_NO_PAD.encode(random::<32>()?);
        let now = Instant::now();
        let mut all = self.all();
        let old = id
            .and_then(|id| all.remove(id))
            .filter(|session| now < session.until);
        let mut session = old.unwrap_or(Session {
            until: now + LIFE,
            entries: Vec::new(),
        });
        session.entries.retain(|(known, _)| known != component);
        if session.entries.len() == MOST_ENTRIES {
            session.entries.remove(0);
        }
        session.entries.push((component.to_owned(), progress));
        all.insert(next.clone(), session);
        Some(next)
    }
}

impl Progress {
    /// Of a browser that is sent away. Nothing if what it wanted is too long to be remembered.
    pub(super) fn sent(state: String, target: String) -> Option<Self> {
        (target.len() <= LONGEST_TARGET).then_some(Self::Sent { state, target })
    }

    /// Of one that has a token, which may be good for less long than a session.
    pub(super) fn has(value: HeaderValue, life: Option<Duration>) -> Self {
        let until = Instant::now() + life.map_or(LIFE, |life| life.min(LIFE));
        Self::Has { value, until }
    }
}

/// The id that a browser shows.
pub(super) fn shown(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers
        .get_all(header::COOKIE)
        .into_iter()
        .filter_map(|cookies| cookies.to_str().ok());
    let mut cookies = cookies.flat_map(|cookies| cookies.split(';'));
    cookies.find_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == COOKIE).then(|| value.trim_matches('"'))
    })
}

/// What makes a browser show an id, also to the hosts below `domain`.
pub(super) fn cookie(id: &str, domain: Option<&str>, is_secure: bool) -> Option<HeaderValue> {
    let domain = domain.map_or_else(String::new, |domain| format!("; Domain={domain}"));
    let secure = if is_secure { "; Secure" } else { "" };
    let life = LIFE.as_secs();
    let cookie = format!("{COOKIE}={id}; Path=/{domain}; Max-Age={life}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(cookie).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions() -> Sessions {
        Sessions(Mutex::new(LruCache::new(2)))
    }

    fn sent(state: &str) -> Progress {
        Progress::sent(state.to_owned(), "/".to_owned()).unwrap()
    }

    fn state_of(progress: Option<Progress>) -> Option<String> {
        match progress? {
            Progress::Sent { state, .. } => Some(state),
            Progress::Has { .. } => None,
        }
    }

    #[tokio::test]
    async fn an_id_is_good_once_and_for_one_component() {
        let sessions = sessions();
        assert!(sessions.progress("chosen", "a").is_none());
        let first = sessions.advance(Some("chosen"), "a", sent("1")).unwrap();
        assert_ne!(first, "chosen", "nobody chooses an id");
        assert_eq!(state_of(sessions.progress(&first, "a")).as_deref(), Some("1"));
        assert!(sessions.progress(&first, "b").is_none());
        let second = sessions.advance(Some(&first), "b", sent("2")).unwrap();
        assert!(sessions.progress(&first, "a").is_none());
        assert_eq!(state_of(sessions.progress(&second, "a")).as_deref(), Some("1"));
        assert_eq!(state_of(sessions.progress(&second, "b")).as_deref(), Some("2"));
        for number in 0..20 {
            sessions.advance(None, &number.to_string(), sent("3")).unwrap();
        }
        assert!(sessions.progress(&second, "a").is_none(), "there is room for two");
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_and_tokens_end() {
        let sessions = sessions();
        let value = || HeaderValue::from_static("Bearer a");
        let short = Progress::has(value(), Some(Duration::from_secs(60)));
        let short = sessions.advance(None, "a", short).unwrap();
        let long = sessions.advance(None, "a", Progress::has(value(), None)).unwrap();
        assert!(sessions.progress(&short, "a").is_some());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(sessions.progress(&short, "a").is_none());
        assert!(sessions.progress(&long, "a").is_some());
        tokio::time::advance(LIFE).await;
        assert!(sessions.progress(&long, "a").is_none());
    }

    #[test]
    fn cookies() {
        let shown = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, HeaderValue::from_static(line));
            }
            shown(&headers).map(str::to_owned)
        };
        for (lines, wanted) in [
            (&["gosessionsid=a"][..], Some("a")),
            (&["b=c; gosessionsid=\"a=\"; gosessionsid=d"], Some("a=")),
            (&["b=c", "gosessionsid="], Some("")),
            (&["xgosessionsid=a", "gosessionsid"], None),
            (&[], None),
        ] {
            assert_eq!(shown(lines).as_deref(), wanted, "{lines:?}");
        }
        assert_eq!(
            cookie("a", Some("example.com"), true).unwrap(),
            "gosessionsid=a; Path=/; Domain=example.com; Max-Age=7200; HttpOnly; SameSite=Lax; Secure"
        );
        let state = state().unwrap();
        assert_eq!((state.len(), &state[14..15]), (36, "4"), "{state}");
        assert!("89ab".contains(&state[19..20]), "{state}");
        assert_ne!(super::state(), Some(state));
    }
}
