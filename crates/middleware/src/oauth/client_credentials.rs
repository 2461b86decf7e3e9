//! `middleware.http.oauth2clientcredentials`: the sidecar proves who it is, with a token in a header (RFC 6749,
//! section 4.4).
//!
//! One token serves all calls. Shortly before it ends a new one is got in the background. Calls that come while there is
//! none wait for one exchange together, and share its failure; it belongs to none of them, so that it comes to its end
//! though they give up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

use super::endpoint::{AuthStyle, Endpoint, Form, set};
use super::scope;
use crate::answer::refused;
use crate::handler::{After, Call, Verdict};
use crate::paths::PathFilter;
use crate::properties::{Duplicate, Properties};
use crate::request;
use crate::web::Web;

/// A token is not used any more so long before it ends, or a tenth of its life before: what is on its way must still be
/// good.
const EARLY: Duration = Duration::from_secs(10);
/// A new one is got so long before it ends, or a quarter of its life before.
const EARLIER: Duration = Duration::from_secs(60);
/// While there is a good token nobody is asked for another one sooner after somebody was.
const YOUNG: Duration = Duration::from_secs(1);

/// Why the component cannot be used.
#[derive(Debug, Error)]
pub(crate) enum CredentialsError {
    #[error(transparent)]
    Duplicate(#[from] Duplicate),
    /// All that is wrong with the metadata, in one text.
    #[error("metadata errors: {0}")]
    Metadata(String),
}

#[derive(Debug)]
pub(crate) struct ClientCredentials {
    header: HeaderName,
    filter: PathFilter,
    source: Arc<Source>,
}

/// Where tokens come from.
#[derive(Debug)]
struct Source {
    web: Web,
    endpoint: Endpoint,
    grant: Form,
    held: ArcSwapOption<Held>,
    exchange: Mutex<Exchange>,
}

/// What comes of an exchange: nothing while it goes on, then a token or none.
type Outcome = watch::Receiver<Option<Option<HeaderValue>>>;

/// The last exchange.
#[derive(Debug, Default)]
struct Exchange {
    begun: Option<Instant>,
    /// Of one that goes on.
    outcome: Option<Outcome>,
}

/// The token that calls get.
#[derive(Debug)]
struct Held {
    value: HeaderValue,
    /// When it is to be replaced, and when it is not used any more. Nothing for one that does not end.
    times: Option<(Instant, Instant)>,
}

impl Held {
    fn new(value: HeaderValue, life: Option<Duration>) -> Self {
        let now = Instant::now();
        let times = life.map(|life| {
            (
                now + life - EARLIER.min(life / 4),
                now + life - EARLY.min(life / 10),
            )
        });
        Self { value, times }
    }

    fn is_good(&self) -> bool {
        self.times.is_none_or(|(_, end)| Instant::now() < end)
    }

    fn is_old(&self) -> bool {
        self.times.is_some_and(|(old, _)| old <= Instant::now())
    }
}

impl ClientCredentials {
    pub(crate) fn new(properties: &Properties, web: &Web) -> Result<Self, CredentialsError> {
        properties.check()?;
        let made = Self::made(properties, web);
        made.map_err(|wrong| {
            let error = CredentialsError::Metadata(wrong);
            tracing::error!(target: "dapr.contrib", "getNativeMetadata error: {error}");
            error
        })
    }

