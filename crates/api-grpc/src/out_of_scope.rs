//! The methods of other building blocks. This sidecar has none of them; it answers what a Dapr sidecar answers
//! when they are not configured, so that SDKs and apps see what they know.

use bytes::{Bytes, BytesMut};
use grpc_wire::GrpcStatus;
use invoke_codec::status::error_info;
use invoke_codec::wire::{self, Part, Value};
use invoke_core::StatusDetail;
use invoke_core::error::code;

use crate::answer::Message;
use crate::status::with_details;

const FAILED_PRECONDITION: i32 = 9;
const NO_PLACEMENT: &str = "placement service is not configured";

/// How a method answers. The name of the component is field 1 of every request that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Always the same code, text, and reason in the details (none when it is empty).
    Fixed(i32, &'static str, &'static str),
    State,
    Publish,
    Binding,
    Unsubscribe,
    Lock,
    Conversation,
    ScheduleJob,
    /// What cannot be done to a job, and the reason.
    Job(&'static str, &'static str),
}

use Kind::{Binding, Conversation, Fixed, Job, Lock, Publish, ScheduleJob, State, Unsubscribe};

const PLACEMENT: Kind = Fixed(code::UNAVAILABLE, NO_PLACEMENT, "");
const UNIMPLEMENTED: Kind = Fixed(code::UNIMPLEMENTED, "this API is currently not implemented", "");
const SECRETS: Kind = Fixed(FAILED_PRECONDITION, "secret store is not configured", "");
const CONFIGURATION: Kind = Fixed(
    FAILED_PRECONDITION,
    "configuration stores not configured",
    "ERR_CONFIGURATION_STORE_NOT_CONFIGURED",
);
const CRYPTO_STREAM: Kind = Fixed(
    code::INVALID_ARGUMENT,
    "invalid request: first message does not contain the required options",
    "",
);
const GET_JOB: Kind = Job("get job", "DAPR_SCHEDULER_GET_JOB");
const DELETE_JOB: Kind = Job("delete job", "DAPR_SCHEDULER_DELETE_JOB");
const DELETE_JOBS: Kind = Fixed(
    code::INTERNAL,
    "failed to delete job due to: scheduler clients are disabled",
    "DAPR_SCHEDULER_DELETE_JOB",
);
const LIST_JOBS: Kind = Fixed(
    code::INTERNAL,
    "failed to list jobs due to: scheduler clients are disabled",
    "DAPR_SCHEDULER_LIST_JOBS",
);

