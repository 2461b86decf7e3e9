//! `middleware.http.routeralias`: paths that stand for others.

use std::fmt;

use regex::bytes::Regex;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use thiserror::Error;

use crate::handler::Call;
use crate::properties::Properties;
use crate::{regexp, request};

/// Why there are no routes.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum RoutesError {
    #[error("invalid key/value pair in metadata: must not be empty")]
    Empty,
    #[error("failed to decode 'routes' property as JSON or YAML: {0}")]
    Decode(String),
    #[error(
        "route {0} contains capture groups in its regexp: only non-capturing groups are accepted, like (?:pattern)"
    )]
    Groups(String),
}

/// Paths that stand for others. The first that matches counts.
#[derive(Debug)]
pub(crate) struct RouterAlias(Vec<Alias>);

#[derive(Debug)]
struct Alias {
    pattern: Regex,
    /// The variables of the pattern, in the order of its groups.
    variables: Vec<String>,
    path: String,
}

impl RouterAlias {
    /// `routes` maps paths to paths. Without it, or with anything beside it, each name is a path, as it was once.
    pub(crate) fn new(properties: &Properties) -> Result<Self, RoutesError> {
        let routes = properties.get("routes").unwrap_or_default();
        let routes = if properties.iter().count() == 1 && !routes.is_empty() {
            let decoded: Routes = serde_saphyr::from_str(routes)
                .map_err(|error| RoutesError::Decode(first_line(&error.to_string())))?;
            decoded.0
        } else {
            let mut listed = Vec::new();
            for (path, alias) in properties.iter() {
                if path.is_empty() || alias.is_empty() {
                    return Err(RoutesError::Empty);
                }
                listed.push((path.to_owned(), alias.to_owned()));
            }
            if !listed.is_empty() {
                tracing::warn!(
                    target: "dapr.contrib",
                    "Listing routes as key-value pairs is deprecated. Please use the 'routes' property instead. See: \
                     https://docs.dapr.io/reference/components-reference/supported-middleware/middleware-routeralias/"
                );
            }
            listed
        };
        let mut aliases = Vec::new();
        for (pattern, path) in routes {
            match Alias::new(&pattern, path) {
                Ok(alias) => aliases.push(alias),
                Err(PatternError::Groups) => return Err(RoutesError::Groups(pattern)),
                // Dapr says nothing.
                Err(PatternError::Other(why)) => {
                    tracing::warn!(target: "dapr.contrib", "the route {pattern:?} matches nothing: {why}");
                }
            }
        }
        Ok(Self(aliases))
    }

    pub(crate) fn handle(&self, call: &mut Call) {
        if let Some((path, query)) = self.rewritten(&call.request)
            && !request::rewrite(&mut call.request, path.as_bytes(), query.as_deref())
        {
            tracing::warn!(target: "dapr.contrib", "a path stays as it is: its alias is too long");
        }
    }

    /// The path that the path of a request stands for, and the query if it changes.
    fn rewritten<B>(&self, request: &http::Request<B>) -> Option<(&str, Option<String>)> {
        let path = request::path(request);
        let alias = self.0.iter().find(|alias| alias.pattern.is_match(&path))?;
        if alias.variables.is_empty() {
            return Some((&alias.path, None));
        }
        let found = alias.pattern.captures(&path)?;
        let mut pairs = request::pairs(request::query(request).unwrap_or_default());
        for (at, variable) in alias.variables.iter().enumerate() {
            if alias.variables[at + 1..].contains(variable) {
                // Of several with one name the last counts.
                continue;
            }
            let value = found.get(at + 1).map_or(&b""[..], |found| found.as_bytes());
            pairs.push((variable.as_bytes().to_vec(), value.to_vec()));
        }
        Some((&alias.path, Some(request::query_of(pairs))))
    }
}

/// Why a pattern matches nothing.
enum PatternError {
    Groups,
    Other(String),
}

impl Alias {
    /// A pattern is a path in which `{name}` and `{name:regexp}` stand for something.
    fn new(template: &str, path: String) -> Result<Self, PatternError> {
        let other = |why: &str| PatternError::Other(why.to_owned());
        if !template.starts_with('/') {
            return Err(other("it does not begin with a slash"));
        }
        let (mut pattern, mut variables) = ("^".to_owned(), Vec::new());
        let mut rest = template;
        while let Some((before, variable, after)) = braces(rest).map_err(other)? {
            let (name, expression) = variable.split_once(':').unwrap_or((variable, "[^/]+"));
            if name.is_empty() || expression.is_empty() {
                return Err(other("a variable has no name or no pattern"));
            }
            regexp::compile(expression).map_err(PatternError::Other)?;
            variables.push(name.to_owned());
            pattern.push_str(&regex::escape(before));
            pattern.push('(');
            pattern.push_str(expression);
            pattern.push(')');
            rest = after;
        }
        pattern.push_str(&regex::escape(rest));
        pattern.push('$');
        let pattern = regexp::compile(&pattern).map_err(PatternError::Other)?;
        if pattern.captures_len() != variables.len() + 1 {
            return Err(PatternError::Groups);
        }
        Ok(Self {
            pattern,
            variables,
            path,
        })
    }
}

