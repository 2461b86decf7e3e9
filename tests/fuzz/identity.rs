//! Identity: certificates, trust anchors, answers of sentry, tokens.
#![allow(
    clippy::unwrap_used,
    reason = "a target that cannot go on panics, and shows why"
)]

use std::panic::AssertUnwindSafe;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bolero::{TypeGenerator, check};
use dapr_proto::sentry::SignCertificateResponse;
use fuzz::{Edit, Near, apply, sentence};
use identity::fuzz::{SigningRequest, Trust};
use identity::{SpiffeId, TrustDomain};
use integration_tests::pki::{Authority, Issued, now};
use prost::Message;

const ID: &str = "spiffe://public/ns/default/app";
const PATH: &str = "/ns/default/app";
/// Marks between which PEM stands, and what may stand elsewhere.
const PEM: [&str; 9] = [
    "-----BEGIN CERTIFICATE-----\n",
    "-----END CERTIFICATE-----\n",
    "-----BEGIN PRIVATE KEY-----\n",
    "-----END PRIVATE KEY-----\n",
    "-----BEGIN ",
    "-----",
    "\r\n",
    "Name: value\n",
    "MAA=\n",
];

fn blocked<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(future)
}

/// What is done to a chain of certificates.
#[derive(Debug, TypeGenerator)]
enum Change {
    /// One of them is edited.
    Edit(u8, Edit),
    /// One of them is left out.
    Remove(u8),
    /// Two of them change places.
    Swap(u8, u8),
    /// One of another authority comes in.
    Foreign(u8, u8),
    /// One is there twice.
    Twice(u8, u8),
}

fn ders(issued: &Issued) -> Vec<Vec<u8>> {
    issued.chain.iter().map(|der| der.to_vec()).collect()
}

fn changed(chain: &mut Vec<Vec<u8>>, changes: &[Change], foreign: &[Vec<u8>]) {
    for change in changes {
        let count = chain.len();
        let place = |at: u8| usize::from(at) % count;
        match change {
            _ if count == 0 => return,
            Change::Edit(at, edit) => apply(std::slice::from_ref(edit), &mut chain[place(*at)], &[]),
            Change::Remove(at) => drop(chain.remove(place(*at))),
            Change::Swap(a, b) => chain.swap(place(*a), place(*b)),
            Change::Foreign(at, which) => {
                chain.insert(place(*at), foreign[usize::from(*which) % foreign.len()].clone());
            }
            Change::Twice(from, to) => {
                let twice = chain[place(*from)].clone();
                chain.insert(place(*to), twice);
            }
        }
    }
}

/// Whatever is done to a chain: it proves the id of a leaf that was issued, or nothing.
#[test]
fn chains() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let issuer = ours.below("issuer", |_| {});
    let honest = ders(&issuer.issue(ID));
    let other = ders(&issuer.issue("spiffe://public/ns/default/other"));
    let foreign = ders(&theirs.issue(ID));
    let strangers = [&other[..1], &foreign[..]].concat();
    let anchors = ours.pem();
    let trust = AssertUnwindSafe(blocked(Trust::new(&anchors, Some(PATH))).unwrap());
    let anybody = AssertUnwindSafe(blocked(Trust::new(&anchors, None)).unwrap());
    let now = u64::try_from(now()).unwrap();
    assert_eq!(trust.proves(&honest, now).unwrap().as_str(), ID);
    assert!(trust.proves(&other, now).is_none() && anybody.proves(&other, now).is_some());
    assert!(anybody.proves(&foreign, now).is_none());
    check!().with_type::<Vec<Change>>().for_each(|changes| {
        let (trust, anybody) = (&trust, &anybody);
        let mut chain = honest.clone();
        changed(&mut chain, changes, &strangers);
        if let Some(id) = trust.proves(&chain, now) {
            assert!(chain[0] == honest[0] && id.as_str() == ID, "{id} is believed");
        }
        if anybody.proves(&chain, now).is_some() {
            assert!(
                [&honest[0], &other[0]].contains(&&chain[0]),
                "somebody is believed"
            );
        }
        for der in &chain {
            let _ = identity::fuzz::leaf(der);
        }
    });
}