const METHODS: &[(&str, Kind)] = &[
    ("GetState", State),
    ("GetBulkState", State),
    ("SaveState", State),
    ("QueryStateAlpha1", State),
    ("DeleteState", State),
    ("DeleteBulkState", State),
    ("ExecuteStateTransaction", State),
    ("PublishEvent", Publish),
    ("BulkPublishEventAlpha1", Publish),
    ("BulkPublishEvent", Publish),
    (
        "SubscribeTopicEventsAlpha1",
        Fixed(code::UNKNOWN, "initial request is required", ""),
    ),
    ("InvokeBinding", Binding),
    ("GetSecret", SECRETS),
    ("GetBulkSecret", SECRETS),
    ("RegisterActorTimer", PLACEMENT),
    ("UnregisterActorTimer", PLACEMENT),
    ("RegisterActorReminder", PLACEMENT),
    ("UnregisterActorReminder", PLACEMENT),
    ("UnregisterActorRemindersByType", PLACEMENT),
    ("ListActorReminders", PLACEMENT),
    ("GetActorState", PLACEMENT),
    ("GetActorReminder", PLACEMENT),
    ("ExecuteActorStateTransaction", PLACEMENT),
    ("InvokeActor", PLACEMENT),
    (
        "SubscribeActorEventsAlpha1",
        Fixed(
            FAILED_PRECONDITION,
            "actor callback streaming requires a gRPC app channel",
            "",
        ),
    ),
    ("GetConfigurationAlpha1", CONFIGURATION),
    ("GetConfiguration", CONFIGURATION),
    ("SubscribeConfigurationAlpha1", CONFIGURATION),
    ("SubscribeConfiguration", CONFIGURATION),
    ("UnsubscribeConfigurationAlpha1", Unsubscribe),
    ("UnsubscribeConfiguration", Unsubscribe),
    ("TryLockAlpha1", Lock),
    (
        "UnlockAlpha1",
        Fixed(FAILED_PRECONDITION, "lock store is not configured", ""),
    ),
    ("EncryptAlpha1", CRYPTO_STREAM),
    ("DecryptAlpha1", CRYPTO_STREAM),
    ("SubtleGetKeyAlpha1", UNIMPLEMENTED),
    ("SubtleEncryptAlpha1", UNIMPLEMENTED),
    ("SubtleDecryptAlpha1", UNIMPLEMENTED),
    ("SubtleWrapKeyAlpha1", UNIMPLEMENTED),
    ("SubtleUnwrapKeyAlpha1", UNIMPLEMENTED),
    ("SubtleSignAlpha1", UNIMPLEMENTED),
    ("SubtleVerifyAlpha1", UNIMPLEMENTED),
    ("StartWorkflowAlpha1", PLACEMENT),
    ("GetWorkflowAlpha1", PLACEMENT),
    ("PurgeWorkflowAlpha1", PLACEMENT),
    ("TerminateWorkflowAlpha1", PLACEMENT),
    ("PauseWorkflowAlpha1", PLACEMENT),
    ("ResumeWorkflowAlpha1", PLACEMENT),
    ("RaiseEventWorkflowAlpha1", PLACEMENT),
    ("StartWorkflowBeta1", PLACEMENT),
    ("GetWorkflowBeta1", PLACEMENT),
    ("PurgeWorkflowBeta1", PLACEMENT),
    ("TerminateWorkflowBeta1", PLACEMENT),
    ("PauseWorkflowBeta1", PLACEMENT),
    ("ResumeWorkflowBeta1", PLACEMENT),
    ("RaiseEventWorkflowBeta1", PLACEMENT),
    ("ScheduleJobAlpha1", ScheduleJob),
    ("ScheduleJob", ScheduleJob),
    ("GetJobAlpha1", GET_JOB),
    ("GetJob", GET_JOB),
    ("DeleteJobAlpha1", DELETE_JOB),
    ("DeleteJob", DELETE_JOB),
    ("DeleteJobsByPrefixAlpha1", DELETE_JOBS),
    ("DeleteJobsByPrefix", DELETE_JOBS),
    ("ListJobsAlpha1", LIST_JOBS),
    ("ListJobs", LIST_JOBS),
    ("ConverseAlpha1", Conversation),
    ("ConverseAlpha2", Conversation),
];

/// Whether this is such a method.
pub(crate) fn has(method: &str) -> bool {
    METHODS.iter().any(|(known, _)| *known == method)
}

/// Whether a method has more than one message in a direction. Dapr does not measure such calls.
pub(crate) fn is_stream(method: &str) -> bool {
    matches!(
        method,
        "SubscribeTopicEventsAlpha1"
            | "SubscribeActorEventsAlpha1"
            | "SubscribeConfigurationAlpha1"
            | "SubscribeConfiguration"
            | "EncryptAlpha1"
            | "DecryptAlpha1"
    )
}

/// The component that a request names.
pub(crate) fn name(request: &Bytes) -> String {
    field_text(request, 1)
}

/// Whose sidecar answers; some details tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SidecarFacts<'a> {
    pub(crate) app_id: &'a str,
    pub(crate) namespace: &'a str,
    /// Why the component does nothing, if it is there; empty when it is not.
    pub(crate) why_not: &'a str,
}