    fn made(properties: &Properties, web: &Web) -> Result<Self, String> {
        let text = |name| properties.get(name).unwrap_or_default();
        let style = style(text("authStyle"))?;
        let mut wrong = Vec::new();
        for name in ["headerName", "clientID", "clientSecret", "scopes", "tokenURL"] {
            if text(name).is_empty() {
                wrong.push(format!("Parameter '{name}' needs to be set."));
            }
        }
        let filter = PathFilter::new(text("pathFilter"));
        if let Err(error) = &filter {
            wrong.push(format!("Parameter 'pathFilter' is not a valid regex: {error}."));
        }
        if AuthStyle::new(style).is_none() {
            wrong.push(format!(
                "Parameter 'authStyle' can only have the values 0,1,2. Received: '{style}'."
            ));
        }
        let header = HeaderName::try_from(text("headerName"));
        if header.is_err() && !text("headerName").is_empty() {
            wrong.push(format!(
                "Parameter 'headerName' is no name of a header: {:?}.",
                text("headerName")
            ));
        }
        let grant = grant(text("scopes"), text("endpointParamsQuery"));
        if let Err(error) = &grant {
            wrong.push(format!("Parameter 'endpointParamsQuery': {error}."));
        }
        match (filter, AuthStyle::new(style), header, grant) {
            (Ok(filter), Some(style), Ok(header), Ok(grant)) if wrong.is_empty() => Ok(Self {
                header,
                filter,
                source: Arc::new(Source {
                    web: web.clone(),
                    endpoint: Endpoint::new(
                        web,
                        text("tokenURL"),
                        text("clientID"),
                        text("clientSecret"),
                        style,
                    ),
                    grant,
                    held: ArcSwapOption::empty(),
                    exchange: Mutex::default(),
                }),
            }),
            _ => Err(wrong.join(" ") + " "),
        }
    }

    pub(crate) async fn handle(&self, call: &mut Call) -> Verdict {
        if !self.filter.takes(&call.request) {
            return Ok(After::Nothing);
        }
        let value = match &*self.source.held.load() {
            Some(held) if held.is_good() => {
                if held.is_old() {
                    self.source.renew();
                }
                Some(held.value.clone())
            }
            _ => None,
        };
        let value = match value {
            Some(value) => Some(value),
            None => Box::pin(self.source.get()).await,
        };
        match value {
            Some(value) => {
                call.request.headers_mut().append(self.header.clone(), value);
                Ok(After::Nothing)
            }
            None => Err(Box::new(refused(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal Server Error",
            ))),
        }
    }
}

impl Source {
    fn exchange(&self) -> MutexGuard<'_, Exchange> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new token, or the one that somebody else just got. Nothing if there is none to be had.
    async fn get(self: &Arc<Self>) -> Option<HeaderValue> {
        let mut outcome = {
            let mut exchange = self.exchange();
            // One that ended just now was not there when the call looked.
            if let Some(held) = self.held.load_full().filter(|held| held.is_good()) {
                return Some(held.value.clone());
            }
            self.join(&mut exchange)
        };
        let outcome = outcome.wait_for(Option::is_some).await.ok()?;
        outcome.clone().flatten()
    }

    /// Gets a new token in the background, unless somebody does, or tried just now.
    fn renew(self: &Arc<Self>) {
        let mut exchange = self.exchange();
        let is_old = self.held.load().as_ref().is_none_or(|held| held.is_old());
        if is_old && exchange.begun.is_none_or(|begun| begun.elapsed() >= YOUNG) {
            self.join(&mut exchange);
        }
    }

    /// The exchange that goes on. One is begun if there is none.
    fn join(self: &Arc<Self>, exchange: &mut Exchange) -> Outcome {
        // One whose task is gone will have no outcome.
        let on = exchange
            .outcome
            .as_ref()
            .filter(|outcome| outcome.has_changed().is_ok());
        if let Some(outcome) = on {
            return outcome.clone();
        }
        let (done, outcome) = watch::channel(None);
        *exchange = Exchange {
            begun: Some(Instant::now()),
            outcome: Some(outcome.clone()),
        };
        let source = Arc::clone(self);
        self.web.tasks().spawn(async move {
            let token = source.ask().await;
            source.exchange().outcome = None;
            done.send_replace(Some(token));
        });
        outcome
    }

