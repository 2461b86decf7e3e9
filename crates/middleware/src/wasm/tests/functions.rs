//! Every function of the host, before and after the request goes on.

use http::Request;
use invoke_core::Body;

use super::*;

/// Answers with what an expression says of the request: its length, with the bytes in the first page.
fn says(expression: &str) -> String {
    format!("(call $write_body (i32.const 1) (i32.const 0) {expression}) (i64.const 0)")
}

#[tokio::test]
async fn what_a_guest_reads() {
    let (one, two) = ("(i32.const 0) (i32.const 4096)", "(i32.const 0) (i32.const 2)");
    let names = |kind: u32| format!("(i32.wrap_i64 (call $get_header_names (i32.const {kind}) {one}))");
    let values = |kind: u32, name: &str| {
        format!("(i32.wrap_i64 (call $get_header_values (i32.const {kind}) «{name}» {one}))")
    };
    let cases = [
        (format!("(call $get_method {one})"), "PUT"),
        (format!("(call $get_uri {one})"), "/a%20b?x=1"),
        (format!("(call $get_protocol_version {one})"), "HTTP/1.1"),
        (format!("(call $get_source_addr {one})"), "192.0.2.7:4711"),
        (format!("(call $get_config {one})"), "config"),
        // There is no room: the length is told, and nothing written.
        (format!("(call $get_method {two})"), "\0\0\0"),
        (names(0), "content-length\0host\0x-twice\0"),
        (values(0, "X-Twice"), "a\0b\0"),
        (values(0, "HOST"), "shop\0"),
        (values(0, "x-none"), ""),
        (values(0, "no name"), ""),
        (names(1), ""),
        (names(2), ""),
        (values(3, "x"), ""),
    ];
    for (expression, wanted) in cases {
        let module = request_of(&says(&expression)).module();
        let wasm = started(&module, "config", false, Limits::default())
            .await
            .unwrap();
        let request = Request::put("/a%20b?x=1")
            .header("x-twice", "a")
            .header("x-twice", "b")
            .header("host", "shop")
            .header("content-length", "4")
            .body(Body::full("body"))
            .unwrap();
        let seen = answered(&wasm, request).await;
        assert_eq!(
            (seen.status.as_u16(), seen.text().as_str()),
            (200, wanted),
            "{expression}"
        );
    }
}

#[tokio::test]
async fn the_host_of_http2_is_a_header() {
    let one = "(i32.const 0) (i32.const 4096)";
    for (expression, wanted) in [
        (format!("(call $get_header_names (i32.const 0) {one})"), "host\0"),
        (
            format!("(call $get_header_values (i32.const 0) «host» {one})"),
            "shop:1\0",
        ),
        (
            format!("(i64.extend_i32_u (call $get_protocol_version {one}))"),
            "HTTP/2.0",
        ),
    ] {
        let wasm = request_of(&says(&format!("(i32.wrap_i64 {expression})")))
            .load()
            .await;
        let mut request = get("http://shop:1/a");
        *request.version_mut() = http::Version::HTTP_2;
        assert_eq!(answered(&wasm, request).await.text(), wanted, "{expression}");
    }
}

#[tokio::test]
async fn what_a_guest_changes_of_a_request() {
    for (change, wanted) in [
        ("", "GET /a?b\nx-a: 1\n"),
        ("(call $set_method «PATCH»)", "PATCH /a?b\nx-a: 1\n"),
        ("(call $set_uri «/c/d?e=f»)", "GET /c/d?e=f\nx-a: 1\n"),
        ("(call $set_uri (i32.const 0) (i32.const 0))", "GET /\nx-a: 1\n"),
        ("(call $set_uri «http://other:1/c»)", "GET /c\nx-a: 1\n"),
        (
            "(call $set_header_value (i32.const 0) «X-A» «2»)",
            "GET /a?b\nx-a: 2\n",
        ),
        (
            "(call $add_header_value (i32.const 0) «X-A» «2»)",
            "GET /a?b\nx-a: 1\nx-a: 2\n",
        ),
        ("(call $remove_header (i32.const 0) «X-A»)", "GET /a?b\n"),
        ("(call $remove_header (i32.const 0) «X-B»)", "GET /a?b\nx-a: 1\n"),
        // The host says how long a body is.
        (
            "(call $set_header_value (i32.const 0) «content-length» «7»)",
            "GET /a?b\nx-a: 1\n",
        ),
        (
            "(call $write_body (i32.const 0) «one») (call $write_body (i32.const 0) «two»)",
            "GET /a?b\nx-a: 1\ncontent-length: 6\nonetwo",
        ),
    ] {
        let wasm = request_of(&format!("{change} (i64.const 1)")).load().await;
        let request = Request::get("/a?b")
            .header("x-a", "1")
            .body(Body::empty())
            .unwrap();
        let seen = asked(&wasm, request, echo).await;
        assert_eq!(
            (seen.status.as_u16(), seen.text().as_str()),
            (201, wanted),
            "{change}"
        );
    }
}

