//! What configurations and variables come to.

use super::*;

fn plan(spec: TraceSpec, known: &[(&str, &str)]) -> Result<Plan, TraceError> {
    Plan::of(spec, "me", |name| {
        let found = known.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

fn otel(protocol: &str, endpoint: &str) -> OtelSpec {
    OtelSpec {
        protocol: protocol.to_owned(),
        endpoint: endpoint.to_owned(),
        ..OtelSpec::default()
    }
}

/// A collector as a text.
fn shown(plan: &Plan) -> String {
    let Some(collector) = plan.collector() else {
        return "none".to_owned();
    };
    let (protocol, path) = match &collector.protocol {
        Protocol::Grpc => ("grpc", ""),
        Protocol::Http(path) => ("http", path.as_str()),
    };
    let headers: Vec<_> = collector
        .headers
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!(
        "{protocol} {}{path} {} {} {:?}",
        collector.authority,
        if collector.is_secure { "secure" } else { "plain" },
        headers.join(","),
        collector.timeout
    )
}

#[test]
fn where_spans_go() {
    const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const OF_TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
    const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
    let full = OtelSpec {
        is_secure: Some(false),
        headers: vec![("a".into(), "b".into()), (String::new(), String::new())],
        timeout: Some(Duration::from_secs(3)),
        ..otel("grpc", "f:1")
    };
    for (otel, known, wanted) in [
        (OtelSpec::default(), &[][..], "none"),
        (otel("grpc", ""), &[], "none"),
        (otel("", "f:1"), &[], "none"),
        (otel("grpc", "f:1"), &[], "grpc f:1 secure  10s"),
        (otel("http", "f:1"), &[], "http f:1/v1/traces secure  10s"),
        (otel("http", "http://f:1/"), &[], "http f:1/v1/traces secure  10s"),
        (otel("http", "f:1/x"), &[], "http f:1/x secure  10s"),
        (full.clone(), &[], "grpc f:1 plain a=b 3s"),
        // The environment fills what the file leaves open.
        (
            otel("grpc", "f:1"),
            &[(ENDPOINT, "http://e:2")],
            "grpc f:1 plain  10s",
        ),
        (
            otel("grpc", "f:1"),
            &[(ENDPOINT, "https://e:2")],
            "grpc f:1 secure  10s",
        ),
        (
            otel("grpc", "f:1"),
            &[
                ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
                (HEADERS, "x=y,junk"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "5000"),
            ],
            "grpc f:1 plain x=y 5s",
        ),
        (
            full,
            &[(HEADERS, "x=y"), ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "5000")],
            "grpc f:1 plain a=b 3s",
        ),
        // And has a collector where the file has none.
        (
            OtelSpec::default(),
            &[(ENDPOINT, "http://e:2"), (HEADERS, "x=y")],
            "grpc e:2 plain x=y 10s",
        ),
        (OtelSpec::default(), &[(ENDPOINT, "e:2")], "grpc e:2 secure  10s"),
        (
            OtelSpec::default(),
            &[(ENDPOINT, "http://e:2/"), (PROTOCOL, "http/protobuf")],
            "http e:2/v1/traces plain  10s",
        ),
        (
            OtelSpec::default(),
            &[(ENDPOINT, "http://e:2/base/"), (PROTOCOL, "http/protobuf")],
            "http e:2/base/v1/traces plain  10s",
        ),
        (
            OtelSpec::default(),
            &[
                (ENDPOINT, "x:1"),
                (OF_TRACES, "https://e:2/in"),
                (PROTOCOL, "http/protobuf"),
            ],
            "http e:2/in secure  10s",
        ),
        (
            OtelSpec {
                headers: vec![("a".into(), "b".into())],
                ..OtelSpec::default()
            },
            &[(ENDPOINT, "e:2"), (HEADERS, "x=y")],
            "grpc e:2 secure a=b,x=y 10s",
        ),
    ] {
        let spec = TraceSpec {
            otel,
            ..TraceSpec::default()
        };
        let plan = plan(spec.clone(), known).unwrap();
        assert_eq!(shown(&plan), wanted, "{spec:?} {known:?}");
    }
}

#[test]
fn mistakes() {
    let bad = |spec: TraceSpec, known: &[(&str, &str)]| plan(spec, known).unwrap_err().to_string();
    let spec = TraceSpec {
        otel: otel("GRPC", "f:1"),
        ..TraceSpec::default()
    };
    assert_eq!(
        bad(spec, &[]),
        "failed to setup tracing: invalid protocol GRPC provided for Otel endpoint"
    );
    for (url, reason) in [
        ("collector:9411", "no scheme or host"),
        ("/api", "no scheme or host"),
        ("ftp://a/b", "unsupported protocol scheme"),
        ("http://a b", "it cannot be read"),
    ] {
        let spec = TraceSpec {
            zipkin: url.to_owned(),
            ..TraceSpec::default()
        };
        let text = bad(spec, &[]);
        assert!(
            text.starts_with("failed to setup tracing: invalid collector URL"),
            "{text}"
        );
        assert!(text.ends_with(reason) || url.contains(':'), "{text}");
    }
    let spec = TraceSpec {
        zipkin: "http://me:hush@a/b".to_owned(),
        ..TraceSpec::default()
    };
    assert!(!bad(spec, &[]).contains("hush"));
    for known in [
        ("OTEL_EXPORTER_OTLP_HEADERS", "hush"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
    ] {
        let text = bad(TraceSpec::default(), &[known]);
        assert!(
            text.starts_with("error setting tracing spec from env: "),
            "{text}"
        );
        assert!(!text.contains("hush"), "{text}");
    }
}

#[tokio::test]
async fn who_makes_spans() {
    let exporters = Exporters::new("me", Tasks::new(), Tasks::new(), Proxies::default());
    for (rate, stdout, known, is_active) in [
        ("", false, &[][..], false),
        ("", true, &[], true),
        ("0.5", false, &[], true),
        ("junk", false, &[], true),
        ("0", true, &[], false),
        ("0.0", false, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "e:1")], false),
        ("", false, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://e:1")], true),
    ] {
        let spec = TraceSpec {
            sampling_rate: rate.to_owned(),
            stdout,
            ..TraceSpec::default()
        };
        let plan = plan(spec, known).unwrap();
        assert_eq!(
            plan.begin(&exporters).is_some(),
            is_active,
            "{rate:?} {stdout} {known:?}"
        );
    }
    let of_variable = plan(TraceSpec::default(), &[("OTEL_EXPORTER_OTLP_ENDPOINT", "e:1")]).unwrap();
    assert!(of_variable.sampler().to_string().contains("TraceIDRatioBased{1}"));
}
