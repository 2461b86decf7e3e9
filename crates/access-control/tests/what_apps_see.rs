//! For no method does an HTTP app see a path that the policy denies: the real channel, over a real connection.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on panics, and shows why"
)]

mod common;

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use access_control::{AppKind, Policy};
use app_channel::{HttpChannel, HttpProtocol, HttpSettings, Reuse};
use common::{CALLER, caller, compile, operation, policy, spec};
use invoke_core::headers::Identity;
use invoke_core::ports::Receive;
use invoke_core::{Body, Head, Inbound, Invocation, MethodPath, Origin, Verb, clean_path};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Answers every request and tells its target.
fn app(seen: Sender<String>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let seen = seen.clone();
            std::thread::spawn(move || serve(&stream, &seen));
        }
    });
    port
}

fn serve(stream: &TcpStream, seen: &Sender<String>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let target = line.split(' ').nth(1).unwrap().to_owned();
        while line.trim_end() != "" {
            line.clear();
            stream.read_line(&mut line).unwrap();
        }
        seen.send(target).unwrap();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.get_mut().write_all(answer).unwrap();
    }
}

/// The app with a policy before it, and what it sees.
struct Stage {
    inbound: Inbound<HttpChannel, Policy>,
    seen: Receiver<String>,
    runtime: tokio::runtime::Runtime,
}

impl Stage {
    fn new(policy: Policy) -> Self {
        let (told, seen) = channel();
        let settings = HttpSettings {
            protocol: HttpProtocol::Http,
            base: format!("http://127.0.0.1:{}", app(told)),
            tls: None,
            proxy: None,
            token: None,
            max_header_bytes: 4096,
            deadline_header: None,
            reuse: Reuse::default(),
        };
        let channel = HttpChannel::new(settings, lifecycle::Tasks::new()).unwrap();
        let identity = Arc::new(Identity::new("app".into(), "default".into(), "", ""));
        Self {
            inbound: Inbound::new(identity, Some(channel), policy),
            seen,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
        }
    }

    /// Sends a call as another sidecar would; the target that the app saw, if it saw the call.
    fn call(&self, method: Vec<u8>) -> Option<String> {
        let mut head = Head::new(MethodPath::parse(method).ok()?, Origin::Grpc);
        head.verb = Some(Verb::GET);
        let call = Invocation {
            head,
            body: Body::empty(),
        };
        let caller = caller(CALLER);
        let answered = self.runtime.block_on(self.inbound.receive(&caller, call));
        assert_eq!(
            answered.as_ref().err().map(|error| error.seen),
            answered.as_ref().err().map(|_| invoke_core::Delivery::No)
        );
        let seen = self.seen.try_recv().ok();
        assert_eq!(seen.is_some(), answered.is_ok());
        seen
    }
}

/// The path of a target as a server decodes it.
fn decoded(target: &str) -> Vec<u8> {
    let path = target.split('?').next().unwrap();
    let mut bytes = path.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let mut digit = || char::from(bytes.next().unwrap()).to_digit(16).unwrap() as u8;
        decoded.push(if byte == b'%' {
            digit() << 4 | digit()
        } else {
            byte
        });
    }
    decoded
}

fn first_segment(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path).to_lowercase();
    let path = path.trim_start_matches('/');
    path.split('/').next().unwrap().to_owned()
}

/// Pieces from which tricks are made.
fn method() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "admin",
        "ADMIN",
        "public",
        "%61dmin",
        "%41dmin",
        "%2561dmin",
        "adm",
        "in",
        "x",
        "/",
        "/",
        "//",
        "%2F",
        "%2f",
        "%252F",
        "%25252f",
        "..",
        "%2e%2e",
        "%2E.",
        "%252e%252e",
        ".",
        "%",
        "%25",
        "%5C",
        "\\",
        ";",
        "%3B",
        "%3F",
        "%23",
        "%00",
        "%2500",
        " ",
        "%20",
        "+",
        "é",
        "*",
        "%C3%A9",
        "a%",
        "%zz",
        "\u{ff0f}",
    ]);
    let begin = prop::sample::select(vec!["", "", "public/", "public%2F", "x/%2e%2E/public/"]);
    let known = (begin, prop::collection::vec(piece, 0..7))
        .prop_map(|(begin, pieces)| format!("{begin}{}", pieces.concat()).into_bytes());
    prop_oneof![4 => known, 1 => prop::collection::vec(any::<u8>(), 0..24)]
}

fn check(policy: Policy, is_denied: impl Fn(&[u8]) -> bool) {
    let stage = Stage::new(policy);
    // The sidecar passes calls on at all.
    assert!(stage.call(b"public".to_vec()).is_some());
    let calls = Cell::new(0);
    let mut runner = TestRunner::new(Config {
        cases: 3000,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&method(), |method| {
            if let Some(target) = stage.call(method) {
                calls.set(calls.get() + 1);
                let path = decoded(&target);
                prop_assert!(!is_denied(&path), "{target}");
                prop_assert!(!is_denied(&clean_path(&path)), "{target}");
            }
            Ok(())
        })
        .unwrap();
    assert!(
        calls.get() > 50,
        "the app saw too little to prove anything: {}",
        calls.get()
    );
}

#[test]
fn nothing_of_what_is_denied() {
    let rule = operation("/admin/**", &["*"], "deny");
    let policy = compile(&spec(None, vec![policy("allow", vec![rule])]), AppKind::Http);
    check(policy, |path| first_segment(path) == "admin");
}

#[test]
fn nothing_but_what_is_allowed() {
    let rule = operation("/public", &["GET"], "allow");
    let policy = compile(&spec(None, vec![policy("deny", vec![rule])]), AppKind::Http);
    check(policy, |path| first_segment(path) != "public");
}
