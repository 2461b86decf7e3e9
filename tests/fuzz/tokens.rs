//! What proves to middleware who calls: tokens, sets of keys, answers of token endpoints, cookies, and words of policies.
#![allow(
    clippy::unwrap_used,
    reason = "a target that cannot go on panics, and shows why"
)]

use std::time::Duration;

use bolero::check;
use fuzz::{Near, sentence};
use http::{HeaderMap, HeaderValue, header};
use middleware::fuzz::{accepts, cookie, decoded, keys, keyword_without_import, shown, token};

/// Of the issuer `i`, for the audiences `a` and `b`, good until 2033; the key is `secret`.
const GOOD: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImsifQ.\
    eyJpc3MiOiJpIiwiYXVkIjpbImEiLCJiIl0sImV4cCI6MjAwMDAwMDAwMCwibmJmIjoxMDAwLCJzdWIiOiJzIn0.\
    F69l8nryt0nJ2SzCpXShdLYozv_AXGHEiFjJffac7yk";
const KEYS: &str = r#"{"keys": [{"kty": "oct", "kid": "k", "k": "c2VjcmV0"},
    {"kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB"},
    {"kty": "EC", "crv": "P-521", "kid": "e", "x": "AQ", "y": "AQ"}]}"#;
const NOW: f64 = 1_900_000_000.0;

/// Whatever is done to a token: what it says is what was signed.
#[test]
fn bearers() {
    assert!(accepts(KEYS.as_bytes(), GOOD, ["i", "a"], NOW));
    assert!(!accepts(KEYS.as_bytes(), GOOD, ["i", "c"], NOW));
    assert!(!accepts(KEYS.as_bytes(), GOOD, ["i", "a"], 2.1e9));
    let words = [".", "=", "eyJhbGciOiJub25lIn0", "e30", "fQ", "AA", "_", "-"];
    check!().with_type::<Near>().for_each(|near| {
        let near = near.to_bytes(&[GOOD], &words);
        let near = String::from_utf8_lossy(&near);
        if accepts(KEYS.as_bytes(), &near, ["i", "a"], NOW) {
            let said = |token: &str| token.rsplit_once('.').unwrap().0.to_owned();
            assert_eq!(said(&near), said(GOOD));
        }
    });
}

/// A set that was touched never makes a good token of one that it has no key for, and no key is made of nothing.
#[test]
fn sets_of_keys() {
    assert_eq!(
        keys(KEYS.as_bytes(), &["k", "r", "e"]),
        Some(2),
        "one is no point of its curve"
    );
    let words = [
        "{",
        "}",
        "[",
        "]",
        "null",
        "\"kty\"",
        "\"oct\"",
        "\"k\": \"\"",
        "\"use\": \"enc\"",
        "\"alg\": \"RS256\"",
        ",",
        "AAAA",
        "=",
    ];
    check!().with_type::<Near>().for_each(|near| {
        let set = near.to_bytes(&[KEYS], &words);
        let is_good = accepts(&set, GOOD, ["i", "a"], NOW);
        match keys(&set, &["k"]) {
            Some(1) => assert!(!is_good || find(&set, b"c2VjcmV0"), "a key of nothing"),
            _ => assert!(!is_good, "good without its key"),
        }
    });
}

