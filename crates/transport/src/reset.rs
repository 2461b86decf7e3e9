//! The codes with which streams are reset.

use std::error::Error;

use http2::Reason;

/// The code with which the stream of a body that failed is reset: that of the reset which broke it, wherever that
/// came from.
pub(crate) fn reset_reason(error: &(dyn Error + 'static)) -> Reason {
    std::iter::successors(Some(error), |error| (*error).source())
        .find_map(|cause| cause.downcast_ref::<http2::Error>()?.reset_reason())
        .unwrap_or(Reason::INTERNAL_ERROR)
}
