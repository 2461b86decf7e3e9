//! The whole of it against an authority that speaks sentry's protocol.

use integration_tests::eventually;
use integration_tests::pki::{Authority as Ca, now as clock, set_validity, uri};
use integration_tests::sentry::{Sentry, SignAnswer, SignRequest, signed_for};
use tokio::net::TcpListener;

use super::*;
use crate::settings::{AnchorSource, ControlPlane, Mode};
use crate::spiffe::TrustDomain;
use crate::token::TokenSource;

fn settings(sentry: &Sentry) -> Settings {
    Settings {
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
    }
}

async fn obtain(settings: Settings) -> Result<Identity, IdentityError> {
    Identity::obtain(settings, Arc::default(), &StartupWait::default()).await
}

/// Whether nothing comes of it for a while.
async fn waits(settings: Settings) -> bool {
    let limit = Duration::from_millis(300);
    tokio::time::timeout(limit, obtain(settings)).await.is_err()
}

#[tokio::test]
async fn what_sentry_is_asked() {
    let sentry = Sentry::start().await;
    let mut settings = settings(&sentry);
    settings.jwt_audiences = vec!["a".to_owned(), "b".to_owned()];
    let identity = obtain(settings).await.unwrap();
    assert_eq!(identity.spiffe_id().as_str(), "spiffe://public/ns/default/app");
    let [request] = &sentry.seen()[..] else {
        panic!("one request");
    };
    let asked = (
        &*request.id,
        &*request.namespace,
        &*request.trust_domain,
        &*request.token,
    );
    assert_eq!(asked, ("app", "default", "", ""));
    assert_eq!(request.validator, 0);
    assert_eq!(request.jwt_audiences, ["a", "b"]);
    assert!(request.csr.starts_with("-----BEGIN CERTIFICATE REQUEST-----\n"));
    assert_eq!(request.metadata["grpc-timeout"], "3000000u");
    assert!(!request.metadata.contains_key("x-retry-attempty"));
}

#[tokio::test]
async fn a_token_is_shown_and_a_service_names_its_trust_domain() {
    let sentry = Sentry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "secret").unwrap();
    let mut settings = settings(&sentry);
    settings.app_id = "dapr-scheduler".to_owned();
    settings.token = TokenSource::new(Mode::Standalone, Some(file.display().to_string()));
    obtain(settings).await.unwrap();
    let request = sentry.seen().remove(0);
    assert_eq!((&*request.token, request.validator), ("secret", 3));
    assert_eq!(request.trust_domain, "localhost");
}

#[tokio::test]
async fn sentry_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let other = Sentry::start().await;
    let mut settings = settings(&other);
    settings.sentry_address = address.to_string();
    assert!(waits(settings.clone()).await);
    let listener = TcpListener::bind(address).await.unwrap();
    let sentry = Sentry::start_on(listener);
    settings.anchors.value = Some(sentry.anchors());
    obtain(settings).await.unwrap();
}

#[tokio::test]
async fn sentry_must_be_who_it_is() {
    let sentry = Sentry::start().await;
    let good = settings(&sentry);
    let mut other_anchors = good.clone();
    other_anchors.anchors.value = Some(Ca::new().pem());
    let mut other_namespace = good.clone();
    other_namespace.control_plane.namespace = "dapr-system".to_owned();
    let mut other_domain = good.clone();
    other_domain.control_plane.trust_domain = TrustDomain::parse("cluster.local").unwrap();
    for settings in [other_anchors, other_namespace, other_domain] {
        assert!(waits(settings).await);
    }
    for id in [
        "spiffe://localhost/ns/default/app",
        "spiffe://localhost/ns/default/dapr-sentry/x",
    ] {
        sentry.show(sentry.authority().issue(id).certified());
        assert!(waits(good.clone()).await, "{id}");
    }
    let both = sentry
        .authority()
        .issue_with("spiffe://localhost/ns/default/dapr-sentry", |params| {
            params
                .subject_alt_names
                .push(uri("spiffe://localhost/ns/default/x"));
        });
    sentry.show(both.certified());
    assert!(waits(good).await);
    assert!(sentry.seen().is_empty(), "somebody else was asked to sign");
}

