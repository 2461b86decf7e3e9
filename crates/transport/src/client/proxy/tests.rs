//! The rules beside what Go's `httpproxy` says, and proxies that are scripts.

use std::collections::HashMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::client::connect::connect_origin;
use crate::testing::{accept, listen, soon};
use crate::tls::Trust;

const LIMIT: Duration = Duration::from_secs(30);

fn proxies(variables: &[(&str, &str)]) -> (Proxies, Vec<String>) {
    let variables: HashMap<String, String> = variables
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    Proxies::of(|name| variables.get(name).cloned())
}

fn before(variables: &[(&str, &str)], url: &str) -> String {
    let (scheme, authority) = url.split_once("://").unwrap();
    match proxies(variables).0.before(scheme == "https", authority) {
        Ok(None) => "direct".to_owned(),
        Ok(Some(proxy)) => proxy.to_string(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn which_variable_counts() {
    let both = [("HTTP_PROXY", "p:1"), ("HTTPS_PROXY", "https://q")];
    for (variables, url, wanted) in [
        (&both[..], "http://a.b", "http://p:1"),
        (&both, "https://a.b", "https://q:443"),
        (&both[..1], "https://a.b", "direct"),
        (&[("http_proxy", "p")], "http://a.b", "http://p:80"),
        (
            &[("HTTP_PROXY", ""), ("http_proxy", "p")],
            "http://a.b",
            "http://p:80",
        ),
        (
            &[("HTTP_PROXY", "x"), ("http_proxy", "p")],
            "http://a.b",
            "http://x:80",
        ),
        (&[("ALL_PROXY", "x")], "http://a.b", "direct"),
        (&[("HTTP_PROXY", "socks5://s")], "http://a.b", "socks5://s:1080"),
        (&[("HTTP_PROXY", "SOCKS5H://s:9")], "http://a.b", "socks5h://s:9"),
        (
            &[("HTTP_PROXY", "http://u:p%40@h:8/x?y")],
            "http://a.b",
            "http://h:8",
        ),
        (
            &[("HTTP_PROXY", "http://[::1]:8")],
            "http://a.b",
            "http://[::1]:8",
        ),
        (
            &[("HTTP_PROXY", "[fe80::1]")],
            "http://a.b",
            "http://[fe80::1]:80",
        ),
        (
            &[("HTTP_PROXY", "ftp://s")],
            "http://a.b",
            "the proxy of HTTP_PROXY has the scheme \"ftp\"; http, https, socks5 and socks5h are known",
        ),
        (&[("HTTP_PROXY", "ftp://s")], "http://localhost", "direct"),
        (
            &[("HTTP_PROXY", "p"), ("REQUEST_METHOD", "GET")],
            "http://a.b",
            "refusing to use HTTP_PROXY value in CGI environment; see golang.org/s/cgihttpproxy",
        ),
        (
            &[("HTTPS_PROXY", "p"), ("REQUEST_METHOD", "GET")],
            "https://a.b",
            "http://p:80",
        ),
        (&[("HTTP_PROXY", "p:x")], "http://a.b", "direct"),
        (&[("HTTP_PROXY", "://")], "http://a.b", "direct"),
        (&[("HTTP_PROXY", "a b")], "http://a.b", "direct"),
    ] {
        assert_eq!(before(variables, url), wanted, "{variables:?} {url}");
    }
}

#[test]
fn what_needs_no_proxy() {
    // Each list, with addresses that are called directly, and others that are not.
    for (list, direct, others) in [
        (
            "",
            &[
                "localhost",
                "LOCALHOST:8",
                "127.0.0.1",
                "127.9.9.9:80",
                "[::1]:80",
                "[::ffff:127.0.0.1]",
            ][..],
            &["a.b", "10.0.0.1", "localhost.b", "128.0.0.1", "[::2]"][..],
        ),
        ("*", &["a.b", "10.0.0.1", "[fd00::1]"], &[]),
        ("x,*", &["a.b"], &[]),
        (
            "a.b",
            &["a.b", "A.B", "x.a.b", "a.b:8080"],
            &["xa.b", "b", "a.b.c"],
        ),
        (".a.b", &["x.a.b", "x.y.a.b"], &["a.b"]),
        ("*.a.b", &["x.a.b"], &["a.b"]),
        ("a.b:80", &["a.b", "a.b:80", "x.a.b"], &["a.b:81"]),
        ("a.b:", &["a.b:81"], &[]),
        (" A.b , c.d,", &["a.b", "c.d"], &["e.f"]),
        ("10.0.0.0/8", &["10.1.2.3", "10.1.2.3:8"], &["11.0.0.1", "a.b"]),
        ("10.0.0.0/33,0.0.0.0/x", &[], &["10.0.0.0"]),
        ("0.0.0.0/0", &["11.0.0.1"], &["[fd00::1]", "a.b"]),
        ("fd00::/8", &["[fd00::1]:80"], &["[fe00::1]", "10.0.0.1"]),
        ("::/0", &["[fe00::1]"], &["10.0.0.1"]),
        ("10.0.0.1", &["10.0.0.1:81", "[::ffff:10.0.0.1]"], &["10.0.0.2"]),
        ("10.0.0.1:80", &["10.0.0.1"], &["10.0.0.1:81"]),
        ("[fd00::1]:80", &["[fd00::1]"], &["[fd00::1]:81"]),
        ("fd00::1", &["[fd00::1]:81", "[fd00:0::1]"], &["[fd00::2]"]),
        (":80,/8,.", &[], &["a.b"]),
        ("127.0.0.1", &[], &["10.0.0.1"]),
    ] {
        let variables = [("HTTP_PROXY", "p"), ("HTTPS_PROXY", "p"), ("no_proxy", list)];
        for authority in direct {
            assert_eq!(
                before(&variables, &format!("http://{authority}")),
                "direct",
                "{list:?} {authority}"
            );
        }
        for authority in others {
            assert_eq!(
                before(&variables, &format!("http://{authority}")),
                "http://p:80",
                "{list:?} {authority}"
            );
        }
    }
    let variables = [("HTTPS_PROXY", "p"), ("NO_PROXY", "a.b:443")];
    assert_eq!(before(&variables, "https://a.b"), "direct");
    assert_eq!(before(&variables, "https://a.b:8443"), "http://p:80");
}

#[test]
fn what_the_log_says() {
    let (proxies, findings) = proxies(&[
        ("HTTP_PROXY", "ftp://u:secret@h"),
        ("HTTPS_PROXY", "https://u:secret@h:1"),
    ]);
    assert_eq!(
        proxies.shown(),
        ["https addresses outside of the mesh are called through https://h:1"]
    );
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(
        findings[0].ends_with("are known; calls that need it fail"),
        "{findings:?}"
    );
    assert!(!format!("{proxies:?} {findings:?}").contains("secret"));
    // A user before the scheme is no scheme, and nothing shows the password.
    for value in [":", "u:secret@http://h:1"] {
        assert_eq!(
            super::tests::proxies(&[("HTTPS_PROXY", value)]).1,
            ["HTTPS_PROXY is no address of a proxy, so it is not used"],
            "{value}"
        );
    }
}

/// A proxy that reads up to `until`, answers, and after that is a plain relay to nobody: what it got comes back.
async fn scripted(until: &'static [u8], answer: &'static [u8]) -> (String, tokio::task::JoinHandle<Vec<u8>>) {
    let (listener, address) = listen().await;
    let got = tokio::spawn(async move {
        let mut socket = accept(&listener).await;
        let mut read = Vec::new();
        while !read.ends_with(until) {
            if socket.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return read;
            }
        }
        let _ = socket.write_all(answer).await;
        let _ = socket.shutdown().await;
        let _ = tokio::time::timeout(LIMIT, socket.read_to_end(&mut Vec::new())).await;
        read
    });
    (address, got)
}

fn proxy(url: &str) -> Proxy {
    let (proxies, findings) = proxies(&[("HTTPS_PROXY", url)]);
    assert!(findings.is_empty(), "{findings:?}");
    proxies.before(true, "api.test").unwrap().unwrap()
}

fn tls() -> OriginTls {
    OriginTls::http1(Trust::Anyone, None).unwrap()
}

#[tokio::test]
async fn what_a_proxy_may_answer() {
    for (answer, wanted) in [
        (
            &b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n"[..],
            "proxyconnect tcp: the proxy http://PROXY does not connect to api.test:443: 407 Proxy Authentication Required",
        ),
        (
            b"HTTP/1.0 502\r\n\r\nsorry",
            "proxyconnect tcp: the proxy http://PROXY does not connect to api.test:443: 502",
        ),
        (
            b"SSH-2.0-OpenSSH\r\n",
            "proxyconnect tcp: the proxy http://PROXY gives no answer about api.test:443: malformed HTTP response: \
             invalid HTTP version",
        ),
        (
            b"HTTP/1.1 200 OK\r\n\r\nfor your information",
            "proxyconnect tcp: the proxy http://PROXY gives no answer about api.test:443: it says more than it was asked",
        ),
        (
            b"HTTP/1.1 200 OK\r\n",
            "proxyconnect tcp: the proxy http://PROXY gives no answer about api.test:443: EOF",
        ),
        (b"HTTP/1.1 200 Connection established\r\n\r\n", "EOF"),
    ] {
        let (address, got) = scripted(b"\r\n\r\n", answer).await;
        let proxy = proxy(&format!("u%40x:p:w@{address}"));
        let error = soon(connect_origin("api.test:443", Some(&tls()), Some(&proxy), LIMIT))
            .await
            .unwrap_err();
        assert_eq!(error.to_string().replace(&address, "PROXY"), wanted);
        assert_eq!(
            String::from_utf8(got.await.unwrap()).unwrap(),
            "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\nProxy-Authorization: Basic dUB4OnA6dw==\r\n\r\n"
        );
    }
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut() {
    let (listener, address) = listen().await;
    let endless = tokio::spawn(async move {
        let mut socket = accept(&listener).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.unwrap();
        let mut sent = 0;
        while socket.write_all(&[b'a'; 1000]).await.is_ok() {
            sent += 1000;
        }
        sent
    });
    let proxy = proxy(&address);
    let error = soon(connect_origin("api.test:443", Some(&tls()), Some(&proxy), LIMIT))
        .await
        .unwrap_err();
    assert!(
        error.to_string().ends_with("the head of its answer is too long"),
        "{error}"
    );
    endless.await.unwrap();
}

#[tokio::test]
async fn a_proxy_that_is_not_there_or_silent() {
    let (listener, address) = listen().await;
    let nobody = proxy("127.0.0.1:1");
    let error = soon(connect_origin("api.test:443", Some(&tls()), Some(&nobody), LIMIT))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "proxyconnect tcp: dial tcp 127.0.0.1:1: connect: connection refused"
    );
    let silent = proxy(&address);
    let limit = Duration::from_millis(100);
    let error = soon(connect_origin("api.test:443", Some(&tls()), Some(&silent), limit))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("proxyconnect tcp: the proxy http://{address} does not answer: i/o timeout")
    );
    drop(listener);
    let secure = proxy("https://127.0.0.1:1");
    assert!(secure.is_secure() && !silent.is_secure());
}

/// A SOCKS proxy that wants a name and a password, and connects everybody to `target`.
async fn socks_proxy(target: String, code: u8) -> (String, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let got = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut methods = [0; 4];
        socket.read_exact(&mut methods).await.unwrap();
        assert_eq!(methods, [5, 2, 0, 2]);
        socket.write_all(&[5, 2]).await.unwrap();
        let mut login = [0; 6];
        socket.read_exact(&mut login).await.unwrap();
        assert_eq!(&login, b"\x01\x01u\x02pw");
        socket.write_all(&[1, 0]).await.unwrap();
        let mut request = vec![0; 5 + "api.test".len() + 2];
        socket.read_exact(&mut request).await.unwrap();
        socket
            .write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0])
            .await
            .unwrap();
        if code == 0 {
            let mut behind = TcpStream::connect(target).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut socket, &mut behind).await;
        }
        request
    });
    (address, got)
}

