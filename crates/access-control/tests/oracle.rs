//! The tree of operations against its definition: the rules in order, tried one after the other.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on panics, and shows why"
)]

mod common;

use access_control::AppKind;
use common::{allows, compile, operation, policy, spec};
use invoke_core::{MethodPath, Verb};
use proptest::prelude::*;

/// A node of the definition: children in the order in which they were written, nothing else.
#[derive(Default)]
struct Node {
    text: String,
    rule: Option<usize>,
    children: Vec<Node>,
}

impl Node {
    fn put(&mut self, segments: &[&str], rule: usize) {
        let [first, rest @ ..] = segments else {
            self.rule.get_or_insert(rule);
            return;
        };
        let known = self.children.iter().position(|child| child.text == *first);
        let at = known.unwrap_or_else(|| {
            self.children.push(Node {
                text: (*first).to_owned(),
                ..Node::default()
            });
            self.children.len() - 1
        });
        self.children[at].put(rest, rule);
    }

    fn child(&self, segment: &str, is_last: bool) -> Option<&Node> {
        self.children.iter().find(|child| {
            child.text == segment
                || match &*child.text {
                    "*" => is_last,
                    "**" => true,
                    pattern => glob(pattern.as_bytes(), segment.as_bytes()),
                }
        })
    }

    fn find(&self, segments: &[&str]) -> Option<usize> {
        let [first, rest @ ..] = segments else {
            return None;
        };
        let node = self.child(first, rest.is_empty())?;
        match node.rule {
            Some(_) if node.text == "*" && !rest.is_empty() => node.find(rest),
            Some(rule) => Some(rule),
            None if rest.is_empty() => node.child("*", true)?.rule,
            None => node.find(rest),
        }
    }
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|skipped| glob(rest, &text[skipped..])),
        [first, rest @ ..] => text.first() == Some(first) && glob(rest, &text[1..]),
    }
}

/// What the definition says: the rules with an even number allow, all else is denied.
fn defined(rules: &[String], method: &str) -> bool {
    let mut root = Node::default();
    for (number, rule) in rules.iter().enumerate() {
        let rule = rule.strip_prefix('/').unwrap_or(rule);
        root.put(&rule.split('/').collect::<Vec<_>>(), number);
    }
    let method = method.strip_prefix('/').unwrap_or(method);
    root.find(&method.split('/').collect::<Vec<_>>())
        .is_some_and(|rule| rule % 2 == 0)
}

fn compiled(rules: &[String], method: &str, kind: AppKind) -> bool {
    let operations = rules.iter().enumerate().map(|(number, rule)| {
        let action = if number % 2 == 0 { "allow" } else { "deny" };
        operation(rule, &["*"], action)
    });
    let spec = spec(Some("deny"), vec![policy("deny", operations.collect())]);
    allows(&compile(&spec, kind), method, Verb::GET)
}

/// Few letters, so that rules and methods meet.
fn segment() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a", "b", "ab", "aa", "aba", "*", "**", "a*", "*b", "a*a", "*a*", "***", "", "ba", "ab*", "*ab",
        "ab*a", "a*ba", "*aba",
    ])
}

fn path(segments: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = String> {
    prop::collection::vec(segment(), segments).prop_map(|segments| format!("/{}", segments.join("/")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn the_tree_is_as_defined(rules in prop::collection::vec(path(1..=3), 0..8), method in path(0..=4)) {
        let method = MethodPath::parse(method).unwrap().to_string();
        for kind in [AppKind::Http, AppKind::Grpc] {
            prop_assert_eq!(compiled(&rules, &method, kind), defined(&rules, &method), "{:?} {}", &rules, &method);
        }
    }

    #[test]
    fn any_rules_and_any_method_are_judged(
        rules in prop::collection::vec("\\PC{0,12}|[ab/*%.]{0,12}", 0..6),
        method in "\\PC{0,16}|[ab/*%2Ff.]{0,16}",
    ) {
        if let Ok(method) = MethodPath::parse(method) {
            let method = method.to_string();
            // With an escape the answer may be stricter, never laxer.
            let got = compiled(&rules, &method, AppKind::Grpc);
            prop_assert_eq!(got, defined(&rules, &method));
            let lower: Vec<String> = rules.iter().map(|rule| rule.to_lowercase()).collect();
            if compiled(&rules, &method, AppKind::Http) && !method.contains(['İ', 'Σ']) {
                prop_assert!(defined(&lower, &method.to_lowercase()), "{:?} {}", rules, method);
            }
        }
    }
}
