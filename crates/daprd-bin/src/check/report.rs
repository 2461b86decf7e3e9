//! Findings for people, for programs and for code hosts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use resources::{Finding, Severity};
use serde_json::{Value, json};

use super::args::Output;
use crate::flags;

/// A finding in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFinding {
    pub file: String,
    pub finding: Finding,
}

/// What each kind of finding is about.
const RULES: &[(&str, &str)] = &[
    (
        "access-control",
        "A policy of access control that is wrong, shadowed or never reached",
    ),
    ("api", "A rule of an API list without effect"),
    ("component", "A component that cannot be set up"),
    ("component-type", "A type of component that Dapr does not have"),
    ("deprecated", "Something that Dapr has given another name"),
    ("document", "A document that is not read, or none at all"),
    ("duplicate", "Two resources of one kind and name"),
    ("duplicate-key", "A key that stands twice"),
    ("encoding", "Bytes that are no UTF-8"),
    ("endpoint", "An HTTP endpoint that cannot be called"),
    ("feature", "A feature that Dapr does not have"),
    ("file", "A file that is not read"),
    ("kind", "A document that is no resource"),
    ("metrics", "A setting of metrics that is not used"),
    ("name", "A name that is refused"),
    ("name-resolution", "A resolver that cannot be set up"),
    ("no-effect", "Something that does nothing in this sidecar"),
    ("pipeline", "A pipeline that names a component that is not there"),
    ("policy", "A policy of resiliency that cannot be used"),
    ("secret", "A secret that cannot be found"),
    ("secret-scope", "A scope of secrets that is wrong or for nothing"),
    ("target", "A target or a caller that does not exist"),
    ("tracing", "A setting of tracing that cannot be used"),
    ("type", "A value of the wrong type"),
    ("unknown-field", "A field that nobody reads"),
    ("unknown-policy", "A target that names a policy that is not there"),
    ("unused", "Something that nobody uses"),
    (
        "variable",
        "A variable of the environment that is not set, or may not be read",
    ),
    ("yaml", "A text that is no YAML"),
];

/// How many findings there are of a severity.
pub fn count(told: &[FileFinding], severity: Severity) -> usize {
    told.iter()
        .filter(|told| told.finding.severity == severity)
        .count()
}

/// All findings in the wanted form.
pub fn render(told: &[FileFinding], files: usize, output: Output) -> String {
    match output {
        Output::Text => text(told, files),
        Output::Json => pretty(&json!(told.iter().map(object).collect::<Vec<_>>())),
        Output::Sarif => pretty(&sarif(told)),
    }
}

fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// What is told, in one line: a file may have line breaks in its names and values.
fn message(finding: &Finding) -> String {
    let mut message = finding.text.clone();
    if let Some(nearest) = &finding.nearest {
        let _ = write!(message, "; did you mean {nearest:?}?");
    }
    let control = |character: char| if character.is_control() { ' ' } else { character };
    message.chars().map(control).collect()
}

fn text(told: &[FileFinding], files: usize) -> String {
    let mut text = String::new();
    for FileFinding { file, finding } in told {
        let _ = write!(text, "{file}:");
        if finding.place.line > 0 {
            let _ = write!(text, "{}:{}:", finding.place.line, finding.place.column);
        }
        let (severity, rule) = (finding.severity, finding.rule);
        let _ = writeln!(text, " {severity}[{rule}]: {}", message(finding));
    }
    let number = |severity, name: &str| {
        let count = count(told, severity);
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {name}{plural}")
    };
    let _ = writeln!(
        text,
        "{}, {}, {} in {files} file{}",
        number(Severity::Error, "error"),
        number(Severity::Warning, "warning"),
        number(Severity::Note, "note"),
        if files == 1 { "" } else { "s" },
    );
    text
}

fn object(told: &FileFinding) -> Value {
    let FileFinding { file, finding } = told;
    let mut object = json!({
        "file": file,
        "severity": finding.severity.to_string(),
        "rule": finding.rule,
        "message": message(finding),
    });
    if finding.place.line > 0 {
        object["line"] = json!(finding.place.line);
        object["column"] = json!(finding.place.column);
    }
    if let Some(nearest) = &finding.nearest {
        object["nearest"] = json!(nearest);
    }
    object
}

