//! Which methods there are: `spec.api` for gRPC.

use std::collections::HashSet;

use api_core::{ApiLists, ApiRule};

/// What begins so is an API of the sidecar; all else is passed on and not looked at.
const RUNTIME: &str = "/dapr.proto.runtime.";
const SERVICE: &str = "v1.Dapr/";

/// Name and version of a group, and its methods.
const GROUPS: &[(&str, &str, &[&str])] = &[
    ("invoke", "v1", &["InvokeService"]),
    (
        "state",
        "v1",
        &[
            "GetState",
            "GetBulkState",
            "SaveState",
            "DeleteState",
            "DeleteBulkState",
            "ExecuteStateTransaction",
        ],
    ),
    ("state", "v1alpha1", &["QueryStateAlpha1"]),
    ("publish", "v1", &["PublishEvent", "BulkPublishEvent"]),
    ("publish", "v1alpha1", &["BulkPublishEventAlpha1"]),
    ("bindings", "v1", &["InvokeBinding"]),
    ("secrets", "v1", &["GetSecret", "GetBulkSecret"]),
    (
        "actors",
        "v1",
        &[
            "RegisterActorTimer",
            "UnregisterActorTimer",
            "RegisterActorReminder",
            "GetActorReminder",
            "UnregisterActorReminder",
            "UnregisterActorRemindersByType",
            "ListActorReminders",
            "GetActorState",
            "ExecuteActorStateTransaction",
            "InvokeActor",
        ],
    ),
    ("actors", "v1alpha1", &["SubscribeActorEventsAlpha1"]),
    ("metadata", "v1", &["GetMetadata", "SetMetadata"]),
    (
        "configuration",
        "v1alpha1",
        &[
            "GetConfigurationAlpha1",
            "SubscribeConfigurationAlpha1",
            "UnsubscribeConfigurationAlpha1",
        ],
    ),
    (
        "configuration",
        "v1",
        &[
            "GetConfiguration",
            "SubscribeConfiguration",
            "UnsubscribeConfiguration",
        ],
    ),
    ("lock", "v1alpha1", &["TryLockAlpha1"]),
    ("unlock", "v1alpha1", &["UnlockAlpha1"]),
    (
        "subtlecrypto",
        "v1alpha1",
        &[
            "SubtleGetKeyAlpha1",
            "SubtleEncryptAlpha1",
            "SubtleDecryptAlpha1",
            "SubtleSignAlpha1",
            "SubtleVerifyAlpha1",
            "SubtleWrapKeyAlpha1",
            "SubtleUnwrapKeyAlpha1",
        ],
    ),
    ("crypto", "v1alpha1", &["EncryptAlpha1", "DecryptAlpha1"]),
    (
        "workflows",
        "v1alpha1",
        &[
            "StartWorkflowAlpha1",
            "GetWorkflowAlpha1",
            "TerminateWorkflowAlpha1",
            "RaiseEventWorkflowAlpha1",
            "PurgeWorkflowAlpha1",
            "PauseWorkflowAlpha1",
            "ResumeWorkflowAlpha1",
        ],
    ),
    (
        "workflows",
        "v1beta1",
        &[
            "StartWorkflowBeta1",
            "GetWorkflowBeta1",
            "TerminateWorkflowBeta1",
            "RaiseEventWorkflowBeta1",
            "PurgeWorkflowBeta1",
            "PauseWorkflowBeta1",
            "ResumeWorkflowBeta1",
        ],
    ),
    (
        "jobs",
        "v1alpha1",
        &[
            "ScheduleJobAlpha1",
            "DeleteJobAlpha1",
            "GetJobAlpha1",
            "DeleteJobsByPrefixAlpha1",
            "ListJobsAlpha1",
        ],
    ),
    (
        "jobs",
        "v1",
        &[
            "ScheduleJob",
            "DeleteJob",
            "GetJob",
            "DeleteJobsByPrefix",
            "ListJobs",
        ],
    ),
    ("shutdown", "v1", &["Shutdown"]),
    ("subscribe", "v1alpha1", &["SubscribeTopicEventsAlpha1"]),
    ("conversation", "v1alpha1", &["ConverseAlpha1"]),
    ("conversation", "v1alpha2", &["ConverseAlpha2"]),
];

/// The methods that the lists leave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    /// `None` if all are allowed that are not denied. A list of names that nobody knows allows nothing.
    allowed: Option<HashSet<&'static str>>,
    denied: HashSet<&'static str>,
}

