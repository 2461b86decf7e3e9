//! Sidecars that find each other.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::daprd::DaprdBuilder;

/// A temporary folder and a configuration that the sidecars of a test share, so that they find each other by
/// name without a network interface that can multicast.
pub struct Mesh {
    folder: TempDir,
    config: PathBuf,
}

impl Default for Mesh {
    fn default() -> Self {
        Self::new()
    }
}

impl Mesh {
    /// A mesh whose name resolver is a SQLite file in the temporary folder.
    ///
    /// # Panics
    /// When the folder cannot be made.
    pub fn new() -> Self {
        Self::with_configuration("")
    }

    /// The same, with more of `spec` (indented by two blanks).
    ///
    /// # Panics
    /// When the folder cannot be made.
    pub fn with_configuration(spec: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("daprd-it-")
            .tempdir()
            .expect("a temporary folder");
        let config = folder.path().join("config.yaml");
        let names = Self::names(folder.path());
        let text = format!(
            "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata:\n  name: it\nspec:\n{names}{spec}"
        );
        std::fs::write(&config, text).expect("the configuration is written");
        Self { folder, config }
    }

    /// Whether sidecars find each other by mDNS instead, because `DAPRD_RESOLVER=mdns` asks for it: for binaries that know
    /// nothing else, on a network that can multicast.
    pub fn is_by_mdns() -> bool {
        std::env::var_os("DAPRD_RESOLVER").is_some_and(|resolver| resolver == "mdns")
    }

    /// The same sidecar, announced where sidecars of tests listen.
    pub fn at_home(sidecar: DaprdBuilder) -> DaprdBuilder {
        if Self::is_by_mdns() {
            return sidecar.env("DAPR_HOST_IP", "127.0.0.1");
        }
        sidecar
    }

    /// What `spec` says of how sidecars with this folder find each other, indented by two blanks.
    pub fn names(folder: &Path) -> String {
        if Self::is_by_mdns() {
            return String::new();
        }
        let names = folder.join("names.db");
        format!(
            "  nameResolution:\n    component: sqlite\n    configuration:\n      connectionString: {}\n",
            names.display()
        )
    }

    /// The temporary folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The arguments that make a sidecar one of this mesh.
    pub fn args(&self) -> Vec<String> {
        vec![format!("--config={}", self.config.display())]
    }

    /// Makes others believe that the sidecar of an app is at this port of the loopback interface. A sidecar of this mesh
    /// must have been started before.
    ///
    /// # Panics
    /// When the file of the names cannot be written.
    pub fn register(&self, app_id: &str, port: u16) {
        let names =
            rusqlite::Connection::open(self.folder().join("names.db")).expect("the file of the names");
        let row = format!(
            "INSERT INTO hosts VALUES ('of {app_id} at {port}', '127.0.0.1:{port}', '{app_id}', 'default', \
             unixepoch(CURRENT_TIMESTAMP) + 86400)"
        );
        names.execute(&row, []).expect("a row of the names");
    }

    /// A sidecar of this mesh. The id should be unique to the test.
    pub fn sidecar(&self, app_id: &str) -> DaprdBuilder {
        Self::at_home(DaprdBuilder::new(app_id).arg(format!("--config={}", self.config.display())))
    }
}
