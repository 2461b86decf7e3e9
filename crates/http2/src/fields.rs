//! Header blocks become the heads of messages, and the rules that make a head malformed (RFC 9113, section 8).

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, InvalidUri, Parts, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};

use crate::hpack::{Fields, Pseudo};

/// What an entry costs beyond its bytes (section 6.5.2).
const ENTRY: usize = 32;
/// More fields are too long a list, whatever their bytes.
///
/// A [`HeaderMap`] that meets many names with the same hash doubles its table, and panics when the table has 32,768
/// places already. It hashes with a secret instead when less than a fifth of the table is in use: with fewer than 6,554
/// fields that is always so. The rest is for those who handle a message and add to it.
const MOST_FIELDS: usize = 6 * 1024;

/// What a header block had in it.
#[derive(Debug, Default)]
pub(crate) struct Block {
    method: Option<Bytes>,
    scheme: Option<Bytes>,
    authority: Option<Bytes>,
    path: Option<Bytes>,
    status: Option<Bytes>,
    fields: HeaderMap,
    content_length: Option<u64>,
    expects_continue: bool,
    is_malformed: bool,
    size: usize,
    limit: usize,
}

/// The query of a request as it came, among the extensions of one whose URI has escapes for bytes that no URI has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawQuery(pub Bytes);

impl RawQuery {
    fn of(path: &Bytes) -> Option<Self> {
        let begin = path.iter().position(|byte| *byte == b'?')? + 1;
        let query = path.slice(begin..);
        let end = query.iter().position(|byte| *byte == b'#');
        Some(Self(query.slice(..end.unwrap_or(query.len()))))
    }
}

/// Why there is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHead {
    /// It breaks a rule.
    Malformed,
    /// It is longer than allowed.
    TooLong,
}

impl Block {
    /// A block of which up to `limit` bytes are kept.
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            limit: limit as usize,
            ..Self::default()
        }
    }

    fn check(&self) -> Result<(), BadHead> {
        if self.size > self.limit {
            Err(BadHead::TooLong)
        } else if self.is_malformed {
            Err(BadHead::Malformed)
        } else {
            Ok(())
        }
    }

    /// How many bytes there are, as section 6.5.2 counts them, as far as they are kept.
    pub(crate) fn size(&self) -> usize {
        self.size.min(self.limit)
    }

    /// The length of the body that the head declares.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Whether its sender waits to be asked for the body (RFC 9110, section 10.1.1).
    pub(crate) fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    pub(crate) fn into_request(self) -> Result<Request<()>, BadHead> {
        self.check()?;
        let malformed = |_| BadHead::Malformed;
        let (Some(method), None) = (self.method, self.status) else {
            return Err(BadHead::Malformed);
        };
        let method = match &*method {
            b"POST" => Method::POST,
            other => Method::from_bytes(other).map_err(|_| BadHead::Malformed)?,
        };
        let (Some(scheme), Some(path)) = (self.scheme, self.path) else {
            return Err(BadHead::Malformed);
        };
        let mut parts = Parts::default();
        if let Some(authority) = self.authority.filter(|authority| !authority.is_empty()) {
            parts.authority = Some(Authority::from_maybe_shared(authority).map_err(malformed)?);
            parts.scheme = Some(match &*scheme {
                b"http" => Scheme::HTTP,
                b"https" => Scheme::HTTPS,
                other => Scheme::try_from(other).map_err(malformed)?,
            });
        }
        // Or else it is not a path, and what it was taken for would depend on who reads it (section 8.3.1).
        if !(path.starts_with(b"/") || method == Method::OPTIONS && *path == b"*"[..]) {
            return Err(BadHead::Malformed);
        }
        let mut raw_query = None;
        let path = PathAndQuery::from_maybe_shared(path.clone()).or_else(|_| {
            raw_query = RawQuery::of(&path);
            escaped(&path)
        });
        parts.path_and_query = Some(path.map_err(malformed)?);
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| BadHead::Malformed)?;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.fields;
        if let Some(raw_query) = raw_query {
            request.extensions_mut().insert(raw_query);
        }
        Ok(request)
    }

    pub(crate) fn into_response(self) -> Result<Response<()>, BadHead> {
        self.check()?;
        if self.has_request_fields() {
            return Err(BadHead::Malformed);
        }
        let status = self.status.as_deref().ok_or(BadHead::Malformed)?;
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_bytes(status).map_err(|_| BadHead::Malformed)?;
        *response.version_mut() = Version::HTTP_2;
        *response.headers_mut() = self.fields;
        Ok(response)
    }

    pub(crate) fn into_trailers(self) -> Result<HeaderMap, BadHead> {
        self.check()?;
        if self.status.is_some() || self.has_request_fields() {
            return Err(BadHead::Malformed);
        }
        Ok(self.fields)
    }

    fn has_request_fields(&self) -> bool {
        self.method.is_some() || self.scheme.is_some() || self.authority.is_some() || self.path.is_some()
    }

    /// Counts an entry; whether it is kept.
    fn counts(&mut self, bytes: usize) -> bool {
        self.size = self.size.saturating_add(bytes).saturating_add(ENTRY);
        self.size <= self.limit && !self.is_malformed
    }
}