impl Access {
    pub(crate) fn new(lists: &ApiLists) -> Self {
        let allows_some = lists.allowed.iter().any(ApiRule::is_grpc);
        Self {
            allowed: allows_some.then(|| methods(&lists.allowed)),
            denied: methods(&lists.denied),
        }
    }

    /// Whether a full method, with its slash, may be called.
    pub(crate) fn has(&self, path: &str) -> bool {
        if self.allowed.is_none() && self.denied.is_empty() {
            return true;
        }
        let Some(method) = path.strip_prefix(RUNTIME) else {
            return true;
        };
        // What is of the runtime, but not of its service, is on no list.
        let method = method.strip_prefix(SERVICE).unwrap_or_default();
        !self.denied.contains(method)
            && self
                .allowed
                .as_ref()
                .is_none_or(|allowed| allowed.contains(method))
    }
}

fn group(rule: &ApiRule) -> Option<&'static [&'static str]> {
    let mut groups = GROUPS.iter();
    groups.find_map(|(name, version, methods)| {
        (rule.name == *name && rule.version == *version).then_some(*methods)
    })
}

fn methods(rules: &[ApiRule]) -> HashSet<&'static str> {
    let rules = rules.iter().filter(|rule| rule.is_grpc());
    rules.filter_map(group).flatten().copied().collect()
}

/// The rules for gRPC that name no group, with the name of their list.
pub fn unknown_apis(lists: &ApiLists) -> impl Iterator<Item = (&'static str, &ApiRule)> {
    let rules = lists.rules();
    rules.filter(|(_, rule)| rule.is_grpc() && group(rule).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(keys: &[&str]) -> Vec<ApiRule> {
        let rule = |key: &&str| {
            let mut words = key.split(' ').map(str::to_owned);
            ApiRule {
                name: words.next().unwrap(),
                version: words.next().unwrap(),
                protocol: words.next().unwrap_or("grpc".into()),
            }
        };
        keys.iter().map(rule).collect()
    }

    #[test]
    fn lists() {
        const PROXIED: &str = "/my.Service/InvokeService";
        const CALLBACK: &str = "/dapr.proto.runtime.v1.AppCallback/OnInvoke";
        let runtime = |method: &str| format!("/dapr.proto.runtime.v1.Dapr/{method}");
        for (allowed, denied, has) in [
            (&[][..], &[][..], [true, true, true, true]),
            (&["invoke v1"], &[], [true, false, false, true]),
            (
                &["invoke v1", "metadata v1"],
                &["metadata v1"],
                [true, false, false, true],
            ),
            (&["metadata v1 http"], &[], [true, true, true, true]),
            (&["metadata v1 GRPC"], &[], [true, true, true, true]),
            (&["invoke v1.0"], &[], [false, false, false, true]),
            (&["nosuch v1"], &[], [false, false, false, true]),
            (&[], &["nosuch v1"], [true, true, true, true]),
            (&[], &["invoke v1"], [false, true, true, true]),
            (&["state v1alpha1"], &["state v1"], [false, false, false, true]),
        ] {
            let access = Access::new(&ApiLists {
                allowed: rules(allowed),
                denied: rules(denied),
            });
            let invoke = runtime("InvokeService");
            let metadata = runtime("SetMetadata");
            let got = [&*invoke, &*metadata, CALLBACK, PROXIED].map(|path| access.has(path));
            assert_eq!(got, has, "{allowed:?} {denied:?}");
        }
    }

    #[test]
    fn rules_that_name_nothing() {
        let lists = ApiLists {
            allowed: rules(&["invoke v1", "invoke v1.0", "invoke v1.0 http"]),
            denied: rules(&["nosuch v1", "conversation v1alpha2"]),
        };
        let unknown: Vec<_> = unknown_apis(&lists)
            .map(|(list, rule)| (list, &*rule.name))
            .collect();
        assert_eq!(unknown, [("allowed", "invoke"), ("denied", "nosuch")]);
    }

    #[test]
    fn the_methods_of_other_building_blocks_are_in_a_group() {
        for (_, _, methods) in GROUPS {
            for method in *methods {
                let own = ["InvokeService", "GetMetadata", "SetMetadata", "Shutdown"];
                assert!(
                    own.contains(method) || crate::out_of_scope::has(method),
                    "{method}"
                );
            }
        }
    }
}