#[tokio::test]
async fn what_a_guest_answers() {
    let guest = request_of(
        "(call $set_header_value (i32.const 1) «Content-Type» «text/x»)
         (call $add_header_value (i32.const 1) «x-a» «1»)
         (call $add_header_value (i32.const 1) «x-a» «2»)
         (call $set_status_code (i32.const 403))
         (call $write_body (i32.const 1) «no»)
         ;; The head is on its way.
         (call $set_status_code (i32.const 200))
         (call $remove_header (i32.const 1) «x-a»)
         (call $write_body (i32.const 1) «pe»)
         (call $set_header_value (i32.const 3) «x-sum» «7»)
         (i64.const 0)",
    );
    let seen = answered(&guest.load().await, get("/")).await;
    assert_eq!((seen.status.as_u16(), seen.text().as_str()), (403, "nope"));
    assert_eq!(seen.headers["content-type"], "text/x");
    assert_eq!(seen.headers.get_all("x-a").iter().count(), 2);
    assert_eq!(seen.headers["trailer"], "x-sum");
    assert_eq!(seen.trailers["x-sum"], "7");
}

#[tokio::test]
async fn headers_of_a_guest_join_those_of_the_answer() {
    let guest = request_of(
        "(call $set_header_value (i32.const 1) «x-own» «1»)
         (call $set_header_value (i32.const 1) «x-next» «too»)
         (i64.const 1)",
    );
    let seen = asked(&guest.load().await, get("/"), echo).await;
    assert_eq!(seen.status, 201);
    assert_eq!(seen.headers["x-own"], "1");
    assert_eq!(seen.headers.get_all("x-next").iter().count(), 2);
    assert_eq!(seen.headers["content-length"], "6");
    assert_eq!(seen.text(), "GET /\n");
}

#[tokio::test]
async fn a_guest_hears_of_its_call_again() {
    let guest = Guest {
        request: "(i64.const 0x2a_0000_0001)",
        response:
            "(if (i32.or (i32.ne (local.get $ctx) (i32.const 42)) (local.get $is_error)) (then (unreachable)))
                   (if (i32.ne (i32.const 1) (i32.wrap_i64 (i64.shr_u (call $get_header_values
                     (i32.const 0) «x-a» (i32.const 0) (i32.const 64)) (i64.const 32)))) (then (unreachable)))
                   (if (i32.ne (i32.const 2) (i32.wrap_i64 (i64.shr_u (call $get_header_names
                     (i32.const 1) (i32.const 0) (i32.const 64)) (i64.const 32)))) (then (unreachable)))",
        more: "",
    };
    let wasm = guest.load().await;
    let request = Request::get("/").header("x-a", "1").body(Body::empty()).unwrap();
    assert_eq!(asked(&wasm, request, echo).await.status, 201);
}