impl Fields for Block {
    fn pseudo(&mut self, name: Pseudo, value: Bytes) {
        if !self.counts(value.len() + 7) {
            return;
        }
        let is_first = self.fields.is_empty();
        let place = match name {
            Pseudo::Method => &mut self.method,
            Pseudo::Scheme => &mut self.scheme,
            Pseudo::Authority => &mut self.authority,
            Pseudo::Path => &mut self.path,
            Pseudo::Status => &mut self.status,
        };
        // Once each, and before all others (section 8.3).
        self.is_malformed |= !is_first || place.replace(value).is_some();
    }

    fn field(&mut self, name: HeaderName, value: HeaderValue) {
        if !self.counts(name.as_str().len() + value.len()) {
            return;
        }
        if is_of_connection(&name, &value) {
            // gRPC for Go refuses the first two and hands the others to the app as metadata that some caller chose. A
            // call need not fail for them, but they must not go any further either.
            self.is_malformed |= matches!(name, header::CONNECTION | header::TE);
            return;
        }
        if name == header::CONTENT_LENGTH {
            let length = number(value.as_bytes());
            if length.is_none() || self.content_length.is_some_and(|known| Some(known) != length) {
                self.is_malformed = true;
                return;
            }
            self.content_length = length;
        }
        if name == header::EXPECT {
            self.expects_continue = value.as_bytes().eq_ignore_ascii_case(b"100-continue");
        }
        if self.fields.len() == MOST_FIELDS || self.fields.try_append(name, value).is_err() {
            self.size = usize::MAX;
        }
    }

    fn malformed(&mut self, size: usize) {
        self.counts(size);
        self.is_malformed = true;
    }
}

/// A path with escapes in place of the bytes that a URI has none of, and that clients send all the same: blanks, `"`,
/// `<`, `>`, backticks, and what is not ASCII.
fn escaped(path: &[u8]) -> Result<PathAndQuery, InvalidUri> {
    let mut escaped = Vec::with_capacity(path.len() + 16);
    for byte in path {
        match byte {
            b' ' | b'"' | b'<' | b'>' | b'`' | 0x80.. => {
                let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value & 15)];
                escaped.extend([b'%', digit(byte >> 4), digit(*byte)]);
            }
            other => escaped.push(*other),
        }
    }
    PathAndQuery::from_maybe_shared(Bytes::from(escaped))
}

/// Whether a field speaks of the connection, which HTTP/2 does not allow (section 8.2.2).
pub(crate) fn is_of_connection(name: &HeaderName, value: &HeaderValue) -> bool {
    match *name {
        header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE => true,
        header::TE => value != "trailers",
        _ => matches!(name.as_str(), "keep-alive" | "proxy-connection"),
    }
}