fn find(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// What a policy gets of a token is a header, a payload and digits.
#[test]
fn tokens_of_policies() {
    assert!(decoded(GOOD).is_some());
    let words = [".", "=", "e30", "bnVsbA", "W10", "AA", "_", "-", "é"];
    check!().with_type::<Near>().for_each(|near| {
        let near = near.to_bytes(&[GOOD], &words);
        let Some(json) = decoded(&String::from_utf8_lossy(&near)) else {
            return;
        };
        let parts: serde_json::Value = serde_json::from_str(&json).unwrap();
        let [header, payload, signature] = parts.as_array().unwrap().as_slice() else {
            panic!("{json}");
        };
        assert!(header.is_object() && payload.is_object(), "{json}");
        let signature = signature.as_str().unwrap();
        assert!(signature.len() % 2 == 0 && signature.bytes().all(|digit| digit.is_ascii_hexdigit()));
    });
}

/// Whatever a server answers, what comes of it can stand in a header, is hidden in logs, and ends some time after now.
#[test]
fn answers_of_token_endpoints() {
    const SEEDS: [&str; 3] = [
        r#"{"access_token": "a", "token_type": "bearer", "expires_in": 60}"#,
        "access_token=a&token_type=MAC&expires_in=7",
        r#"{"error": "invalid_grant", "error_description": "no", "error_uri": "x"}"#,
    ];
    let words = [
        "null",
        "1e400",
        "-1",
        "\"\"",
        "0",
        "&",
        "=",
        "%00",
        "%0d%0a",
        "access_token",
        "expires_in",
        "error",
        "\\n",
        "NaN",
        "inf",
        "1e-320",
    ];
    check!().with_type::<(Near, u8)>().for_each(|(near, which)| {
        let body = near.to_bytes(&SEEDS, &words);
        let kind =
            ["application/json", "application/x-www-form-urlencoded; charset=x"][usize::from(which % 2)];
        let status = [200, 400, 204][usize::from(which / 2 % 3)];
        if let Some((value, life)) = token(status, kind.as_bytes(), &body) {
            assert_ne!(status, 400, "a refusal is no token");
            assert!(value.is_sensitive());
            let (kind, token) = value
                .as_bytes()
                .split_at(value.as_bytes().iter().position(|byte| *byte == b' ').unwrap());
            assert!(!kind.is_empty() && token.len() > 1);
            assert!(life.is_none_or(|life| life <= Duration::from_secs(u32::MAX.into())));
        }
    });
}

/// A browser shows the id that it was given, whatever other cookies it has.
#[test]
fn cookies() {
    let words = ["a=b", ";", "; ", "=", "\"", "gosessionsi", "d=", " ", ",", "x"];
    check!()
        .with_type::<(Vec<u8>, Vec<u8>, u64, bool)>()
        .for_each(|(before, after, id, is_quoted)| {
            let [before, after] = [before, after].map(|choice| sentence(&words, choice));
            let given = cookie(&id.to_string(), Some("example"), true).unwrap();
            let given = given.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = given.split_once('=').unwrap();
            let value = if *is_quoted {
                format!("\"{value}\"")
            } else {
                value.to_owned()
            };
            let line = format!("{before};{name}={value};{after}");
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, HeaderValue::from_str(&line).unwrap());
            // Another cookie of the name may come first; then that is the one.
            if !before.contains(name) {
                assert_eq!(shown(&headers), Some(id.to_string().as_str()), "{line}");
            }
        });
}

/// No word is reported where an import brings them all, what is reported stands where it is said to stand, and comments
/// change nothing.
#[test]
fn words_of_policies() {
    let words = [
        "if",
        " ",
        "\n",
        "in",
        "every",
        "contains",
        "import ",
        "rego.v1",
        "future.keywords",
        ".",
        "#",
        "\"",
        "`",
        "\\",
        "(",
        "[",
        "{",
        "}",
        "not ",
        "allow",
        "é",
        "x",
    ];
    check!().with_type::<Vec<u8>>().for_each(|choice| {
        let rego = sentence(&words, choice);
        if let Some((line, keyword)) = keyword_without_import(&rego) {
            let text = rego.lines().nth(line - 1).unwrap();
            assert!(
                text.contains(keyword),
                "{rego:?}: {keyword} is not in line {line}"
            );
        }
        let found = keyword_without_import(&rego);
        let commented = keyword_without_import(&format!("# import rego.v1 if\n{rego}"));
        assert_eq!(commented, found.map(|(line, keyword)| (line + 1, keyword)));
        assert_eq!(
            keyword_without_import(&format!("import rego.v1\n#\n{rego}")),
            None,
            "{rego:?}"
        );
    });
}
