//! The sidecars of a chain: how they find each other, what they prove, whom they let in, and their start.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use integration_tests::sentry::Sentry;
use integration_tests::{Daprd, DaprdBuilder, daprd_binary};

use crate::hop::Hop;
use crate::options::Resolver;

/// How long a sidecar may take to become healthy.
const START_PATIENCE: Duration = Duration::from_secs(15);
/// The folder's file of names.
const NAMES: &str = "names.db";

/// What a measurement asks of sidecars beyond calls to one app that lets everybody in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setting {
    /// The apps that are called at random; one if not given.
    pub(crate) apps: Option<Apps>,
    /// The number of policies of the callee, and of the operations in each. They need mTLS: without it nobody is
    /// who a policy names.
    pub(crate) policies: Option<usize>,
}

/// App ids that all lead to the one callee.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Apps {
    pub(crate) number: usize,
    /// Whether all have the same address. Each has one of its own if not, and so a connection.
    pub(crate) share_address: bool,
}

impl Setting {
    /// The app ids that are called, of which the first is the callee's own.
    pub(crate) fn callees(&self, own: &str) -> Vec<String> {
        let number = self.apps.map_or(1, |apps| apps.number);
        let others = (1..number).map(|number| format!("{own}-{number}"));
        std::iter::once(own.to_owned()).chain(others).collect()
    }
}

/// What the two sidecars of a chain are told.
pub(crate) struct Told<'a> {
    /// A folder that both share.
    pub(crate) folder: &'a Path,
    pub(crate) resolver: Resolver,
    pub(crate) setting: Setting,
    /// The authority, when there is mTLS.
    pub(crate) sentry: Option<&'a Sentry>,
    /// The id of the one who calls.
    pub(crate) caller: &'a str,
}