    async fn ask(&self) -> Option<HeaderValue> {
        tracing::info!(
            target: "dapr.contrib",
            "Cached token not found, attempting to retrieve a new one"
        );
        match self.endpoint.exchange(&self.grant).await {
            Ok(token) => {
                match token.life {
                    Some(life) => {
                        tracing::info!(target: "dapr.contrib", "Token expires {} s from now", life.as_secs());
                    }
                    None => tracing::info!(target: "dapr.contrib", "Token does not say when it expires"),
                }
                let held = Held::new(token.value.clone(), token.life);
                self.held.store(Some(Arc::new(held)));
                Some(token.value)
            }
            Err(error) => {
                tracing::error!(target: "dapr.contrib", "Error acquiring token: {error}");
                None
            }
        }
    }
}

fn style(text: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        format!(
            "1 error(s) decoding:\n\n* cannot parse 'authStyle' as int: strconv.ParseInt: parsing {text:?}: invalid syntax"
        )
    })
}

/// What is asked for: parameters of the endpoint may replace the kind of grant, and nothing else.
fn grant(scopes: &str, more: &str) -> Result<Form, String> {
    let mut form = Form::new();
    set(&mut form, "grant_type", "client_credentials");
    set(&mut form, "scope", &scope(scopes));
    let Some(more) = request::all_pairs(more.as_bytes()) else {
        tracing::warn!(
            target: "dapr.contrib",
            "Error parsing endpoint parameters: {more:?} is no query, none of it is sent"
        );
        return Ok(form);
    };
    if more.iter().any(|(name, _)| name == b"scope") {
        return Err("oauth2: cannot overwrite parameter \"scope\"".to_owned());
    }
    if more.iter().any(|(name, _)| name == b"grant_type") {
        form.retain(|(name, _)| name != b"grant_type");
    }
    form.extend(more);
    Ok(form)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::Request;
    use invoke_core::Body;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;

    use super::*;

    /// A server that gives tokens with numbers, as many as it is allowed to.
    struct Server {
        asked: Arc<AtomicUsize>,
        allowed: Arc<Semaphore>,
        credentials: ClientCredentials,
    }

    impl Server {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/token", listener.local_addr().unwrap());
            let items = [
                ("headerName", "x-token"),
                ("clientID", "id"),
                ("clientSecret", "secret"),
                ("scopes", "a"),
                ("tokenURL", &url),
                ("authStyle", "1"),
            ];
            let owned = items.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let web = Web::new(transport::client::Proxies::default(), lifecycle::Tasks::new());
            let server = Self {
                asked: Arc::default(),
                allowed: Arc::new(Semaphore::new(0)),
                credentials: ClientCredentials::new(&Properties::new(owned), &web).unwrap(),
            };
            let (asked, allowed) = (Arc::clone(&server.asked), Arc::clone(&server.allowed));
            tokio::spawn(async move {
                loop {
                    let (mut socket, _) = listener.accept().await.unwrap();
                    let (asked, allowed) = (Arc::clone(&asked), Arc::clone(&allowed));
                    tokio::spawn(async move {
                        let (mut read, mut piece) = (Vec::new(), [0; 1024]);
                        while !String::from_utf8_lossy(&read).contains("scope=a") {
                            let length = socket.read(&mut piece).await.unwrap();
                            read.extend_from_slice(&piece[..length]);
                        }
                        let number = asked.fetch_add(1, Ordering::Relaxed);
                        allowed.acquire().await.unwrap().forget();
                        let body = format!("{{\"access_token\":\"{number}\",\"expires_in\":3600}}");
                        let head = "HTTP/1.1 200 OK\r\nconnection: close";
                        let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                        // Whoever gave up does not read it.
                        let _ = socket.write_all(answer.as_bytes()).await;
                    });
                }
            });
            server
        }

        /// The token of a call.
        async fn token(&self) -> String {
            let mut call = Call {
                request: Request::new(Body::empty()),
                peer: None,
            };
            self.credentials.handle(&mut call).await.unwrap();
            let token = call.request.headers()["x-token"].to_str().unwrap();
            token.to_owned()
        }

        async fn is_asked(&self, times: usize) {
            while self.asked.load(Ordering::Relaxed) < times {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    #[tokio::test]
    async fn an_exchange_outlives_who_began_it() {
        let server = Server::start().await;
        tokio::select! {
            _ = server.token() => panic!("nobody gave a token"),
            () = server.is_asked(1) => {}
        }
        // Who began it has given up.
        server.allowed.add_permits(1);
        assert_eq!(server.token().await, "Bearer 0");
        assert_eq!(server.token().await, "Bearer 0");
        assert_eq!(server.asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_token_is_renewed_while_it_is_good() {
        let server = Server::start().await;
        let now = Instant::now();
        server.credentials.source.held.store(Some(Arc::new(Held {
            value: HeaderValue::from_static("Bearer old"),
            times: Some((now, now + Duration::from_secs(3600))),
        })));
        for _ in 0..3 {
            assert_eq!(server.token().await, "Bearer old", "nobody waits");
        }
        server.allowed.add_permits(1);
        while server.token().await != "Bearer 0" {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(server.asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn when_a_token_is_old() {
        for (life, old, end) in [(3600, 3540, 3590), (60, 45, 54)] {
            let life = Duration::from_secs(life);
            let held = Held::new(HeaderValue::from_static("a"), Some(life));
            let after = |seconds| Some(Instant::now() + Duration::from_secs(seconds));
            let (is_old, is_over) = held.times.unzip();
            assert_eq!((is_old, is_over), (after(old), after(end)));
        }
        let held = Held::new(HeaderValue::from_static("a"), None);
        assert!(held.is_good() && !held.is_old());
    }

    #[test]
    fn what_is_asked_for() {
        let asked = |scopes, more| grant(scopes, more).map(request::query_of);
        for (scopes, more, wanted) in [
            ("a,b", "", "grant_type=client_credentials&scope=a+b"),
            (
                "a",
                "x=1&x=2&b=",
                "b=&grant_type=client_credentials&scope=a&x=1&x=2",
            ),
            ("a", "grant_type=own", "grant_type=own&scope=a"),
            ("a", "x=%zz&y=1", "grant_type=client_credentials&scope=a"),
            ("a", "x;y", "grant_type=client_credentials&scope=a"),
        ] {
            assert_eq!(asked(scopes, more).unwrap(), wanted, "{more}");
        }
        assert!(asked("a", "scope=b").is_err());
    }

    #[tokio::test]
    async fn all_that_is_wrong_is_said() {
        let web = Web::new(transport::client::Proxies::default(), lifecycle::Tasks::new());
        let said = |items: &[(&str, &str)]| {
            let owned = items
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            ClientCredentials::new(&Properties::new(owned), &web)
                .unwrap_err()
                .to_string()
        };
        let all = "metadata errors: Parameter 'headerName' needs to be set. Parameter 'clientID' needs to be set. \
                   Parameter 'clientSecret' needs to be set. Parameter 'scopes' needs to be set. Parameter 'tokenURL' \
                   needs to be set. ";
        assert_eq!(said(&[]), all);
        assert_eq!(
            said(&[("authStyle", "7"), ("pathFilter", "[")]),
            format!(
                "{all}Parameter 'pathFilter' is not a valid regex: error parsing regexp: unclosed character class: `[`. \
                 Parameter 'authStyle' can only have the values 0,1,2. Received: '7'. "
            )
        );
        let good = [
            ("clientID", "id"),
            ("clientSecret", "secret"),
            ("scopes", "a"),
            ("tokenURL", "http://host/token"),
        ];
        let with = |items: &[(&'static str, &'static str)]| said(&[&good, items].concat());
        assert_eq!(
            with(&[("headerName", "X-A"), ("authStyle", "x")]),
            "metadata errors: 1 error(s) decoding:\n\n* cannot parse 'authStyle' as int: strconv.ParseInt: parsing \
             \"x\": invalid syntax"
        );
        assert!(with(&[("headerName", "X A")]).contains("'headerName' is no name of a header"));
        assert!(with(&[("headerName", "X-A"), ("endpointParamsQuery", "scope=b")]).contains("overwrite"));
        assert!(with(&[("headerName", "X-A"), ("HEADERNAME", "b")]).contains("duplicate"));
    }
}
