//! The examples of RFC 7541, appendix C, and what blocks must not hold.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::super::{Decoder, Fields, HpackError, Pseudo};
use super::{decode, hex};

/// A table size, and blocks of one connection: the bytes, the fields, the size of the table afterwards.
pub(super) type Example = (usize, &'static [(&'static str, &'static [&'static str], usize)]);

const FIRST: &[&str] = &[
    ":method: GET",
    ":scheme: http",
    ":path: /",
    ":authority: www.example.com",
];
const SECOND: &[&str] = &[
    ":method: GET",
    ":scheme: http",
    ":path: /",
    ":authority: www.example.com",
    "cache-control: no-cache",
];
const THIRD: &[&str] = &[
    ":method: GET",
    ":scheme: https",
    ":path: /index.html",
    ":authority: www.example.com",
    "custom-key: custom-value",
];
const REDIRECT: &[&str] = &[
    ":status: 302",
    "cache-control: private",
    "date: Mon, 21 Oct 2013 20:13:21 GMT",
    "location: https://www.example.com",
];
const REDIRECT_307: &[&str] = &[
    ":status: 307",
    "cache-control: private",
    "date: Mon, 21 Oct 2013 20:13:21 GMT",
    "location: https://www.example.com",
];
const GZIP: &[&str] = &[
    ":status: 200",
    "cache-control: private",
    "date: Mon, 21 Oct 2013 20:13:22 GMT",
    "location: https://www.example.com",
    "content-encoding: gzip",
    "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
];

pub(super) const EXAMPLES: &[Example] = &[
    // C.2
    (
        4096,
        &[(
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            &["custom-key: custom-header"],
            55,
        )],
    ),
    (
        4096,
        &[("040c 2f73 616d 706c 652f 7061 7468", &[":path: /sample/path"], 0)],
    ),
    // The name "password" is not one that we know.
    (
        4096,
        &[(
            "1008 7061 7373 776f 7264 0673 6563 7265 74",
            &["!password: secret"],
            0,
        )],
    ),
    (4096, &[("82", &[":method: GET"], 0)]),
    // C.3
    (
        4096,
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", FIRST, 57),
            ("8286 84be 5808 6e6f 2d63 6163 6865", SECOND, 110),
            (
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
                THIRD,
                164,
            ),
        ],
    ),
    // C.4
    (
        4096,
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", FIRST, 57),
            ("8286 84be 5886 a8eb 1064 9cbf", SECOND, 110),
            (
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
                THIRD,
                164,
            ),
        ],
    ),
    // C.5
    (
        256,
        &[
            (
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a
                 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                REDIRECT,
                222,
            ),
            ("4803 3330 37c1 c0bf", REDIRECT_307, 222),
            (
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04
                 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49
                 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
                GZIP,
                215,
            ),
        ],
    ),
    // C.6
    (
        256,
        &[
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e
                 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                REDIRECT,
                222,
            ),
            ("4883 640e ffc1 c0bf", REDIRECT_307, 222),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7
                 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed
                 4ee5 b106 3d50 07",
                GZIP,
                215,
            ),
        ],
    ),
];

#[test]
fn examples_of_the_rfc() {
    for (size, blocks) in EXAMPLES {
        let mut decoder = Decoder::new(*size);
        for (block, fields, table_size) in *blocks {
            assert_eq!(decode(&mut decoder, &hex(block)).unwrap(), *fields, "{block}");
            assert_eq!(decoder.table_size(), *table_size, "{block}");
        }
    }
}

#[test]
fn what_cannot_be_decoded() {
    for (block, error) in [
        ("80", HpackError::BadIndex),
        ("be", HpackError::BadIndex),
        ("7e 00", HpackError::BadIndex),
        ("0f2f 00", HpackError::BadIndex),
        ("ff", HpackError::Truncated),
        ("40", HpackError::Truncated),
        ("04", HpackError::Truncated),
        ("04 02 61", HpackError::Truncated),
        ("04 7f", HpackError::Truncated),
        ("ff ff ff ff ff 0f", HpackError::IntegerOverflow),
        ("ff 80 80 80 80 80 00", HpackError::IntegerOverflow),
        ("ff 81 ff ff ff 0f", HpackError::IntegerOverflow),
        ("ff 80 ff ff ff 0f", HpackError::BadIndex),
        ("04 81 ff", HpackError::BadHuffman),
        ("00 81 ff 00", HpackError::BadHuffman),
        ("3f e2 1f", HpackError::BadSizeUpdate),
        ("82 20", HpackError::BadSizeUpdate),
    ] {
        assert_eq!(
            decode(&mut Decoder::new(4096), &hex(block)),
            Err(error),
            "{block}"
        );
    }
    // Any number of updates may come first.
    assert_eq!(
        decode(&mut Decoder::new(4096), &hex("20 3f e1 1f 82")).unwrap(),
        [":method: GET"]
    );
}

#[test]
fn malformed_fields_do_not_put_the_table_out_of_step() {
    let mut decoder = Decoder::new(4096);
    // An upper case name, an unknown pseudo name, bad values of a path and of a field, each indexed, and an
    // empty name.
    let block = b"\x40\x01A\x01b\x40\x09:protocol\x01w\x44\x02/\r\x40\x01x\x01\0\0\0\0";
    let fields = decode(&mut decoder, block).unwrap();
    assert_eq!(
        fields,
        [
            "malformed 34: ",
            "malformed 42: ",
            "malformed 39: ",
            "malformed 34: ",
            "malformed 32: "
        ]
    );
    assert_eq!(decoder.table_size(), 34 + 42 + 39 + 34);
    // By index; then the names alone, with a value that is right.
    let fields = decode(
        &mut decoder,
        b"\xbe\xc1\x0f\x2f\x01y\x0f\x30\x01/\x0f\x31\x01w\x0f\x32\x01b",
    )
    .unwrap();
    assert_eq!(
        fields,
        [
            "malformed 34: ",
            "malformed 34: ",
            "x: y",
            ":path: /",
            "malformed 42: ",
            "malformed 34: "
        ]
    );
}

#[test]
fn spaces_around_values_are_let_through() {
    // RFC 9113, 8.2.1, calls them malformed, but peers in wide use send and accept them.
    assert_eq!(
        decode(&mut Decoder::new(4096), b"\0\x01a\x04 b\t ").unwrap(),
        [r"a:  b\t "]
    );
}

#[test]
fn plain_values_are_slices_unless_they_are_kept() {
    struct Values(Vec<HeaderValue>);
    impl Fields for Values {
        fn pseudo(&mut self, _: Pseudo, _: Bytes) {}
        fn field(&mut self, _: HeaderName, value: HeaderValue) {
            self.0.push(value);
        }
        fn malformed(&mut self, _: usize) {}
    }
    let block = Bytes::from(b"\x0f\x10\x05first\x5f\x06second".to_vec());
    let mut values = Values(Vec::new());
    Decoder::new(4096).decode(block.clone(), &mut values).unwrap();
    let inside = |value: &HeaderValue| block.as_ptr_range().contains(&value.as_bytes().as_ptr());
    assert_eq!(values.0.iter().map(inside).collect::<Vec<_>>(), [true, false]);
}
