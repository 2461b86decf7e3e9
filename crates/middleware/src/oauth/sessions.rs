//! Sessions of browsers: in memory, found by a cookie.
//!
//! All components of a sidecar share them, as in Dapr: the cookie has one name. Anybody may begin a login, so those that
//! are pending have a place of their own, where they push nobody out who has logged in.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hashlink::LruCache;
use http::header::{HeaderMap, HeaderValue};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

/// The name of the cookie.
const COOKIE: &str = "gosessionsid";
/// How long a session is good for after it began, and a login that is pending.
const LIFE: Duration = Duration::from_secs(2 * 60 * 60);
/// As many sessions are remembered: those that were used last.
const MOST: usize = 65_536;
/// As many browsers are remembered that are to log in: the last ones.
const MOST_PENDING: usize = 4096;
/// As many components are remembered by one session.
const MOST_ENTRIES: usize = 8;
/// As many logins of one browser may be pending: it asks for several things at once.
const MOST_LOGINS: usize = 4;
/// The longest target of a request that is remembered during a login, in bytes.
const LONGEST_TARGET: usize = 2 * 1024;

/// A login that is pending: what must come back with it, and where the browser wanted to go.
#[derive(Debug)]
pub(super) struct Login {
    state: String,
    target: String,
}

/// Why a browser that comes back has no login to finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoLogin {
    /// It was not sent away, or too long ago.
    Nothing,
    /// It was sent away with another state.
    OtherState,
}

/// Tokens of one browser.
struct Session {
    until: Instant,
    /// Component, token, and when that ends.
    tokens: Vec<(String, HeaderValue, Instant)>,
}

/// Logins of one browser: component, when it is given up, and what it is about.
type Pending = Vec<(String, Instant, Login)>;

/// All sessions.
pub(crate) struct Sessions(Mutex<All>);

struct All {
    pending: LruCache<String, Pending>,
    /// Only a finished login writes here.
    sessions: LruCache<String, Session>,
}

impl fmt::Debug for Sessions {
    /// Without ids: who knows one is logged in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self::holding(MOST, MOST_PENDING)
    }
}

/// Nobody can guess another one. Nothing if there is no randomness to be had.
fn random<const LENGTH: usize>() -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        tracing::error!(target: "dapr.contrib", "The system has no randomness for a login");
        return None;
    }
    Some(bytes)
}

/// A state to send along: a random UUID, as Dapr's.
pub(super) fn state() -> Option<String> {
    let random = uuid::Builder::from_random_bytes(random()?);
    Some(random.into_uuid().to_string())
}

fn new_id() -> Option<String> {
    Some(URL_SAFE_NO_PAD.encode(random::<32>()?))
}

