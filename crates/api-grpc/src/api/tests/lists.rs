//! `spec.api` as callers see it: recorded with a Dapr sidecar.

use api_core::ApiRule;

use super::*;

/// The lists by name, a method, the code and the beginning of the text.
const RECORDED: &str = include_str!("../../../tests-data/api-lists.tsv");

/// The one difference: a list of names that nobody knows allows nothing here, and everything in Dapr.
const STRICTER: &str = "allowed invoke v1.0 grpc (no such version)";

/// The lists of a recording, which its name tells: `allowed invoke v1 grpc`.
fn named(name: &str) -> ApiLists {
    let mut lists = ApiLists::default();
    if name == "none" {
        return lists;
    }
    let words: Vec<&str> = name
        .split([' ', ','])
        .filter(|word| !word.is_empty() && *word != "and")
        .collect();
    let at = words
        .iter()
        .position(|word| !["allowed", "denied"].contains(word))
        .unwrap();
    let rule = ApiRule {
        name: words[at].to_owned(),
        version: words[at + 1].to_owned(),
        protocol: match words[at + 2] {
            "no" => String::new(),
            protocol => protocol.to_owned(),
        },
    };
    for list in &words[..at] {
        match *list {
            "allowed" => lists.allowed.push(rule.clone()),
            _ => lists.denied.push(rule.clone()),
        }
    }
    lists
}

#[tokio::test]
async fn as_recorded() {
    let mut count = 0;
    for line in RECORDED.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, method, wanted] = fields[..] else {
            panic!("{line:?}");
        };
        let fixture = Fixture::with_lists("", named(name));
        let path = match method.strip_prefix('/') {
            Some(_) => method.to_owned(),
            None => format!("{SERVICE}{method}"),
        };
        let status = fixture
            .post(&path, &[], &request("b").encode_to_vec())
            .await
            .status;
        let wanted = if name == STRICTER {
            "12 Not Implemented"
        } else {
            wanted
        };
        let is_refused = status.code == 12 && status.message == "Not Implemented";
        assert_eq!(is_refused, wanted == "12 Not Implemented", "{line}: {status:?}");
        if is_refused {
            let details = String::from_utf8_lossy(&status.details.unwrap()).into_owned();
            for text in [
                "type.googleapis.com/google.rpc.ErrorInfo",
                "dapr.io",
                "http.code",
                "501",
                "requested endpoint is not available",
            ] {
                assert!(details.contains(text), "{details}");
            }
        }
        count += 1;
    }
    assert_eq!(count, 48);
}

#[tokio::test]
async fn what_is_denied_is_not_there_without_a_token_either() {
    let fixture = Fixture::with_lists("t", named("denied metadata v1 grpc"));
    assert_eq!(fixture.call("GetMetadata", &[], b"").await.status.code, 12);
    assert_eq!(fixture.call("SetMetadata", &[], b"").await.status.code, 12);
    assert_eq!(fixture.call("InvokeService", &[], b"").await.status.code, 16);
}
