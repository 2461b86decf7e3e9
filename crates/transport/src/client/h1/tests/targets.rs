//! What the request line says.

use super::*;
use crate::testing::accept;

#[test]
fn what_a_request_line_may_have() {
    for (target, wanted) in [
        (&b"/m?a=\"b\""[..], true),
        (b"/m?<a>&\xe9", true),
        (b"m", false),
        (b"", false),
        (b"/m?a b", false),
        (b"/m?a\r\nX: y", false),
        (b"/m?a\x7f", false),
        (b"/m?a\0", false),
    ] {
        assert_eq!(RawTarget::new(target.to_vec()).is_some(), wanted, "{target:?}");
    }
}

#[tokio::test]
async fn a_target_goes_out_as_it_is() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let app = async {
        let mut app = accept(&listener).await;
        let mut lines = Vec::new();
        for _ in 0..3 {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\nbody") {
                head.push(soon(tokio::io::AsyncReadExt::read_u8(&mut app)).await.unwrap());
            }
            lines.push(head);
            write(&mut app, ok("")).await;
        }
        lines
    };
    let calls = async {
        for (escaped, raw) in [
            ("/m?a=%22b%22", Some(&b"/m?a=\"b\""[..])),
            ("/other", None),
            ("/m?%E9%3C", Some(b"/m?\xe9<")),
        ] {
            let mut request = post("body");
            *request.uri_mut() = escaped.parse().unwrap();
            if let Some(raw) = raw {
                request.extensions_mut().insert(RawTarget::new(raw).unwrap());
            }
            assert_eq!(text(client.send(request).await.unwrap()).await.unwrap(), "");
        }
    };
    let (lines, ()) = tokio::join!(app, calls);
    let rest = &b" HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n\r\nbody"[..];
    for (line, target) in lines.iter().zip([&b"/m?a=\"b\""[..], b"/other", b"/m?\xe9<"]) {
        assert_eq!(*line, [b"POST ", target, rest].concat());
    }
}
