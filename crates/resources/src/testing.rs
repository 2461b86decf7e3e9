//! What the tests of this crate share.

use std::io::Write;

use crate::{Configuration, load_configuration};

/// Loads files of these texts. In errors a path is called `FILE`; the variable `COMPONENT` is `sqlite`.
pub(crate) fn load(files: &[&str]) -> Result<Configuration, String> {
    let files: Vec<_> = files
        .iter()
        .map(|text| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file
        })
        .collect();
    let paths: Vec<String> = files
        .iter()
        .map(|file| file.path().display().to_string())
        .collect();
    let lookup = |name: &str| (name == "COMPONENT").then(|| "sqlite".to_owned());
    load_configuration(&paths, lookup).map_err(|error| {
        paths
            .iter()
            .fold(error.to_string(), |text, path| text.replace(path, "FILE"))
    })
}
