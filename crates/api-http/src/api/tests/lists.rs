//! `spec.api` as callers see it: recorded with a Dapr sidecar.

use api_core::ApiRule;

use super::*;

/// The lists by name, a request, the answer and the beginning of its body.
const RECORDED: &str = include_str!("../../../tests-data/api-lists.tsv");

/// The lists of a recording, which its name tells: `allowed invoke v1 http`.
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
        protocol: match words.get(at + 2) {
            Some(&"no") | None => String::new(),
            Some(protocol) => (*protocol).to_owned(),
        },
    };
    for list in &words[..at] {
        match *list {
            "allowed" => lists.allowed.push(rule.clone()),
            _ => lists.denied.push(rule.clone()),
        }
    }
    if name == "allowed and denied metadata v1 http" {
        // The recording allowed invocations as well.
        lists.allowed.push(ApiRule {
            name: "invoke".into(),
            ..rule
        });
    }
    lists
}

#[tokio::test]
async fn as_recorded() {
    let mut count = 0;
    for line in RECORDED.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, request, wanted] = fields[..] else {
            panic!("{line:?}");
        };
        let sidecar = sidecar(ApiSettings {
            apis: named(name),
            ..settings()
        });
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let headers: &[_] = if words.next().is_some() {
            &[("dapr-app-id", "api")]
        } else {
            &[]
        };
        let (status, body) = sidecar.send(method, path, headers, "ok").await;
        let shown = match body.trim_end() {
            json if json.starts_with("{\"id\"") => "(metadata)",
            text => text,
        };
        let (wanted_status, wanted_body) = wanted.split_once(' ').unwrap_or((wanted, ""));
        assert_eq!(status.to_string(), wanted_status, "{line}");
        assert!(shown.starts_with(wanted_body), "{line}: {shown}");
        assert_eq!(shown.is_empty(), wanted_body.is_empty(), "{line}: {shown}");
        count += 1;
    }
    assert_eq!(count, 96);
}

#[tokio::test]
async fn a_path_without_its_method_names_those_that_it_has() {
    let sidecar = sidecar(ApiSettings {
        apis: named("denied invoke v1 http"),
        ..settings()
    });
    let response = sidecar.response("DELETE", "/v1.0/metadata/k", &[], "").await;
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "PUT");
}

#[tokio::test]
async fn the_public_port_has_the_same_lists() {
    for (lists, metadata, left) in [
        ("none", 200, 204),
        ("allowed invoke v1 http", 404, 404),
        ("denied metadata v1 HTTP", 404, 404),
        ("denied metadata/ v1.0 http", 200, 404),
        ("allowed metadata v1 http", 200, 204),
    ] {
        let metadata_of = Arc::new(Metadata::new(MetadataSettings::default()));
        let api = crate::PublicApi::new(
            Arc::new(()),
            metadata_of,
            Health::new(Readiness::new()),
            &named(lists),
        );
        for (method, path, wanted) in [
            ("GET", "/v1.0/healthz", 204),
            ("POST", "/v1.0/healthz", 405),
            ("GET", "/v1.0/healthz/outbound", 500),
            ("GET", "/v1.0/metadata", metadata),
            ("PUT", "/v1.0/metadata/k", left),
            ("GET", "/v1.0/invoke/a/method/b", 404),
        ] {
            let body = RequestBody::Kept(Full::new(bytes::Bytes::new()));
            let request = Request::builder().method(method).uri(path).body(body).unwrap();
            assert_eq!(
                api.call(request).await.status(),
                wanted,
                "{lists}: {method} {path}"
            );
        }
    }
}
