//! `spec.routing`: versions of apps, instances that callers stay with, copies for another app. The section is not among
//! Dapr's, whose sidecars pass over it.

use schemars::{Schema, SchemaGenerator, json_schema};
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

/// So many copies are under way at once if nothing is said, and at most.
const AT_ONCE: (u64, u64) = (32, 1024);

/// An app whose calls are routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutedApp {
    /// The name that callers use.
    pub app: String,
    /// App ids with their shares, which are not all zero; none when calls are not shared out.
    pub versions: Vec<(String, u32)>,
    /// By what callers are told apart who stay with one version.
    pub sticky: Option<StickyBy>,
    /// By what callers are told apart who stay with one instance.
    pub sticky_instance: Option<StickyBy>,
    /// Who gets copies.
    pub mirror: Option<MirrorTo>,
}

/// An app that gets copies of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorTo {
    /// Its id.
    pub app: String,
    /// Of a million calls so many are copied.
    pub share: u32,
    /// How many copies are under way at once.
    pub at_once: usize,
}

/// By what callers are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StickyBy {
    /// A header of the call.
    Header(http::HeaderName),
    /// A cookie of the call.
    Cookie(String),
}

/// The apps of the section.
pub(crate) fn routed(section: &Value) -> Result<Vec<RoutedApp>, RoutingError> {
    let Some(section) = object("", section, &["apps"])? else {
        return Ok(Vec::new());
    };
    match section.get("apps").unwrap_or(&Value::Null) {
        Value::Null => Ok(Vec::new()),
        Value::Object(apps) => apps.iter().map(|(app, value)| routed_app(app, value)).collect(),
        other => Err(wrong(".apps", "a map of app ids", other)),
    }
}

fn routed_app(app: &str, value: &Value) -> Result<RoutedApp, RoutingError> {
    let path = format!(".apps.{app}");
    if app.is_empty() || app.contains('.') || app.contains('/') {
        return Err(wrong(&path, "an app id without a namespace", &Value::from(app)));
    }
    let none = Map::new();
    let known = ["versions", "sticky", "stickyInstance", "mirror"];
    let fields = object(&path, value, &known)?.unwrap_or(&none);
    let of = |key: &str| (format!("{path}.{key}"), fields.get(key).unwrap_or(&Value::Null));
    let sticky_by = |key| {
        let (path, value) = of(key);
        sticky(&path, value)
    };
    let sticky_instance = sticky_by("stickyInstance")?;
    let mirror = {
        let (path, value) = of("mirror");
        mirror(&path, value, app)?
    };
    let (path, value) = of("versions");
    let has_other = sticky_instance.is_some() || mirror.is_some();
    let versions = match value {
        // Whoever says by what callers stay with a version wants versions.
        Value::Null if has_other && of("sticky").1.is_null() => Vec::new(),
        value => versions(&path, value)?,
    };
    Ok(RoutedApp {
        app: app.to_owned(),
        versions,
        sticky: sticky_by("sticky")?,
        sticky_instance,
        mirror,
    })
}

/// What may stand for an app that is called in place of another.
fn app_id<'a>(path: &str, value: &'a Value) -> Result<&'a str, RoutingError> {
    let app = value
        .as_str()
        .filter(|app| !app.is_empty() && !app.contains('/') && app.matches('.').count() < 2);
    app.ok_or_else(|| wrong(path, "an app id", value))
}

fn mirror(path: &str, value: &Value, app: &str) -> Result<Option<MirrorTo>, RoutingError> {
    let Some(fields) = object(path, value, &["app", "percent", "atOnce"])? else {
        return Ok(None);
    };
    let of = |key: &str| (format!("{path}.{key}"), fields.get(key).unwrap_or(&Value::Null));
    let (path, value) = of("app");
    let to = app_id(&path, value)?;
    if to == app {
        return Err(wrong(&path, "another app", value));
    }
    let (path, value) = of("percent");
    let share = match value {
        Value::Null => Some(1_000_000.0),
        value => value.as_f64().map(|percent| (percent * 10_000.0).round()),
    };
    // Less than one of a million is none.
    let share = share.filter(|share| (1.0..=1_000_000.0).contains(share));
    let share = share.ok_or_else(|| wrong(&path, "a number from 0.0001 to 100", value))?;
    let (path, value) = of("atOnce");
    let at_once = match value {
        Value::Null => Some(AT_ONCE.0),
        value => value.as_u64().filter(|count| (1..=AT_ONCE.1).contains(count)),
    };
    let at_once = at_once.and_then(|count| usize::try_from(count).ok());
    Ok(Some(MirrorTo {
        app: to.to_owned(),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number up to a million"
        )]
        share: share as u32,
        at_once: at_once.ok_or_else(|| wrong(&path, "a whole number from 1 to 1024", value))?,
    }))
}

