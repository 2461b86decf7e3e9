//! The authorities of the system, where Go's `crypto/x509` looks for them.
//!
//! `SSL_CERT_FILE` takes the place of the usual bundle and `SSL_CERT_DIR` that of the usual folders; whoever sets one
//! keeps what the other stands for.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

const FILE: &str = "SSL_CERT_FILE";
const FOLDERS: &str = "SSL_CERT_DIR";
/// The first of these that is there is read.
const USUAL_FILES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
const USUAL_FOLDERS: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];
/// The longest file, in bytes; all authorities of a system together have about 200 KiB.
const LONGEST_FILE: u64 = 16 << 20;

/// All certificates of the system's authorities. What cannot be read is left out, as everywhere.
pub(super) fn authorities() -> Vec<CertificateDer<'static>> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let files = match variable(FILE) {
        Some(file) => vec![PathBuf::from(file)],
        None => USUAL_FILES.map(PathBuf::from).to_vec(),
    };
    let folders = match variable(FOLDERS) {
        Some(folders) => std::env::split_paths(&folders).collect(),
        None => USUAL_FOLDERS.map(PathBuf::from).to_vec(),
    };
    of(&files, &folders)
}

fn of(files: &[PathBuf], folders: &[PathBuf]) -> Vec<CertificateDer<'static>> {
    let bundle = files.iter().find_map(|file| read(file));
    let single = folders.iter().flat_map(|folder| entries(folder));
    let texts = bundle.into_iter().chain(single.filter_map(|file| read(&file)));
    let mut known = HashSet::new();
    texts
        .flat_map(|text| certificates(&text))
        .filter(|certificate| known.insert(certificate.clone()))
        .collect()
}

/// The certificates in a text of PEM.
pub(super) fn certificates(text: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(text)
        .filter_map(Result::ok)
        .collect()
}

fn read(file: &Path) -> Option<Vec<u8>> {
    // Not a device, nor a pipe that never ends.
    if !fs::metadata(file).ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    let file = fs::File::open(file).ok()?;
    file.take(LONGEST_FILE).read_to_end(&mut text).ok()?;
    Some(text)
}

/// The files of a folder, without the links by which OpenSSL finds another file of the same folder by its hash.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let is_link_within = |path: &PathBuf| {
        fs::read_link(path)
            .is_ok_and(|target| target.parent().is_none_or(|parent| parent.as_os_str().is_empty()))
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| !is_link_within(path))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn pem(name: &str) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn one_bundle_and_all_folders() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (a, b, c) = (pem("a"), pem("b"), pem("c"));
        fs::create_dir(at("one")).unwrap();
        fs::create_dir(at("two")).unwrap();
        fs::write(at("first.pem"), format!("text\n{a}junk\n{b}")).unwrap();
        fs::write(at("second.pem"), pem("never read")).unwrap();
        fs::write(at("one/b.crt"), &b).unwrap();
        symlink("b.crt", at("one/1234abcd.0")).unwrap();
        fs::write(at("elsewhere.pem"), &c).unwrap();
        symlink(at("elsewhere.pem"), at("two/c.pem")).unwrap();
        fs::write(at("two/notes.txt"), "no certificate").unwrap();
        let files = [at("missing.pem"), at("first.pem"), at("second.pem")];
        let folders = [at("one"), at("missing"), at("two")];
        let found = of(&files, &folders);
        let wanted: Vec<_> = [&a, &b, &c]
            .iter()
            .flat_map(|text| certificates(text.as_bytes()))
            .collect();
        assert_eq!(found, wanted);
        assert_eq!(of(&[], &[]), []);
        assert_eq!(of(&[at("one")], &[at("first.pem")]), []);
    }
}