/// The answer to a call of such a method.
pub(crate) fn answer(method: &str, request: &Bytes, asked: SidecarFacts<'_>) -> Result<Message, GrpcStatus> {
    let kind = METHODS
        .iter()
        .find_map(|(known, kind)| (*known == method).then_some(*kind))
        .unwrap_or(UNIMPLEMENTED);
    let name = field_text(request, 1);
    let fixed = |code, text: String, reason| Err(status(code, &(text + asked.why_not), reason, &[]));
    match kind {
        Fixed(code, text, reason) => fixed(code, text.to_owned(), reason),
        State => {
            let text = format!("state store {name} is not configured");
            fixed(FAILED_PRECONDITION, text, "DAPR_STATE_NOT_CONFIGURED")
        }
        Publish => publish(request, &name, asked.why_not),
        Binding => {
            let text = if field_text(request, 4).is_empty() {
                format!("error invoking output binding {name}: operation field is missing from request")
            } else {
                format!("error invoking output binding {name}: couldn't find output binding {name}")
            };
            fixed(code::INTERNAL, text, "ERR_INVOKE_OUTPUT_BINDING")
        }
        Unsubscribe => {
            // `id` is field 2; the answer says in field 2 what went wrong.
            let id = field_text(request, 2);
            let text =
                format!("failed to unsubscribe to configuration request {id}: subscription does not exist");
            let mut out = BytesMut::new();
            wire::put_bytes(&mut out, 2, text.as_bytes());
            Ok(Message::of(&out))
        }
        Lock => {
            let has_expiry = wire::fields(request)
                .flatten()
                .any(|field| matches!(field, (4, Value::Varint(seconds)) if seconds as i32 > 0));
            if has_expiry {
                return fixed(FAILED_PRECONDITION, "lock store is not configured".to_owned(), "");
            }
            let text = format!("ExpiryInSeconds is not positive in lock store {name}");
            fixed(code::INVALID_ARGUMENT, text, "")
        }
        Conversation => {
            let text = format!("failed finding conversation component {name}");
            fixed(code::INVALID_ARGUMENT, text, "")
        }
        ScheduleJob => schedule(request),
        Job(what, reason) => {
            if name.is_empty() {
                return Err(status(
                    code::INVALID_ARGUMENT,
                    "Name is empty",
                    "DAPR_SCHEDULER_JOB_NAME_EMPTY",
                    &[("appID", asked.app_id), ("namespace", asked.namespace)],
                ));
            }
            let text = format!("failed to {what} due to: scheduler clients are disabled");
            fixed(code::INTERNAL, text, reason)
        }
    }
}

fn publish(request: &Bytes, name: &str, why_not: &str) -> Result<Message, GrpcStatus> {
    let (text, reason) = if name.is_empty() {
        ("pubsub name is empty".to_owned(), "DAPR_PUBSUB_NAME_EMPTY")
    } else if field_text(request, 2).is_empty() {
        (
            format!("topic is empty in pubsub {name}"),
            "DAPR_PUBSUB_TOPIC_NAME_EMPTY",
        )
    } else {
        (
            format!("pubsub {name} is not found{why_not}"),
            "DAPR_PUBSUB_NOT_FOUND",
        )
    };
    let details = vec![
        resource_info("pubsub", name, &text),
        error_info(reason, "dapr.io", &[]),
    ];
    Err(with_details(code::INVALID_ARGUMENT, &text, details))
}

/// A `google.rpc.ResourceInfo`: the kind of a resource, its name, and what is wrong with it.
fn resource_info(kind: &str, name: &str, text: &str) -> StatusDetail {
    let mut value = BytesMut::new();
    for (field, text) in [(1, kind), (2, name), (4, text)] {
        wire::put_bytes(&mut value, field, text.as_bytes());
    }
    StatusDetail {
        type_url: "type.googleapis.com/google.rpc.ResourceInfo".to_owned(),
        value: value.freeze(),
    }
}

