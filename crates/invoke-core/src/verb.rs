//! The verb of an invocation.

use std::fmt;

/// The HTTP verb that an invocation carries, with the numbers of `dapr.proto.common.v1.HTTPExtension.Verb`.
///
/// It is not an [`http::Method`]: a gRPC caller may send none ([`Verb::NONE`]), and a peer may send a number
/// that nobody has defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Verb(i32);

const NAMES: [&str; 10] = [
    "NONE", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

impl Verb {
    /// No verb was given.
    pub const NONE: Self = Self(0);
    /// `GET`.
    pub const GET: Self = Self(1);
    /// `HEAD`.
    pub const HEAD: Self = Self(2);
    /// `POST`.
    pub const POST: Self = Self(3);
    /// `PUT`.
    pub const PUT: Self = Self(4);
    /// `DELETE`.
    pub const DELETE: Self = Self(5);
    /// `CONNECT`.
    pub const CONNECT: Self = Self(6);
    /// `OPTIONS`.
    pub const OPTIONS: Self = Self(7);
    /// `TRACE`.
    pub const TRACE: Self = Self(8);
    /// `PATCH`.
    pub const PATCH: Self = Self(9);

    /// The verb of a number from the wire; unknown numbers are kept.
    pub fn from_number(number: i32) -> Self {
        Self(number)
    }

    /// The number on the wire.
    pub fn number(self) -> i32 {
        self.0
    }

    /// The verb of an HTTP request. The name is compared without regard to case; a name that has no number
    /// travels as `POST`, as Dapr sends it.
    pub fn from_http(method: &http::Method) -> Self {
        let name = method.as_str();
        NAMES
            .iter()
            .position(|known| known.eq_ignore_ascii_case(name))
            .map_or(Self::POST, |index| Self(index as i32))
    }

    /// The name in capitals; a number that nobody has defined has none.
    pub fn name(self) -> Option<&'static str> {
        usize::try_from(self.0)
            .ok()
            .and_then(|index| NAMES.get(index).copied())
    }

    /// The method of the HTTP request that an app gets, or `None` for `NONE` and `CONNECT`, which no app can be
    /// sent. An undefined number becomes a method of its decimal digits, as Dapr sends it.
    pub fn to_http(self) -> Option<http::Method> {
        Some(match self {
            Self::NONE | Self::CONNECT => return None,
            Self::GET => http::Method::GET,
            Self::HEAD => http::Method::HEAD,
            Self::POST => http::Method::POST,
            Self::PUT => http::Method::PUT,
            Self::DELETE => http::Method::DELETE,
            Self::OPTIONS => http::Method::OPTIONS,
            Self::TRACE => http::Method::TRACE,
            Self::PATCH => http::Method::PATCH,
            Self(number) => http::Method::from_bytes(number.to_string().as_bytes()).ok()?,
        })
    }
}

/// The name, or the number where there is none.
impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_methods() {
        for (name, verb) in [
            ("GET", Verb::GET),
            ("get", Verb::GET),
            ("Patch", Verb::PATCH),
            ("PROPFIND", Verb::POST),
            ("CONNECT", Verb::CONNECT),
            ("NONE", Verb::NONE),
        ] {
            let method = http::Method::from_bytes(name.as_bytes()).unwrap();
            assert_eq!(Verb::from_http(&method), verb, "{name}");
        }
        assert_eq!(Verb::NONE.to_http(), None);
        assert_eq!(Verb::CONNECT.to_http(), None);
        assert_eq!(Verb::from_number(12).to_http().unwrap().as_str(), "12");
        assert_eq!(Verb::TRACE.name(), Some("TRACE"));
        assert_eq!(Verb::from_number(-1).name(), None);
        assert_eq!(Verb::NONE.to_string(), "NONE");
        assert_eq!(Verb::from_number(12).to_string(), "12");
    }
}