/// A length, which has digits only.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::hash::{Hash, Hasher};

    use super::*;

    fn block(pseudo: &[(Pseudo, &'static str)], fields: &[(&'static str, &'static str)]) -> Block {
        let mut block = Block::new(1000);
        for (name, value) in pseudo {
            block.pseudo(*name, Bytes::from_static(value.as_bytes()));
        }
        for (name, value) in fields {
            block.field(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        block
    }

    const POST: [(Pseudo, &str); 4] = [
        (Pseudo::Method, "POST"),
        (Pseudo::Scheme, "http"),
        (Pseudo::Authority, "app:1"),
        (Pseudo::Path, "/a?b"),
    ];

    #[test]
    fn requests() {
        let request = block(&POST, &[("te", "trailers"), ("content-length", "12")]);
        assert_eq!(request.content_length(), Some(12));
        let request = request.into_request().unwrap();
        assert_eq!(request.uri(), "http://app:1/a?b");
        assert_eq!(request.headers().len(), 2);
        let raw = (Pseudo::Path, "/a b\"<>`?\"<>`é");
        let raw = block(&[POST[0], POST[1], raw], &[]).into_request().unwrap();
        assert_eq!(raw.uri(), "/a%20b%22%3C%3E%60?%22%3C%3E%60%C3%A9");
        assert_eq!(raw.extensions().get::<RawQuery>().unwrap().0, "\"<>`é");
        let fragment = block(&[POST[0], POST[1], (Pseudo::Path, "/?<a#b")], &[]);
        let fragment = fragment.into_request().unwrap();
        assert_eq!(fragment.uri(), "/?%3Ca");
        assert_eq!(fragment.extensions().get::<RawQuery>().unwrap().0, "<a");
        let relative = block(&[POST[0], POST[1], POST[3]], &[]).into_request().unwrap();
        assert_eq!(relative.uri(), "/a?b");
    }

    #[test]
    fn what_is_malformed() {
        let bad: &[Block] = &[
            block(&POST[..3], &[]),
            block(&[POST[1], POST[3]], &[]),
            block(&[POST[0], POST[3]], &[]),
            block(&[POST[0], POST[1], (Pseudo::Path, "")], &[]),
            block(&[POST[0], POST[1], (Pseudo::Path, "a/b")], &[]),
            block(&[POST[0], POST[1], (Pseudo::Path, "*")], &[]),
            block(&[POST[0], POST[1], POST[2], (Pseudo::Path, "@other/b")], &[]),
            block(&[POST[0], POST[1], POST[3], POST[3]], &[]),
            block(&[POST[0], POST[1], POST[3], (Pseudo::Status, "200")], &[]),
            block(&[POST[0], POST[1], POST[3], (Pseudo::Authority, "a b")], &[]),
            block(&POST, &[("connection", "close")]),
            block(&POST, &[("te", "gzip")]),
            block(&POST, &[("content-length", "-1")]),
            block(&POST, &[("content-length", "")]),
            block(&POST, &[("content-length", "99999999999999999999")]),
            block(&POST, &[("content-length", "1"), ("content-length", "2")]),
        ];
        for block in bad {
            let shown = format!("{block:?}");
            let copy = Block {
                method: block.method.clone(),
                scheme: block.scheme.clone(),
                authority: block.authority.clone(),
                path: block.path.clone(),
                status: block.status.clone(),
                fields: block.fields.clone(),
                ..*block
            };
            assert_eq!(copy.into_request().unwrap_err(), BadHead::Malformed, "{shown}");
        }
        let mut late = block(&POST[..3], &[("a", "b")]);
        late.pseudo(Pseudo::Path, Bytes::from_static(b"/"));
        assert_eq!(late.into_request().unwrap_err(), BadHead::Malformed);
    }

    #[test]
    fn what_speaks_of_the_connection_is_left_out() {
        for name in ["keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
            let request = block(&POST, &[(name, "x"), ("a", "b")]).into_request().unwrap();
            assert_eq!(request.headers().len(), 1, "{name}");
            let response = block(&[(Pseudo::Status, "200")], &[(name, "x")])
                .into_response()
                .unwrap();
            assert!(response.headers().is_empty(), "{name}");
            assert!(
                block(&[], &[(name, "x")]).into_trailers().unwrap().is_empty(),
                "{name}"
            );
        }
    }

    #[test]
    fn responses_and_trailers() {
        let response = block(&[(Pseudo::Status, "404")], &[("a", "b")])
            .into_response()
            .unwrap();
        assert_eq!(response.status(), 404);
        assert!(block(&[], &[]).into_response().is_err());
        assert!(block(&[(Pseudo::Status, "20")], &[]).into_response().is_err());
        assert!(
            block(&[(Pseudo::Status, "200"), POST[0]], &[])
                .into_response()
                .is_err()
        );
        assert_eq!(
            block(&[], &[("grpc-status", "0")]).into_trailers().unwrap().len(),
            1
        );
        assert!(block(&[(Pseudo::Status, "200")], &[]).into_trailers().is_err());
    }

    #[test]
    fn too_many() {
        let mut many = Block::new(u32::MAX);
        many.pseudo(Pseudo::Status, Bytes::from_static(b"200"));
        for n in 0..=MOST_FIELDS {
            assert!(many.check().is_ok());
            let name = HeaderName::try_from(format!("x-{n}")).unwrap();
            many.field(name, HeaderValue::from_static(""));
        }
        assert_eq!(many.into_response().unwrap_err(), BadHead::TooLong);
    }

    /// The hash by which maps of headers begin (FNV-1a). Anybody can compute it.
    struct Fnv(u64);

    impl Hasher for Fnv {
        fn finish(&self) -> u64 {
            self.0
        }

        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }

    /// Names that belong in a few neighbouring places of the largest table that a map has.
    fn names_that_collide() -> impl Iterator<Item = HeaderName> {
        let names = (0..).map(|n| HeaderName::try_from(format!("y{n}")).unwrap());
        names.filter(|name| {
            let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
            name.hash(&mut hash);
            hash.finish() & 0x7fff < 64
        })
    }

    /// However names were chosen, what was taken has room for what a handler adds.
    #[test]
    fn names_that_collide_leave_room_for_more() {
        let ordinary = (0..).map(|n| HeaderName::try_from(format!("x{n}")).unwrap());
        let colliding: Vec<_> = names_that_collide().take(800).collect();
        // Where the table of a map is about to grow, and where it is as large as it can be.
        for count in [0, 5000, 6000, 12_300] {
            let names: Vec<_> = ordinary.clone().take(count).chain(colliding.clone()).collect();
            let taken = |count: usize| {
                let mut block = Block::new(u32::MAX);
                block.pseudo(Pseudo::Status, Bytes::from_static(b"200"));
                for name in &names[..count] {
                    block.field(name.clone(), HeaderValue::from_static(""));
                }
                block
            };
            let most = (0..=names.len()).collect::<Vec<_>>();
            let most = most.partition_point(|count| taken(*count).check().is_ok()) - 1;
            let mut headers = taken(most).into_response().unwrap().into_parts().0.headers;
            for name in colliding.iter().rev().take(200) {
                headers.insert(name.clone(), HeaderValue::from_static("added"));
            }
            assert!(names[..most].iter().all(|name| headers.contains_key(name)));
        }
    }

    #[test]
    fn too_long() {
        let mut long = Block::new(100);
        long.pseudo(Pseudo::Status, Bytes::from_static(b"200"));
        long.field(HeaderName::from_static("a"), HeaderValue::from_static("b"));
        assert!(long.check().is_ok());
        long.field(HeaderName::from_static("a"), HeaderValue::from_static("b"));
        assert_eq!(long.into_response().unwrap_err(), BadHead::TooLong);
    }
}
