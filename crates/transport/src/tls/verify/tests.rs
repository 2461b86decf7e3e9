//! Pools and chains, with what Go's `Certificate.Verify` says of them.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use super::*;
use crate::tls::{crypto, system};

/// A certificate and what it may sign with.
struct Made {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn with(mut params: CertificateParams, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    change(&mut params);
    params
}

fn own(params: CertificateParams) -> Made {
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    Made { pem, issuer }
}

impl Made {
    fn signs(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }
}

fn verified(roots: &str, chain: &str, host: &str) -> Result<(), String> {
    let provider = crypto::provider();
    let verifier = Verifier::new(Roots::of(system::certificates(roots.as_bytes())), provider);
    let chain = system::certificates(chain.as_bytes());
    let (leaf, intermediates) = chain.split_first().unwrap();
    let host = ServerName::try_from(host.to_owned()).unwrap();
    let verified = verifier.verify_server_cert(leaf, intermediates, &host, &[], UnixTime::now());
    verified.map(drop).map_err(|error| match error {
        Error::InvalidCertificate(CertificateError::Other(why)) => why.to_string(),
        error => panic!("{error:?}"),
    })
}

fn check(cases: &[(&str, String, String, &str)]) {
    for (what, roots, chain, wanted) in cases {
        let verified = verified(roots, chain, "localhost");
        let wanted = match *wanted {
            "" => Ok(()),
            words => Err(format!("tls: failed to verify certificate: x509: {words}")),
        };
        assert_eq!(verified, wanted, "{what}");
    }
}

fn days(days: i64) -> OffsetDateTime {
    OffsetDateTime::now_utc() + Duration::days(days)
}

#[test]
fn what_the_pool_holds_is_trusted_itself() {
    let plain = own(params("server"));
    let as_authority = own(with(params("server"), |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }));
    let usage = |usage| {
        own(with(params("server"), |params| {
            params.extended_key_usages = vec![usage];
        }))
        .pem
    };
    let (server, any, client) = (
        usage(ExtendedKeyUsagePurpose::ServerAuth),
        usage(ExtendedKeyUsagePurpose::Any),
        usage(ExtendedKeyUsagePurpose::ClientAuth),
    );
    let root = own(authority("root"));
    let signed = root.signs(params("server"));
    let critical = own(with(params("server"), |params| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
    }));
    let of = |made: &Made| (made.pem.clone(), made.pem.clone());
    let both = |pem: &str| (pem.to_owned(), pem.to_owned());
    let dated = |from, to| {
        own(with(params("server"), |params| {
            (params.not_before, params.not_after) = (days(from), days(to));
        }))
    };
    let elsewhere = own(CertificateParams::new(["elsewhere".to_owned()]).unwrap());
    check(
        &[
            ("a leaf", of(&plain), ""),
            ("openssl req -x509", of(&as_authority), ""),
            ("for servers", both(&server), ""),
            ("for anything", both(&any), ""),
            (
                "for clients",
                both(&client),
                "certificate specifies an incompatible key usage",
            ),
            ("signed by somebody who is not there", of(&signed), ""),
            (
                "a critical extension",
                of(&critical),
                "unhandled critical extension",
            ),
            (
                "another name",
                of(&elsewhere),
                "certificate is valid for elsewhere, not localhost",
            ),
        ]
        .map(|(what, (roots, chain), wanted)| (what, roots, chain, wanted)),
    );
    for (made, relation) in [(dated(-9, -2), "after"), (dated(2, 9), "before")] {
        let error = verified(&made.pem, &made.pem, "localhost").unwrap_err();
        let begin = "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time ";
        assert!(
            error.starts_with(begin) && error.contains(&format!(" is {relation} ")),
            "{error}"
        );
    }
}