/// What the section may have.
pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    let by = |what: &str| {
        json_schema!({
            "description": format!("By what callers are told apart who stay with one {what}: either of the two."),
            "type": "object",
            "properties": { "header": { "type": "string" }, "cookie": { "type": "string" } },
        })
    };
    let id = "^[^./]+([.][^./]*)?$";
    json_schema!({
        "description": "What is done with calls to some apps; not among Dapr's.",
        "type": "object",
        "properties": { "apps": {
            "description": "By the ids that callers name.",
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "versions": {
                        "description": "The apps among which calls are shared out.",
                        "type": "array",
                        "items": { "type": "object", "properties": {
                            "app": { "type": "string", "pattern": id },
                            "share": { "type": "integer", "minimum": 0, "maximum": u32::MAX },
                        } },
                    },
                    "sticky": by("version"),
                    "stickyInstance": by("instance"),
                    "mirror": {
                        "description": "An app that gets copies of calls.",
                        "type": "object",
                        "properties": {
                            "app": { "type": "string", "pattern": id },
                            "percent": {
                                "description": "How many of the calls are copied.",
                                "type": ["number", "null"], "minimum": 0.0001, "maximum": 100,
                            },
                            "atOnce": {
                                "description": "How many copies are under way at once.",
                                "type": "integer", "minimum": 1, "maximum": AT_ONCE.1,
                            },
                        },
                    },
                },
            },
        } },
    })
}

fn versions(path: &str, value: &Value) -> Result<Vec<(String, u32)>, RoutingError> {
    let wanted = "a list of versions, of which one at least has a share,";
    let list = value.as_array().ok_or_else(|| wrong(path, wanted, value))?;
    let read = |(place, version): (usize, &Value)| {
        let path = format!("{path}[{place}]");
        let none = Map::new();
        let fields = object(&path, version, &["app", "share"])?.unwrap_or(&none);
        let of = |key: &str| fields.get(key).unwrap_or(&Value::Null);
        let app = app_id(&format!("{path}.app"), of("app"))?;
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
        assert_eq!(routed(&json!(null)), Ok(vec![]));
        assert_eq!(routed(&json!({"apps": null})), Ok(vec![]));
        let section = json!({"apps": {"shop": {
            "versions": [{"app": "v1", "share": 9}, {"app": "v2", "share": 1}], "sticky": {"header": "X-User"},
        }}});
        let wanted = RoutedApp {
            app: "shop".to_owned(),
            versions: vec![("v1".to_owned(), 9), ("v2".to_owned(), 1)],
            sticky: Some(StickyBy::Header(http::HeaderName::from_static("x-user"))),
            sticky_instance: None,
            mirror: None,
        };
        assert_eq!(routed(&section), Ok(vec![wanted]));
        let section = json!({"apps": {
            "a": {"stickyInstance": {"cookie": "id"}},
            "b": {"mirror": {"app": "c"}},
            "d": {"mirror": {"app": "e.ns", "percent": 0.5, "atOnce": 3}},
        }});
        let app = |app: &str, sticky_instance, mirror: Option<(&str, u32, usize)>| RoutedApp {
            app: app.to_owned(),
            versions: Vec::new(),
            sticky: None,
            sticky_instance,
            mirror: mirror.map(|(app, share, at_once)| MirrorTo {
                app: app.to_owned(),
                share,
                at_once,
            }),
        };
        let wanted = vec![
            app("a", Some(StickyBy::Cookie("id".to_owned())), None),
            app("b", None, Some(("c", 1_000_000, 32))),
            app("d", None, Some(("e.ns", 5_000, 3))),
        ];
        assert_eq!(routed(&section), Ok(wanted));
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
                of(json!({"sticky": {"header": "a"}, "mirror": {"app": "b"}})),
                ".apps.a.versions: a list of versions, of which one at least has a share, is wanted, not null",
            ),
            (
                of(json!({"stickyInstance": {}})),
                ".apps.a.stickyInstance: either a header or a cookie is wanted, not {}",
            ),
            (
                of(json!({"mirror": {"percent": 1}})),
                ".apps.a.mirror.app: an app id is wanted, not null",
            ),
            (
                of(json!({"mirror": {"app": "a"}})),
                ".apps.a.mirror.app: another app is wanted, not \"a\"",
            ),
            (
                of(json!({"mirror": {"app": "b", "percent": 100.5}})),
                ".apps.a.mirror.percent: a number from 0.0001 to 100 is wanted, not 100.5",
            ),
            (
                of(json!({"mirror": {"app": "b", "percent": "10"}})),
                ".apps.a.mirror.percent: a number from 0.0001 to 100 is wanted, not \"10\"",
            ),
            (
                of(json!({"mirror": {"app": "b", "percent": 0}})),
                ".apps.a.mirror.percent: a number from 0.0001 to 100 is wanted, not 0",
            ),
            (
                of(json!({"mirror": {"app": "b", "atOnce": 0}})),
                ".apps.a.mirror.atOnce: a whole number from 1 to 1024 is wanted, not 0",
            ),
            (
                of(json!({"mirror": {"app": "b", "share": 1}})),
                ".apps.a.mirror.share: no such field is wanted, not 1",
            ),
            (
                of(json!({"versions": [{"app": "b", "share": 1}], "sticky": {"header": "a b"}})),
                ".apps.a.sticky.header: the name of a header is wanted, not \"a b\"",
            ),
        ] {
            assert_eq!(
                routed(&section).unwrap_err().to_string(),
                format!("spec.routing{wanted}")
            );
        }
    }
}
