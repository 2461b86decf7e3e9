//! The resolver against a server of ours that speaks as Cloud Map does: JSON in the bodies of POST, what is asked for in
//! the header `x-amz-target`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use invoke_core::balance::Resolution;
use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::scripted::{Asked, Said, Scripted};

/// Longer than anything takes that is waited for here.
const PATIENCE: Duration = Duration::from_secs(60);
const NAMESPACES: &str = "Route53AutoNaming_v20170314.ListNamespaces";
const NAMESPACE: &str = "Route53AutoNaming_v20170314.GetNamespace";
const INSTANCES: &str = "Route53AutoNaming_v20170314.DiscoverInstances";

fn ok(value: &Value) -> Said {
    Said::Answer(200, 0, value.to_string())
}

/// What the service says when it does not answer.
fn refused(status: u16, code: &str) -> Said {
    let body = json!({"__type": format!("com.amazonaws.servicediscovery#{code}"), "Message": "for a reason"});
    Said::Answer(status, 0, body.to_string())
}

fn instances(attributes: &[Value]) -> Said {
    let instances = attributes.iter().enumerate().map(|(number, attributes)| {
        json!({"InstanceId": format!("i-{number}"), "NamespaceName": "ns", "ServiceName": "app", "HealthStatus": "HEALTHY",
               "Attributes": attributes})
    });
    ok(&json!({"Instances": instances.collect::<Vec<_>>(), "InstancesRevision": 7}))
}

fn at(address: &str) -> Said {
    instances(&[json!({"AWS_INSTANCE_IPV4": address, "DAPR_PORT": "7"})])
}

/// There is one namespace; `script` says what is asked of instances, by how often that was asked before.
async fn server(script: impl Fn(usize, &Asked) -> Said + Send + Sync + 'static) -> Scripted {
    let before = AtomicU16::new(0);
    Scripted::start(move |_, asked| match asked.header("x-amz-target") {
        Some(NAMESPACES) => ok(&json!({"Namespaces": [{"Id": "ns-1", "Name": "ns"}]})),
        Some(NAMESPACE) => ok(&json!({"Namespace": {"Id": "ns-1", "Name": "ns"}})),
        Some(INSTANCES) => script(before.fetch_add(1, Ordering::Relaxed).into(), asked),
        other => panic!("{other:?}"),
    })
    .await
}

fn settings(server: &Scripted) -> Value {
    json!({
        "namespaceName": "ns", "region": "eu-west-1", "endpoint": format!("http://127.0.0.1:{}", server.port),
        "accessKey": "AKIDEXAMPLE", "secretKey": "secret",
    })
}

async fn start(settings: &Value) -> (CloudMap, Option<String>) {
    let means = Means::with_variables(|_| None);
    CloudMap::start(settings, &means).await.unwrap()
}

async fn started(server: &Scripted) -> CloudMap {
    let (resolver, complaint) = start(&settings(server)).await;
    assert_eq!(complaint, None);
    resolver
}

fn shown(resolution: &Resolution) -> String {
    match resolution {
        Resolution::Endpoints(found) => {
            let addresses: Vec<_> = found.iter().map(|endpoint| &**endpoint.address()).collect();
            addresses.join(" ")
        }
        Resolution::Failed(error) => error.to_string(),
        Resolution::Pending => "pending".to_owned(),
    }
}

async fn first(resolver: &CloudMap) -> String {
    let watch = resolver.watch(&AppRef::new("app", "default"));
    shown(&timeout(PATIENCE, watch.first()).await.unwrap())
}

