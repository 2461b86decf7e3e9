use super::*;

/// What is told about a text, a line each.
fn told(text: &str) -> Vec<String> {
    let inspection = inspect("x.yaml", text, |name| {
        (name == "SET").then(|| "a longer value".to_owned())
    });
    let findings = inspection.findings().into_iter();
    let shown = findings.map(|finding| {
        let Place { line, column } = finding.place;
        let nearest = finding
            .nearest
            .as_deref()
            .map_or_else(String::new, |name| format!(" ({name}?)"));
        let Finding {
            severity, rule, text, ..
        } = finding;
        format!("{line}:{column} {severity} {rule} {text}{nearest}")
    });
    shown.collect()
}

const HEAD: &str = "apiVersion: dapr.io/v1alpha1\n";

#[test]
fn all_mistakes_of_a_component_at_once() {
    let text = format!(
        "{HEAD}kind: Component\nmetadata: {{name: a, namspace: b}}\nspec:\n  type: [x]\n  Version: {{}}\n  \
         ignoreErrors: maybe\n  metadata:\n  - name: ok\n    secretKeyRef: 5\n  - just text\n  - vaule: 1\nscope: [me]\n"
    );
    assert_eq!(
        told(&text),
        [
            "3:21 warning unknown-field metadata has no field \"namspace\" (namespace?)",
            "5:3 error type spec.type: expected a text, found a list",
            "6:3 error type spec.Version: expected a text, found a map",
            "7:3 error type spec.ignoreErrors: expected true or false, found the text \"maybe\"",
            "10:5 error type spec.metadata.0.secretKeyRef: invalid type: found unsigned int `5`, expected a map",
            "11:5 error type spec.metadata.1: invalid type: found string \"just text\", expected a map",
            "12:5 warning unknown-field spec.metadata.2 has no field \"vaule\" (value?)",
            "13:1 warning unknown-field a resource has no field \"scope\" (scopes?)",
        ]
    );
}

#[test]
fn all_mistakes_of_policies_at_once() {
    let text = format!(
        "{HEAD}kind: Resiliency\nspec:\n  policies:\n    timeouts: {{a: [1], b: 1s}}\n    retries:\n      R: {{polcy: constant, \
         MaxRetries: \"3\"}}\n      S: []\n  targets:\n    app: {{}}\n    apps: {{x: {{timeout: a, retrys: R}}}}\n"
    );
    assert_eq!(
        told(&text),
        [
            "5:16 error type spec.policies.timeouts.a: expected a text, found a list",
            "7:11 warning unknown-field spec.policies.retries.R has no field \"polcy\" (policy?)",
            "7:28 error type spec.policies.retries.R.MaxRetries: expected a whole number, found a text",
            "8:7 error type spec.policies.retries.S: expected a map, found a list",
            "10:5 warning unknown-field spec.targets has no field \"app\" (apps?)",
            "11:28 warning unknown-field spec.targets.apps.x has no field \"retrys\" (retry?)",
        ]
    );
}

#[test]
fn configurations() {
    let text = format!(
        "{HEAD}kind: Configuration\nmetadata: {{name: c, anything: goes}}\nspec:\n  Tracing: {{}}\n  mtls: {{enabled: true}}\n  \
         nameResolution: {{component: $SET, compnent: ${{NONE}}}}\n  metric: {{latencyDistributionBuckets: [1, x, y]}}\n  \
         features: [{{name: A, enabled: 5}}]\n  accessControl: {{defaultAction: }}\n---\na: 1\n"
    );
    assert_eq!(
        told(&text),
        [
            "5:3 warning unknown-field spec has no field \"Tracing\" (tracing?)",
            "6:3 note no-effect spec.mtls has no effect in this sidecar",
            "7:37 warning unknown-field spec.nameResolution has no field \"compnent\" (component?)",
            "7:47 warning variable the variable \"NONE\" is not set here, nothing stands in its place",
            "8:44 error type spec.metric.latencyDistributionBuckets.1: invalid type: found string \"x\", expected i64",
            "8:47 error type spec.metric.latencyDistributionBuckets.2: invalid type: found string \"y\", expected i64",
            "9:24 error type spec.features.0.enabled: expected true or false, found a number",
            "11:1 warning document of a configuration only the first document is read",
        ]
    );
}

