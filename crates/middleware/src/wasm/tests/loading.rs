//! Modules that are none, or that ask for what there is not.

use super::*;
use crate::load::Spec;
use crate::properties::Properties;
use crate::wasm::check;
use crate::web::Web;

#[tokio::test]
async fn modules_that_do_not_fit() {
    let exports = r#"(memory (export "memory") 1)
        (func (export "handle_request") (result i64) (i64.const 0))
        (func (export "handle_response") (param i32 i32))"#;
    for (text, wanted) in [
        (
            "(module)".to_owned(),
            "wasm: guest doesn't export func[handle_request]",
        ),
        (
            "(module (func (export \"handle_request\")))".to_owned(),
            "wasm: guest exports the wrong signature for func[handle_request]. should be () -> (i64)",
        ),
        (
            "(module (func (export \"handle_request\") (result i64) (i64.const 0)))".to_owned(),
            "wasm: guest doesn't export func[handle_response]",
        ),
        (
            "(module (func (export \"handle_request\") (result i64) (i64.const 0)) (func (export \"handle_response\")))"
                .to_owned(),
            "wasm: guest exports the wrong signature for func[handle_response]. should be (i32, 32) -> ()",
        ),
        (
            format!("(module {})", exports.replace("(export \"memory\")", "")),
            "wasm: guest doesn't export memory[memory]",
        ),
        (
            format!("(module (import \"env\" \"f\" (func)) {exports})"),
            "wasm: error instantiating guest: module[env] not instantiated",
        ),
        (
            format!("(module (import \"http_handler\" \"f\" (func)) {exports})"),
            "wasm: error instantiating guest: \"f\" is not exported in module \"http_handler\"",
        ),
        (
            format!("(module {exports} (func (export \"_start\") (unreachable)))"),
            "wasm: error instantiating guest: module[1] function[_start] failed: wasm error: unreachable",
        ),
        (
            format!(
                "(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $x (param i32))) {exports} (func \
                 (export \"_start\") (call $x (i32.const 2))))"
            ),
            "wasm: error instantiating guest: module closed with exit_code(2)",
        ),
        (
            format!(
                "(module (import \"http_handler\" \"get_status_code\" (func $x (result i32))) {exports} (func (export \
                 \"_start\") (drop (call $x))))"
            ),
            "wasm: error instantiating guest: module[1] function[_start] failed: there is no request while the guest \
             starts",
        ),
    ] {
        let module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let said = match started(&module, "", false, Limits::default()).await {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        assert_eq!(said, wanted, "{text}");
    }
    for (text, begin) in [
        (
            format!("(module (import \"http_handler\" \"log\" (func)) {exports})"),
            "wasm: error instantiating guest: ",
        ),
        (
            format!("(module {})", exports.replace("1)\n", "65536)\n")),
            "wasm: error instantiating guest: memory minimum size of 65536 pages exceeds memory limits",
        ),
        (
            format!("(module {exports} (table 10000000 funcref))"),
            "wasm: error instantiating guest: table minimum size of 10000000 elements exceeds table limits",
        ),
        (
            format!("(module {exports} (memory 1))"),
            "wasm: error compiling guest: ",
        ),
    ] {
        let module = wat::parse_str(&text).unwrap();
        let error = started(&module, "", false, Limits::default()).await;
        let said = error.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.starts_with(begin), "{text}: {said}");
    }
    for module in [&b""[..], b"(module)", b"\0asm\x01\0\0\0\x01", b"\x7fELF"] {
        let error = started(module, "", false, Limits::default()).await;
        let said = error.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.starts_with("wasm: error compiling guest: "), "{said}");
    }
}

fn properties(items: &[(&str, &str)]) -> Properties {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Properties::new(items.iter().map(owned))
}

fn spec(properties: Properties) -> Spec {
    Spec {
        name: "guest".to_owned(),
        kind: "middleware.http.wasm".to_owned(),
        version: "v1".to_owned(),
        properties,
    }
}

#[tokio::test]
async fn from_files_and_servers() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let module = request_of("(call $write_body (i32.const 1) «hello») (i64.const 0)").module();
    let path = std::env::temp_dir().join(format!("guest-{}.wasm", std::process::id()));
    std::fs::write(&path, &module).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}/a/guest.wasm", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        for status in ["200 OK", "404 Not Found"] {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 4096]).await;
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", module.len());
            let _ = socket.write_all(head.as_bytes()).await;
            let _ = socket.write_all(&module).await;
        }
    });
    let web = Web::new(transport::client::Proxies::default(), lifecycle::Tasks::new());
    for url in [format!("file://{}", path.display()), server.clone()] {
        let properties = properties(&[("URL", &url), ("guestConfig", "x")]);
        assert!(check(&properties).is_ok(), "{url}");
        let wasm = Wasm::new(&spec(properties), &web).await.unwrap();
        assert_eq!(answered(&wasm, get("/")).await.text(), "hello", "{url}");
    }
    let said = Wasm::new(&spec(properties(&[("url", &server)])), &web)
        .await
        .unwrap_err();
    assert_eq!(
        said.to_string(),
        format!("wasm: failed to parse metadata: received 404 status code from {server:?}")
    );
    serving.await.unwrap();
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn metadata_that_is_wrong() {
    for (items, wanted) in [
        (&[][..], "wasm: failed to parse metadata: missing url"),
        (
            &[("url", "oci://a")],
            "wasm: failed to parse metadata: unsupported URL scheme: oci",
        ),
        (
            &[("url", "file:///nonexistent.wasm")],
            "wasm: failed to parse metadata: open /nonexistent.wasm: no such file or directory",
        ),
        (
            &[("url", "http://a"), ("URL", "http://b")],
            "wasm: failed to parse metadata: failed to resolve aliases: key url is duplicate in the metadata",
        ),
    ] {
        assert_eq!(check(&properties(items)).unwrap_err().to_string(), wanted);
    }
}
