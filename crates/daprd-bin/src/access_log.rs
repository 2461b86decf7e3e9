//! The access log: a line for each call, as a template says.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use invoke_core::attempts::Named;
use invoke_core::error::InvokeError;
use invoke_core::headers::CALLER_APP_ID;
use invoke_core::observe::{Api, Call, Exchange, Gate, LastAttempt, Observe, Request, Ticket, Traced, Trail};
use invoke_core::trace::TraceContext;
use invoke_core::{Caller, End, MethodPath};
use percent_encoding::percent_decode_str;
use resources::{AccessField, Piece, Template};
use telemetry::log::{Log, utc};

/// A longer value is cut.
const LONGEST_VALUE: usize = 1024;
/// What stands for a value that is not known.
const NOTHING: &str = "-";

/// Logs calls of the APIs and of other sidecars.
pub struct AccessLog {
    log: Log,
    app_id: Arc<str>,
    template: Template,
}

impl AccessLog {
    /// A line for each call of this app and to it.
    pub fn new(log: Log, app_id: &str, template: Template) -> Arc<Self> {
        Arc::new(Self {
            log,
            app_id: app_id.into(),
            template,
        })
    }
}

/// The observer: shared by all tickets.
#[derive(Clone)]
pub struct Accesses(pub Arc<AccessLog>);

/// A call that is logged when it ends.
pub struct AccessTicket {
    of: Arc<AccessLog>,
    line: Line,
    trail: Option<Arc<Trail>>,
}

/// What is known of a call.
struct Line {
    began: (SystemTime, Instant),
    api: &'static str,
    caller: Option<Box<str>>,
    target: Option<Box<str>>,
    verb: Option<Box<str>>,
    path: Box<str>,
    status: Option<i32>,
    trace: Option<TraceContext>,
}

impl Line {
    fn begin(api: &'static str, path: &str) -> Self {
        Self {
            began: (SystemTime::now(), Instant::now()),
            api,
            caller: None,
            target: None,
            verb: None,
            path: shown(path),
            status: None,
            trace: None,
        }
    }

    /// A request at one of the APIs; nothing for probes of health, and for ports that apps do not call.
    fn of_request(request: Request<'_>, app_id: &str) -> Option<Self> {
        let mut line = match request.api {
            Api::Http if request.path.starts_with("/v1.0/healthz") => return None,
            Api::Grpc if request.path.starts_with("/grpc.health.v1.Health/") => return None,
            Api::Http => Self::begin("http", request.path),
            Api::Grpc => Self::begin("grpc", request.path),
            Api::Public | Api::Internal => return None,
        };
        line.caller = Some(app_id.into());
        line.verb = (request.api == Api::Http).then(|| request.method.as_str().into());
        Some(line)
    }

    /// A call of another sidecar.
    fn of_call(caller: &Caller, call: Call<'_>, app_id: &str) -> Self {
        let (headers, trace) = match call {
            Call::Invoked(head) => (&head.headers, head.trace),
            Call::Proxied(head) => (&head.headers, head.trace),
        };
        let mut line = match call {
            Call::Invoked(head) => {
                let mut line = Self::begin("internal", &format!("/{}", head.method));
                let verb = head.verb.and_then(invoke_core::Verb::name);
                line.verb = verb.map(Into::into);
                line
            }
            Call::Proxied(head) => Self::begin("internal", head.path.path()),
        };
        let named = headers.get(CALLER_APP_ID).and_then(|id| id.to_str().ok());
        // What was proven comes before what is said.
        let proven = caller.spiffe_id.as_deref().and_then(|id| id.rsplit('/').next());
        line.caller = proven.or(named).map(shown);
        line.target = Some(app_id.into());
        line.trace = trace;
        line
    }

