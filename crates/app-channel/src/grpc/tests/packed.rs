//! Packed messages to and from apps that can unpack them, and those that cannot.

use std::sync::Mutex;

use super::*;

const PLAIN: &[u8] = b"hello hello hello hello";
const GZIP: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x48\xcd\xc9\xc9\x57\xc8\x40\x27\x01\
    \xe3\x51\x3d\x8d\x17\x00\x00\x00";
const DEFLATE: &[u8] = b"\x78\x9c\xcb\x48\xcd\xc9\xc9\x57\xc8\x40\x27\x01\x68\x03\x08\xb1";
/// Four thousand zeros with gzip: more than the channel of these tests takes.
const BOMB: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xed\xc1\x31\x01\x00\x00\x00\xc2\xa0\xf5\
    \x4f\x6d\x0c\x1f\xa0\x00\x00\x00\x80\xb7\x01\xbe\x93\x8b\x3a\xa0\x0f\x00\x00";

fn message(flag: u8, data: &[u8]) -> Vec<u8> {
    let mut message = vec![flag, 0, 0, 0, data.len() as u8];
    message.extend(data);
    message
}

/// An app that gives messages back, and keeps how they came.
#[derive(Clone)]
struct Packing(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    /// `grpc-accept-encoding` of its answers; an app of Go says nothing.
    says: Option<&'static str>,
    /// What it answers instead, and in which encoding.
    answers: Option<(&'static str, Vec<u8>)>,
    /// `grpc-encoding` and messages of the last call.
    saw: (String, Bytes),
}

impl Handler for Packing {
    type Body = Answer;

    async fn call(&self, request: Request<RequestBody>) -> Response<Answer> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let mut script = self.0.lock().unwrap();
        let encoding = parts.headers.get("grpc-encoding");
        let encoding = encoding.map_or("", |name| name.to_str().unwrap()).to_owned();
        let takes = script.says.unwrap_or_default();
        let refused = !encoding.is_empty() && !takes.contains(&encoding);
        let mut response = if refused {
            let status = GrpcStatus::new(code::UNIMPLEMENTED, "Decompressor is not installed");
            grpc_wire::trailers_only(&status, HeaderValue::from_static("application/grpc"))
        } else {
            let (encoding, messages) = script.answers.clone().unwrap_or(("", body.to_vec()));
            let mut response = answer_of(messages.into(), &GrpcStatus::default(), &[]);
            if !encoding.is_empty() {
                let encoding = HeaderValue::from_static(encoding);
                response.headers_mut().insert("grpc-encoding", encoding);
            }
            response
        };
        if let Some(says) = script.says {
            let says = HeaderValue::from_static(says);
            response.headers_mut().insert("grpc-accept-encoding", says);
        }
        script.saw = (encoding, body);
        response
    }
}

struct PackedFixture {
    channel: GrpcChannel,
    script: Arc<Mutex<Script>>,
    _trigger: ShutdownTrigger,
}

async fn fixture(says: Option<&'static str>) -> PackedFixture {
    let listener = Listener::tcp("127.0.0.1:0", Patience::None).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (trigger, shutdown) = Shutdown::new();
    let script = Arc::new(Mutex::new(Script {
        says,
        ..Script::default()
    }));
    let app = Packing(Arc::clone(&script));
    tokio::spawn(serve_grpc(listener, GrpcServerConfig::default(), app, shutdown));
    PackedFixture {
        channel: GrpcChannel::new(settings(address), Tasks::new()),
        script,
        _trigger: trigger,
    }
}

/// What a caller got.
#[derive(Debug, PartialEq)]
struct Got {
    encoding: Option<String>,
    messages: Bytes,
    code: i32,
}

impl PackedFixture {
    async fn call(&self, headers: &[(&'static str, &'static str)], messages: Vec<u8>) -> Got {
        let mut map = HeaderMap::new();
        map.insert("content-type", HeaderValue::from_static("application/grpc"));
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let head = ProxiedHead {
            path: PathAndQuery::from_static("/a.B/C"),
            headers: map,
            trace: None,
            deadline: None,
            trail: None,
        };
        let body = Body::full(messages);
        let answer = self.channel.proxy(Cow::Owned(head), body).await;
        let (parts, body) = answer.unwrap().into_parts();
        let body = body.collect().await.unwrap();
        let status = body.trailers().unwrap_or(&parts.headers);
        let code = GrpcStatus::code_in(status).unwrap();
        let encoding = parts.headers.get("grpc-encoding");
        Got {
            encoding: encoding.map(|name| name.to_str().unwrap().to_owned()),
            messages: body.to_bytes(),
            code,
        }
    }

    fn saw(&self) -> (String, Bytes) {
        std::mem::take(&mut self.script.lock().unwrap().saw)
    }
}

fn plain() -> Got {
    Got {
        encoding: None,
        messages: message(0, PLAIN).into(),
        code: 0,
    }
}

