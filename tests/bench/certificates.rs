//! The certificates of two proxies that prove to each other who they are.

use std::path::Path;

use integration_tests::pki::Authority;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, SanType};

/// The name that a proxy proves.
pub(crate) const NAME: &str = "hop";
/// The authority, the chain and its key: PEM files.
pub(crate) const ROOT: &str = "root.pem";
pub(crate) const LEAF: &str = "leaf.pem";
pub(crate) const KEY: &str = "key.pem";
/// The chain and its key in one file, for `HAProxy`.
pub(crate) const BOTH: &str = "both.pem";

/// Makes an authority and a certificate for both proxies. The keys are of P-256: Envoy knows no Ed25519.
pub(crate) fn write(folder: &Path) -> Result<(), String> {
    let authority = Authority::root(&PKCS_ECDSA_P256_SHA256, |_| {});
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| error.to_string())?;
    let issued = authority.issue_for(key, "spiffe://public/ns/default/hop", |params| {
        let name = NAME.try_into().expect("ASCII");
        params.subject_alt_names.push(SanType::DnsName(name));
    });
    for (file, content) in [
        (ROOT, authority.pem()),
        (LEAF, issued.pem()),
        (KEY, issued.key.serialize_pem()),
        (BOTH, issued.pem() + &issued.key.serialize_pem()),
    ] {
        std::fs::write(folder.join(file), content).map_err(|error| format!("{file}: {error}"))?;
    }
    Ok(())
}
