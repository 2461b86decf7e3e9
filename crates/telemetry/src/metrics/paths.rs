//! What the label `path` shows of a path, so that there are not more series than somebody can read.

mod patterns;

use std::borrow::Cow;

pub use patterns::PatternError;
use patterns::Patterns;

/// Paths by which sidecars and apps talk of themselves; they are always shown.
const STATIC: [&str; 4] = ["/dapr/config", "/dapr/metrics", "/dapr/subscribe", "/healthz"];
/// What stands in front of a pattern that is meant for the paths of apps.
const INVOKE: &str = "/v1.0/invoke/";

/// Methods up to this length are completed without allocating.
const ON_STACK: usize = 512;

/// How paths become labels.
#[derive(Debug)]
pub struct PathLabels {
    /// Whether paths that no pattern matches are shown.
    is_increased: bool,
    patterns: Option<Patterns>,
}

impl PathLabels {
    /// With no patterns, all paths are shown or none. Patterns that cannot be used are left out.
    pub fn new(is_increased: bool, patterns: &[String]) -> (Self, Vec<PatternError>) {
        let mut all: Vec<String> = Vec::with_capacity(patterns.len() * 2);
        for pattern in patterns {
            let pattern = normal(pattern).into_owned();
            if !pattern.starts_with(INVOKE) {
                all.push(format!("{INVOKE}{{app_id}}/method{pattern}"));
            }
            all.push(pattern);
        }
        all.sort_unstable();
        all.dedup();
        let (patterns, errors) = if all.is_empty() {
            (None, Vec::new())
        } else {
            let (patterns, errors) = Patterns::new(all);
            (Some(patterns), errors)
        };
        let labels = Self {
            is_increased,
            patterns,
        };
        (labels, errors)
    }

    /// The label of a path of a request to this sidecar.
    pub fn of_server<'a>(&'a self, path: &'a str) -> Cow<'a, str> {
        if self.patterns.is_some() {
            return self.then(normal(path), Self::label);
        }
        if !self.is_increased {
            return Cow::Borrowed("");
        }
        self.then(converted(path), Self::label)
    }

    /// Hands on the label of a method of a call of an app. A method has no slash in front, which its label has; where
    /// that is put in front of it, it is not allocated for.
    pub fn with_client<T>(&self, method: &str, hand_on: impl FnOnce(&str) -> T) -> T {
        let mut room = [0; ON_STACK];
        let rooted = if method.is_empty() || method.starts_with('/') {
            Cow::Borrowed(method)
        } else {
            rooted(method, &mut room)
        };
        let label = self.label(&rooted);
        if self.is_increased || self.patterns.is_some() {
            hand_on(&self.then(label, |_, label| converted(label)))
        } else {
            hand_on(&label)
        }
    }

    /// What follows on a step; a text that is borrowed stays so.
    fn then<'a>(
        &'a self,
        text: Cow<'a, str>,
        step: impl for<'b> FnOnce(&'b Self, &'b str) -> Cow<'b, str>,
    ) -> Cow<'a, str> {
        match text {
            Cow::Borrowed(text) => step(self, text),
            Cow::Owned(text) => Cow::Owned(step(self, &text).into_owned()),
        }
    }

    fn label<'a>(&'a self, path: &'a str) -> Cow<'a, str> {
        if STATIC.contains(&path) {
            return Cow::Borrowed(path);
        }
        if let Some(patterns) = self.patterns.as_ref().filter(|_| !path.is_empty()) {
            let path_in_order = normal(path);
            // A path that is shown anyway needs no pattern that is meant for what is below it.
            let with_below = !self.is_increased;
            let best = patterns.best(&path_in_order, with_below);
            if let Some(label) = best.filter(|label| !self.is_increased || *label != path) {
                return Cow::Borrowed(label);
            }
            let short = converted(path);
            if short != path
                && let Some(label) = patterns.best(&short, with_below).filter(|label| *label != "/")
            {
                return Cow::Borrowed(label);
            }
        }
        if self.is_increased {
            converted(path)
        } else {
            Cow::Borrowed("")
        }
    }
}