#[test]
fn who_vouches_for_others() {
    let root = own(authority("root"));
    let middle = root.signs(authority("middle"));
    let leaf = middle.signs(params("server"));
    let chain = format!("{}{}", leaf.pem, middle.pem);
    let pinned = own(params("pinned"));
    let by_pinned = pinned.signs(params("server"));
    let no_signer = own(with(authority("no signer"), |params| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    }));
    let by_no_signer = no_signer.signs(params("server"));
    let expired = own(with(authority("expired"), |params| {
        (params.not_before, params.not_after) = (days(-9), days(-2));
    }));
    let by_expired = expired.signs(params("server"));
    let short = own(with(authority("short"), |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    }));
    let too_long = short.signs(authority("below"));
    let by_too_long = too_long.signs(params("server"));
    let just_short = short.signs(params("server"));
    let namesake = own(authority("root"));
    let for_any = root.signs(with(params("server"), |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
    }));
    let leaf_as_authority = root.signs(with(params("server"), |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }));
    let hint = |why: &str, name: &str| {
        format!(
            "certificate signed by unknown authority (possibly because of \"{why}\" while trying to verify candidate \
             authority certificate \"{name}\")"
        )
    };
    let cannot_sign = "x509: invalid signature: parent certificate cannot sign this kind of certificate";
    let (pinned_hint, no_signer_hint) = (hint(cannot_sign, "pinned"), hint(cannot_sign, "no signer"));
    let namesake_hint = hint("x509: verification failure", "root");
    check(&[
        ("root", root.pem.clone(), chain.clone(), ""),
        (
            "root without its child",
            root.pem.clone(),
            leaf.pem.clone(),
            "certificate signed by unknown authority",
        ),
        (
            "an authority below as root",
            middle.pem.clone(),
            leaf.pem.clone(),
            "",
        ),
        ("the same with its chain", middle.pem.clone(), chain.clone(), ""),
        (
            "several",
            format!("{}{}", pinned.pem, root.pem),
            chain.clone(),
            "",
        ),
        ("a server signs", pinned.pem.clone(), by_pinned.pem, &pinned_hint),
        (
            "an authority that may not sign",
            no_signer.pem.clone(),
            by_no_signer.pem,
            &no_signer_hint,
        ),
        ("of the same name", namesake.pem, chain.clone(), &namesake_hint),
        ("for anything", root.pem.clone(), for_any.pem, ""),
        (
            "an authority that signed itself as server",
            root.pem.clone(),
            own(with(params("server"), |params| {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }))
            .pem,
            "certificate signed by unknown authority",
        ),
        (
            "an authority as server",
            root.pem.clone(),
            leaf_as_authority.pem,
            "certificate is that of an authority, and none of those that are trusted themselves",
        ),
        ("a short path", short.pem.clone(), just_short.pem, ""),
        (
            "too long a path",
            short.pem.clone(),
            format!("{}{}", by_too_long.pem, too_long.pem),
            "too many intermediates for path length constraint",
        ),
        (
            "nobody",
            pinned.pem.clone(),
            chain,
            "certificate signed by unknown authority",
        ),
    ]);
    let error = verified(&expired.pem, &by_expired.pem, "localhost").unwrap_err();
    assert!(
        error.contains(
            "(possibly because of \"x509: certificate has expired or is not yet valid: current time "
        ),
        "{error}"
    );
    // Of two that would do one is enough.
    let good = own(authority("expired"));
    assert_eq!(
        verified(
            &format!("{}{}", expired.pem, good.pem),
            &good.signs(params("server")).pem,
            "localhost"
        ),
        Ok(())
    );
}

