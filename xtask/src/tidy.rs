//! `tidy`: the house rules that a program can check.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::run::{Outcome, cargo, output, root};

/// Who may know whom inside the workspace. The composition may know everybody.
const ARROWS: &[(&str, &[&str])] = &[
    ("access-control", &["invoke-core", "resources"]),
    ("api-core", &["invoke-core"]),
    (
        "api-grpc",
        &[
            "api-core",
            "dapr-proto",
            "grpc-wire",
            "invoke-codec",
            "invoke-core",
            "lifecycle",
            "reflection",
            "transport",
        ],
    ),
    (
        "api-http",
        &[
            "api-core",
            "invoke-codec",
            "invoke-core",
            "lifecycle",
            "transport",
        ],
    ),
    (
        "app-channel",
        &[
            "grpc-wire",
            "invoke-codec",
            "invoke-core",
            "lifecycle",
            "schedules",
            "transport",
        ],
    ),
    ("dapr-proto", &[]),
    (
        "identity",
        &[
            "dapr-proto",
            "go-text",
            "grpc-wire",
            "invoke-core",
            "lifecycle",
            "transport",
        ],
    ),
    (
        "internal-grpc",
        &[
            "dapr-proto",
            "grpc-wire",
            "invoke-codec",
            "invoke-core",
            "lifecycle",
            "reflection",
            "transport",
        ],
    ),
    ("invoke-codec", &["dapr-proto", "invoke-core"]),
    ("invoke-core", &["schedules"]),
    ("lifecycle", &[]),
    (
        "middleware",
        &["go-text", "invoke-core", "lifecycle", "transport"],
    ),
    (
        "name-resolution",
        &["go-text", "invoke-core", "lifecycle", "transport"],
    ),
    (
        "operator",
        &["dapr-proto", "grpc-wire", "invoke-core", "lifecycle", "transport"],
    ),
    ("reflection", &["dapr-proto", "invoke-core", "transport"]),
    ("resiliency", &["go-text", "invoke-core", "resources"]),
    ("resources", &["go-text"]),
    (
        "telemetry",
        &[
            "dapr-proto",
            "go-text",
            "grpc-wire",
            "invoke-core",
            "lifecycle",
            "transport",
        ],
    ),
    ("transport", &["go-text", "http2", "lifecycle", "schedules"]),
    ("go-text", &[]),
    ("grpc-wire", &["http2", "transport"]),
    ("http2", &["schedules"]),
    ("fuzz", &[]),
    ("integration-tests", &["pictures"]),
    ("pictures", &[]),
    ("schedules", &[]),
    (
        "simulate",
        &[
            "app-channel",
            "invoke-core",
            "lifecycle",
            "name-resolution",
            "pictures",
            "resiliency",
            "resources",
            "transport",
        ],
    ),
    ("xtask", &[]),
];
const COMPOSITION: &str = "daprd-bin";

/// Licences that a dependency may have; of alternatives one is enough.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// A file longer than this has more than one subject.
const LONGEST_FILE: usize = 600;
/// A crate tells its place in the house in so many lines at least.
const SHORTEST_INTRODUCTION: usize = 5;

pub(crate) fn run() -> Outcome {
    println!("\n==> tidy");
    let mut findings = Vec::new();
    let metadata = output(&mut cargo(&["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Value =
        serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata: {error}"))?;
    arrows(&metadata, &mut findings);
    licences(&metadata, &mut findings);
    files(&mut findings)?;
    crate::limits::check(&mut findings);
    if findings.is_empty() {
        return Ok(());
    }
    Err(format!("the house is not tidy:\n  {}", findings.join("\n  ")))
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn arrows(metadata: &Value, findings: &mut Vec<String>) {
    let rules: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let members: BTreeSet<&str> = packages(metadata)
        .filter(|package| package["source"].is_null())
        .map(|package| text(package, "name"))
        .collect();
    for package in packages(metadata).filter(|package| package["source"].is_null()) {
        let name = text(package, "name");
        if name == COMPOSITION {
            continue;
        }
        let Some(allowed) = rules.get(name) else {
            findings.push(format!("crate {name} has no place in the table of arrows"));
            continue;
        };
        // What only tests know does not shape the house.
        let known = package["dependencies"].as_array().into_iter().flatten();
        for known in known
            .filter(|known| known["kind"].as_str() != Some("dev"))
            .map(|known| text(known, "name"))
        {
            if members.contains(known) && !allowed.contains(&known) {
                findings.push(format!("crate {name} must not know {known}"));
            }
        }
    }
}

fn licences(metadata: &Value, findings: &mut Vec<String>) {
    for package in packages(metadata) {
        let licence = text(package, "license");
        let allowed = licence
            .split(" OR ")
            .flat_map(|choice| choice.split('/'))
            .any(|choice| choice.trim_matches(['(', ')']).split(" AND ").all(is_allowed));
        if !allowed {
            findings.push(format!("{} has the licence {licence:?}", text(package, "name")));
        }
    }
}

fn is_allowed(licence: &str) -> bool {
    let licence = licence.trim().trim_matches(['(', ')']);
    LICENCES.contains(&licence.split(" WITH ").next().unwrap_or(licence))
}

fn files(findings: &mut Vec<String>) -> Result<(), String> {
    let root = root();
    let mut sources = Vec::new();
    for folder in ["crates", "tests", "xtask", "proto", "docs"] {
        collect(&root.join(folder), &mut sources)?;
    }
    for path in sources {
        let Ok(content) = fs::read_to_string(&path) else {
            continue;
        };
        let shown = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        if path.extension().is_some_and(|extension| extension == "rs") {
            source(&shown, &content, findings);
        }
        manifest(&shown, &content, findings);
        if content.contains(concat!("/ro", "ot/")) || content.contains(concat!("/wo", "rk/")) {
            findings.push(format!("{shown} names a folder of somebody's machine"));
        }
    }
    Ok(())
}

fn source(shown: &str, content: &str, findings: &mut Vec<String>) {
    let lines = content.lines().count();
    let is_test = shown.contains("/tests") || shown.starts_with("tests/");
    if lines > LONGEST_FILE && !is_test {
        findings.push(format!("{shown} has {lines} lines: one subject each"));
    }
    if shown.ends_with("src/lib.rs") {
        let introduction = content.lines().take_while(|line| line.starts_with("//!")).count();
        if introduction < SHORTEST_INTRODUCTION {
            findings.push(format!("{shown} does not tell the crate's place in the house"));
        }
    }
    for unfinished in [
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("FIX", "ME"),
    ] {
        if content.contains(unfinished) {
            findings.push(format!("{shown} is unfinished: {unfinished}"));
        }
    }
}

fn manifest(shown: &str, content: &str, findings: &mut Vec<String>) {
    if shown.ends_with("Cargo.toml") && !content.contains("[lints]\nworkspace = true") {
        findings.push(format!("{shown} does not take the lints of the workspace"));
    }
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) -> Result<(), String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry
            .map_err(|error| format!("{}: {error}", folder.display()))?
            .path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        match name.as_str() {
            "target" | "node_modules" | "book" => {}
            _ if path.is_dir() => collect(&path, into)?,
            _ => into.push(path),
        }
    }
    Ok(())
}
