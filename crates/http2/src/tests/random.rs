//! Whatever a peer sends: never a panic, never a hang.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::frame::{flag, kind};
use crate::fuzz;
use crate::testing::*;

/// A frame as peers send it, on one of a few streams.
fn good_frame() -> impl Strategy<Value = Vec<u8>> {
    let stream = prop_oneof![4 => (0..4_u32).prop_map(|n| n * 2 + 1), 1 => 0..8_u32];
    let block = prop_oneof![
        Just(POST.to_vec()),
        Just(HEAD_OK.to_vec()),
        Just(FIELD.to_vec()),
        Just([POST, LENGTH_5].concat()),
        Just([HEAD_OK, LENGTH_5].concat()),
        vec(any::<u8>(), 0..20),
    ];
    let end = prop_oneof![Just(0), Just(flag::END_STREAM)];
    (
        stream,
        block,
        end,
        0..12_u8,
        vec(any::<u8>(), 0..30),
        any::<u32>(),
    )
        .prop_map(|(stream, block, end, form, bytes, number)| match form {
            0..4 => headers(end, stream, block),
            4..6 => data(end, stream, bytes),
            6 => window_update(stream, number >> (number % 32)),
            7 => reset(stream, number.into()),
            8 => settings(&[((number % 7) as u16, number >> (number % 31))]),
            9 => frame(kind::PING, (number % 2) as u8, 0, [0; 8]),
            10 => go_away(number % 9, crate::Reason::NO_ERROR),
            _ => frame(kind::HEADERS, end, stream, block),
        })
}

/// Many frames, with some bytes exchanged, and cut off somewhere. The first byte asks for a good beginning.
fn conversation() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (
        vec(good_frame(), 0..40),
        changes,
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(frames, changes, cut, is_whole)| {
            let mut bytes = vec![0];
            bytes.extend(frames.concat());
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                if place > 0 {
                    bytes[place] = byte;
                }
            }
            if !is_whole {
                bytes.truncate(cut.index(bytes.len()) + 1);
            }
            bytes
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_at_all(bytes in vec(any::<u8>(), 0..300)) {
        fuzz::server(&bytes);
        fuzz::client(&bytes);
    }

    #[test]
    fn any_frames_at_all(bytes in vec(any::<u8>(), 0..1000)) {
        let frames = [vec![0], fuzz::frames(&bytes)].concat();
        fuzz::server(&frames);
        fuzz::client(&frames);
    }

    #[test]
    fn frames_that_are_almost_good(bytes in conversation()) {
        fuzz::server(&bytes);
        fuzz::client(&bytes);
    }
}