#[test]
fn kinds_of_keys_and_signatures() {
    macro_rules! file {
        ($name:literal) => {
            include_str!(concat!("../../../tests-data/", $name, ".pem")).to_owned()
        };
    }
    let rsa = "the RSA key of \"localhost\" has 1024 bits, at least 2048 are needed";
    let weak_root = format!(
        "certificate signed by unknown authority (possibly because of {rsa:?} while trying to verify candidate \
         authority certificate \"localhost\")"
    );
    check(&[
        ("P-521 pinned", file!("p521"), file!("p521"), ""),
        ("P-521 and an authority", file!("p521-ca"), file!("p521-leaf"), ""),
        (
            "P-521, another authority",
            file!("p521"),
            file!("p521-leaf"),
            "certificate signed by unknown authority",
        ),
        (
            "P-256 with SHA-512",
            file!("prime256v1-ca"),
            file!("prime256v1-leaf"),
            "",
        ),
        (
            "P-384 with SHA-512",
            file!("secp384r1-ca"),
            file!("secp384r1-leaf"),
            "",
        ),
        ("an authority of version 1", file!("v1-ca"), file!("v1-leaf"), ""),
        (
            "version 1",
            file!("v1"),
            file!("v1"),
            "certificate relies on legacy Common Name field, use SANs instead",
        ),
        ("RSA with 1024 bits", file!("rsa1024"), file!("rsa1024"), rsa),
        (
            "an authority of RSA with 1024 bits",
            file!("rsa1024"),
            file!("rsa1024-leaf"),
            &weak_root,
        ),
        (
            "SHA-1",
            file!("rsa-ca"),
            file!("sha1-leaf"),
            "cannot verify signature: insecure algorithm SHA1-RSA",
        ),
    ]);
    // A signature that was touched is none.
    for name in [
        file!("p521-leaf"),
        file!("prime256v1-leaf"),
        file!("secp384r1-leaf"),
    ] {
        let roots = [file!("p521-ca"), file!("prime256v1-ca"), file!("secp384r1-ca")].concat();
        let mut leaf = system::certificates(name.as_bytes()).remove(0).to_vec();
        *leaf.last_mut().unwrap() ^= 1;
        let verifier = Verifier::new(
            Roots::of(system::certificates(roots.as_bytes())),
            crypto::provider(),
        );
        let host = ServerName::try_from("localhost").unwrap();
        let touched = verifier.verify_server_cert(&leaf.into(), &[], &host, &[], UnixTime::now());
        assert!(touched.is_err());
    }
    let findings = Roots::of(system::certificates(file!("rsa1024").as_bytes())).findings();
    assert_eq!(
        findings,
        [format!("a certificate among the roots is of no use: {rsa}")]
    );
}

#[test]
fn names_that_are_not_those_of_the_host() {
    let of = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "common");
        own(params).pem
    };
    for (names, host, wanted) in [
        (&["a", "b"][..], "c", "certificate is valid for a, b, not c"),
        (&["*.a.b"], "a.b", "certificate is valid for *.a.b, not a.b"),
        (
            &["*.a.b"],
            "x.y.a.b",
            "certificate is valid for *.a.b, not x.y.a.b",
        ),
        (
            &["127.0.0.1", "::1", "a"],
            "127.0.0.2",
            "certificate is valid for 127.0.0.1, ::1, not 127.0.0.2",
        ),
        (
            &["a"],
            "127.0.0.1",
            "cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs",
        ),
        (
            &["127.0.0.1"],
            "a",
            "certificate is not valid for any names, but wanted to match a",
        ),
        (
            &[],
            "common",
            "certificate relies on legacy Common Name field, use SANs instead",
        ),
        (
            &[],
            "a",
            "certificate is not valid for any names, but wanted to match a",
        ),
    ] {
        let pem = of(names);
        let error = verified(&pem, &pem, host).unwrap_err();
        assert_eq!(
            error,
            format!("tls: failed to verify certificate: x509: {wanted}")
        );
    }
    for (names, host) in [
        (&["a"][..], "A"),
        (&["*.a.b"], "x.a.b"),
        (&["::1"], "::1"),
        (&["a_b"], "a_b"),
    ] {
        let pem = of(names);
        assert_eq!(verified(&pem, &pem, host), Ok(()), "{host}");
    }
    let many: Vec<_> = (0..100).map(|number| format!("n{number}")).collect();
    let many = of(&many.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(
        verified(&many, &many, "a")
            .unwrap_err()
            .ends_with("certificate is valid for 100 names, but none matched a")
    );
}

proptest::proptest! {
    #[test]
    fn a_certificate_with_a_wrong_byte_is_judged(at in 0_usize..700, byte: u8) {
        let pem = include_str!("../../../tests-data/p521.pem");
        let mut leaf = system::certificates(pem.as_bytes()).remove(0).to_vec();
        let at = at % leaf.len();
        let is_changed = leaf[at] != byte;
        leaf[at] = byte;
        let roots = Roots::of(system::certificates(pem.as_bytes()));
        let verifier = Verifier::new(roots, crypto::provider());
        let host = ServerName::try_from("localhost").unwrap();
        let leaf = CertificateDer::from(leaf);
        // What is not the very same is not pinned, and here nobody else vouches for it.
        let verified = verifier.verify_server_cert(&leaf, &[], &host, &[], UnixTime::now());
        proptest::prop_assert_eq!(verified.is_err(), is_changed);
        // Nor may any bytes among the roots do harm.
        let roots = Roots::of([leaf]);
        let _ = (roots.findings(), roots.is_empty());
    }
}