#[tokio::test]
async fn an_app_that_says_nothing_gets_plain_messages() {
    let fixture = fixture(None).await;
    for (encoding, packed) in [("gzip", GZIP), ("deflate", DEFLATE)] {
        for _ in 0..2 {
            let got = fixture
                .call(&[("grpc-encoding", encoding)], message(1, packed))
                .await;
            assert_eq!(got, plain(), "{encoding}");
            assert_eq!(fixture.saw(), (String::new(), message(0, PLAIN).into()));
        }
    }
}

#[tokio::test]
async fn an_app_that_says_so_gets_them_packed() {
    let fixture = fixture(Some("identity,gzip")).await;
    let headers = [("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip")];
    fixture.call(&headers, message(1, GZIP)).await;
    assert_eq!(fixture.saw().0, "", "nobody knew");
    let got = fixture.call(&headers, message(1, GZIP)).await;
    assert_eq!(fixture.saw(), ("gzip".to_owned(), message(1, GZIP).into()));
    assert_eq!(got.code, 0);
    // What it cannot unpack is still unpacked.
    let deflate = fixture
        .call(&[("grpc-encoding", "deflate")], message(1, DEFLATE))
        .await;
    assert_eq!(deflate, plain());
    // Another program listens there now.
    fixture.script.lock().unwrap().says = None;
    assert_eq!(fixture.call(&headers, message(1, GZIP)).await.code, 12);
    assert_eq!(fixture.call(&headers, message(1, GZIP)).await, plain());
}

#[tokio::test]
async fn encodings_that_are_not_known_here_pass() {
    let fixture = fixture(Some("zstd")).await;
    let headers = [("grpc-encoding", "zstd"), ("grpc-accept-encoding", "zstd")];
    fixture.call(&headers, message(1, b"zzz")).await;
    assert_eq!(fixture.saw(), ("zstd".to_owned(), message(1, b"zzz").into()));
    fixture.script.lock().unwrap().answers = Some(("zstd", message(1, b"zzz")));
    let got = fixture.call(&[], message(0, PLAIN)).await;
    assert_eq!((got.encoding.as_deref(), got.code), (Some("zstd"), 0));
    assert_eq!(got.messages, message(1, b"zzz"));
}

#[tokio::test]
async fn answers_are_packed_for_those_who_can_unpack_them() {
    let fixture = fixture(None).await;
    for (encoding, packed) in [("gzip", GZIP), ("deflate", DEFLATE)] {
        fixture.script.lock().unwrap().answers = Some((encoding, message(1, packed)));
        for (headers, passes) in [
            (&[][..], false),
            (&[("grpc-accept-encoding", "identity")], false),
            (&[("grpc-accept-encoding", "identity, deflate, gzip")], true),
            (
                &[
                    ("grpc-accept-encoding", "zstd"),
                    ("grpc-accept-encoding", encoding),
                ],
                true,
            ),
            (&[("grpc-encoding", encoding)], true),
        ] {
            let got = fixture.call(headers, message(0, PLAIN)).await;
            if passes {
                assert_eq!(got.encoding.as_deref(), Some(encoding));
                assert_eq!(got.messages, message(1, packed));
            } else {
                assert_eq!(got, plain(), "{encoding} {headers:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_packed_message_is_refused() {
    let fixture = fixture(None).await;
    for (bad, wanted) in [
        (message(1, b"junk"), 13),
        (message(1, &GZIP[..20]), 13),
        (message(1, BOMB), 8),
        (message(1, GZIP)[..20].to_vec(), 13),
        (vec![1, 0, 1, 0, 0], 8),
        (vec![2, 0, 0, 0, 0], 13),
    ] {
        let headers = [("grpc-encoding", "gzip")];
        let body = Body::full(bad.clone());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name, HeaderValue::from_static(value));
        }
        let head = ProxiedHead {
            path: PathAndQuery::from_static("/a.B/C"),
            headers: map,
            trace: None,
            deadline: None,
            trail: None,
        };
        let refused = fixture.channel.proxy(Cow::Owned(head), body).await.unwrap_err();
        assert_eq!(refused.rpc_code(), Some(wanted), "{bad:?} {refused}");
    }
}

#[tokio::test]
async fn a_bomb_of_an_app_ends_its_answer() {
    let fixture = fixture(None).await;
    let mut messages = message(1, GZIP);
    messages.extend(message(1, BOMB));
    fixture.script.lock().unwrap().answers = Some(("gzip", messages));
    let got = fixture.call(&[], message(0, PLAIN)).await;
    assert_eq!((got.messages, got.code), (message(0, PLAIN).into(), 8));
}

#[tokio::test]
async fn a_packed_answer_that_is_cut_does_not_look_whole() {
    let fixture = fixture(None).await;
    let mut messages = message(1, GZIP);
    messages.extend(&message(1, GZIP)[..20]);
    fixture.script.lock().unwrap().answers = Some(("gzip", messages));
    let got = fixture.call(&[], message(0, PLAIN)).await;
    assert_eq!((got.messages, got.code), (message(0, PLAIN).into(), 13));
}