impl Told<'_> {
    /// The resolver: several apps with one callee are rows of a file.
    fn resolver(&self) -> Resolver {
        if self.setting.apps.is_some() {
            Resolver::Sqlite
        } else {
            self.resolver
        }
    }

    /// One of the sidecars, without a program and an app.
    pub(crate) fn sidecar(&self, id: &str, is_callee: bool) -> Result<DaprdBuilder, String> {
        let mut builder = DaprdBuilder::new(id)
            .log_level("error")
            .arg("--enable-api-logging=false")
            .arg("--max-body-size=1Gi")
            // mDNS announces the address of the host unless told otherwise.
            .env("DAPR_HOST_IP", "127.0.0.1");
        if let Some(sentry) = self.sentry {
            builder = builder
                .arg("--enable-mtls")
                .arg(format!("--sentry-address={}", sentry.address))
                .env("DAPR_TRUST_ANCHORS", &sentry.anchors());
        }
        if is_callee && self.setting.apps.is_some_and(|apps| !apps.share_address) {
            builder = builder.arg("--dapr-internal-grpc-listen-address=0.0.0.0");
        }
        let policies = self.setting.policies.filter(|_| is_callee);
        let spec = [
            policies.map(|policies| access_control(policies, self.caller)),
            (self.resolver() == Resolver::Sqlite).then(|| name_resolution(&self.folder.join(NAMES))),
        ];
        let spec: String = spec.into_iter().flatten().collect();
        if spec.is_empty() {
            return Ok(builder);
        }
        let file = self.folder.join(format!("{id}.yaml"));
        let text = format!(
            "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {{name: bench}}\nspec:\n{spec}"
        );
        std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(builder.arg(format!("--config={}", file.display())))
    }

    /// Tells the caller's resolver of the other apps, before it starts.
    pub(crate) fn register(&self, callees: &[String], callee: &Hop) -> Result<(), String> {
        match (self.setting.apps, callee) {
            (Some(apps), Hop::Daprd(daprd)) if callees.len() > 1 => {
                let file = self.folder.join(NAMES);
                let registered = register(&file, &callees[1..], daprd.internal_port, apps.share_address);
                registered.map_err(|error| format!("{}: {error}", file.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Rows of so many apps that all lead to this port.
fn register(file: &Path, apps: &[String], port: u16, share_address: bool) -> rusqlite::Result<()> {
    let mut names = rusqlite::Connection::open(file)?;
    names.busy_timeout(START_PATIENCE)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let transaction = names.transaction()?;
    if share_address {
        // Sidecars want an address to be there once. Who looks up does not mind.
        transaction.execute_batch("DROP INDEX IF EXISTS hosts_address_idx")?;
    }
    for (number, app) in apps.iter().enumerate() {
        let host = if share_address {
            "127.0.0.1".to_owned()
        } else {
            format!("127.1.{}.{}", number / 250, number % 250 + 1)
        };
        transaction.execute(
            "INSERT INTO hosts (registration_id, address, app_id, namespace, last_update) VALUES (?1, ?2, ?3, '', ?4)",
            rusqlite::params![app, format!("{host}:{port}"), app, now.as_secs()],
        )?;
    }
    transaction.commit()
}

fn name_resolution(file: &Path) -> String {
    // Rows that nobody renews live as long as the measurement.
    format!(
        "\x20 nameResolution:\n    component: sqlite\n    configuration:\n      connectionString: {}\n\
         \x20     updateInterval: 1h\n",
        file.display()
    )
}

/// So many policies, each with so many operations. The one for the caller, and in it the one that lets the call
/// through, is the last.
fn access_control(number: usize, caller: &str) -> String {
    let mut text =
        "  accessControl:\n    defaultAction: deny\n    trustDomain: public\n    policies:\n".to_owned();
    for policy in (0..number).rev() {
        let id = if policy == 0 {
            caller.to_owned()
        } else {
            format!("other-{policy}")
        };
        let _ = write!(
            text,
            "    - appId: {id}\n      namespace: default\n      trustDomain: public\n      defaultAction: deny\n\
             \x20     operations:\n"
        );
        for operation in (0..number).rev() {
            let name = if operation == 0 {
                "/fixed".to_owned()
            } else {
                format!("/other-{operation}/**")
            };
            let _ = writeln!(text, "      - {{name: {name}, httpVerb: ['*'], action: allow}}");
        }
    }
    text
}

/// Starts a sidecar and measures how long it takes until it is healthy.
pub(crate) async fn start(builder: DaprdBuilder) -> Result<(Hop, Duration), String> {
    let client = reqwest::Client::new();
    let begun = Instant::now();
    let sidecar: Daprd = builder.without_waiting().start().await;
    let health = sidecar.url("/v1.0/healthz");
    loop {
        if matches!(client.get(&health).send().await, Ok(answer) if answer.status() == 204) {
            return Ok((Hop::Daprd(Box::new(sidecar)), begun.elapsed()));
        }
        if begun.elapsed() > START_PATIENCE {
            let id = sidecar.app_id.clone();
            let exit = sidecar.stop().await;
            return Err(format!(
                "{id} does not become healthy (exit code {:?}): {}{}",
                exit.code, exit.stdout, exit.stderr
            ));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The workspace's own binary: what `DAPRD_BIN` names, else the one beside this program.
pub(crate) fn own_binary() -> Result<PathBuf, String> {
    if std::env::var_os("DAPRD_BIN").is_some() {
        return Ok(daprd_binary().to_path_buf());
    }
    let beside = std::env::current_exe().map(|this| this.with_file_name("daprd"));
    let beside = beside.map_err(|error| error.to_string())?;
    if beside.is_file() {
        return Ok(beside);
    }
    Err(format!(
        "there is no daprd binary at {}: `cargo xtask bench` builds one; or --daprd PATH",
        beside.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_of_the_caller_is_the_last() {
        let text = access_control(3, "me");
        assert_eq!(text.matches("appId").count(), 3);
        assert_eq!(text.matches("action: allow").count(), 9);
        let mine = text.find("appId: me").expect("a policy");
        assert!(text.find("appId: other-1").is_some_and(|other| other < mine));
        assert!(
            text.trim_end()
                .ends_with("{name: /fixed, httpVerb: ['*'], action: allow}")
        );
    }

    #[test]
    fn the_callee_is_one_of_the_apps() {
        let apps = Apps {
            number: 3,
            share_address: true,
        };
        let setting = Setting {
            apps: Some(apps),
            policies: None,
        };
        assert_eq!(setting.callees("a"), ["a", "a-1", "a-2"]);
        assert_eq!(Setting::default().callees("a"), ["a"]);
    }
}
