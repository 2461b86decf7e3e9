//! `spec.routing`: versions of apps. The section is not among Dapr's, whose sidecars pass over it.

use serde_json::{Map, Value};
use thiserror::Error;

/// A section that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("spec.routing{path}: {wanted} is wanted, not {found}")]
pub struct RoutingError {
    path: String,
    wanted: &'static str,
    found: String,
}

/// An app whose calls are shared out among versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The name that callers use.
    pub app: String,
    /// App ids with their shares, which are not all zero.
    pub versions: Vec<(String, u32)>,
    /// By what callers are told apart.
    pub sticky: Option<StickyBy>,
}

/// By what callers are told apart, so that each of them stays with one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StickyBy {
    /// A header of the call.
    Header(http::HeaderName),
    /// A cookie of the call.
    Cookie(String),
}

/// The apps of the section.
pub(crate) fn versioned(section: &Value) -> Result<Vec<Versioned>, RoutingError> {
    let Some(section) = object("", section, &["apps"])? else {
        return Ok(Vec::new());
    };
    let path = ".apps";
    let apps = section.get("apps").unwrap_or(&Value::Null);
    let apps = match apps {
        Value::Null => return Ok(Vec::new()),
        Value::Object(apps) => apps,
        other => return Err(wrong(path, "a map of app ids", other)),
    };
    let read = |(app, value): (&String, &Value)| {
        let path = format!("{path}.{app}");
        if app.is_empty() || app.contains('.') || app.contains('/') {
            return Err(wrong(
                &path,
                "an app id without a namespace",
                &Value::String(app.clone()),
            ));
        }
        let none = Map::new();
        let fields = object(&path, value, &["versions", "sticky"])?.unwrap_or(&none);
        Ok(Versioned {
            app: app.clone(),
            versions: versions(
                &format!("{path}.versions"),
                fields.get("versions").unwrap_or(&Value::Null),
            )?,
            sticky: sticky(
                &format!("{path}.sticky"),
                fields.get("sticky").unwrap_or(&Value::Null),
            )?,
        })
    };
    apps.iter().map(read).collect()
}

fn versions(path: &str, value: &Value) -> Result<Vec<(String, u32)>, RoutingError> {
    let wanted = "a list of versions, of which one at least has a share,";
    let list = value.as_array().ok_or_else(|| wrong(path, wanted, value))?;
    let read = |(place, version): (usize, &Value)| {
        let path = format!("{path}[{place}]");
        let none = Map::new();
        let fields = object(&path, version, &["app", "share"])?.unwrap_or(&none);
        let of = |key: &str| fields.get(key).unwrap_or(&Value::Null);
        let app = of("app")
            .as_str()
            .filter(|app| !app.is_empty() && !app.contains('/') && app.matches('.').count() < 2);
        let app = app.ok_or_else(|| wrong(&format!("{path}.app"), "an app id", of("app")))?;
        let share = of("share").as_u64().and_then(|share| u32::try_from(share).ok());
        let share = share.ok_or_else(|| wrong(&format!("{path}.share"), "a whole number", of("share")))?;
        Ok((app.to_owned(), share))
    };
    let versions = list.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    if versions.iter().all(|(_, share)| *share == 0) {
        return Err(wrong(path, wanted, value));
    }
    Ok(versions)
}

fn sticky(path: &str, value: &Value) -> Result<Option<StickyBy>, RoutingError> {
    let wanted = "either a header or a cookie";
    let Some(fields) = object(path, value, &["header", "cookie"])? else {
        return Ok(None);
    };
    let text = |key: &str| {
        fields
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    match (text("header"), text("cookie")) {
        (Some(header), None) => match header.parse() {
            Ok(header) => Ok(Some(StickyBy::Header(header))),
            Err(_) => Err(wrong(
                &format!("{path}.header"),
                "the name of a header",
                &Value::from(header),
            )),
        },
        (None, Some(cookie)) => Ok(Some(StickyBy::Cookie(cookie.to_owned()))),
        _ => Err(wrong(path, wanted, value)),
    }
}

/// An object of these keys; `None` for what is not there.
fn object<'a>(
    path: &str,
    value: &'a Value,
    known: &[&str],
) -> Result<Option<&'a Map<String, Value>>, RoutingError> {
    match value {
        Value::Null => Ok(None),
        Value::Object(map) => match map.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            None => Ok(Some(map)),
            Some((key, value)) => Err(wrong(&format!("{path}.{key}"), "no such field", value)),
        },
        other => Err(wrong(path, "an object", other)),
    }
}

fn wrong(path: &str, wanted: &'static str, found: &Value) -> RoutingError {
    let mut found = found.to_string();
    if let Some((cut, _)) = found.char_indices().nth(60) {
        found.truncate(cut);
        found.push('…');
    }
    RoutingError {
        path: path.to_owned(),
        wanted,
        found,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sections() {
        assert_eq!(versioned(&json!(null)), Ok(vec![]));
        assert_eq!(versioned(&json!({"apps": null})), Ok(vec![]));
        let section = json!({"apps": {"shop": {
            "versions": [{"app": "v1", "share": 9}, {"app": "v2", "share": 1}], "sticky": {"header": "X-User"},
        }}});
        let wanted = Versioned {
            app: "shop".to_owned(),
            versions: vec![("v1".to_owned(), 9), ("v2".to_owned(), 1)],
            sticky: Some(StickyBy::Header(http::HeaderName::from_static("x-user"))),
        };
        assert_eq!(versioned(&section), Ok(vec![wanted]));
    }

    #[test]
    fn mistakes() {
        let of = |app: Value| json!({"apps": {"a": app}});
        for (section, wanted) in [
            (json!(5), ": an object is wanted, not 5"),
            (json!({"app": 1}), ".app: no such field is wanted, not 1"),
            (json!({"apps": []}), ".apps: a map of app ids is wanted, not []"),
            (
                json!({"apps": {"a.b": {}}}),
                ".apps.a.b: an app id without a namespace is wanted, not \"a.b\"",
            ),
            (
                of(json!(null)),
                ".apps.a.versions: a list of versions, of which one at least has a share, is wanted, not null",
            ),
            (
                of(json!({"versions": [{"app": "b", "share": 0}]})),
                ".apps.a.versions: a list of versions, of which one at least has a share, is wanted, not \
                 [{\"app\":\"b\",\"share\":0}]",
            ),
            (
                of(json!({"versions": [{"app": "b.ns.more", "share": 1}]})),
                ".apps.a.versions[0].app: an app id is wanted, not \"b.ns.more\"",
            ),
            (
                of(json!({"versions": [{"share": 1}]})),
                ".apps.a.versions[0].app: an app id is wanted, not null",
            ),
            (
                of(json!({"versions": [{"app": "b", "share": -1}]})),
                ".apps.a.versions[0].share: a whole number is wanted, not -1",
            ),
            (
                of(json!({"versions": [{"app": "b", "share": 1}], "sticky": {"header": "a", "cookie": "b"}})),
                ".apps.a.sticky: either a header or a cookie is wanted, not {\"cookie\":\"b\",\"header\":\"a\"}",
            ),
            (
                of(json!({"versions": [{"app": "b", "share": 1}], "sticky": {"header": "a b"}})),
                ".apps.a.sticky.header: the name of a header is wanted, not \"a b\"",
            ),
        ] {
            assert_eq!(
                versioned(&section).unwrap_err().to_string(),
                format!("spec.routing{wanted}")
            );
        }
    }
}
