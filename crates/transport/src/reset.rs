//! The codes with which streams are reset, as they pass from one HTTP/2 library to the other.

use std::error::Error;

use http2::Reason;

/// The code with which the stream of a body that failed is reset: that of the reset which broke it, wherever that
/// came from.
pub(crate) fn reset_reason(error: &(dyn Error + 'static)) -> Reason {
    std::iter::successors(Some(error), |error| (*error).source())
        .find_map(|cause| match cause.downcast_ref::<http2::Error>() {
            Some(error) => error.reset_reason(),
            None => Some(u32::from(cause.downcast_ref::<h2::Error>()?.reason()?).into()),
        })
        .unwrap_or(Reason::INTERNAL_ERROR)
}
