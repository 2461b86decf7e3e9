//! Reason phrases of HTTP/1 status lines.

use http::{Response, StatusCode};
use hyper::ext::ReasonPhrase;

/// Gives a status that has no standard phrase the one that Go's `net/http` writes; an empty or odd phrase
/// confuses naive clients. Some standard phrases differ between the libraries: clients of Dapr know Go's.
pub(super) fn put<B>(answer: &mut Response<B>) {
    let status = answer.status();
    let phrase = match status {
        StatusCode::NON_AUTHORITATIVE_INFORMATION => "Non-Authoritative Information".to_owned(),
        StatusCode::PAYLOAD_TOO_LARGE => "Request Entity Too Large".to_owned(),
        StatusCode::URI_TOO_LONG => "Request URI Too Long".to_owned(),
        StatusCode::RANGE_NOT_SATISFIABLE => "Requested Range Not Satisfiable".to_owned(),
        known if known.canonical_reason().is_some() => return,
        unknown => format!("status code {}", unknown.as_u16()),
    };
    if let Ok(phrase) = ReasonPhrase::try_from(phrase) {
        answer.extensions_mut().insert(phrase);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases() {
        for (status, wanted) in [
            (200, None),
            (413, Some("Request Entity Too Large")),
            (299, Some("status code 299")),
            (999, Some("status code 999")),
        ] {
            let mut answer = Response::builder().status(status).body(()).unwrap();
            put(&mut answer);
            let phrase = answer.extensions().get::<ReasonPhrase>();
            assert_eq!(
                phrase.map(ReasonPhrase::as_bytes),
                wanted.map(str::as_bytes),
                "{status}"
            );
        }
    }
}
