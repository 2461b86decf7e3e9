//! The memory of a guest, as host functions read and write it. Every address comes from the guest.

use wasmtime::{Caller, Extern};

use super::state::{Halt, State};

/// The memory of the guest, and the state of its instance.
pub(super) fn view<'a>(caller: &'a mut Caller<'_, State>) -> Result<(&'a mut [u8], &'a mut State), Halt> {
    let memory = if let Some(memory) = caller.data().memory {
        memory
    } else {
        let exported = caller.get_export("memory").and_then(Extern::into_memory);
        let memory = exported.ok_or_else(|| Halt::Refused("the guest has no memory".to_owned()))?;
        caller.data_mut().memory = Some(memory);
        memory
    };
    Ok(memory.data_and_store_mut(caller))
}

/// So many bytes at an address. `field` is what they are, for the error.
pub(super) fn read<'a>(memory: &'a [u8], field: &str, at: u32, length: u32) -> Result<&'a [u8], Halt> {
    if length == 0 {
        return Ok(&[]);
    }
    range(at, length)
        .and_then(|range| memory.get(range))
        .ok_or_else(|| Halt::Refused(format!("out of memory reading {field}")))
}

/// Room of so many bytes at an address.
pub(super) fn room<'a>(
    memory: &'a mut [u8],
    field: &str,
    at: u32,
    length: u32,
) -> Result<&'a mut [u8], Halt> {
    range(at, length)
        .and_then(|range| memory.get_mut(range))
        .ok_or_else(|| Halt::Refused(format!("out of memory reading {field}")))
}

/// Writes a value if the guest has room for it. The answer is its length either way, so that the guest can ask again
/// with more room.
pub(super) fn put(memory: &mut [u8], at: u32, limit: u32, value: &[u8]) -> Result<u32, Halt> {
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
    if length > 0 && length <= limit {
        let place = range(at, length).and_then(|range| memory.get_mut(range));
        let place = place.ok_or_else(|| Halt::Refused("out of memory".to_owned()))?;
        place.copy_from_slice(value);
    }
    Ok(length)
}

/// The same for values that each end with a zero byte. The answer is their number and their length together.
pub(super) fn put_all<'v, I: Iterator<Item = &'v [u8]>>(
    memory: &mut [u8],
    at: u32,
    limit: u32,
    values: impl Fn() -> I,
) -> Result<u64, Halt> {
    let (mut count, mut length) = (0_u64, 0_usize);
    for value in values() {
        count += 1;
        length += value.len() + 1;
    }
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    if length > 0 && length <= limit {
        let place = range(at, length).and_then(|range| memory.get_mut(range));
        let mut place = place.ok_or_else(|| Halt::Refused("out of memory".to_owned()))?;
        for value in values() {
            let (here, rest) = place.split_at_mut(value.len() + 1);
            here[..value.len()].copy_from_slice(value);
            here[value.len()] = 0;
            place = rest;
        }
    }
    Ok(count << 32 | u64::from(length))
}

/// A number at an address.
pub(super) fn put_bytes(memory: &mut [u8], at: u32, bytes: &[u8]) -> Option<()> {
    let place = memory.get_mut(range(at, bytes.len() as u32)?)?;
    place.copy_from_slice(bytes);
    Some(())
}

pub(super) fn u32_at(memory: &[u8], at: u32) -> Option<u32> {
    let bytes = memory.get(range(at, 4)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

pub(super) fn u64_at(memory: &[u8], at: u32) -> Option<u64> {
    let bytes = memory.get(range(at, 8)?)?;
    bytes.try_into().ok().map(u64::from_le_bytes)
}

pub(super) fn range(at: u32, length: u32) -> Option<std::ops::Range<usize>> {
    let at = at as usize;
    Some(at..at.checked_add(length as usize)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_outside_are_refused() {
        let mut memory = [0_u8; 8];
        assert!(read(&memory, "name", 8, 1).is_err());
        assert!(read(&memory, "name", u32::MAX, u32::MAX).is_err());
        assert_eq!(read(&memory, "name", u32::MAX, 0).unwrap(), &[] as &[u8]);
        assert!(room(&mut memory, "body", 7, 2).is_err());
        assert!(put(&mut memory, 6, 9, b"abc").is_err());
        assert!(put_all(&mut memory, 7, 9, || [&b"a"[..]].into_iter()).is_err());
        assert_eq!(put_bytes(&mut memory, 7, &[1, 2]), None);
        assert_eq!((u32_at(&memory, 5), u64_at(&memory, 1)), (None, None));
        assert_eq!(memory, [0; 8]);
    }

    #[test]
    fn what_does_not_fit_is_told_and_not_written() {
        let mut memory = [b'.'; 8];
        assert_eq!(put(&mut memory, 0, 2, b"abc"), Ok(3));
        assert_eq!(&memory, b"........");
        assert_eq!(put(&mut memory, 1, 3, b"abc"), Ok(3));
        assert_eq!(&memory, b".abc....");
        let values = [&b"x"[..], b""];
        assert_eq!(put_all(&mut memory, 4, 2, || values.into_iter()), Ok(2 << 32 | 3));
        assert_eq!(&memory, b".abc....");
        assert_eq!(put_all(&mut memory, 4, 3, || values.into_iter()), Ok(2 << 32 | 3));
        assert_eq!(&memory, b".abcx\0\0.");
    }
}