    /// The line as the template wants it.
    fn fill(&self, template: &Template, app_id: &str, last: &LastAttempt, end: [&str; 3]) -> String {
        let [attempts, bytes, end] = end;
        let mut text = String::with_capacity(192);
        for piece in template.pieces() {
            let field = match piece {
                Piece::Text(literal) => {
                    text.push_str(literal);
                    continue;
                }
                Piece::Field(field) => field,
            };
            let value = match field {
                AccessField::AppId => Some(app_id),
                AccessField::Api => Some(self.api),
                AccessField::Caller => self.caller.as_deref(),
                AccessField::Target => self.target.as_deref().or(last.target.as_deref()),
                AccessField::Verb => self.verb.as_deref(),
                AccessField::Path => Some(&*self.path),
                AccessField::Bytes => Some(bytes),
                AccessField::Attempts => Some(attempts),
                AccessField::Endpoint => last.endpoint.as_deref(),
                AccessField::End => Some(end),
                AccessField::Time => {
                    text.push_str(&utc(self.began.0));
                    continue;
                }
                AccessField::DurationMs => {
                    let micros = self.began.1.elapsed().as_micros();
                    let _ = write!(text, "{}.{:03}", micros / 1000, micros % 1000);
                    continue;
                }
                AccessField::Status => {
                    match self.status {
                        Some(status) => _ = write!(text, "{status}"),
                        None => text.push_str(NOTHING),
                    }
                    continue;
                }
                AccessField::TraceId => {
                    match self.trace.or(last.trace).filter(TraceContext::is_valid) {
                        Some(trace) => trace
                            .trace_id
                            .iter()
                            .for_each(|byte| _ = write!(text, "{byte:02x}")),
                        None => text.push_str(NOTHING),
                    }
                    continue;
                }
            };
            text.push_str(value.filter(|value| !value.is_empty()).unwrap_or(NOTHING));
        }
        text
    }
}

/// A value as a line shows it: not too long, and without the users and the passwords of URLs, which a path may have in
/// escapes, too.
fn shown(value: &str) -> Box<str> {
    let decoded = percent_decode_str(value).decode_utf8_lossy();
    match without_users(&decoded) {
        Some(safe) => limited(&safe),
        None => limited(value),
    }
}

fn limited(value: &str) -> Box<str> {
    let mut end = value.len().min(LONGEST_VALUE);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value[..end].into()
}

/// The text without what stands before the hosts of its URLs; nothing if there is nothing of the kind. A scheme may be
/// followed by any number of slashes: targets of calls are read as widely.
fn without_users(text: &str) -> Option<String> {
    let (mut safe, mut rest) = (String::new(), text);
    let mut has_user = false;
    while let Some((before, after)) = rest.split_once(":/") {
        let host = after.trim_start_matches('/');
        safe.push_str(before);
        safe.push_str(":/");
        safe.push_str(&after[..after.len() - host.len()]);
        let end = host.find('/').unwrap_or(host.len());
        let at = host[..end].rfind('@').map_or(0, |at| at + 1);
        has_user |= at > 0;
        safe.push_str(&host[at..end]);
        rest = &host[end..];
    }
    safe.push_str(rest);
    has_user.then_some(safe)
}

impl Observe for Accesses {
    type Ticket = Option<Box<AccessTicket>>;
    type Meters = ();

    fn meters(&self, _: Named<'_>, _: &str) {}

    fn begin(&self, exchange: Exchange<'_>, _: Option<&()>) -> Self::Ticket {
        let app_id = &self.0.app_id;
        let (line, trail) = match exchange {
            Exchange::Door(request) => (Line::of_request(request, app_id)?, Some(Arc::default())),
            Exchange::Received { caller, call } => (Line::of_call(caller, call, app_id), None),
            Exchange::Attempt {
                target,
                endpoint,
                call,
            } => {
                let (trail, trace) = match call {
                    Call::Invoked(head) => (&head.trail, head.trace),
                    Call::Proxied(head) => (&head.trail, head.trace),
                };
                trail.as_ref()?.attempt(LastAttempt {
                    target: Some(match target {
                        Named::Own(app) => app.as_str().into(),
                        Named::Peer(app) => app.id.as_str().into(),
                        Named::External(name) => Arc::from(shown(name)),
                    }),
                    endpoint: endpoint.map(|endpoint| Arc::clone(endpoint.address())),
                    trace,
                });
                return None;
            }
            _ => return None,
        };
        Some(Box::new(AccessTicket {
            of: Arc::clone(&self.0),
            line,
            trail,
        }))
    }
}

impl Ticket for Box<AccessTicket> {
    fn turned_away(&mut self, _: Gate) {}

    fn trace(&mut self, traced: Traced<'_>) -> Option<TraceContext> {
        self.line.trace = self.line.trace.or(traced.parent.filter(TraceContext::is_valid));
        None
    }

