//! Calls to one name that are shared out among versions.

use integration_tests::{DaprdBuilder, HttpApp, Mesh, Protocol, Request, text};

const PAGE: &str = include_str!("../../../docs/src/routing.md");

/// The section of the page's example that has this field, with these words in place of others.
pub(super) fn section(field: &str, changes: &[(&str, &str)]) -> String {
    let examples = PAGE.split("```yaml\n").skip(1);
    let mut examples = examples.filter_map(|rest| rest.split("```").next());
    let field = format!(" {field}:\n");
    let example = examples.find(|example| example.contains(&field)).unwrap();
    let (_, section) = example.split_once("spec:\n").unwrap();
    changes.iter().fold(section.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_stay_with_their_version() {
    let app = async |says: &'static str| {
        HttpApp::start(Protocol::Http, move |_: Request| async move { text(200, says) }).await
    };
    let (old, new) = (app("old").await, app("new").await);
    let mesh = Mesh::with_configuration(&section(
        "versions",
        &[("share: 90", "share: 50"), ("share: 10", "share: 50")],
    ));
    let _old = mesh.sidecar("shop-v1").app_port(old.port).start().await;
    let _new = mesh.sidecar("shop-v2").app_port(new.port).start().await;
    let caller = mesh.sidecar("caller").start().await;
    let client = reqwest::Client::new();
    let call = async |user: usize| {
        let call = client
            .get(caller.invoke_url("shop", "m"))
            .header("x-user", user.to_string());
        call.send().await.unwrap().text().await.unwrap()
    };
    let mut versions = Vec::new();
    for user in 0..40 {
        versions.push(call(user).await);
    }
    let of_new = versions.iter().filter(|version| *version == "new").count();
    assert!((5..35).contains(&of_new), "{versions:?}");
    for (user, version) in versions.iter().enumerate() {
        assert_eq!(call(user).await, *version, "who has come stays");
    }
    // The versions have names of their own.
    let direct = reqwest::get(caller.invoke_url("shop-v2", "m")).await.unwrap();
    assert_eq!(direct.text().await.unwrap(), "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_section_that_cannot_be_used_is_named() {
    let mesh = Mesh::with_configuration(&section("versions", &[("share: 10", "share: 10%")]));
    let exit = DaprdBuilder::new("x")
        .arg(&mesh.args()[0])
        .without_waiting()
        .start()
        .await
        .exit()
        .await;
    assert_eq!(exit.code, Some(1));
    let told = "spec.routing.apps.shop.versions[1].share: a whole number is wanted, not";
    assert!(exit.stdout.contains(told), "{}", exit.stdout);
}