/// What stands before the first pair of braces, in it, and after it.
fn braces(text: &str) -> Result<Option<(&str, &str, &str)>, &'static str> {
    let mut begin = None;
    let mut level = 0_u32;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => {
                level += 1;
                begin = begin.or(Some(at));
            }
            b'}' => {
                level = level.checked_sub(1).ok_or("its braces are not balanced")?;
                if let Some(begin) = begin.filter(|_| level == 0) {
                    return Ok(Some((&text[..begin], &text[begin + 1..at], &text[at + 1..])));
                }
            }
            _ => {}
        }
    }
    if level > 0 {
        return Err("its braces are not balanced");
    }
    Ok(None)
}

/// What an error says before it shows the text, which the log has no room for.
fn first_line(said: &str) -> String {
    let line = said.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// A map in its own order, since the first route that matches counts.
struct Routes(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Routes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;

        impl<'de> Visitor<'de> for Map {
            type Value = Routes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of paths to paths")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Routes, A::Error> {
                let mut routes: Vec<(String, String)> = Vec::new();
                while let Some((Text(path), Text(alias))) = map.next_entry()? {
                    if routes.iter().any(|(known, _)| *known == path) {
                        return Err(de::Error::custom(format_args!(
                            "mapping key {path:?} already defined"
                        )));
                    }
                    routes.push((path, alias));
                }
                Ok(Routes(routes))
            }
        }

        deserializer.deserialize_map(Map)
    }
}

/// A scalar as it is written.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;

        impl Visitor<'_> for Scalar {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }

            fn visit_unit<E>(self) -> Result<Text, E> {
                Ok(Text(String::new()))
            }
        }

        deserializer.deserialize_any(Scalar)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn of(items: &[(&str, &str)]) -> Result<RouterAlias, RoutesError> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        RouterAlias::new(&Properties::new(items.iter().map(owned)))
    }

    fn rewritten(alias: &RouterAlias, uri: &str) -> String {
        let mut request = Request::builder().uri(uri).body(()).unwrap();
        if let Some((path, query)) = alias.rewritten(&request) {
            let path = path.to_owned();
            assert!(request::rewrite(&mut request, path.as_bytes(), query.as_deref()));
        }
        request.uri().to_string()
    }

    #[test]
    fn aliases() {
        let alias = of(&[(
            "routes",
            r#"{"/a": "/v1.0/invoke/x/method/a", "/u/{id}": "/user", "/n/{n:[0-9]+}/{rest:.*}": "/number",
                "/b c": "/d e", "/é": "/f"}"#,
        )])
        .unwrap();
        for (uri, wanted) in [
            ("/a", "/v1.0/invoke/x/method/a"),
            ("/a?x=1", "/v1.0/invoke/x/method/a?x=1"),
            ("/a/", "/a/"),
            ("/ab", "/ab"),
            ("/%61", "/v1.0/invoke/x/method/a"),
            ("/u/7", "/user?id=7"),
            ("/u/a%20b?z=1&a=%2F", "/user?a=%2F&id=a+b&z=1"),
            ("/u/a%2Fb", "/u/a%2Fb"),
            ("/u/", "/u/"),
            ("/n/12/x/y", "/number?n=12&rest=x%2Fy"),
            ("/n/x/y", "/n/x/y"),
            ("/n/1/", "/number?n=1&rest="),
            ("/b%20c", "/d%20e"),
            ("/%C3%A9", "/f"),
        ] {
            assert_eq!(rewritten(&alias, uri), wanted, "{uri}");
        }
    }

    #[test]
    fn routes_as_they_may_be_written() {
        for (items, uri, wanted) in [
            (&[("ROUTES", "/a: /b\n/c: /d")][..], "/c", "/d"),
            (&[("routes", "/a: 7")], "/a", "/7"),
            (&[("/a", "/b")], "/a", "/b"),
            (&[("/a", "/b"), ("routes", "/c")], "/a", "/b"),
            (&[("a", "/b")], "/a", "/a"),
            (&[("/{a", "/b")], "/x", "/x"),
            (&[("/{a}/{a}", "/b")], "/x/y", "/b?a=y"),
            (&[("/{a:[}", "/b")], "/x", "/x"),
            (&[("/{:a}", "/b")], "/a", "/a"),
            (&[("/x{a:[0-9]{2}}", "/b")], "/x12", "/b?a=12"),
            (&[], "/a", "/a"),
            (
                &[("routes", r#"{"/{a}": "/first", "/x": "/second"}"#)],
                "/x",
                "/first?a=x",
            ),
        ] {
            assert_eq!(rewritten(&of(items).unwrap(), uri), wanted, "{items:?}");
        }
    }

    #[test]
    fn routes_that_are_none() {
        for (items, wanted) in [
            (&[("routes", "")][..], RoutesError::Empty),
            (&[("/a", "")], RoutesError::Empty),
            (&[("", "/a")], RoutesError::Empty),
            (&[("/{a:(b)}", "/a")], RoutesError::Groups("/{a:(b)}".to_owned())),
        ] {
            assert_eq!(of(items).unwrap_err(), wanted, "{items:?}");
        }
        for routes in ["[", "[1]", "text", "/a: [b]", "/a: 1\n/a: 2"] {
            let said = of(&[("routes", routes)]).unwrap_err().to_string();
            assert!(
                said.starts_with("failed to decode 'routes' property as JSON or YAML: "),
                "{said}"
            );
        }
    }
}
