//! The files that are checked, each read within bounds.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use resources::{
    Finding, Inspection, MAX_FILE, Severity, inspect, inspect_configuration, is_yaml_name, text_of,
};

use super::args::Arguments;

/// How a file was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// By `--config`.
    Configuration,
    /// In a folder of `--resources-path`.
    Folder,
    /// By its name, or in a folder that was named.
    Named,
}

/// A file, and what is in it.
#[derive(Debug)]
pub struct Checked {
    /// As it is shown.
    pub name: String,
    pub role: Role,
    pub inspection: Inspection,
}

/// Reads all that the command line names.
pub fn read(arguments: &Arguments, lookup: &dyn Fn(&str) -> Option<String>) -> Vec<Checked> {
    let mut checked = Vec::new();
    for path in &arguments.configurations {
        checked.push(file(path, Role::Configuration, lookup));
    }
    for path in &arguments.folders {
        folder(path, Role::Folder, lookup, &mut checked);
    }
    for path in &arguments.paths {
        if path.is_dir() {
            folder(path, Role::Named, lookup, &mut checked);
        } else {
            checked.push(file(path, Role::Named, lookup));
        }
    }
    checked
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Something that is wrong with a file as a whole.
fn told(path: &Path, role: Role, finding: Finding) -> Checked {
    let mut inspection = Inspection::default();
    inspection.findings.push(finding);
    Checked {
        name: shown(path),
        role,
        inspection,
    }
}

fn folder(path: &Path, role: Role, lookup: &dyn Fn(&str) -> Option<String>, into: &mut Vec<Checked>) {
    let entries = fs::read_dir(path).and_then(|entries| {
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        paths.collect::<io::Result<Vec<PathBuf>>>()
    });
    let mut paths = match entries {
        Ok(paths) => paths,
        Err(error) => {
            let text = format!("the folder cannot be read: {error}");
            into.push(told(path, role, Finding::new(Severity::Error, "file", text)));
            return;
        }
    };
    paths.sort();
    for path in paths {
        if path.is_dir() {
            let text = "folders in folders are not read; name it, too, if it is meant";
            into.push(told(&path, role, Finding::new(Severity::Note, "file", text)));
        } else if is_yaml_name(&path) {
            into.push(file(&path, role, lookup));
        } else {
            let text = "the name does not end in .yaml or .yml, so the file is not read";
            into.push(told(&path, role, Finding::new(Severity::Note, "file", text)));
        }
    }
}

fn file(path: &Path, role: Role, lookup: &dyn Fn(&str) -> Option<String>) -> Checked {
    let bytes = match bytes_of(path) {
        Ok(bytes) => bytes,
        Err(why) => {
            let text = format!("the file cannot be read: {why}");
            return told(path, role, Finding::new(Severity::Error, "file", text));
        }
    };
    let text = match text_of(&bytes) {
        Ok(text) => text,
        Err(finding) => return told(path, role, *finding),
    };
    let name = shown(path);
    let inspection = match role {
        Role::Configuration => inspect_configuration(&name, &text, lookup),
        Role::Folder | Role::Named => inspect(&name, &text, lookup),
    };
    Checked {
        name,
        role,
        inspection,
    }
}

/// The bytes of a file, one more than are allowed at most.
fn bytes_of(path: &Path) -> Result<Vec<u8>, String> {
    let metadata = fs::metadata(path).map_err(|error| {
        let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
        match error.kind() {
            io::ErrorKind::NotFound if is_link => "it is a link to something that is not there".to_owned(),
            io::ErrorKind::NotFound => "there is none of this name".to_owned(),
            _ => error.to_string(),
        }
    })?;
    // Reading something else may wait for ever for whoever writes it, or never end.
    if !metadata.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let mut bounded = file.take(MAX_FILE + 1);
    bounded
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}
