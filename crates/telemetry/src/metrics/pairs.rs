//! Labels as the exposition writes them, taken apart again for those who want them one by one.

/// The labels with their values, as they were before they were written.
pub(crate) fn pairs(labels: &str) -> Pairs<'_> {
    Pairs { rest: labels }
}

pub(crate) struct Pairs<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, String);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, after) = self.rest.split_once("=\"")?;
        let (mut value, mut end) = (String::new(), after.len());
        let mut characters = after.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => match characters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, escaped)) => value.push(escaped),
                    None => {}
                },
                other => value.push(other),
            }
        }
        self.rest = &after[end..];
        Some((name.trim_start_matches(','), value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::text::label;

    proptest! {
        #[test]
        fn whatever_was_written_is_read(values in prop::collection::vec(any::<String>(), 0..5)) {
            let mut text = String::new();
            for value in &values {
                label(&mut text, "name", value);
            }
            let read: Vec<String> = pairs(&text).map(|(_, value)| value).collect();
            prop_assert_eq!(read, values);
        }

        #[test]
        fn rubbish_comes_to_an_end(text in any::<String>()) {
            prop_assert!(pairs(&text).count() <= text.len());
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let written = [("a", "x\\\"\ny,b=\"z\""), ("b", ""), ("c", "ü=")];
        let mut text = String::new();
        for (name, value) in written {
            label(&mut text, name, value);
        }
        let read: Vec<(&str, String)> = pairs(&text).collect();
        assert_eq!(read, written.map(|(name, value)| (name, value.to_owned())));
        assert_eq!(pairs("").next(), None);
        for odd in ["a", "a=", "a=\"", "a=\"\\", "a=\"b"] {
            assert!(pairs(odd).count() <= 1, "{odd}");
        }
    }
}
