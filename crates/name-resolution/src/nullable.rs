//! JSON of servers that are written in Go: what is empty is often `null`.

use serde::{Deserialize, Deserializer};

/// `null` is what is not there.
pub(crate) fn or_nothing<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
