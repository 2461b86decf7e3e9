//! The field names that are known beforehand: those of the static table, and those of gRPC and Dapr.
//!
//! A known name costs a reader neither a check nor an allocation, and tells a writer its static index.

use http::HeaderName;

use super::table::{FIRST_FIELD, STATIC_ENTRIES};

macro_rules! names {
    ($($name:literal)*) => {
        const NAMES: &[&str] = &[$($name),*];
        static HEADER_NAMES: [HeaderName; NAMES.len()] = [$(HeaderName::from_static($name)),*];
    };
}

names! {
    // The regular fields of the static table, in its order (RFC 7541, appendix A).
    "accept-charset" "accept-encoding" "accept-language" "accept-ranges" "accept"
    "access-control-allow-origin" "age" "allow" "authorization" "cache-control" "content-disposition"
    "content-encoding" "content-language" "content-length" "content-location" "content-range" "content-type"
    "cookie" "date" "etag" "expect" "expires" "from" "host" "if-match" "if-modified-since" "if-none-match"
    "if-range" "if-unmodified-since" "last-modified" "link" "location" "max-forwards" "proxy-authenticate"
    "proxy-authorization" "range" "referer" "refresh" "retry-after" "server" "set-cookie"
    "strict-transport-security" "transfer-encoding" "user-agent" "vary" "via" "www-authenticate"
    // Others.
    "te" "traceparent" "tracestate" "baggage"
    "grpc-accept-encoding" "grpc-encoding" "grpc-message" "grpc-status" "grpc-status-details-bin"
    "grpc-tags-bin" "grpc-timeout" "grpc-trace-bin"
    "dapr-api-token" "dapr-app-id" "dapr-callee-app-id" "dapr-caller-app-id" "dapr-caller-namespace"
    "dapr-http-status" "x-forwarded-for" "x-forwarded-host" "x-forwarded-proto"
}

const FIELDS: usize = STATIC_ENTRIES + 1 - FIRST_FIELD;

const SLOTS: usize = 256;

/// An open-addressed table: one more than the place of a name in [`NAMES`], zero where there is none.
static PLACES: [u8; SLOTS] = {
    let mut places = [0; SLOTS];
    let mut i = 0;
    while i < NAMES.len() {
        let mut slot = slot_of(NAMES[i].as_bytes());
        while places[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        i += 1;
        places[slot] = i as u8;
    }
    places
};

/// Where to look for a name: its length and a few of its letters keep nearly all the known ones apart.
const fn slot_of(name: &[u8]) -> usize {
    let length = name.len();
    if length == 0 {
        return 0;
    }
    let letters = [name[0], name[length / 3], name[length * 2 / 3], name[length - 1]];
    let word = u32::from_le_bytes(letters) ^ (length as u32).wrapping_mul(0x0101_0101);
    (word.wrapping_mul(0x9e37_79b1) >> 24) as usize
}

fn place(name: &[u8]) -> Option<usize> {
    let mut slot = slot_of(name);
    loop {
        let place = usize::from(PLACES[slot % SLOTS]).checked_sub(1)?;
        if NAMES.get(place)?.as_bytes() == name {
            return Some(place);
        }
        slot += 1;
    }
}

/// The typed form of a known name.
#[inline]
pub(super) fn header_name(name: &[u8]) -> Option<HeaderName> {
    place(name).and_then(|place| HEADER_NAMES.get(place)).cloned()
}

/// The name of a regular field in the static table.
#[inline]
pub(super) fn of_static_index(index: usize) -> Option<&'static HeaderName> {
    let place = index.checked_sub(FIRST_FIELD)?;
    HEADER_NAMES[..FIELDS].get(place)
}

/// The index of the first entry of the static table with this name, of a regular field.
#[inline]
pub(super) fn static_index(name: &[u8]) -> Option<usize> {
    place(name)
        .filter(|place| *place < FIELDS)
        .map(|place| place + FIRST_FIELD)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_and_no_other() {
        for &name in NAMES {
            assert_eq!(header_name(name.as_bytes()).unwrap(), name);
            assert_eq!(header_name(format!("{name}x").as_bytes()), None);
        }
        assert_eq!(header_name(b""), None);
        assert_eq!(header_name(b"Te"), None);
        assert_eq!(header_name(b":path"), None);
    }

    #[test]
    fn static_indexes_are_those_of_the_rfc() {
        for (index, name) in [
            (15, "accept-charset"),
            (31, "content-type"),
            (61, "www-authenticate"),
        ] {
            assert_eq!(static_index(name.as_bytes()), Some(index));
            assert_eq!(of_static_index(index).unwrap(), name);
        }
        assert_eq!(static_index(b"te"), None);
        assert_eq!(of_static_index(14), None);
        assert_eq!(of_static_index(62), None);
    }

    #[test]
    fn few_names_share_a_slot() {
        let home = |name: &&&str| PLACES[slot_of(name.as_bytes())] != 0;
        assert!(NAMES.iter().filter(home).count() == NAMES.len());
        let probes = |name: &str| {
            let at = PLACES
                .iter()
                .position(|p| NAMES.get(usize::from(*p).wrapping_sub(1)) == Some(&name));
            at.unwrap() - slot_of(name.as_bytes())
        };
        assert!(NAMES.iter().map(|name| probes(name)).sum::<usize>() < 20);
    }
}