#[tokio::test]
async fn what_comes_too_late_is_refused() {
    let late = "after next handler";
    for (does, wanted) in [
        ("(call $set_method «PUT»)", format!("can't set method {late}")),
        ("(call $set_uri «/»)", format!("can't set uri {late}")),
        (
            "(call $set_header_value (i32.const 0) «a» «b»)",
            format!("can't set request header {late}"),
        ),
        (
            "(call $add_header_value (i32.const 2) «a» «b»)",
            format!("can't add request trailer {late}"),
        ),
        (
            "(call $remove_header (i32.const 1) «a»)",
            format!("can't remove response header {late} unless buffer_response is enabled"),
        ),
        (
            "(call $set_header_value (i32.const 3) «a» «b»)",
            format!("can't set response trailer {late} unless buffer_response is enabled"),
        ),
        (
            "(call $set_status_code (i32.const 200))",
            format!("can't set status code {late} unless buffer_response is enabled"),
        ),
        (
            "(call $write_body (i32.const 0) «a»)",
            format!("can't write request body {late}"),
        ),
        (
            "(call $write_body (i32.const 1) «a»)",
            format!("can't write response body {late} unless buffer_response is enabled"),
        ),
        (
            "(drop (call $read_body (i32.const 0) (i32.const 0) (i32.const 9)))",
            format!("can't read request body {late} unless buffer_request is enabled"),
        ),
        (
            "(drop (call $read_body (i32.const 1) (i32.const 0) (i32.const 9)))",
            format!("can't read response body {late} unless buffer_response is enabled"),
        ),
        (
            "(drop (call $get_status_code))",
            "can't get status code unless buffer_response is enabled".to_owned(),
        ),
    ] {
        let guest = Guest {
            request: "(i64.const 1)",
            response: does,
            more: "",
        };
        let seen = asked(&guest.load().await, get("/"), echo).await;
        assert_eq!((seen.status.as_u16(), seen.text()), (500, wanted), "{does}");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    for (does, wanted) in [
        (
            "(call $set_method (i32.const 0) (i32.const 0))",
            "HTTP method cannot be empty",
        ),
        ("(call $set_method «a b»)", "invalid method \"a b\""),
        ("(call $set_uri «a»)", "parse \"a\": invalid URI for request"),
        (
            "(drop (call $get_header_names (i32.const 4) (i32.const 0) (i32.const 9)))",
            "unsupported header kind: 4",
        ),
        (
            "(call $set_header_value (i32.const 0) (i32.const 0) (i32.const 0) «a»)",
            "HTTP header name cannot be empty",
        ),
        (
            "(call $set_header_value (i32.const 0) «a b» «a»)",
            "invalid header name \"a b\"",
        ),
        (
            "(call $set_header_value (i32.const 0) «a» (i32.const 0) (i32.const 1))",
            "invalid value of the header a",
        ),
        (
            "(call $set_header_value (i32.const 0) (i32.const -1) (i32.const 9) «a»)",
            "out of memory reading name",
        ),
        (
            "(call $set_status_code (i32.const 99))",
            "invalid WriteHeader code 99",
        ),
        (
            "(call $set_status_code (i32.const 70000))",
            "invalid WriteHeader code 70000",
        ),
        ("(call $write_body (i32.const 2) «a»)", "unsupported body kind: 2"),
        (
            "(drop (call $read_body (i32.const 2) (i32.const 0) (i32.const 9)))",
            "unsupported body kind: 2",
        ),
        (
            "(drop (call $read_body (i32.const 0) (i32.const 0) (i32.const 0)))",
            "buf_limit==0 reading body",
        ),
        (
            "(drop (call $read_body (i32.const 0) (i32.const 0) (i32.const -1)))",
            "out of memory reading body",
        ),
        (
            "(drop (call $get_uri (i32.const -1) (i32.const 9)))",
            "out of memory",
        ),
        ("(call $log (i32.const 2) (i32.const -1) (i32.const 9))", ""),
        (
            "(call $proc_exit (i32.const 3))",
            "module closed with exit_code(3)",
        ),
        ("(unreachable)", "wasm error: unreachable"),
        (
            "(drop (i32.load (i32.const -8)))",
            "wasm error: out of bounds memory access",
        ),
        (
            "(drop (i32.div_s (i32.const 1) (i32.const 0)))",
            "wasm error: integer divide by zero",
        ),
        (
            "(drop (i32.trunc_f32_s (f32.const nan)))",
            "wasm error: invalid conversion to integer",
        ),
    ] {
        let wasm = request_of(&format!("{does} (i64.const 0)")).load().await;
        let seen = answered(&wasm, get("/")).await;
        if wanted.is_empty() {
            // Nobody listens to this level, so nobody reads it.
            assert_eq!(seen.status, 200, "{does}");
            continue;
        }
        assert_eq!(
            (seen.status.as_u16(), seen.text().as_str()),
            (500, wanted),
            "{does}"
        );
        assert_eq!(seen.headers["content-type"], "text/plain; charset=utf-8");
    }
}

#[tokio::test]
async fn a_guest_that_came_to_grief_is_not_used_again() {
    let guest = Guest {
        request: "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
                  (i32.store8 (i32.const 0) (i32.add (i32.const 48) (global.get $calls)))
                  (if (i32.eq (global.get $calls) (i32.const 3)) (then (unreachable)))
                  (call $write_body (i32.const 1) (i32.const 0) (i32.const 1)) (i64.const 0)",
        response: "",
        more: "(global $calls (mut i32) (i32.const 0))",
    };
    let wasm = guest.load().await;
    let mut said = Vec::new();
    for _ in 0..4 {
        said.push(answered(&wasm, get("/")).await.text());
    }
    assert_eq!(said, ["1", "2", "wasm error: unreachable", "1"]);
}

#[tokio::test]
async fn a_sandbox_that_is_strict_is_the_same_every_time() {
    let guest = request_of(
        "(drop (call $random_get (i32.const 0) (i32.const 16)))
         (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 16)))
         (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 24)))
         (call $write_body (i32.const 1) (i32.const 0) (i32.const 32)) (i64.const 0)",
    );
    for is_strict in [true, false] {
        let mut said = Vec::new();
        for _ in 0..2 {
            let wasm = started(&guest.module(), "", is_strict, Limits::default())
                .await
                .unwrap();
            said.push(answered(&wasm, get("/")).await.body);
        }
        assert_eq!(said[0] == said[1], is_strict);
        if is_strict {
            assert_eq!(said[0][16..24], [0; 8]);
            assert_eq!(said[0][24..32], 1_000_000_u64.to_le_bytes());
        }
    }
}

#[tokio::test]
async fn there_are_no_files_and_somebody_listens() {
    let guest = request_of(
        "(if (i32.ne (call $fd_prestat_get (i32.const 3) (i32.const 0)) (i32.const 8)) (then (unreachable)))
         (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 5))
         (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then (unreachable)))
         (if (i32.ne (i32.load (i32.const 8)) (i32.const 5)) (then (unreachable)))
         (if (i32.ne (call $fd_write (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 8)) (i32.const 8))
           (then (unreachable)))
         (if (i32.ne (call $fd_write (i32.const 2) (i32.const 0) (i32.const -1) (i32.const 8)) (i32.const 21))
           (then (unreachable)))
         (i64.const 0)",
    );
    let seen = answered(&guest.load().await, get("/")).await;
    assert_eq!((seen.status.as_u16(), seen.text().as_str()), (200, ""));
}