impl Sessions {
    fn holding(most: usize, most_pending: usize) -> Self {
        Self(Mutex::new(All {
            pending: LruCache::new(most_pending),
            sessions: LruCache::new(most),
        }))
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token that a session has for a component.
    pub(super) fn token(&self, id: &str, component: &str) -> Option<HeaderValue> {
        let now = Instant::now();
        let mut all = self.all();
        let session = all.sessions.get(id).filter(|session| now < session.until)?;
        let mut tokens = session.tokens.iter();
        let (_, value, _) = tokens.find(|(known, _, until)| known == component && now < *until)?;
        Some(value.clone())
    }

    /// Remembers that a browser is to log in. Returns its id: the one that it has, if it is from here, since others of
    /// its requests may be on their way with it. Nothing if there is no randomness to be had.
    pub(super) fn begin(&self, id: Option<&str>, component: &str, login: Login) -> Option<String> {
        let now = Instant::now();
        let mut all = self.all();
        let mut pending = id.and_then(|id| all.pending.remove(id)).unwrap_or_default();
        pending.retain(|(_, until, _)| now < *until);
        let is_known = |id: &&str| {
            let session = all.sessions.peek(*id);
            !pending.is_empty() || session.is_some_and(|session| now < session.until)
        };
        let id = match id.filter(is_known) {
            Some(id) => id.to_owned(),
            None => new_id()?,
        };
        if pending.len() == MOST_LOGINS {
            pending.remove(0);
        }
        pending.push((component.to_owned(), now + LIFE, login));
        all.pending.insert(id.clone(), pending);
        Some(id)
    }

    /// Takes a login that a browser comes back from, and tells where the browser wanted to go. So a state is good once,
    /// whatever comes of it.
    pub(super) fn take(&self, id: &str, component: &str, state: &str) -> Result<String, NoLogin> {
        let now = Instant::now();
        let mut all = self.all();
        let pending = all.pending.get_mut(id).ok_or(NoLogin::Nothing)?;
        pending.retain(|(_, until, _)| now < *until);
        if !pending.iter().any(|(known, ..)| known == component) {
            return Err(NoLogin::Nothing);
        }
        let found = pending
            .iter()
            .position(|(known, _, login)| known == component && login.state == state);
        let (_, _, login) = pending.remove(found.ok_or(NoLogin::OtherState)?);
        if pending.is_empty() {
            all.pending.remove(id);
        }
        Ok(login.target)
    }

    /// Remembers a token, for as long as it is good and at most for a session, under a new id, which is returned: whoever
    /// knew the old one knows nothing any more. What the browser has besides goes along. Nothing if there is no
    /// randomness to be had.
    pub(super) fn finish(
        &self,
        id: Option<&str>,
        component: &str,
        value: HeaderValue,
        life: Option<Duration>,
    ) -> Option<String> {
        let next = new_id()?;
        let now = Instant::now();
        let mut all = self.all();
        let old = id.and_then(|id| all.sessions.remove(id));
        let mut session = old.filter(|session| now < session.until).unwrap_or(Session {
            until: now + LIFE,
            tokens: Vec::new(),
        });
        session.tokens.retain(|(known, ..)| known != component);
        if session.tokens.len() == MOST_ENTRIES {
            session.tokens.remove(0);
        }
        let until = now + life.map_or(LIFE, |life| life.min(LIFE));
        session.tokens.push((component.to_owned(), value, until));
        all.sessions.insert(next.clone(), session);
        if let Some(pending) = id.and_then(|id| all.pending.remove(id)) {
            all.pending.insert(next.clone(), pending);
        }
        Some(next)
    }
}

impl Login {
    /// Nothing if what the browser wanted is too long to be remembered.
    pub(super) fn new(state: String, target: String) -> Option<Self> {
        if target.len() > LONGEST_TARGET {
            tracing::warn!(
                target: "dapr.contrib",
                "A login is refused: the request has {} bytes of path and query, {LONGEST_TARGET} are remembered",
                target.len()
            );
            return None;
        }
        Some(Self { state, target })
    }
}

/// The id that a browser shows.
pub(super) fn shown(headers: &HeaderMap) -> Option<&str> {
    let cookie = invoke_core::headers::cookie(headers, COOKIE)?;
    Some(std::str::from_utf8(cookie).ok()?.trim_matches('"'))
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
    use http::header;

    use super::*;

    fn login(state: &str) -> Login {
        Login::new(state.to_owned(), format!("/{state}")).unwrap()
    }

    fn value() -> HeaderValue {
        HeaderValue::from_static("Bearer a")
    }

    #[tokio::test]
    async fn an_id_is_kept_during_logins_and_new_after_one() {
        let sessions = Sessions::default();
        let first = sessions.begin(Some("chosen"), "a", login("1")).unwrap();
        assert_ne!(first, "chosen", "nobody chooses an id");
        // Requests of one browser at once, for two components.
        for (component, state) in [("a", "2"), ("b", "3")] {
            assert_eq!(
                sessions.begin(Some(&first), component, login(state)),
                Some(first.clone())
            );
        }
        assert!(sessions.token(&first, "a").is_none());
        assert_eq!(sessions.take("chosen", "a", "1"), Err(NoLogin::Nothing));
        assert_eq!(sessions.take(&first, "c", "1"), Err(NoLogin::Nothing));
        assert_eq!(sessions.take(&first, "a", "3"), Err(NoLogin::OtherState));
        assert_eq!(sessions.take(&first, "a", "2").as_deref(), Ok("/2"));
        assert_eq!(sessions.take(&first, "a", "2"), Err(NoLogin::OtherState), "once");
        let second = sessions.finish(Some(&first), "a", value(), None).unwrap();
        assert_ne!(second, first);
        assert!(sessions.token(&second, "a").is_some());
        assert!(sessions.token(&second, "b").is_none());
        assert!(sessions.token(&first, "a").is_none());
        // What was pending besides goes along, and so does the token.
        assert_eq!(sessions.take(&first, "b", "3"), Err(NoLogin::Nothing));
        assert_eq!(sessions.take(&second, "b", "3").as_deref(), Ok("/3"));
        assert_eq!(
            sessions.begin(Some(&second), "b", login("4")),
            Some(second.clone())
        );
        let third = sessions.finish(Some(&second), "b", value(), None).unwrap();
        assert!(sessions.token(&third, "a").is_some() && sessions.token(&third, "b").is_some());
        assert!(sessions.token(&second, "a").is_none());
    }

    #[tokio::test]
    async fn those_who_only_begin_push_nobody_out() {
        let sessions = Sessions::holding(2, 2);
        let user = sessions.finish(None, "a", value(), None).unwrap();
        let waits = sessions.begin(None, "a", login("1")).unwrap();
        for state in 0..20 {
            sessions.begin(None, "a", login(&state.to_string())).unwrap();
        }
        assert!(sessions.token(&user, "a").is_some());
        assert_eq!(sessions.take(&waits, "a", "1"), Err(NoLogin::Nothing));
        for _ in 0..2 {
            sessions.finish(None, "a", value(), None).unwrap();
        }
        assert!(sessions.token(&user, "a").is_none(), "there is room for two");
    }

    #[tokio::test]
    async fn what_one_browser_may_begin() {
        let sessions = Sessions::default();
        let id = sessions.begin(None, "a", login("0")).unwrap();
        for state in 1..=MOST_LOGINS {
            sessions.begin(Some(&id), "a", login(&state.to_string())).unwrap();
        }
        assert_eq!(sessions.take(&id, "a", "0"), Err(NoLogin::OtherState));
        assert_eq!(sessions.take(&id, "a", "1").as_deref(), Ok("/1"));
        let target = |length| Login::new("1".to_owned(), "a".repeat(length));
        assert!(target(LONGEST_TARGET).is_some() && target(LONGEST_TARGET + 1).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_tokens_and_logins_end() {
        let sessions = Sessions::default();
        let minute = Duration::from_secs(60);
        let short = sessions.finish(None, "a", value(), Some(minute)).unwrap();
        let long = sessions.finish(None, "a", value(), None).unwrap();
        let pending = sessions.begin(None, "a", login("1")).unwrap();
        assert!(sessions.token(&short, "a").is_some());
        tokio::time::advance(minute).await;
        assert!(sessions.token(&short, "a").is_none());
        assert!(sessions.token(&long, "a").is_some());
        tokio::time::advance(LIFE).await;
        assert!(sessions.token(&long, "a").is_none());
        assert_eq!(sessions.take(&pending, "a", "1"), Err(NoLogin::Nothing));
        let begun = sessions.begin(Some(&pending), "a", login("2")).unwrap();
        assert_ne!(begun, pending, "an id that ended is nobody's");
    }

    #[test]
    fn cookies() {
        let shown = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, HeaderValue::from_str(line).unwrap());
            }
            shown(&headers).map(str::to_owned)
        };
        for (lines, wanted) in [
            (&["gosessionsid=a"][..], Some("a")),
            (&["b=c; gosessionsid=\"a=\"; gosessionsid=d"], Some("a=")),
            (&["b=c", "gosessionsid="], Some("")),
            (&["xgosessionsid=a", "gosessionsid"], None),
            (&["name=é; gosessionsid=a"], Some("a")),
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
