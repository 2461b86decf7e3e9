//! Guests of WebAssembly, in front of the API and in front of the app.

use integration_tests::{HttpApp, Protocol};
use reqwest::Client;

use super::{Stage, started};

/// A file with a guest of this text, in the folder of the mesh; its URL.
fn guest(stage: &Stage, text: &str) -> String {
    let module = wat::parse_str(text).unwrap();
    let path = stage.mesh.folder().join("guest.wasm");
    std::fs::write(&path, module).unwrap();
    format!("file://{}", path.display())
}

/// A guest with what it does with a request and with an answer.
fn text(request: &str, response: &str) -> String {
    format!(
        r#"(module
          (import "http_handler" "enable_features" (func $enable (param i32) (result i32)))
          (import "http_handler" "get_uri" (func $get_uri (param i32 i32) (result i32)))
          (import "http_handler" "set_uri" (func $set_uri (param i32 i32)))
          (import "http_handler" "read_body" (func $read_body (param i32 i32 i32) (result i64)))
          (import "http_handler" "write_body" (func $write_body (param i32 i32 i32)))
          (import "http_handler" "set_status_code" (func $set_status (param i32)))
          (memory (export "memory") 2)
          (data (i32.const 0) "/new?a=b")
          (func (export "_start") (drop (call $enable (i32.const 3))))
          (func (export "handle_request") (result i64) {request})
          (func (export "handle_response") (param i32 i32) {response}))"#
    )
}

#[tokio::test]
async fn the_guest_of_the_documentation_does_what_it_says() {
    let page = include_str!("../../../docs/src/middleware.md");
    let block = |kind: &str, mark: &str| {
        let begin = format!("```{kind}\n");
        let mut blocks = page.split(begin.as_str()).skip(1);
        let block = blocks.find(|block| block.contains(mark)).unwrap();
        block.split("```").next().unwrap().to_owned()
    };
    let app = HttpApp::echo(Protocol::Http).await;
    let stage = Stage::new(&[("guest", "wasm")], &[]);
    let url = guest(&stage, &block("wat", "handle_request"));
    let component = block("yaml", "http.wasm").replace("file://guest.wasm", &url);
    let folder = stage.mesh.folder().join("resources");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("guest.yaml"), component).unwrap();
    let sidecar = started(stage.sidecar("shop").app_port(app.port)).await;
    let answer = reqwest::get(sidecar.url("/hello")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/plain");
    assert_eq!(answer.text().await.unwrap(), r#"{"greeting": "hello"}"#);
    for path in ["/hallo", "/help"] {
        assert_eq!(reqwest::get(sidecar.url(path)).await.unwrap().status(), 404);
    }
    let answer = reqwest::get(sidecar.invoke_url("shop", "a")).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_guest_in_front_of_the_app_changes_both_ways() {
    let app = HttpApp::echo(Protocol::Http).await;
    let stage = Stage::new(&[], &[("guest", "wasm")]);
    // The app gets another path, and the answer gets eight bytes more.
    let url = guest(
        &stage,
        &text(
            "(call $set_uri (i32.const 0) (i32.const 8)) (i64.const 1)",
            "(call $set_status (i32.const 202))
             (call $write_body (i32.const 1) (i32.const 1024)
               (i32.wrap_i64 (call $read_body (i32.const 1) (i32.const 1024) (i32.const 4096))))
             (call $write_body (i32.const 1) (i32.const 0) (i32.const 8))",
        ),
    );
    stage.middleware("guest", "wasm", &[("url", &url)]);
    let callee = stage.sidecar("callee").app_port(app.port).start().await;
    // Another configuration with the same names.
    let plain = stage.mesh.folder().join("plain.yaml");
    let text = std::fs::read_to_string(stage.mesh.folder().join("config.yaml")).unwrap();
    std::fs::write(&plain, text.split("  appHttpPipeline").next().unwrap()).unwrap();
    let caller = integration_tests::DaprdBuilder::new("caller")
        .arg(format!("--config={}", plain.display()))
        .start()
        .await;
    for sidecar in [&caller, &callee] {
        let request = Client::new()
            .post(sidecar.invoke_url("callee", "old"))
            .body("hello");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 202);
        let text = answer.text().await.unwrap();
        let echo = text.strip_suffix("/new?a=b").unwrap();
        let echo: serde_json::Value = serde_json::from_str(echo).unwrap();
        assert_eq!(
            (&echo["target"], &echo["body"]),
            (&"/new?a=b".into(), &"hello".into())
        );
    }
}

#[tokio::test]
async fn a_guest_that_does_not_end_holds_nobody_up() {
    let app = HttpApp::echo(Protocol::Http).await;
    let stage = Stage::new(&[("guest", "wasm")], &[]);
    // A path of seven bytes never ends.
    let url = guest(
        &stage,
        &text(
            "(if (i32.eq (call $get_uri (i32.const 1024) (i32.const 64)) (i32.const 7))
               (then (loop $l (br $l)))) (i64.const 1)",
            "",
        ),
    );
    stage.middleware("guest", "wasm", &[("url", &url)]);
    let sidecar = started(stage.sidecar("shop").app_port(app.port)).await;
    let endless: Vec<_> = (0..8)
        .map(|_| tokio::spawn(reqwest::get(sidecar.url("/enless"))))
        .collect();
    let answer = reqwest::get(sidecar.invoke_url("shop", "a")).await.unwrap();
    assert_eq!(answer.status(), 200);
    for answer in endless {
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.status(), 500);
        let said = answer.text().await.unwrap();
        assert!(said.starts_with("wasm: the guest ran longer than "), "{said}");
    }
}

#[tokio::test]
async fn a_guest_that_is_none_is_named() {
    let stage = Stage::new(&[("guard", "wasm")], &[]);
    let path = stage.mesh.folder().join("guard.wasm");
    for (content, wanted) in [
        (None, "wasm: failed to parse metadata: open "),
        (Some("\0asm"), "wasm: error compiling guest: "),
        (
            Some("\0asm\x01\0\0\0"),
            "wasm: guest doesn't export func[handle_request]",
        ),
    ] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let url = format!("file://{}", path.display());
        stage.middleware("guard", "wasm", &[("url", &url)]);
        let said = super::refused::refused(&stage).await;
        assert!(said.contains(wanted), "{said}");
        assert!(said.contains("guard"), "{said}");
    }
}