/// A method with a slash in front, in the room that is there if that is enough.
fn rooted<'a>(method: &str, room: &'a mut [u8; ON_STACK]) -> Cow<'a, str> {
    let length = method.len() + 1;
    let Some(place) = room.get_mut(..length) else {
        return Cow::Owned(format!("/{method}"));
    };
    place[0] = b'/';
    place[1..].copy_from_slice(method.as_bytes());
    String::from_utf8_lossy(place)
}

/// A path with a slash in front and none beside another one.
fn normal(path: &str) -> Cow<'_, str> {
    if path.starts_with('/') && !path.contains("//") {
        return Cow::Borrowed(path);
    }
    let mut text = String::with_capacity(path.len() + 1);
    text.push('/');
    for character in path.chars() {
        if character != '/' || !text.ends_with('/') {
            text.push(character);
        }
    }
    Cow::Owned(text)
}

/// A path of an API of Dapr without what names one of many things: ids of actors, keys of state, workflows.
fn converted(path: &str) -> Cow<'_, str> {
    if path.is_empty() {
        return Cow::Borrowed("");
    }
    let path = normal(path);
    let parts: Vec<&str>;
    {
        let mut found = [""; 6];
        let mut count = 0;
        for part in path[1..].splitn(6, '/') {
            found[count] = part;
            count += 1;
        }
        let is_special = count >= 3
            && (found[0] == "actors" || matches!(found[1], "state" | "secrets" | "actors" | "workflows"));
        if !is_special {
            return path;
        }
        parts = found[..count].to_vec();
    }
    let with = |count: usize, changes: &[(usize, &str)]| {
        let mut parts = parts[..count].to_vec();
        for (index, text) in changes {
            parts[*index] = text;
        }
        parts.join("/")
    };
    let text = match (parts[0], parts[1], parts.len()) {
        ("actors", _, count) => return Cow::Owned(with(count, &[(2, "{id}")])),
        (_, "state" | "secrets", _) => with(3, &[]),
        (_, "actors", 5..) => with(5, &[(3, "{id}")]),
        (_, "workflows", 4) => with(4, &[(3, "{instanceId}")]),
        (_, "workflows", 5) if parts[4].starts_with("start") => with(5, &[(4, "start")]),
        (_, "workflows", 6) if parts[4] == "raiseEvent" && !parts[5].is_empty() => {
            with(6, &[(3, "{instanceId}"), (5, "{eventName}")])
        }
        (_, "workflows", 5..) => with(5, &[(3, "{instanceId}")]),
        _ => return Cow::Owned(path.into_owned()),
    };
    Cow::Owned(format!("/{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_apis_without_names() {
        for (path, wanted) in [
            ("", ""),
            ("/", "/"),
            ("hi", "/hi"),
            ("//a///b", "/a/b"),
            (
                "/v1.0/invoke/app/method/a/b/c/d",
                "/v1.0/invoke/app/method/a/b/c/d",
            ),
            ("/v1.0/state/store/key", "/v1.0/state/store"),
            ("/v1.0/secrets/store/key/more", "/v1.0/secrets/store"),
            ("/actors/type/17/method/m", "actors/type/{id}/method/m"),
            ("/v1.0/actors/type/17", "/v1.0/actors/type/17"),
            ("/v1.0/actors/type/17/method/m", "/v1.0/actors/type/{id}/method"),
            ("/v1.0/workflows/c/w", "/v1.0/workflows/c/{instanceId}"),
            ("/v1.0/workflows/c/w/start?x", "/v1.0/workflows/c/w/start"),
            (
                "/v1.0/workflows/c/w/pause",
                "/v1.0/workflows/c/{instanceId}/pause",
            ),
            (
                "/v1.0/workflows/c/w/raiseEvent/e",
                "/v1.0/workflows/c/{instanceId}/raiseEvent/{eventName}",
            ),
            (
                "/v1.0/workflows/c/w/purge/e",
                "/v1.0/workflows/c/{instanceId}/purge",
            ),
        ] {
            assert_eq!(converted(path), wanted, "{path}");
        }
    }

    fn labels(is_increased: bool, patterns: &[&str]) -> PathLabels {
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        let (labels, errors) = PathLabels::new(is_increased, &patterns);
        assert!(errors.is_empty(), "{errors:?}");
        labels
    }

    #[test]
    fn labels_of_servers() {
        let (high, low) = (labels(true, &[]), labels(false, &[]));
        let patterns = ["/orders/{id}", "/items/{id}", "/v1.0/invoke/myapp/method/fixed"];
        let (high_matching, low_matching) = (labels(true, &patterns), labels(false, &patterns));
        let with_root = labels(false, &["/orders/{id}", "/"]);
        let invoked = "/v1.0/invoke/{app_id}/method/orders/{id}";
        for (path, wanted) in [
            ("/v1.0/healthz", ["/v1.0/healthz", "", "/v1.0/healthz", "", "/"]),
            ("/healthz", ["/healthz", "", "/healthz", "/healthz", "/healthz"]),
            (
                "/v1.0/invoke/a/method/orders/1",
                ["/v1.0/invoke/a/method/orders/1", "", invoked, invoked, invoked],
            ),
            (
                "//v1.0//invoke/a/method/orders/1",
                ["/v1.0/invoke/a/method/orders/1", "", invoked, invoked, invoked],
            ),
            (
                "/orders/1",
                ["/orders/1", "", "/orders/{id}", "/orders/{id}", "/orders/{id}"],
            ),
            (
                "/v1.0/invoke/a/method/x",
                [
                    "/v1.0/invoke/a/method/x",
                    "",
                    "/v1.0/invoke/a/method/x",
                    "",
                    "/v1.0/invoke/{app_id}/method/",
                ],
            ),
            ("/v1.0/state/s/k", ["/v1.0/state/s", "", "/v1.0/state/s", "", "/"]),
        ] {
            let shown = [&high, &low, &high_matching, &low_matching, &with_root]
                .map(|labels| labels.of_server(path).into_owned());
            assert_eq!(shown, wanted, "{path}");
        }
    }

    #[test]
    fn labels_of_calls() {
        let (high, low) = (labels(true, &[]), labels(false, &[]));
        let (high_matching, low_matching) =
            (labels(true, &["/orders/{id}"]), labels(false, &["/orders/{id}"]));
        let long = "x".repeat(1000);
        let long_label = format!("/{long}");
        for (method, wanted) in [
            ("hi", ["/hi", "", "/hi", ""]),
            ("orders/1", ["/orders/1", "", "/orders/{id}", "/orders/{id}"]),
            (
                "dapr/config",
                ["/dapr/config", "/dapr/config", "/dapr/config", "/dapr/config"],
            ),
            ("v1.0/state/s/k", ["/v1.0/state/s", "", "/v1.0/state/s", ""]),
            (&long, [&long_label, "", &long_label, ""]),
            ("", ["", "", "", ""]),
        ] {
            let shown = [&high, &low, &high_matching, &low_matching]
                .map(|labels| labels.with_client(method, str::to_owned));
            assert_eq!(shown, wanted, "{method}");
        }
    }

    #[test]
    fn what_is_in_order_is_not_copied() {
        let (high, low) = (labels(true, &[]), labels(true, &["/a/{x}"]));
        for labels in [high, low] {
            assert!(matches!(
                labels.of_server("/v1.0/invoke/a/method/b"),
                Cow::Borrowed(_)
            ));
            assert!(matches!(labels.of_server("/a/1"), Cow::Borrowed(_)));
        }
    }
}
