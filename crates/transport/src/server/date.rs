//! The `Date` of answers.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;

/// The present second, and its text.
struct Second {
    since_epoch: u64,
    text: HeaderValue,
}

thread_local! {
    // Many answers share a second: its text is made once for each thread.
    static SECOND: RefCell<Option<Second>> = const { RefCell::new(None) };
}

/// The time as RFC 9110, section 5.6.7 has it.
pub(super) fn now() -> HeaderValue {
    let now = SystemTime::now();
    let since_epoch = now.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    SECOND.with_borrow_mut(|second| match second {
        Some(known) if known.since_epoch == since_epoch => known.text.clone(),
        _ => {
            let text = HeaderValue::try_from(httpdate::fmt_http_date(now));
            let text = text.unwrap_or_else(|_| HeaderValue::from_static(""));
            *second = Some(Second {
                since_epoch,
                text: text.clone(),
            });
            text
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_time() {
        let text = now();
        let read = httpdate::parse_http_date(text.to_str().unwrap()).unwrap();
        let off = SystemTime::now().duration_since(read).unwrap();
        assert!(off.as_secs() < 60, "{text:?}");
        assert!(text.to_str().unwrap().ends_with(" GMT"));
    }
}