#[test]
fn certificates_and_anchors() {
    let pem = Authority::new().below("issuer", |_| {}).pem();
    let seeds = [
        pem.clone(),
        format!("{pem}{}", Authority::new().pem()),
        String::new(),
    ];
    check!().with_type::<Near>().for_each(|near| {
        let bytes = near.to_bytes(&seeds, &PEM);
        let text = String::from_utf8_lossy(&bytes);
        if let Some(certificates) = identity::fuzz::certificates(&text) {
            let written: String = certificates
                .iter()
                .map(|der| identity::fuzz::as_pem(der))
                .collect();
            assert_eq!(identity::fuzz::certificates(&written), Some(certificates));
        }
        let _ = blocked(Trust::new(&text, None));
    });
}

/// What answers of sentry are made of.
#[derive(Debug, TypeGenerator)]
struct Answer {
    is_for_us: bool,
    pem: Vec<Edit>,
    until: Option<(i64, i32)>,
    jwt: Option<Vec<u8>>,
    audiences: Vec<(Vec<u8>, Vec<u8>)>,
    message: Vec<Edit>,
    now: i64,
}

const JWT: [&str; 22] = [
    "{",
    "}",
    "\"alg\":",
    "\"ES256\"",
    "\"none\"",
    ",",
    "\"typ\":\"JWT\"",
    "\"sub\":",
    "\"spiffe://public/x\"",
    "\"aud\":",
    "\"public\"",
    "[",
    "]",
    "\"exp\":",
    "\"nbf\":",
    "\"iat\":",
    "1e300",
    "-1",
    "1700000000",
    ".",
    "null",
    "\"other\"",
];

/// Words as the three parts of a token.
fn token(choice: &[u8]) -> String {
    let text = sentence(&JWT, choice);
    let parts: Vec<String> = text.split('.').map(|part| URL_SAFE_NO_PAD.encode(part)).collect();
    parts.join(".")
}

/// An answer is taken only if its certificate is for the key that was shown, and never panics.
#[test]
fn answers_of_sentry() {
    let authority = AssertUnwindSafe(Authority::new());
    check!().with_type::<Answer>().for_each(|input| {
        let authority = &authority;
        let (asked, stranger) = (SigningRequest::new().unwrap(), SigningRequest::new().unwrap());
        assert!(asked.request().starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
        let key = if input.is_for_us { &asked } else { &stranger };
        let mut pem = authority.certify(ID, &key.public(), |_| {}).into_bytes();
        apply(&input.pem, &mut pem, &PEM);
        let answer = SignCertificateResponse {
            workload_certificate: pem.into(),
            valid_until: input
                .until
                .map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos }),
            jwt: input.jwt.as_deref().map(token),
            per_audience_jwts: input
                .audiences
                .iter()
                .map(|(audience, words)| (sentence(&JWT, audience), token(words)))
                .collect(),
            ..SignCertificateResponse::default()
        };
        let mut message = answer.encode_to_vec();
        apply(&input.message, &mut message, &[]);
        if let Some((id, _)) = asked.answered(&message, input.now) {
            assert!(input.is_for_us, "{id} for a key that nobody has");
        }
    });
}

#[test]
fn answers_of_junk() {
    check!().for_each(|bytes| {
        let taken = SigningRequest::new().unwrap().answered(bytes, 0);
        assert!(taken.is_none());
    });
}

#[test]
fn tokens() {
    check!()
        .with_type::<(Vec<u8>, Vec<Edit>, bool, i64)>()
        .for_each(|(words, edits, is_only, now)| {
            let mut text = token(words).into_bytes();
            apply(edits, &mut text, &["."]);
            let text = String::from_utf8_lossy(&text);
            let expiry = identity::fuzz::jwt(&text, "public", *is_only, *now);
            if let Some(expiry) = expiry {
                assert!(text.split('.').count() == 3 && *now <= expiry.saturating_add(60));
            }
        });
}

/// A token is the bytes of its file, or there is none.
#[test]
fn token_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token").display().to_string();
    check!().for_each(|bytes| {
        std::fs::write(&path, bytes).unwrap();
        let wanted = std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty());
        assert_eq!(blocked(identity::fuzz::token(&path)).as_deref(), wanted);
    });
}

#[test]
fn ids() {
    let seeds = [ID, "spiffe://localhost/ns/default/dapr-sentry"];
    check!().with_type::<Near>().for_each(|near| {
        let bytes = near.to_bytes(&seeds, &["/", "..", "spiffe://", "%2F", "A"]);
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(id) = SpiffeId::parse(&text) {
            assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), text);
            assert!(TrustDomain::parse(id.trust_domain()).is_ok());
        }
        let _ = TrustDomain::parse(&text);
    });
}