    fn invokes(&mut self, target: &str, _: &MethodPath) {
        self.line.target = Some(shown(target));
    }

    fn trail(&self) -> Option<Arc<Trail>> {
        self.trail.clone()
    }

    fn status(&mut self, status: i32) {
        self.line.status = Some(status);
    }

    fn failed(&mut self, error: &InvokeError) {
        if self.line.status.is_none() {
            self.line.status = Some(error.received_status().code);
        }
    }

    fn end(self, end: End<'_>, bytes: u64) {
        let end = match end {
            End::Whole => "whole",
            End::Failed(_) => "broken",
            End::Dropped => "dropped",
        };
        let (attempts, last) = match &self.trail {
            Some(trail) => (trail.attempts().to_string(), trail.last()),
            None => (NOTHING.to_owned(), LastAttempt::default()),
        };
        let AccessLog {
            log,
            app_id,
            template,
        } = &*self.of;
        let end = [&*attempts, &bytes.to_string(), end];
        log.access(&self.line.fill(template, app_id, &last, end));
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn line(template: &str) -> String {
        let request = Request {
            api: Api::Http,
            method: &Method::GET,
            path: "/v1.0/invoke/b/method/x%20y",
            user_agent: None,
            content_length: None,
        };
        let mut line = Line::of_request(request, "a").unwrap();
        line.target = Some("b".into());
        line.status = Some(200);
        let last = LastAttempt {
            target: Some("b".into()),
            endpoint: Some("10.0.0.1:50002".into()),
            trace: TraceContext::from_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        };
        let template: Template = template.parse().unwrap();
        line.fill(&template, "a", &last, ["2", "17", "whole"])
    }

    #[test]
    fn lines() {
        for (template, wanted) in [
            (
                "{app_id} {api} {caller}>{target} \"{verb} {path}\" {status} {bytes}",
                "a http a>b \"GET /v1.0/invoke/b/method/x%20y\" 200 17",
            ),
            (
                "{attempts} {endpoint} {trace_id} {end} {{}}",
                "2 10.0.0.1:50002 0af7651916cd43dd8448eb211c80319c whole {}",
            ),
        ] {
            assert_eq!(line(template), wanted);
        }
        assert!(line("{time}").ends_with('Z'));
        assert!(line("{duration_ms}").contains('.'));
    }

    #[test]
    fn no_password_is_shown() {
        for (value, wanted) in [
            ("orders", "orders"),
            ("a@b", "a@b"),
            ("http://host/a@b", "http://host/a@b"),
            ("https://user:secret@host:1/x", "https://host:1/x"),
            (
                "/v1.0/invoke/http://user:secret@host/method/x",
                "/v1.0/invoke/http://host/method/x",
            ),
            ("http://user:se@cret@host", "http://host"),
            (
                "/v1.0/invoke/http:%2F%2Fuser:secret@host/method/x%20y",
                "/v1.0/invoke/http://host/method/x y",
            ),
            (
                "/v1.0/invoke/http%3a//user:secret%40host/method/x",
                "/v1.0/invoke/http://host/method/x",
            ),
            ("https:///user:secret@host", "https:///host"),
            ("http:/user:secret@host", "http:/host"),
            ("http://a/http://user:secret@b", "http://a/http://b"),
            ("/a%20b", "/a%20b"),
        ] {
            assert_eq!(&*shown(value), wanted);
        }
        assert_eq!(shown(&"é".repeat(LONGEST_VALUE)).len(), LONGEST_VALUE);
        let long = format!("http://{}@host", "s".repeat(LONGEST_VALUE));
        assert_eq!(&*shown(&long), "http://host");
    }

    #[test]
    fn what_is_not_logged() {
        for (api, path, is_logged) in [
            (Api::Http, "/v1.0/healthz", false),
            (Api::Http, "/v1.0/healthz/outbound", false),
            (Api::Grpc, "/grpc.health.v1.Health/Check", false),
            (Api::Public, "/v1.0/metadata", false),
            (Api::Internal, "/x", false),
            (Api::Http, "/", true),
            (Api::Grpc, "/a.B/C", true),
        ] {
            let request = Request {
                api,
                method: &Method::POST,
                path,
                user_agent: None,
                content_length: None,
            };
            let line = Line::of_request(request, "a");
            assert_eq!(line.is_some(), is_logged, "{path}");
        }
    }
}