#[tokio::test]
async fn what_ends_the_start() {
    let sentry = Sentry::start().await;
    let refused = async |answer: SignAnswer| {
        sentry.answer_with(move |_, _| answer.clone());
        obtain(settings(&sentry)).await.unwrap_err().to_string()
    };
    let initial = "failed to retrieve the initial identity: ";
    assert_eq!(
        refused(SignAnswer::Status(7, "invalid request: namespace is required")).await,
        format!(
            "{initial}error from sentry SignCertificate: rpc error: code = PermissionDenied desc = invalid \
             request: namespace is required"
        )
    );
    assert_eq!(
        refused(SignAnswer::Chain(String::new())).await,
        format!("{initial}no certificates received from sentry")
    );
    assert_eq!(
        refused(SignAnswer::Bytes(Vec::new())).await,
        format!("{initial}error parsing ValidUntil: proto: invalid nil Timestamp")
    );
    let rubbish = refused(SignAnswer::Bytes(vec![0xff; 100])).await;
    assert!(
        rubbish.contains("code = Internal desc = grpc: failed to unmarshal"),
        "{rubbish}"
    );
    let endless = refused(SignAnswer::Bytes(vec![0xff; (1 << 20) + 1])).await;
    assert!(endless.contains("larger than max"), "{endless}");
    let mut nowhere = settings(&sentry);
    for address in ["", "a b", "/"] {
        nowhere.sentry_address = address.to_owned();
        let text = obtain(nowhere.clone()).await.unwrap_err().to_string();
        assert!(text.contains("error establishing connection to sentry"), "{text}");
    }
    let mut no_token = settings(&sentry);
    no_token.token = TokenSource::new(Mode::Standalone, Some(String::new()));
    let text = obtain(no_token).await.unwrap_err().to_string();
    assert!(
        text.starts_with(&format!("{initial}error obtaining token: ")),
        "{text}"
    );
}

#[tokio::test]
async fn attempts_are_repeated_and_say_so() {
    let sentry = Sentry::start().await;
    let sign = signed_for(100);
    sentry.answer_with(move |authority, request: &SignRequest| match request.number {
        0 => SignAnswer::Status(14, "not yet"),
        1 => SignAnswer::Status(8, "too much"),
        _ => sign(authority, request),
    });
    obtain(settings(&sentry)).await.unwrap();
    let seen = sentry.seen();
    let retries: Vec<_> = seen
        .iter()
        .map(|request| request.metadata.get("x-retry-attempty"))
        .collect();
    assert_eq!(
        retries,
        [None, Some(&"1".parse().unwrap()), Some(&"2".parse().unwrap())]
    );
    // All of them ask for the same key.
    assert!(seen.iter().all(|request| request.csr == seen[0].csr));
}

#[tokio::test]
async fn certificates_that_are_old_when_they_come_are_renewed_until_one_is_not() {
    let sentry = Sentry::start().await;
    sentry.answer_with(|authority, request| {
        SignAnswer::Chain(
            authority.certify(&request.spiffe_id(), &request.public_key(), |params| {
                set_validity(params, clock() - 1, clock() - 1);
            }),
        )
    });
    let counters = Arc::<Counters>::default();
    let identity = Identity::obtain(settings(&sentry), Arc::clone(&counters), &StartupWait::default())
        .await
        .unwrap();
    let fresh = tokio::spawn(identity.clone().keep_fresh());
    eventually("renewals", || async { sentry.seen().len() > 5 }).await;
    sentry.answer_with(signed_for(86_400));
    eventually("the last renewal", || async {
        counters.expiry() > clock() + 80_000
    })
    .await;
    let count = sentry.seen().len();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(sentry.seen().len(), count);
    assert_eq!(counters.rotated() + 1, count as u64);
    let mut keys: Vec<_> = sentry.seen().iter().map(SignRequest::public_key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count, "a key was used twice");
    fresh.abort();
}

#[tokio::test]
async fn a_renewal_that_fails_keeps_the_certificate() {
    let sentry = Sentry::start().await;
    sentry.answer_with(signed_for(1));
    let counters = Arc::<Counters>::default();
    let identity = Identity::obtain(settings(&sentry), Arc::clone(&counters), &StartupWait::default())
        .await
        .unwrap();
    let id = identity.spiffe_id();
    sentry.answer_with(|_, _| SignAnswer::Status(13, "failed to sign certificate"));
    let fresh = tokio::spawn(identity.clone().keep_fresh());
    eventually("a failure", || async {
        counters.failed(crate::counters::Failed::Sign) > 0
    })
    .await;
    assert_eq!((identity.spiffe_id(), counters.rotated()), (id, 0));
    fresh.abort();
}

#[tokio::test]
async fn a_new_authority_is_trusted_without_a_restart() {
    let sentry = Sentry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, sentry.anchors()).unwrap();
    let mut settings = settings(&sentry);
    settings.anchors = AnchorSource {
        value: None,
        file: Some(file.clone()),
    };
    let identity = obtain(settings).await.unwrap();
    let fresh = tokio::spawn(identity.clone().keep_fresh());
    let next = Ca::new();
    std::fs::write(&file, next.pem()).unwrap();
    eventually("both anchors", || async {
        identity.authority.anchors.current().len() == 2
    })
    .await;
    // The certificate is renewed under the new authority, soon.
    sentry.show(
        next.issue("spiffe://localhost/ns/default/dapr-sentry")
            .certified(),
    );
    eventually("another request", || async { sentry.seen().len() == 2 }).await;
    fresh.abort();
}
