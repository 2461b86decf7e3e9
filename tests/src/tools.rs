//! The programs of others, which judge sidecars.

use std::path::PathBuf;

/// Where they are.
#[derive(Debug)]
pub struct Tools(Option<PathBuf>);

impl Tools {
    /// Those in a folder, and those on the path.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self(folder)
    }

    /// The file of a program; says so if there is none.
    #[allow(clippy::print_stdout, reason = "a person reads who judges")]
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = self
            .0
            .iter()
            .cloned()
            .chain(std::env::split_paths(&path))
            .map(|folder| folder.join(name))
            .find(|file| file.is_file());
        if found.is_none() {
            println!("{name}: not here, so it judges nothing");
        }
        found
    }
}
