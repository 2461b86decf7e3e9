//! Quantities as Kubernetes writes them (`4Mi`, `10M`), for sizes in bytes.

const PATTERN: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// Reads a size. What is no quantity, and what is no whole number of bytes, is refused as Dapr refuses it: every
/// decimal fraction that outlasts its suffix, and every binary suffix with a decimal point.
pub(super) fn parse(text: &str) -> Result<i64, String> {
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let number_end = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let has_point = number.contains('.');
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(PATTERN.to_owned());
    }
    let scale = Scale::of(suffix).ok_or_else(|| PATTERN.to_owned())?;
    let digits: i128 = format!("{whole}{fraction}")
        .parse()
        .map_err(|_| PATTERN.to_owned())?;
    let no_bytes = |shown: String| Err(format!("cannot get bytes from resource quantity value '{shown}'"));
    let value = match scale {
        Scale::Binary(factor) => {
            let value = digits
                .checked_mul(factor)
                .filter(|value| *value < 1_000_000_000_000_000);
            match value {
                Some(value) if !has_point => value,
                _ => return no_bytes("{{0 0} {<nil>}  BinarySI}".to_owned()),
            }
        }
        Scale::Decimal { exponent, format } => {
            let exponent = exponent - fraction.len() as i32;
            if exponent < 0 {
                let suffix = if suffix == "m" { text } else { "" };
                let exponent = exponent.max(-9);
                return no_bytes(format!("{{{{{digits} {exponent}}} {{<nil>}} {suffix} {format}}}"));
            }
            let factor = 10_i128.checked_pow(exponent as u32);
            match factor.and_then(|factor| digits.checked_mul(factor)) {
                Some(value) => value,
                None => return no_bytes(format!("{{{{0 0}} {{<nil>}}  {format}}}")),
            }
        }
    };
    let value = if negative { -value } else { value };
    i64::try_from(value).map_err(|_| "cannot get bytes from resource quantity value".to_owned())
}

enum Scale {
    Binary(i128),
    Decimal { exponent: i32, format: &'static str },
}

impl Scale {
    fn of(suffix: &str) -> Option<Self> {
        let decimal = |exponent| {
            Some(Self::Decimal {
                exponent,
                format: "DecimalSI",
            })
        };
        match suffix {
            "" => decimal(0),
            "n" => decimal(-9),
            "u" => decimal(-6),
            "m" => decimal(-3),
            "k" => decimal(3),
            "M" => decimal(6),
            "G" => decimal(9),
            "T" => decimal(12),
            "P" => decimal(15),
            "E" => decimal(18),
            "Ki" => Some(Self::Binary(1 << 10)),
            "Mi" => Some(Self::Binary(1 << 20)),
            "Gi" => Some(Self::Binary(1 << 30)),
            "Ti" => Some(Self::Binary(1 << 40)),
            "Pi" => Some(Self::Binary(1 << 50)),
            "Ei" => Some(Self::Binary(1 << 60)),
            exponent => {
                let exponent = exponent.strip_prefix(['e', 'E'])?;
                let exponent: i32 = exponent.parse().ok()?;
                Some(Self::Decimal {
                    exponent,
                    format: "DecimalExponent",
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, wanted) in [
            ("400", 400),
            ("4Mi", 4 << 20),
            ("4Ki", 4096),
            ("10M", 10_000_000),
            ("1k", 1000),
            ("1.5k", 1500),
            ("1.25k", 1250),
            ("0.1k", 100),
            ("1e3", 1000),
            ("5Gi", 5 << 30),
            ("1E", 1_000_000_000_000_000_000),
            ("+5", 5),
            ("-1", -1),
            ("-2", -2),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_refused() {
        for text in ["", "abc", "10 Mi", "0x10", "1Zi", "1..2", ".", "Mi"] {
            assert_eq!(parse(text), Err(PATTERN.to_owned()), "{text}");
        }
        for (text, shown) in [
            ("100m", "{{100 -3} {<nil>} 100m DecimalSI}"),
            ("0.5", "{{5 -1} {<nil>}  DecimalSI}"),
            ("1.0", "{{10 -1} {<nil>}  DecimalSI}"),
            ("20e-1", "{{20 -1} {<nil>}  DecimalExponent}"),
            ("1.2345k", "{{12345 -1} {<nil>}  DecimalSI}"),
        ] {
            let wanted = format!("cannot get bytes from resource quantity value '{shown}'");
            assert_eq!(parse(text), Err(wanted), "{text}");
        }
        for text in ["1.5Mi", "1.0Mi", "9Ei", "100000000Gi"] {
            assert!(parse(text).unwrap_err().contains("BinarySI"), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_judged(text in "[-+0-9.eEinumkKMGTP]{0,14}") {
            let _ = parse(&text);
        }
    }
}