#[tokio::test]
async fn socks() {
    let (listener, target) = listen().await;
    tokio::spawn(async move {
        let mut socket = accept(&listener).await;
        socket.write_all(b"hello").await.unwrap();
    });
    let (address, got) = socks_proxy(target.clone(), 0).await;
    let proxy_of = |address: &str| {
        let (proxies, _) = proxies(&[("HTTP_PROXY", &format!("socks5://u:pw@{address}"))]);
        proxies.before(false, "api.test").unwrap().unwrap()
    };
    let mut socket = soon(connect_origin(
        "api.test:80",
        None,
        Some(&proxy_of(&address)),
        LIMIT,
    ))
    .await
    .unwrap();
    let mut text = String::new();
    soon(socket.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "hello");
    drop(socket);
    assert_eq!(got.await.unwrap(), b"\x05\x01\x00\x03\x08api.test\x00\x50");
    let (address, _) = socks_proxy(target, 4).await;
    let error = soon(connect_origin(
        "api.test:80",
        None,
        Some(&proxy_of(&address)),
        LIMIT,
    ))
    .await
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("socks connect tcp {address}->api.test:80: Host unreachable")
    );
}

proptest::proptest! {
    #[test]
    fn any_variables_are_judged(http in "\\PC{0,30}", list in "\\PC{0,40}", host in "[a-z0-9.:\\[\\]]{1,20}") {
        let (proxies, _) = proxies(&[("HTTP_PROXY", &http), ("NO_PROXY", &list)]);
        let _ = (proxies.before(false, &host), proxies.before(true, &host), proxies.shown());
    }

    #[test]
    fn any_list_is_judged(list in "[a-z0-9.:,/*\\[\\]% ]{0,40}", host in "[a-z0-9.:\\[\\]%]{1,20}") {
        let _ = proxies(&[("HTTP_PROXY", "p"), ("NO_PROXY", &list)]).0.before(false, &host);
    }
}
