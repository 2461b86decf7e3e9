//! Which APIs an app may use (`spec.api`). What a name stands for is known by each API.

use std::fmt;

/// A group of APIs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiRule {
    /// The name of the group.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `http` or `grpc`.
    pub protocol: String,
}

impl ApiRule {
    /// Whether the rule is for the HTTP API. Case does not matter.
    pub fn is_http(&self) -> bool {
        self.protocol.eq_ignore_ascii_case("http")
    }

    /// Whether the rule is for the gRPC API. Case does matter.
    pub fn is_grpc(&self) -> bool {
        self.protocol == "grpc"
    }
}

impl fmt::Display for ApiRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            version,
            protocol,
        } = self;
        write!(
            f,
            "{{name: {name:?}, version: {version:?}, protocol: {protocol:?}}}"
        )
    }
}

/// Both lists. A group that is on both is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiLists {
    /// Nothing but these, for each protocol that occurs.
    pub allowed: Vec<ApiRule>,
    /// All but these.
    pub denied: Vec<ApiRule>,
}

impl ApiLists {
    /// All rules, with the name of their list.
    pub fn rules(&self) -> impl Iterator<Item = (&'static str, &ApiRule)> {
        let allowed = self.allowed.iter().map(|rule| ("allowed", rule));
        allowed.chain(self.denied.iter().map(|rule| ("denied", rule)))
    }

    /// The rules that are for none of the APIs.
    pub fn without_protocol(&self) -> impl Iterator<Item = (&'static str, &ApiRule)> {
        self.rules()
            .filter(|(_, rule)| !rule.is_http() && !rule.is_grpc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols() {
        let rule = |protocol: &str| ApiRule {
            name: "invoke".into(),
            version: "v1".into(),
            protocol: protocol.into(),
        };
        let lists = ApiLists {
            allowed: ["http", "HTTP", "grpc"].map(rule).into(),
            denied: ["GRPC", ""].map(rule).into(),
        };
        let shown: Vec<_> = lists
            .without_protocol()
            .map(|(list, rule)| format!("{list} {rule}"))
            .collect();
        assert_eq!(
            shown,
            [
                "denied {name: \"invoke\", version: \"v1\", protocol: \"GRPC\"}",
                "denied {name: \"invoke\", version: \"v1\", protocol: \"\"}",
            ]
        );
    }
}
