//! Numbers made of texts, by which texts are spread evenly: the same in all sidecars and in all their versions.

/// FNV-1a, and a last mix, since neighbours must not stay neighbours.
pub(crate) fn of(text: &[u8]) -> u64 {
    let fnv = text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ (mixed >> 32)
}

/// What two such numbers are together. The finalizer of `SplitMix64`, of which each bit depends on all bits of both.
pub(crate) fn together(one: u64, other: u64) -> u64 {
    let sum = one.wrapping_add(other.rotate_left(32));
    let mixed = (sum ^ (sum >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