fn sarif(told: &[FileFinding]) -> Value {
    let used: BTreeMap<&str, &str> = RULES
        .iter()
        .copied()
        .filter(|(rule, _)| told.iter().any(|told| told.finding.rule == *rule))
        .collect();
    let rules = used
        .iter()
        .map(|(id, about)| json!({ "id": id, "shortDescription": { "text": about } }));
    let results = told.iter().map(|FileFinding { file, finding }| {
        let mut location = json!({ "artifactLocation": { "uri": uri(file) } });
        if finding.place.line > 0 {
            location["region"] = json!({
                "startLine": finding.place.line,
                "startColumn": finding.place.column,
            });
        }
        json!({
            "ruleId": finding.rule,
            "ruleIndex": used.keys().position(|rule| *rule == finding.rule),
            "level": finding.severity.to_string(),
            "message": { "text": message(finding) },
            "locations": [{ "physicalLocation": location }],
        })
    });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "daprd check",
                "version": flags::VERSION,
                "rules": rules.collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<_>>(),
        }],
    })
}

/// A path as a reference: relative ones stay so, for hosts to find them in the repository.
fn uri(path: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'.')
        .remove(b'-')
        .remove(b'_')
        .remove(b'~');
    let encoded = percent_encoding::utf8_percent_encode(path, KEPT).to_string();
    if path.starts_with('/') {
        format!("file://{encoded}")
    } else {
        encoded.trim_start_matches("./").to_owned()
    }
}

#[cfg(test)]
mod tests {
    use resources::Place;

    use super::*;

    fn told() -> Vec<FileFinding> {
        let place = Place { line: 3, column: 5 };
        let field = Finding::new(Severity::Warning, "unknown-field", "spec has no field \"tpye\"\n");
        vec![
            FileFinding {
                file: "./a b/c.yaml".to_owned(),
                finding: field.at(place).near("tpye", ["type"]),
            },
            FileFinding {
                file: "/d.yaml".to_owned(),
                finding: Finding::new(Severity::Error, "file", "it is no regular file"),
            },
        ]
    }

    #[test]
    fn lines() {
        assert_eq!(
            render(&told(), 2, Output::Text),
            "./a b/c.yaml:3:5: warning[unknown-field]: spec has no field \"tpye\" ; did you mean \"type\"?\n\
             /d.yaml: error[file]: it is no regular file\n1 error, 1 warning, 0 notes in 2 files\n"
        );
    }

    #[test]
    fn objects() {
        let objects: Value = serde_json::from_str(&render(&told(), 2, Output::Json)).unwrap();
        assert_eq!(objects[0]["line"], 3);
        assert_eq!(objects[0]["nearest"], "type");
        assert_eq!(objects[1]["severity"], "error");
        assert_eq!(objects[1].get("line"), None);
    }

    #[test]
    fn code_hosts() {
        let sarif: Value = serde_json::from_str(&render(&told(), 2, Output::Sarif)).unwrap();
        assert_eq!(sarif["version"], "2.1.0");
        let run = &sarif["runs"][0];
        assert_eq!(run["tool"]["driver"]["rules"].as_array().unwrap().len(), 2);
        let result = &run["results"][0];
        assert_eq!(
            (&result["ruleId"], &result["ruleIndex"]),
            (&json!("unknown-field"), &json!(1))
        );
        let location = &result["locations"][0]["physicalLocation"];
        assert_eq!(location["artifactLocation"]["uri"], "a%20b/c.yaml");
        assert_eq!(location["region"], json!({ "startLine": 3, "startColumn": 5 }));
        let location = &run["results"][1]["locations"][0]["physicalLocation"];
        assert_eq!(
            *location,
            json!({ "artifactLocation": { "uri": "file:///d.yaml" } })
        );
    }

    #[test]
    fn rules_are_in_order() {
        assert!(RULES.is_sorted_by_key(|(rule, _)| *rule));
    }
}