/// What stands in our own section and nobody knows is told once, with what there is.
#[test]
fn fields_of_our_own_section() {
    let text = format!(
        "{HEAD}kind: Configuration\nspec:\n  daprd:\n    metrics:\n      enabld: true\n      otlp: {{endpoit: x}}\n    nonsense: 1\n"
    );
    assert_eq!(
        told(&text),
        [
            "6:7 error unknown-field spec.daprd.metrics has no field \"enabld\"; expected one of enabled, endpoints, \
             exemplars, otlp (enabled?)",
            "7:14 error unknown-field spec.daprd.metrics.otlp has no field \"endpoit\"; expected one of enabled, endpointAddress, \
             protocol, isSecure, headers, timeout, interval",
            "8:5 error unknown-field spec.daprd has no field \"nonsense\"; expected one of metrics, accessLog, app",
        ]
    );
}

#[test]
fn documents() {
    let component = |name: &str| format!("{HEAD}kind: Component\nmetadata: {{name: {name}}}\n");
    for (text, wanted) in [
        (String::new(), vec![]),
        ("# only\n---\n---\n".to_owned(), vec![]),
        (component("a"), vec![]),
        (
            format!("{}---\na: b: c\n---\n{}", component("a"), component("b/c")),
            vec![
                "5:5 error yaml this is no YAML: mapping values are not allowed in this context",
                "9:12 error type metadata.name: Dapr refuses the name \"b/c\"",
            ],
        ),
        (
            format!("{HEAD}kind: Componnet\n"),
            vec!["2:1 warning kind \"Componnet\" is no kind of resource (Component?)"],
        ),
        (
            format!("{HEAD}kind: Subscription\n"),
            vec!["2:1 note no-effect a Subscription has no effect in this sidecar"],
        ),
        ("apiVersion: apps/v1\nkind: Deployment\n".to_owned(), vec![]),
        (
            format!("{}---\n{HEAD}kind: Resiliency\n", component("a")),
            vec![
                "6:1 error document policies are read from the first document of a file only, this is another one",
            ],
        ),
        (
            format!("{}Metadata: {{name: b}}\n", component("a")),
            vec!["4:1 warning duplicate-key Metadata stands here for the second time, the last one counts"],
        ),
        (
            "kind: Configuration\nspec: {}\nspec: {}\n".to_owned(),
            vec!["3:1 error yaml this is no YAML: duplicate mapping key: spec"],
        ),
        (
            "- a\n".to_owned(),
            vec!["1:1 warning kind a document has no fields"],
        ),
    ] {
        let told = told(&text);
        let short: Vec<&str> = told.iter().map(String::as_str).collect();
        assert_eq!(short, wanted, "{text}");
    }
}

#[test]
fn bytes_that_are_no_text() {
    let told = |bytes: &[u8]| {
        let finding = text_of(bytes).unwrap_err();
        format!("{}:{} {}", finding.place.line, finding.place.column, finding.text)
    };
    assert_eq!(told(b"a: 1\nb: \xff\n"), "2:4 the byte 0xff is no UTF-8");
    assert_eq!(told(b"\xff\xfea\0b"), "0:0 the file is no text in UTF-16: byte 4");
    assert_eq!(text_of(b"\xff\xfea\0"), Ok("a".into()));
    assert!(told(&vec![b'a'; 5 << 20]).starts_with("0:0 the file has more than "));
    assert_eq!(text_of("é".as_bytes()), Ok("é".into()));
}

/// Whoever wants to keep a check busy is told so soon.
#[test]
fn hostile_documents() {
    let many: Vec<String> = (0..20_000)
        .map(|index| format!("  - {{name: [{index}]}}\n"))
        .collect();
    let many = many.concat();
    let many = format!("{HEAD}kind: Component\nspec:\n  metadata:\n{many}");
    let mut laughs = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(",");
        laughs.push_str(
            &[
                "a",
                &level.to_string(),
                ": &a",
                &level.to_string(),
                " [",
                &items,
                "]\n",
            ]
            .concat(),
        );
    }
    let deep: String = (0..1000).map(|depth| " ".repeat(depth) + "a:\n").collect();
    for text in [
        many,
        laughs,
        deep,
        "[".repeat(100_000),
        "a: &a [*a]\n".to_owned(),
        "a: &a {b: *a}\n".to_owned(),
    ] {
        let told = told(&text);
        assert!(
            !told.is_empty() && told.len() <= MOST + 1,
            "{}: {told:?}",
            &text[..40.min(text.len())]
        );
        assert!(told.iter().any(|line| line.contains(" error ")), "{told:?}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_inspected(text in "(kind: (Component|Configuration|Resiliency)\n)?(spec:\n)?[\\[\\]{}:,a-c\"$0-9 \\n&*-]{0,60}") {
        let _ = told(&text);
    }
}
