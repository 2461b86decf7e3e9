//! Bodies as a whole, for those who need all of one.

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use invoke_core::{Body, BodyError};
use thiserror::Error;

/// Why a body is not there as a whole.
#[derive(Debug, Error)]
pub(crate) enum NotWhole {
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    #[error(transparent)]
    Broken(#[from] BodyError),
}

/// All of a body, which may be so long, in bytes.
pub(crate) async fn whole(body: Body, longest: usize) -> Result<Bytes, NotWhole> {
    let collected = Limited::new(body, longest).collect().await;
    let whole = collected.map_err(|error| match error.downcast::<BodyError>() {
        Ok(error) => NotWhole::Broken(*error),
        Err(_) => NotWhole::TooLong(longest),
    })?;
    Ok(whole.to_bytes())
}
