//! Chains of a certificate authority of the test: each breaks one rule.

use integration_tests::pki::{Authority, Issued, set_validity, uri};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm,
};

use super::*;
use crate::settings::AnchorSource;
use transport::tls::provider;

const APP: &str = "spiffe://public/ns/default/app";
const NOW: u64 = 1_700_000_000;

/// A private key of RSA, made for these tests alone: the library that makes certificates cannot make one.
const RSA_KEY: &str = include_str!("../../tests-data/rsa-key.pem");

async fn verifier(anchors: &str, expected: Expected) -> Verifier {
    let source = AnchorSource {
        value: Some(anchors.to_owned()),
        file: None,
    };
    Verifier::new(AnchorStore::load(&source).await.unwrap(), expected, provider())
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

fn check(verifier: &Verifier, issued: &Issued) -> Result<String, String> {
    let (leaf, rest) = issued.chain.split_first().unwrap();
    let id = verifier.verify(leaf, rest, at(NOW));
    id.map(|id| id.to_string()).map_err(|error| error.to_string())
}

fn path(path: &str) -> Expected {
    Expected::Path(path.into())
}

fn exact(id: &str) -> Expected {
    Expected::Exact(SpiffeId::parse(id).unwrap())
}

#[tokio::test]
async fn who_is_expected() {
    let authority = Authority::new();
    let issued = authority.issue(APP);
    let other = |text: &str| Err(text.to_owned());
    for (expected, wanted) in [
        (Expected::Any, Ok(APP.to_owned())),
        (path("/ns/default/app"), Ok(APP.to_owned())),
        (exact(APP), Ok(APP.to_owned())),
        (
            path("/ns/default/other"),
            other("unexpected SPIFFE ID: \"spiffe://public/ns/default/app\""),
        ),
        (
            path("/ns/other/app"),
            other("unexpected SPIFFE ID: \"spiffe://public/ns/default/app\""),
        ),
        (
            path("/ns/default/ap"),
            other("unexpected SPIFFE ID: \"spiffe://public/ns/default/app\""),
        ),
        (
            path("/ns/default/app/"),
            other("unexpected SPIFFE ID: \"spiffe://public/ns/default/app\""),
        ),
        (
            path(""),
            other("unexpected SPIFFE ID: \"spiffe://public/ns/default/app\""),
        ),
        (
            exact("spiffe://other/ns/default/app"),
            other("unexpected ID \"spiffe://public/ns/default/app\""),
        ),
        (
            exact("spiffe://public/ns/default/dapr-sentry"),
            other("unexpected ID \"spiffe://public/ns/default/app\""),
        ),
    ] {
        let verifier = verifier(&authority.pem(), expected.clone()).await;
        assert_eq!(check(&verifier, &issued), wanted, "{expected:?}");
    }
}

#[tokio::test]
async fn certificates_of_nobody_we_trust() {
    let (ours, theirs) = (Authority::new(), Authority::root(&PKCS_ECDSA_P256_SHA256, |_| {}));
    let verifier = verifier(&ours.pem(), Expected::Any).await;
    let unknown =
        "x509svid: could not verify leaf certificate: x509: certificate signed by unknown authority";
    // The other authority has the same name, and another kind of key.
    let foreign = check(&verifier, &theirs.issue(APP)).unwrap_err();
    assert_eq!(
        foreign,
        "x509svid: could not verify leaf certificate: x509: certificate signed by unknown authority"
    );
    // A certificate among the anchors that may not sign is no authority.
    let server = ours.issue_with(APP, |_| {});
    let no_signer = Authority::root(&PKCS_ED25519, |params| params.is_ca = IsCa::NoCa);
    let below = self::verifier(&no_signer.pem(), Expected::Any).await;
    assert_eq!(check(&below, &no_signer.issue(APP)), Err(unknown.to_owned()));
    assert!(check(&below, &server).is_err());
    let named = Authority::root(&PKCS_ED25519, |params| {
        params
            .distinguished_name
            .push(rcgen::DnType::OrganizationName, "others");
    });
    assert_eq!(check(&verifier, &named.issue(APP)), Err(unknown.to_owned()));
    // Same name and kind of key, so only the signature tells.
    assert_eq!(
        check(&verifier, &Authority::new().issue(APP)),
        Err(unknown.to_owned())
    );
    // Signed with its own key.
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![uri(APP)];
    let chain = vec![params.self_signed(&key).unwrap().der().clone()];
    assert_eq!(check(&verifier, &Issued { chain, key }), Err(unknown.to_owned()));
}

#[tokio::test]
async fn dates() {
    let authority = Authority::new();
    let verifier = verifier(&authority.pem(), Expected::Any).await;
    let now = i64::try_from(NOW).unwrap();
    let of = |not_before, not_after| {
        let issued = authority.issue_with(APP, |params| set_validity(params, not_before, not_after));
        check(&verifier, &issued)
    };
    assert_eq!(of(now, now), Ok(APP.to_owned()));
    let bad = "x509svid: could not verify leaf certificate: x509: certificate has expired or is not yet valid: \
               current time 2023-11-14T22:13:20Z is";
    assert_eq!(
        of(now - 10, now - 1),
        Err(format!("{bad} after 2023-11-14T22:13:19Z"))
    );
    assert_eq!(
        of(now + 1, now + 10),
        Err(format!("{bad} before 2023-11-14T22:13:21Z"))
    );
    let below = authority.below("between", |params| set_validity(params, now - 10, now - 1));
    assert!(check(&verifier, &below.issue(APP)).unwrap_err().starts_with(bad));
}

#[tokio::test]
async fn an_anchor_that_has_expired_vouches_for_nobody() {
    let now = i64::try_from(NOW).unwrap();
    let old = Authority::valid(0, now - 1);
    let issued = old.issue(APP);
    let alone = verifier(&old.pem(), Expected::Any).await;
    let text = check(&alone, &issued).unwrap_err();
    assert!(text.contains("whose own certificate is not valid now"), "{text}");
    // Beside one that is valid, too.
    let new = Authority::new();
    let both = verifier(&format!("{}{}", old.pem(), new.pem()), Expected::Any).await;
    check(&both, &issued).unwrap_err();
    assert_eq!(check(&both, &new.issue(APP)), Ok(APP.to_owned()));
}

#[tokio::test]
async fn authorities_between() {
    let root = Authority::new();
    let first = root.below("first", |_| {});
    let second = first.below("second", |_| {});
    let verifier = verifier(&root.pem(), Expected::Any).await;
    let mut issued = second.issue(APP);
    assert_eq!(issued.chain.len(), 3);
    assert_eq!(check(&verifier, &issued), Ok(APP.to_owned()));
    // The order of those between does not matter, nor does one that is not needed.
    issued.chain[1..].reverse();
    assert_eq!(check(&verifier, &issued), Ok(APP.to_owned()));
    issued
        .chain
        .push(root.below("third", |_| {}).issue(APP).chain[1].clone());
    assert_eq!(check(&verifier, &issued), Ok(APP.to_owned()));
    // The leaf must come first.
    issued.chain.swap(0, 1);
    check(&verifier, &issued).unwrap_err();
    let mut gap = second.issue(APP);
    gap.chain.remove(1);
    check(&verifier, &gap).unwrap_err();
    // Whoever is below an authority of this length may not sign.
    let short = root.below("short", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    assert_eq!(check(&verifier, &short.issue(APP)), Ok(APP.to_owned()));
    check(&verifier, &short.below("too far", |_| {}).issue(APP)).unwrap_err();
    // An anchor need not be a root.
    let between = super::tests::verifier(&first.pem(), Expected::Any).await;
    assert_eq!(check(&between, &second.issue(APP)), Ok(APP.to_owned()));
}

#[tokio::test]
async fn a_leaf_may_not_sign_and_usages_do_not_matter() {
    let root = Authority::new();
    let verifier = verifier(&root.pem(), Expected::Any).await;
    for usages in [
        vec![],
        vec![ExtendedKeyUsagePurpose::ClientAuth],
        vec![ExtendedKeyUsagePurpose::CodeSigning],
    ] {
        let issued = root.issue_with(APP, |params| params.extended_key_usages = usages.clone());
        assert_eq!(check(&verifier, &issued), Ok(APP.to_owned()), "{usages:?}");
    }
    // A workload's certificate as an authority.
    let leaf = root.below("leaf", |params| {
        params.is_ca = IsCa::NoCa;
        params.key_usages.clear();
        params.subject_alt_names = vec![uri("spiffe://public/ns/default/evil")];
    });
    check(&verifier, &leaf.issue(APP)).unwrap_err();
    let authority = root.issue_with(APP, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    assert_eq!(
        check(&verifier, &authority),
        Err("x509svid: leaf certificate with CA flag set to true".to_owned())
    );
    let two = root.issue_with(APP, |params| {
        params
            .subject_alt_names
            .push(uri("spiffe://public/ns/default/other"));
    });
    assert_eq!(
        check(&verifier, &two),
        Err("x509svid: could not get leaf SPIFFE ID: certificate contains more than one URI SAN".to_owned())
    );
}

#[tokio::test]
async fn kinds_of_keys_and_an_extension_of_daprs() {
    let key = |algorithm: &'static SignatureAlgorithm| {
        if *algorithm == PKCS_RSA_SHA256 {
            KeyPair::from_pem(RSA_KEY).unwrap()
        } else {
            KeyPair::generate_for(algorithm).unwrap()
        }
    };
    let all = [
        &PKCS_ED25519,
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_RSA_SHA256,
    ];
    for of_root in all {
        let root = Authority::with_key(key(of_root), |_| {});
        let verifier = verifier(&root.pem(), Expected::Any).await;
        for of_leaf in all {
            let issued = root.issue_for(key(of_leaf), APP, |params| {
                let images = rcgen::CustomExtension::from_oid_content(
                    &[1, 3, 6, 1, 4, 1, 57683, 100, 1],
                    b"\x04\x02{}".to_vec(),
                );
                params.custom_extensions.push(images);
            });
            assert_eq!(
                check(&verifier, &issued),
                Ok(APP.to_owned()),
                "{of_root:?} {of_leaf:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_authority_on_p521() {
    let leaves = crate::pem::certificates(include_str!("../../tests-data/p521-leaves.pem")).unwrap();
    assert_eq!(leaves.len(), 3, "one for each hash");
    for (root, is_good) in [
        (include_str!("../../tests-data/p521-root.pem"), true),
        (include_str!("../../tests-data/p521-other-root.pem"), false),
    ] {
        let verifier = verifier(root, path("/ns/default/app")).await;
        for leaf in &leaves {
            let leaf = CertificateDer::from(leaf.as_slice());
            let verified = verifier.verify(&leaf, &[], at(2_000_000_000));
            assert_eq!(verified.is_ok(), is_good, "{verified:?}");
        }
    }
}

proptest! {
    /// No certificate with wrong bytes proves anything else than the right one does.
    #[test]
    fn wrong_bytes_prove_nothing(at_byte in any::<prop::sample::Index>(), flip in 1_u8..) {
        let authority = Authority::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let verifier = runtime.block_on(verifier(&authority.pem(), Expected::Any));
        let mut der = authority.issue(APP).chain[0].to_vec();
        let at_byte = at_byte.index(der.len());
        der[at_byte] ^= flip;
        prop_assert!(verifier.verify(&CertificateDer::from(der), &[], at(NOW)).is_err());
    }

    #[test]
    fn any_chain_is_judged(chain in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 1..4)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let verifier = runtime.block_on(verifier(&Authority::new().pem(), Expected::Any));
        let chain: Vec<_> = chain.into_iter().map(CertificateDer::from).collect();
        prop_assert!(verifier.verify(&chain[0], &chain[1..], at(NOW)).is_err());
    }
}
