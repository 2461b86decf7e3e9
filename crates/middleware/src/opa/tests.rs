use http::Request;

use super::*;

fn opa(rego: &str, more: &[(&str, &str)]) -> Result<Opa, OpaError> {
    let items = [&[("rego", rego)], more].concat();
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Opa::new(&Properties::new(items.into_iter().map(owned)))
}

fn call(target: &str, headers: &[(&str, &str)], body: &'static str) -> Call {
    let mut request = Request::builder().uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Call {
        request: request.body(Body::full(body)).unwrap(),
        peer: None,
    }
}

/// The status of the answer, and whether it says that the policy could not decide; 0 for a call that goes on.
async fn judged(rego: &str, call: &mut Call) -> (u16, bool) {
    match opa(rego, &[("includedHeaders", "authorization")])
        .unwrap()
        .handle(call)
        .await
    {
        Ok(_) => (0, false),
        Err(answer) => (answer.status().as_u16(), answer.headers().contains_key(ERROR)),
    }
}

#[tokio::test]
async fn what_a_policy_decides() {
    for (rule, wanted) in [
        ("default allow = false", (403, false)),
        ("allow { input.request.path == \"/a b\" }", (0, false)),
        ("allow { input.request.query.x[1] == \"2\" }", (0, false)),
        (
            "allow { input.request.path_parts[0] == \"a b\"; count(input.request.path_parts) == 1 }",
            (0, false),
        ),
        ("allow { input.request.method == \"POST\" }", (403, true)),
        ("other = 1", (403, true)),
        ("allow = \"yes\"", (403, true)),
        ("allow = {\"allow\": true}", (0, false)),
        ("allow = {\"status_code\": 418}", (418, false)),
        ("allow = {\"status_code\": \"418\"}", (403, true)),
        ("allow = {\"status_code\": 99}", (500, false)),
        (
            "allow = {\"allow\": true, \"additional_headers\": {\"a b\": \"c\"}}",
            (403, true),
        ),
        (
            "allow { regex.match(`^/a`, input.request.path); startswith(input.request.scheme, \"http\") }",
            (0, false),
        ),
        ("allow { time.now_ns() > 1700000000 * 1000000000 }", (0, false)),
        (
            "# crypto.x509 and http.send\nallow { \"http.send\" != \"time.\" }",
            (0, false),
        ),
        ("allow = true { true }\nallow = false { true }", (403, true)),
        // It would take years.
        (
            "allow { x := numbers.range(1, 100000); y := [a | a := x[_]; x[_] == -1; x[_] == -2]; count(y) == 1 }",
            (403, true),
        ),
    ] {
        let rego = format!("package http\n{rule}\n");
        let mut call = call("/a%20b?x=1&x=2", &[], "");
        assert_eq!(judged(&rego, &mut call).await, wanted, "{rule}");
    }
}

#[tokio::test]
async fn tokens_are_read() {
    let rego = "package http\ndefault allow = false\nallow { [h, p, _] := io.jwt.decode(input.request.headers.Authorization); \
                h.alg == \"none\"; p.sub == \"me\" }\n";
    // {"alg":"none"} and {"sub":"me"}.
    for (token, wanted) in [
        ("eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9.", 0),
        ("eyJhbGciOiJub25lIn0=.eyJzdWIiOiJtZSJ9.AAEC", 0),
        ("eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9", 403),
        ("eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9.a.b", 403),
        ("IiI.eyJzdWIiOiJtZSJ9.", 403),
        ("a.b.c", 403),
        ("", 403),
    ] {
        let mut call = call("/", &[("authorization", token)], "");
        assert_eq!(judged(rego, &mut call).await, (wanted, false), "{token}");
    }
}

#[tokio::test]
async fn bodies_are_seen_and_go_on() {
    let rego = "package http\nallow { input.request.body == \"good\" }\n";
    let reading = opa(rego, &[("readBody", "true")]).unwrap();
    let mut good = call("/", &[], "good");
    assert!(reading.handle(&mut good).await.is_ok());
    assert_eq!(good.request.body().as_full(), Some(&b"good"[..]));
    assert!(reading.handle(&mut call("/", &[], "bad")).await.is_err());
    let long: &'static str = "x".repeat(LONGEST + 1).leak();
    let refused = reading.handle(&mut call("/", &[], long)).await.unwrap_err();
    assert_eq!(refused.status(), 413);
    assert!(
        opa(rego, &[])
            .unwrap()
            .handle(&mut call("/", &[], "good"))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_broken_body_is_refused() {
    let rego = "package http\nallow = true\n";
    let reading = opa(rego, &[("readBody", "true")]).unwrap();
    for (error, status, said) in [
        (BodyError::transport("bad chunk"), 400, "Bad Request"),
        (BodyError::TooLarge, 413, "Request Entity Too Large"),
    ] {
        let mut broken = call("/", &[], "");
        *broken.request.body_mut() = Body::empty().preceded_by(Err(error));
        let refused = reading.handle(&mut broken).await.unwrap_err();
        assert_eq!(refused.status(), status);
        assert_eq!(refused.body().as_full(), Some(said.as_bytes()));
    }
}

#[test]
fn what_is_no_policy() {
    for (rego, status, wanted) in [
        (
            "",
            "",
            "1 error occurred: inline.rego:0: rego_parse_error: empty module",
        ),
        ("package http\nallow = {\n", "", "rego_parse_error: "),
        (
            "package http\nallow if { true }\n",
            "",
            "1 error occurred: inline.rego:2: rego_parse_error: ",
        ),
        (
            "package http\nallow { http.send({}) }\n",
            "",
            "rego_unsupported_error: the policy uses http.send",
        ),
        ("package http\nallow { no.such(1) }\n", "", "rego_parse_error: "),
        (
            "package http\nallow { time.weekday(0) }\n",
            "",
            "rego_unsupported_error: the policy uses time.",
        ),
        (
            "package http\n",
            "x",
            "1 error(s) decoding:\n\n* cannot parse 'defaultStatus' as int: ",
        ),
    ] {
        let status = if status.is_empty() { "403" } else { status };
        let said = opa(rego, &[("defaultStatus", status)]).unwrap_err().to_string();
        assert!(said.starts_with(wanted), "{rego}: {said}");
    }
}
