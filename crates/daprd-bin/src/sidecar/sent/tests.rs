//! Lists and events of an operator that says what the tests want.

use std::sync::Arc;

use identity::{AnchorSource, ControlPlane, Identity, Mode, TokenSource, TrustDomain};
use integration_tests::operator::{Operator as Fake, OperatorAnswer, OperatorRequest};
use integration_tests::sentry::Sentry;
use lifecycle::StartupWait;
use operator::{Operator, Settings};
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::*;

/// An operator, and a sidecar that is connected to it.
pub(in crate::sidecar) async fn kubernetes(
    sentry: &Sentry,
    behaviour: impl Fn(&OperatorRequest) -> OperatorAnswer + Send + Sync + 'static,
) -> (Fake, Kubernetes) {
    let settings = identity::Settings {
        app_id: "app".to_owned(),
        namespace: "default".to_owned(),
        sentry_address: sentry.address.clone(),
        control_plane: ControlPlane {
            trust_domain: TrustDomain::parse("localhost").unwrap(),
            namespace: "default".to_owned(),
        },
        anchors: AnchorSource {
            value: Some(sentry.anchors()),
            file: None,
        },
        token: TokenSource::new(Mode::Standalone, None),
        jwt_audiences: Vec::new(),
    };
    let identity = Identity::obtain(settings, Arc::default(), &StartupWait::default())
        .await
        .unwrap();
    let fake = Fake::start(sentry.authority(), behaviour).await;
    let settings = Settings {
        address: fake.address.clone(),
        tls: identity.control_plane_tls("dapr-operator").unwrap(),
    };
    let operator = Operator::connect(settings, &StartupWait::default())
        .await
        .unwrap();
    (fake, Kubernetes::new(operator, "default", false))
}

/// The operator takes the question and says nothing. It is asked again and again, and not for ever; what was known stays.
#[tokio::test]
async fn a_list_has_a_time_limit() {
    let sentry = Sentry::start().await;
    let silence = broadcast::Sender::new(1);
    let (fake, kubernetes) = kubernetes(&sentry, move |_| OperatorAnswer::Events(silence.clone())).await;
    let known = Bytes::from_static(b"{\"metadata\":{\"name\":\"a\"}}");
    kubernetes.sent().components = Listed::of(vec![known.clone()]);
    let filter = Filter {
        namespace: "",
        app_id: "app",
    };
    tokio::time::pause();
    let begun = Instant::now();
    kubernetes.list_again(Kind::Component, filter).await;
    assert_eq!(begun.elapsed().as_secs(), 30);
    assert_eq!(kubernetes.sent().components.documents(), [known]);
    assert!(fake.seen().iter().all(|asked| asked.method == "ListComponents"));
}
