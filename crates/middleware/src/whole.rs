//! Bodies as a whole, for those who need all of one.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
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

/// All of a body, which may be so long, in bytes. One that is at hand is not copied.
pub(crate) async fn whole(mut body: Body, longest: usize) -> Result<Bytes, NotWhole> {
    if let Some(whole) = body.take_full() {
        return if whole.len() > longest {
            Err(NotWhole::TooLong(longest))
        } else {
            Ok(whole)
        };
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            if whole.len() + data.len() > longest {
                return Err(NotWhole::TooLong(longest));
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}