fn schedule(request: &Bytes) -> Result<Message, GrpcStatus> {
    let job = wire::fields(request).flatten().find_map(|field| match field {
        (1, Value::Len(job)) => Some(job),
        _ => None,
    });
    let (code, text, reason) = match job {
        None => (code::INVALID_ARGUMENT, "Job is empty", "DAPR_SCHEDULER_EMPTY"),
        Some(job) if field_text(job, 1).is_empty() => (
            code::INVALID_ARGUMENT,
            "Name is empty",
            "DAPR_SCHEDULER_JOB_NAME_EMPTY",
        ),
        Some(_) => (
            code::INTERNAL,
            "failed to schedule job due to: scheduler clients are disabled",
            "DAPR_SCHEDULER_SCHEDULE_JOB",
        ),
    };
    Err(status(code, text, reason, &[]))
}

fn status(code: i32, text: &str, reason: &str, metadata: &[(&str, &str)]) -> GrpcStatus {
    if reason.is_empty() {
        return GrpcStatus::new(code, text);
    }
    with_details(code, text, vec![error_info(reason, "dapr.io", metadata)])
}

/// A string field; empty when it is not there or is none.
fn field_text<'a>(message: impl Into<Part<'a>>, number: u32) -> String {
    wire::fields(message)
        .flatten()
        .find_map(|field| match field {
            (known, Value::Len(bytes)) if known == number => String::from_utf8(bytes.to_vec()).ok(),
            _ => None,
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: SidecarFacts<'_> = SidecarFacts {
        app_id: "oos",
        namespace: "default",
        why_not: "",
    };

    /// What a Dapr sidecar without any component answered to empty requests: method, code, text, reason.
    const RECORDED: &str = include_str!("../tests-data/out-of-scope.tsv");

    #[test]
    fn as_recorded() {
        let mut seen = 0;
        for line in RECORDED.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [method, wanted_code, text, reason] = fields[..] else {
                panic!("{line:?}");
            };
            assert!(has(method), "{method}");
            let wanted_code: i32 = wanted_code.parse().unwrap();
            match answer(method, &Bytes::new(), ASKED) {
                Ok(_) => assert_eq!(wanted_code, 0, "{method}"),
                Err(status) => {
                    assert_eq!(
                        (status.code, status.message.as_str()),
                        (wanted_code, text),
                        "{method}"
                    );
                    let details = status.details.unwrap_or_default();
                    assert_eq!(details.is_empty(), reason.is_empty(), "{method}");
                    let shown = String::from_utf8_lossy(&details);
                    assert!(shown.contains(reason), "{method}: {shown}");
                }
            }
            seen += 1;
        }
        assert_eq!(seen, METHODS.len());
    }

    #[test]
    fn names_of_components_are_told() {
        let named = Bytes::from_static(b"\x0a\x02st");
        let text = |method| answer(method, &named, ASKED).unwrap_err().message;
        assert_eq!(text("GetState"), "state store st is not configured");
        assert_eq!(text("PublishEvent"), "topic is empty in pubsub st");
        assert_eq!(
            text("GetJob"),
            "failed to get job due to: scheduler clients are disabled"
        );
        let topic = Bytes::from_static(b"\x0a\x02ps\x12\x01t");
        let status = answer("PublishEvent", &topic, ASKED).unwrap_err();
        assert_eq!(
            (status.code, status.message.as_str()),
            (3, "pubsub ps is not found")
        );
    }

    #[test]
    fn a_component_that_is_listed_is_told_in_the_details_too() {
        let asked = SidecarFacts {
            why_not: "; it does nothing",
            ..ASKED
        };
        let mut request = BytesMut::new();
        wire::put_bytes(&mut request, 1, b"s");
        wire::put_bytes(&mut request, 2, b"topic");
        let request = request.freeze();
        for method in ["GetState", "PublishEvent", "GetSecret"] {
            let Err(status) = answer(method, &request, asked) else {
                panic!("{method} is refused");
            };
            assert!(
                status.message.ends_with("; it does nothing"),
                "{}",
                status.message
            );
            if let Some(details) = &status.details {
                let details = String::from_utf8_lossy(details);
                assert!(details.contains(&status.message), "{details}");
            }
        }
    }
}