/// Waits until a watch shows this.
async fn shows(watch: &EndpointWatch, wanted: &str) {
    let seen = async {
        while shown(&watch.now()) != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let seen = timeout(PATIENCE, seen).await;
    assert!(seen.is_ok(), "{wanted}, not {}", shown(&watch.now()));
}

#[tokio::test]
async fn attributes_say_where_a_sidecar_is() {
    let said = || {
        instances(&[
            json!({"AWS_INSTANCE_IPV4": "10.0.0.1", "AWS_INSTANCE_IPV6": "fd00::1", "DAPR_PORT": "50001"}),
            json!({"AWS_INSTANCE_IPV6": "fd00::2", "DAPR_PORT": "50001"}),
            json!({"AWS_INSTANCE_CNAME": "h.example"}),
            json!({"AWS_INSTANCE_IPV4": "", "AWS_INSTANCE_CNAME": "i.example", "DAPR_PORT": "many"}),
            json!({"AWS_INSTANCE_IPV4": "10.0.0.3", "DAPR_PORT": "0"}),
            json!({"AWS_INSTANCE_IPV4": "10.0.0.4", "AVAILABILITY_ZONE": "eu-west-1b"}),
            json!({"AWS_EC2_INSTANCE_ID": "i-1"}),
            json!(null),
        ])
    };
    let server = server(move |_, _| said()).await;
    let resolver = started(&server).await;
    assert_eq!(
        first(&resolver).await,
        "10.0.0.1:50001 10.0.0.3:50002 10.0.0.4:50002 [fd00::2]:50001 h.example:50002 i.example:50002"
    );
    let watch = resolver.watch(&AppRef::new("app", "default"));
    let Resolution::Endpoints(found) = timeout(PATIENCE, watch.first()).await.unwrap() else {
        panic!("no endpoints");
    };
    let zones: Vec<_> = found.iter().filter_map(Endpoint::zone).collect();
    assert_eq!(zones, ["eu-west-1b"]);
}

#[tokio::test]
async fn what_is_asked() {
    let server = server(|_, _| at("10.0.0.1")).await;
    let resolver = started(&server).await;
    assert_eq!(first(&resolver).await, "10.0.0.1:7");
    let asked = server.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    let question = &asked[1];
    assert_eq!(question.line, "POST /");
    assert_eq!(
        question.header("content-type"),
        Some("application/x-amz-json-1.1")
    );
    let signature = question.header("authorization").unwrap();
    let wanted = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/";
    assert!(signature.starts_with(wanted), "{signature}");
    assert!(
        signature.contains("/eu-west-1/servicediscovery/aws4_request"),
        "{signature}"
    );
    let body: Value = serde_json::from_str(&question.body).unwrap();
    assert_eq!(
        body,
        json!({"NamespaceName": "ns", "ServiceName": "app", "HealthStatus": "HEALTHY", "MaxResults": 1000})
    );
}

#[tokio::test]
async fn a_namespace_by_its_id() {
    let server = server(|_, asked| {
        let body: Value = serde_json::from_str(&asked.body).unwrap();
        assert_eq!(body["NamespaceName"], "ns");
        at("10.0.0.1")
    })
    .await;
    let mut settings = settings(&server);
    settings["namespaceId"] = "ns-1".into();
    settings["namespaceName"] = "another".into();
    let (resolver, complaint) = start(&settings).await;
    assert_eq!(complaint, None);
    assert_eq!(first(&resolver).await, "10.0.0.1:7");
}

#[tokio::test]
async fn namespaces_are_looked_for_on_all_pages() {
    let server = Scripted::start(|_, asked| {
        let body: Value = serde_json::from_str(&asked.body).unwrap();
        match body["NextToken"].as_str() {
            None => ok(&json!({"Namespaces": [{"Id": "ns-0", "Name": "other"}], "NextToken": "two"})),
            Some("two") => ok(&json!({"Namespaces": [], "NextToken": "three"})),
            Some("three") => ok(&json!({"Namespaces": [{"Id": "ns-1", "Name": "ns"}], "NextToken": "four"})),
            Some(other) => panic!("{other}"),
        }
    })
    .await;
    started(&server).await;
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn pages_without_an_end_are_not_read_for_ever() {
    let server = Scripted::start(|_, _| ok(&json!({"Namespaces": [], "NextToken": "again"}))).await;
    let (_, complaint) = start(&settings(&server)).await;
    assert_eq!(
        complaint.as_deref(),
        Some("failed to validate CloudMap access: namespace not found: ns")
    );
    assert_eq!(server.asked().len(), 50);
}

/// Others are found all the same: whoever may not list namespaces may still ask for instances.
#[tokio::test]
async fn what_is_wrong_with_a_namespace_is_a_complaint() {
    let script = |_, asked: &Asked| match asked.header("x-amz-target") {
        Some(NAMESPACES) => refused(400, "AccessDeniedException"),
        Some(NAMESPACE) => refused(400, "NamespaceNotFound"),
        _ => at("10.0.0.1"),
    };
    let server = Scripted::start(script).await;
    let (resolver, complaint) = start(&settings(&server)).await;
    assert_eq!(
        complaint.as_deref(),
        Some(
            "failed to validate CloudMap access: failed to list namespaces: AccessDeniedException: for a reason"
        )
    );
    assert_eq!(first(&resolver).await, "10.0.0.1:7");
    let mut by_id = settings(&server);
    by_id["namespaceId"] = "ns-9".into();
    let (resolver, complaint) = start(&by_id).await;
    let wanted = "failed to get namespace with ID ns-9: NamespaceNotFound: for a reason";
    assert_eq!(
        complaint,
        Some(format!("failed to validate CloudMap access: {wanted}"))
    );
    assert_eq!(
        first(&resolver).await,
        format!("failed to discover CloudMap instances: {wanted}")
    );
}

#[tokio::test]
async fn a_namespace_that_cannot_be_asked_for_at_first_is_found_later() {
    let before = AtomicU16::new(0);
    let script = move |_, asked: &Asked| match asked.header("x-amz-target") {
        Some(NAMESPACE) if before.fetch_add(1, Ordering::Relaxed) == 0 => refused(400, "InvalidInput"),
        Some(NAMESPACE) => ok(&json!({"Namespace": {"Id": "ns-1", "Name": "ns"}})),
        _ => at("10.0.0.1"),
    };
    let server = Scripted::start(script).await;
    let mut settings = settings(&server);
    settings["namespaceId"] = "ns-1".into();
    let (resolver, complaint) = start(&settings).await;
    assert!(complaint.is_some());
    assert_eq!(first(&resolver).await, "10.0.0.1:7");
}

#[tokio::test]
async fn nobody_and_no_service() {
    let server = server(|before, _| match before {
        0 => instances(&[]),
        1 => instances(&[json!({"AWS_EC2_INSTANCE_ID": "i-1"})]),
        _ => refused(400, "ServiceNotFound"),
    })
    .await;
    let resolver = started(&server).await;
    for wanted in [
        "no healthy instances found for service app",
        "no healthy instances found for service app",
        "failed to discover CloudMap instances: ServiceNotFound: for a reason",
    ] {
        assert_eq!(first(&resolver).await, wanted);
    }
    assert_eq!(
        server.asked().len(),
        4,
        "what is no matter of time is not asked again"
    );
}

/// What passes is asked again before anybody is told.
#[tokio::test]
async fn faults_that_pass() {
    for fault in [
        Said::Answer(500, 0, "{}".to_owned()),
        Said::Answer(503, 0, "no JSON".to_owned()),
        refused(429, "ThrottlingException"),
        refused(400, "RequestLimitExceeded"),
        Said::Cut("{\"Instances\": [{\"Insta".to_owned()),
    ] {
        let shown = format!("{fault:?}");
        let server = server(move |before, _| {
            if before == 0 {
                fault.clone()
            } else {
                at("10.0.0.1")
            }
        })
        .await;
        let resolver = started(&server).await;
        assert_eq!(first(&resolver).await, "10.0.0.1:7", "{shown}");
    }
}

#[tokio::test]
async fn faults_that_stay() {
    for (fault, wanted, attempts) in [
        (
            refused(429, "ThrottlingException"),
            "ThrottlingException: for a reason",
            3,
        ),
        (Said::Answer(500, 0, String::new()), "", 3),
        (Said::Answer(200, 0, "{\"Instances\": 7}".to_owned()), "", 1),
        (Said::Answer(200, 0, "<html>".to_owned()), "", 1),
    ] {
        let shown = format!("{fault:?}");
        let server = server(move |_, _| fault.clone()).await;
        let resolver = started(&server).await;
        let error = first(&resolver).await;
        let wanted = format!("failed to discover CloudMap instances: {wanted}");
        assert!(error.starts_with(&wanted), "{shown}: {error}");
        assert_eq!(server.asked().len() - 1, attempts, "{shown}");
    }
}

/// Instances that go and come are noticed, sooner when one cannot be reached, and faults in between change nothing.
#[tokio::test]
async fn changes_are_followed_and_faults_are_not() {
    let port = Arc::new(AtomicU16::new(1));
    let said = Arc::clone(&port);
    let server = server(move |_, _| match said.load(Ordering::Relaxed) {
        0 => refused(400, "ServiceNotFound"),
        port => instances(&[json!({"AWS_INSTANCE_IPV4": "10.0.0.1", "DAPR_PORT": port.to_string()})]),
    })
    .await;
    let resolver = started(&server).await;
    let app = AppRef::new("app", "default");
    let watch = resolver.watch(&app);
    shows(&watch, "10.0.0.1:1").await;
    port.store(0, Ordering::Relaxed);
    let asked = server.asked().len();
    resolver.unreachable(&app, &Endpoint::new("10.0.0.1:1"));
    while server.asked().len() == asked {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        shown(&watch.now()),
        "10.0.0.1:1",
        "what was found goes on to count"
    );
    port.store(2, Ordering::Relaxed);
    resolver.unreachable(&app, &Endpoint::new("10.0.0.1:1"));
    shows(&watch, "10.0.0.1:2").await;
}
