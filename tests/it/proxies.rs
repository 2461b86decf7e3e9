//! Proxies between a sidecar and the web: `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`.

use std::sync::{Arc, Mutex};

use integration_tests::pki::Authority;
use integration_tests::{HttpApp, Mesh, Protocol, TlsApp, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// A proxy that notes the head of each request. What is to be tunnelled goes to `behind`, whatever its name is; what
/// else is asked for is answered by the proxy itself.
struct Proxy {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start(behind: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, behind, Arc::clone(&noted)));
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        std::mem::take(&mut self.heads.lock().unwrap())
    }
}

async fn serve(mut socket: TcpStream, behind: u16, heads: Arc<Mutex<Vec<String>>>) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match socket.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let is_tunnel = head.starts_with("CONNECT ");
        let is_refused = head.contains("refused.test");
        heads.lock().unwrap().push(head);
        if is_refused {
            let answer = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 4\r\n\r\nwho?";
            socket.write_all(answer.as_bytes()).await.unwrap();
        } else if is_tunnel {
            let mut server = TcpStream::connect(("127.0.0.1", behind)).await.unwrap();
            socket
                .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                .await
                .unwrap();
            let _ = copy_bidirectional(&mut socket, &mut server).await;
            return;
        } else {
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nproxy";
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    }
}

async fn get(url: String) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn addresses_and_endpoints_are_called_through_a_proxy_and_nobody_else_is() {
    let authority = Authority::new();
    let server = TlsApp::start(&authority, None).await;
    let proxy = Proxy::start(server.port).await;
    let app = HttpApp::start(Protocol::Http, |_| async { text(200, "the app") }).await;
    let direct = HttpApp::start(Protocol::Http, |_| async { text(200, "direct") }).await;
    let mesh = Mesh::new();
    let roots = mesh.folder().join("roots.pem");
    std::fs::write(&roots, authority.pem()).unwrap();
    let resources = mesh.folder().join("resources");
    std::fs::create_dir(&resources).unwrap();
    for (name, base) in [
        ("plain", "http://plain.test/base"),
        ("secure", "https://localhost.test:8443"),
        ("refused", "https://refused.test"),
        ("loopback", &format!("http://127.0.0.1:{}", direct.port)),
    ] {
        let manifest = format!(
            "apiVersion: dapr.io/v1alpha1\nkind: HTTPEndpoint\nmetadata:\n  name: {name}\nspec:\n  version: \
             v1alpha1\n  baseUrl: {base}\n"
        );
        std::fs::write(resources.join(format!("{name}.yaml")), manifest).unwrap();
    }
    let with_login = format!("http://user:secret%21@{}", proxy.address);
    let daprd = mesh
        .sidecar("P1-app")
        .arg(format!("--resources-path={}", resources.display()))
        .app_port(app.port)
        .env("HTTP_PROXY", &with_login)
        .env("https_proxy", &with_login)
        .env("NO_PROXY", "direct.test,10.0.0.0/8")
        .env("SSL_CERT_FILE", &roots.display().to_string())
        .start()
        .await;
    let other = mesh
        .sidecar("P1-other")
        .app_port(app.port)
        .env("HTTP_PROXY", &with_login)
        .env("HTTPS_PROXY", &with_login)
        .start()
        .await;
    // The handshakes that are tried at the start.
    daprd
        .await_log("HTTPEndpoint secure at localhost.test:8443: tls: failed to verify certificate: ")
        .await;
    proxy.heads();
    let login = "\r\nProxy-Authorization: Basic dXNlcjpzZWNyZXQh\r\n";
    for (target, method, line) in [
        ("plain", "m?q=1", "GET http://plain.test/base/m?q=1 HTTP/1.1\r\n"),
        (
            "http://plain.test:8080",
            "m",
            "GET http://plain.test:8080/m HTTP/1.1\r\n",
        ),
    ] {
        assert_eq!(
            get(daprd.invoke_url(target, method)).await,
            (200, "proxy".to_owned()),
            "{target}"
        );
        let heads = proxy.heads();
        assert!(
            heads.len() == 1 && heads[0].starts_with(line) && heads[0].contains(login),
            "{heads:?}"
        );
    }
    // In a tunnel the proxy sees no more than the name. The certificate is for another one, which is how we see that it
    // is verified behind the proxy.
    for target in ["secure", "https://localhost.test:8443"] {
        let (status, body) = get(daprd.invoke_url(target, "m")).await;
        let wanted =
            "tls: failed to verify certificate: x509: certificate is valid for localhost, not localhost.test";
        assert!(status == 500 && body.contains(wanted), "{status} {body}");
        let heads = proxy.heads();
        let start = "CONNECT localhost.test:8443 HTTP/1.1\r\nHost: localhost.test:8443\r\n";
        assert!(
            heads.len() == 1 && heads[0].starts_with(start) && heads[0].contains(login),
            "{heads:?}"
        );
    }
    let (status, body) = get(daprd.invoke_url("refused", "m")).await;
    let wanted = format!(
        "proxyconnect tcp: the proxy http://{} does not connect to refused.test:443: 407 Proxy Authentication Required",
        proxy.address
    );
    assert!(status == 500 && body.contains(&wanted), "{status} {body}");
    let (status, body) = get(daprd.invoke_url("http://refused.test", "m")).await;
    assert_eq!(
        (status, body.as_str()),
        (407, "who?"),
        "the proxy answers for itself"
    );
    proxy.heads();
    for (target, wanted) in [
        ("loopback", "direct"),
        (&*format!("http://localhost:{}", direct.port), "direct"),
        ("P1-app", "the app"),
        ("P1-other", "the app"),
    ] {
        assert_eq!(
            get(daprd.invoke_url(target, "m")).await,
            (200, wanted.to_owned()),
            "{target}"
        );
    }
    let (status, body) = get(daprd.invoke_url("http://direct.test", "m")).await;
    assert!(
        status == 500 && body.contains("lookup direct.test"),
        "{status} {body}"
    );
    assert_eq!(proxy.heads(), Vec::<String>::new());
    let log = daprd.log();
    assert!(
        log.contains(&format!("called through http://{}", proxy.address)),
        "{log}"
    );
    assert!(!log.contains("secret"), "{log}");
    drop(other);
}

#[tokio::test]
async fn a_tunnel_carries_calls() {
    let authority = Authority::new();
    let shown = authority.issue_with("spiffe://unused/x", |params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("api.test".try_into().unwrap())];
    });
    let server = TlsApp::showing(&shown.pem(), &shown.key.serialize_pem()).await;
    let proxy = Proxy::start(server.port).await;
    let mesh = Mesh::new();
    let roots = mesh.folder().join("roots.pem");
    std::fs::write(&roots, authority.pem()).unwrap();
    let daprd = mesh
        .sidecar("P2-app")
        .env("HTTPS_PROXY", &proxy.address)
        .env("SSL_CERT_FILE", &roots.display().to_string())
        .start()
        .await;
    for _ in 0..3 {
        assert_eq!(
            get(daprd.invoke_url("https://api.test", "m")).await,
            (200, "hello".to_owned())
        );
    }
    assert_eq!(proxy.heads().len(), 1, "one connection for all of them");
    // A proxy that is gone is named.
    let gone = mesh
        .sidecar("P2-gone")
        .env("HTTPS_PROXY", "127.0.0.1:1")
        .start()
        .await;
    let (status, body) = get(gone.invoke_url("https://api.test", "m")).await;
    let wanted = "proxyconnect tcp: dial tcp 127.0.0.1:1: connect: connection refused";
    assert!(status == 500 && body.contains(wanted), "{status} {body}");
}
