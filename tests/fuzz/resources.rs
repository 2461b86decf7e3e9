//! Resources: YAML of files, JSON of the operator, variables.
#![allow(
    clippy::unwrap_used,
    reason = "a target that cannot go on panics, and shows why"
)]

use bolero::check;
use fuzz::{Near, seeds};
use resources::{
    Component, Filter, HttpEndpoint, MirrorTo, Piece, Template, decode_configuration, decode_resources,
    expand_environment, first_document, inspect, load_configuration, load_resources, text_of,
};

const YAML: [&str; 24] = [
    "\n",
    "\n---\n",
    "- ",
    ": ",
    "  ",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "<<: ",
    "null",
    "~",
    "yes",
    "0x10",
    "1e400",
    "'",
    "\"",
    "|\n",
    "!!binary ",
    "#",
    "\t",
    "é",
];
/// Words of JSON, and more of them.
fn words(more: &[&'static str]) -> Vec<&'static str> {
    let json = ["null", "[]", "{}", "\"\"", "0", "-1", "1e400"];
    json.into_iter().chain(more.iter().copied()).collect()
}

const FILTER: Filter<'_> = Filter {
    namespace: "",
    app_id: "me",
};

#[test]
fn documents() {
    let seeds = seeds("resources");
    for seed in &seeds {
        first_document(std::str::from_utf8(seed).unwrap()).unwrap();
    }
    check!().with_type::<Near>().for_each(|near| {
        let bytes = near.to_bytes(&seeds, &YAML);
        let _ = first_document(&String::from_utf8_lossy(&bytes));
    });
}

#[test]
fn files() {
    let seeds = seeds("resources");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file.yaml");
    let folders = [folder.path().display().to_string()];
    check!().with_type::<Near>().for_each(|near| {
        std::fs::write(&file, near.to_bytes(&seeds, &YAML)).unwrap();
        let bytes = near.to_bytes(&seeds, &YAML);
        if let Ok(text) = text_of(&bytes) {
            let _ = inspect("file.yaml", &text, |name| {
                (name == "A").then(|| "value".to_owned())
            });
        }
        let _ = load_resources::<HttpEndpoint>(&folders, FILTER);
        let _ = load_resources::<Component>(&folders, FILTER);
        let _ = load_configuration(&[file.display().to_string()], |name| {
            (name == "A").then(|| "value".to_owned())
        });
    });
}

#[test]
fn resources_of_the_operator() {
    let seeds = seeds("operator");
    let words = words(&["true", "\\u0000", "\"spec\":", ","]);
    check!().with_type::<Near>().for_each(|near| {
        let document = near.to_bytes(&seeds, &words);
        let _ = decode_configuration("c", &document);
        let documents = [document];
        let _ = decode_resources::<HttpEndpoint>(&documents, FILTER);
        let _ = decode_resources::<Component>(&documents, FILTER);
    });
}

/// Without a dollar sign nothing is replaced, and no variable is replaced in the value of another.
#[test]
fn variables() {
    let seeds = ["a $A b ${A} c $$ $", "${A", "$A$B"];
    check!().with_type::<Near>().for_each(|near| {
        let bytes = near.to_bytes(&seeds, &["$", "{", "}", "$A", "${A}", "_"]);
        let text = String::from_utf8_lossy(&bytes);
        let expanded = expand_environment(&text, |_| Some("$A".to_owned()));
        if !text.contains('$') {
            assert_eq!(expanded, text);
        }
        assert!(expanded.len() <= text.len() * 2);
    });
}

/// What a template says as text is what stands between its fields, braces once.
#[test]
fn templates_of_the_access_log() {
    let seeds = ["{verb} {path} {{x}}", "a{status}", "{{{end}}}"];
    check!().with_type::<Near>().for_each(|near| {
        let bytes = near.to_bytes(&seeds, &["{", "}", "{{", "}}", "{bytes}", "{nothing}", "é"]);
        let text = String::from_utf8_lossy(&bytes);
        let Ok(template) = text.parse::<Template>() else {
            return;
        };
        let literal: String = template
            .pieces()
            .iter()
            .filter_map(|piece| match piece {
                Piece::Text(literal) => Some(&**literal),
                Piece::Field(_) => None,
            })
            .collect();
        assert!(literal.len() <= text.len());
        if !text.contains(['{', '}']) {
            assert_eq!(literal, text);
        }
    });
}

/// Whatever `spec.routing` says: an app is shared out among versions that can be called, of which one has a share, its
/// copies go to another app, or the error says where and what, in few words.
#[test]
fn routing() {
    let seeds = seeds("routing");
    for seed in &seeds {
        let routed = decode_configuration("c", seed).unwrap().routed();
        assert!(routed.is_ok_and(|apps| apps.len() == 2));
    }
    let words = words(&["4294967296", "\"a.b.c\"", "\"a b\"", "/", "é"]);
    check!().with_type::<Near>().for_each(|near| {
        let document = near.to_bytes(&seeds, &words);
        let Ok(configuration) = decode_configuration("c", &document) else {
            return;
        };
        match configuration.routed() {
            Ok(apps) => {
                for app in apps {
                    assert!(!app.app.is_empty() && !app.app.contains(['.', '/']), "{app:?}");
                    let has_share = app.versions.iter().any(|(_, share)| *share > 0);
                    assert!(has_share || app.versions.is_empty(), "{app:?}");
                    let is_copied_well =
                        |to: &MirrorTo| to.app != app.app && to.share <= 1_000_000 && to.at_once > 0;
                    assert!(app.mirror.as_ref().is_none_or(is_copied_well), "{app:?}");
                    assert!(
                        app.versions
                            .iter()
                            .all(|(id, _)| !id.is_empty() && !id.contains('/')),
                        "{app:?}"
                    );
                }
            }
            Err(error) => assert!(error.to_string().len() < document.len() + 512, "{error}"),
        }
    });
}
