//! How sidecars find each other, by each resolver that needs somebody to ask.

mod consul;
mod dns;
mod kubernetes;
mod others;
mod routing;
mod versions;

use std::path::PathBuf;

use integration_tests::DaprdBuilder;
use tempfile::TempDir;

/// A page of the book, for its examples.
macro_rules! page {
    ($name:literal) => {
        include_str!(concat!("../../../docs/src/name-resolution/", $name, ".md"))
    };
}
use page;

/// A folder with a configuration.
struct Configured {
    folder: TempDir,
}

impl Configured {
    /// A configuration with this resolver, as it stands below `spec.nameResolution`.
    fn by(resolver: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let indented = resolver.lines().map(|line| format!("    {line}\n"));
        let resolver = indented.collect::<String>();
        let text = format!(
            "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata:\n  name: it\nspec:\n  nameResolution:\n{resolver}"
        );
        std::fs::write(folder.path().join("config.yaml"), text).unwrap();
        Self { folder }
    }

    /// The first example of a page that has these words, with other words in place of some of it.
    fn by_example(page: &str, changes: &[(&str, String)]) -> Self {
        let examples = page.split("```yaml\n").skip(1);
        let mut examples = examples.filter_map(|rest| rest.split("```").next());
        let has_all = |example: &&str| changes.iter().all(|(from, _)| example.contains(from));
        let mut text = examples.find(has_all).unwrap().to_owned();
        if !text.starts_with("apiVersion") {
            text =
                format!("apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata:\n  name: it\n{text}");
        }
        for (from, to) in changes {
            text = text.replace(from, to);
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.yaml"), text).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("config.yaml")
    }

    fn sidecar(&self, app_id: &str) -> DaprdBuilder {
        DaprdBuilder::new(app_id).arg(format!("--config={}", self.path().display()))
    }
}
