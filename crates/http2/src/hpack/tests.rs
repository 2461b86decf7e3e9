//! What must hold for any input, and what all tests share.
#![allow(clippy::unwrap_used)]

mod reading;
mod writing;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::{Decoder, Encoder, Fields, HpackError, Pseudo};

#[derive(Default)]
struct DecodedFields(Vec<(String, Vec<u8>)>);

impl Fields for DecodedFields {
    fn pseudo(&mut self, name: Pseudo, value: Bytes) {
        self.0.push((name.as_str().into(), value.into()));
    }

    fn field(&mut self, name: HeaderName, value: HeaderValue) {
        let mark = if value.is_sensitive() { "!" } else { "" };
        self.0.push((format!("{mark}{name}"), value.as_bytes().into()));
    }

    fn malformed(&mut self, size: usize) {
        self.0.push((format!("malformed {size}"), Vec::new()));
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, HpackError> {
    let mut seen = DecodedFields::default();
    decoder.decode(Bytes::copy_from_slice(block), &mut seen)?;
    let line = |(name, value): (String, Vec<u8>)| format!("{name}: {}", value.escape_ascii());
    Ok(seen.0.into_iter().map(line).collect())
}

fn encode(encoder: &mut Encoder, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for (name, value) in fields {
        match Pseudo::from_name(name.as_bytes()) {
            Some(name) => encoder.pseudo(name, value.as_bytes(), &mut out),
            None => {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                let mut value = HeaderValue::from_str(value).unwrap();
                value.set_sensitive(name.as_str().starts_with("secret"));
                encoder.field(&name, &value, &mut out);
            }
        }
    }
    out
}

/// Few enough that they repeat, with some that fill the table.
fn any_field() -> impl Strategy<Value = (String, String)> {
    let name = prop_oneof![
        Just(":path".to_owned()),
        Just(":status".to_owned()),
        Just("content-type".to_owned()),
        Just("accept-encoding".to_owned()),
        Just("authorization".to_owned()),
        "grpc-(status|message|timeout)",
        "(secret-)?[a-c]",
    ];
    (
        name,
        prop_oneof![4 => "[a-d]?", 1 => "[e-h]{2}", 1 => "[x-z]{1,3}".prop_map(|s| s.repeat(300))],
    )
}

#[derive(Clone, Debug)]
enum Step {
    Block(Vec<(String, String)>),
    Size(usize),
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        steps in prop::collection::vec(
            prop_oneof![
                9 => prop::collection::vec(any_field(), 0..12).prop_map(Step::Block),
                1 => prop_oneof![0_usize..200, 0_usize..6000].prop_map(Step::Size),
            ],
            1..60,
        ),
    ) {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
        for step in steps {
            let fields = match step {
                Step::Block(fields) => fields,
                Step::Size(size) => { encoder.set_max_table_size(size); continue }
            };
            let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let lines = decode(&mut decoder, &encode(&mut encoder, &fields)).unwrap();
            let secret = |name: &str| name == "authorization" || name.starts_with("secret");
            let line = |(name, value): &(&str, &str)| {
                format!("{}{name}: {value}", if secret(name) { "!" } else { "" })
            };
            prop_assert_eq!(lines, fields.iter().map(line).collect::<Vec<_>>());
            prop_assert_eq!(decoder.table_size(), encoder.table_size());
        }
    }

    #[test]
    fn any_bytes_are_survived(blocks: Vec<Vec<u8>>) {
        let mut decoder = Decoder::new(256);
        for block in blocks {
            let _ = decode(&mut decoder, &block);
            prop_assert!(decoder.table_size() <= 256);
        }
    }

    #[test]
    fn any_change_of_a_block_is_survived(at: prop::sample::Index, byte: u8, example in 4..reading::EXAMPLES.len()) {
        let (size, blocks) = reading::EXAMPLES[example];
        let mut decoder = Decoder::new(size);
        for (block, ..) in blocks {
            let mut block = hex(block);
            let at = at.index(block.len());
            block[at] = byte;
            let _ = decode(&mut decoder, &block);
        }
    }
}
