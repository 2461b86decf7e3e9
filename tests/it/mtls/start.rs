//! What happens before the first certificate is there.

use integration_tests::sentry::{Sentry, SignAnswer};
use integration_tests::{Mesh, free_port};
use tokio::net::{TcpListener, TcpStream};

use super::secured;

const FATAL: &str = "Fatal error from runtime: ";

#[tokio::test]
async fn no_port_is_open_before_the_first_certificate() {
    let port = free_port();
    let mesh = Mesh::new();
    let authority = Sentry::start().await;
    authority.answer_with(|_, _| SignAnswer::Silence);
    let silent = secured(mesh.sidecar("S1-silent"), &authority)
        .without_waiting()
        .start()
        .await;
    let absent = mesh
        .sidecar("S1-absent")
        .arg("--enable-mtls")
        .arg(format!("--sentry-address=localhost:{port}"))
        .env("DAPR_TRUST_ANCHORS", &authority.anchors())
        .without_waiting()
        .start()
        .await;
    silent.await_log("Fetching initial identity").await;
    absent
        .await_log("Waiting for the initial identity: error establishing connection to sentry: ")
        .await;
    for daprd in [&silent, &absent] {
        for port in [
            daprd.http_port,
            daprd.grpc_port,
            daprd.internal_port,
            daprd.public_port,
            daprd.metrics_port,
        ] {
            assert!(
                TcpStream::connect(("127.0.0.1", port)).await.is_err(),
                "{port} is open"
            );
        }
    }
    assert!(absent.log().contains("connection refused"), "{}", absent.log());
    // Somebody who waits can be stopped.
    let exit = absent.stop().await;
    assert_eq!(exit.code, Some(1), "{}", exit.stdout);
    let reason = "Fatal error from runtime: failed to retrieve the initial identity: error establishing connection to \
                  sentry: context canceled: connection error: desc = ";
    assert!(exit.stdout.contains(reason), "{}", exit.stdout);
    authority.answer_with(integration_tests::sentry::signed_for(3600));
    silent.await_health().await;
    assert_eq!(silent.stop().await.code, Some(0));
}

#[tokio::test]
async fn sentry_may_come_later_and_anchors_may_come_from_a_file() {
    let mesh = Mesh::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sentry = Sentry::start_on(listener);
    let anchors = mesh.folder().join("anchors.pem");
    std::fs::write(&anchors, sentry.anchors()).unwrap();
    let daprd = mesh
        .sidecar("S2-app")
        .arg("--enable-mtls")
        // Sentry listens on IPv4 alone.
        .arg(format!("--sentry-address=localhost:{}", address.port()))
        .arg("--sentry-request-jwt-audiences=a,b")
        .env("DAPRD_TRUST_ANCHORS_FILE", &anchors.display().to_string())
        .env("SENTRY_LOCAL_IDENTITY", "S2-local")
        .env("NAMESPACE", "prod")
        .start()
        .await;
    let seen = sentry.seen().remove(0);
    assert_eq!((&*seen.id, &*seen.namespace), ("S2-local", "prod"));
    assert_eq!(seen.jwt_audiences, ["a", "b"]);
    assert_eq!(daprd.stop().await.code, Some(0));
}

#[tokio::test]
async fn what_ends_the_start() {
    let (sentry, mesh) = (Sentry::start().await, Mesh::new());
    sentry.answer_with(|_, _| SignAnswer::Status(7, "the request does not contain a token"));
    let good = || secured(mesh.sidecar("S3-app"), &sentry);
    let initial = "failed to retrieve the initial identity: ";
    for (builder, wanted) in [
        (
            good(),
            format!(
                "{initial}error from sentry SignCertificate: rpc error: code = PermissionDenied desc = the request \
                 does not contain a token"
            ),
        ),
        (
            good().env("DAPR_TRUST_ANCHORS", ""),
            "trust anchors are required".to_owned(),
        ),
        (
            good().env("DAPR_TRUST_ANCHORS", "x"),
            "failed to decode trust anchors: no certificates found".to_owned(),
        ),
        (
            good().env("DAPR_SENTRY_TOKEN_FILE", ""),
            format!(
                "{initial}error obtaining token: environmental variable DAPR_SENTRY_TOKEN_FILE is set with an \
                 empty value"
            ),
        ),
        (
            good().env("DAPR_SENTRY_TOKEN_FILE", "/nonexistent"),
            format!(
                "{initial}error obtaining token: failed to read token at path '/nonexistent': open /nonexistent: \
                 no such file or directory"
            ),
        ),
        (
            good().arg("--sentry-address="),
            format!("{initial}error establishing connection to sentry: "),
        ),
        (
            good().arg("--control-plane-trust-domain="),
            "control plane trust domain is required".to_owned(),
        ),
        (
            good().env("DAPR_CONTROLPLANE_TRUST_DOMAIN", "A b"),
            "invalid control plane trust domain: trust domain characters are limited to".to_owned(),
        ),
    ] {
        let exit = builder.without_waiting().start().await.exit().await;
        assert_eq!(exit.code, Some(1), "{}", exit.stdout);
        let wanted = format!("{FATAL}{wanted}");
        assert!(exit.stdout.contains(&wanted), "{wanted}\n{}", exit.stdout);
    }
}

#[tokio::test]
async fn root_is_refused_in_kubernetes_unless_somebody_insists() {
    let mesh = Mesh::new();
    let start = || mesh.sidecar("S4-app").arg("--mode=kubernetes").without_waiting();
    let refused =
        "Fatal error from runtime: current user UID(0) is root. Dapr must be run as a non-root user";
    let exit = start().start().await.exit().await;
    assert_eq!(exit.code, Some(1));
    assert_eq!(
        exit.stdout.contains(refused),
        rustix::process::geteuid().is_root(),
        "{}",
        exit.stdout
    );
    let insisting = start().env("DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK", "true");
    let exit = insisting.start().await.exit().await;
    assert_eq!(exit.code, Some(1));
    assert!(!exit.stdout.contains(refused), "{}", exit.stdout);
    assert!(
        exit.stdout.contains("Running in Kubernetes environment as user "),
        "{}",
        exit.stdout
    );
}
