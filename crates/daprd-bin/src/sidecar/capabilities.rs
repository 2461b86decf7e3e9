//! What components can do, as Dapr's metadata lists it: facts about the types of components of Dapr 1.18, by category.
//!
//! This sidecar does none of it. Dashboards and tools read the list all the same, so it is that which Dapr's `daprd` gives
//! for the same components.

use resources::Component;

const ETAG: &str = "ETAG";
const TRANSACTIONAL: &str = "TRANSACTIONAL";
const QUERY_API: &str = "QUERY_API";
const TTL: &str = "TTL";
const DELETE_WITH_PREFIX: &str = "DELETE_WITH_PREFIX";
const PARTITION_KEY: &str = "PARTITION_KEY";
const KEYS_LIKE: &str = "KEYS_LIKE";
const ACTOR: &str = "ACTOR";
const MESSAGE_TTL: &str = "MESSAGE_TTL";
const SUBSCRIBE_WILDCARDS: &str = "SUBSCRIBE_WILDCARDS";
const BULK_PUBSUB: &str = "BULK_PUBSUB";
const BULK_SUBSCRIBE_IMMEDIATE: &str = "BULK_SUBSCRIBE_IMMEDIATE";
const MULTIPLE_KEY_VALUES: &str = "MULTIPLE_KEY_VALUES_PER_SECRET";
const INPUT: &str = "INPUT_BINDING";
const OUTPUT: &str = "OUTPUT_BINDING";

/// Types that can do something, without the category before the dot. Those that are not here can do nothing that is
/// listed.
const STATE: &[(&[&str], &[&str])] = &[
    (
        &[
            "aerospike",
            "alicloud.tablestore",
            "azure.blobstorage",
            "azure.tablestorage",
            "couchbase",
            "zookeeper",
        ],
        &[ETAG],
    ),
    (
        &["cassandra", "cloudflare.workerskv", "coherence", "memcached"],
        &[TTL],
    ),
    (&["oci.objectstorage"], &[ETAG, TTL]),
    // With a name for the attribute they can do more.
    (&["aws.dynamodb"], &[ETAG, TRANSACTIONAL]),
    (
        &["oracledatabase", "ravendb", "sqlserver"],
        &[ETAG, TRANSACTIONAL, TTL],
    ),
    (
        &[
            "cockroachdb",
            "etcd",
            "mysql",
            "postgres",
            "postgresql",
            "redis",
            "sqlite",
            "sqlite3",
            "yugabyte",
            "yugabytedb",
        ],
        &[ETAG, TRANSACTIONAL, TTL, KEYS_LIKE],
    ),
    (
        &["in-memory"],
        &[ETAG, TRANSACTIONAL, TTL, DELETE_WITH_PREFIX, KEYS_LIKE],
    ),
    (&["mongodb"], &[ETAG, TRANSACTIONAL, QUERY_API, TTL, KEYS_LIKE]),
    (
        &["azure.cosmosdb"],
        &[ETAG, TRANSACTIONAL, QUERY_API, TTL, PARTITION_KEY],
    ),
];

const PUBSUB: &[(&[&str], &[&str])] = &[
    (&["azure.eventhubs", "kafka"], &[BULK_PUBSUB]),
    (
        &[
            "azure.servicebus",
            "azure.servicebus.queues",
            "azure.servicebus.topics",
            "azure.servicebusqueues",
        ],
        &[MESSAGE_TTL, BULK_PUBSUB],
    ),
    (&["in-memory", "mqtt", "mqtt3"], &[SUBSCRIBE_WILDCARDS]),
    (&["pulsar"], &[BULK_SUBSCRIBE_IMMEDIATE]),
    (&["rabbitmq"], &[MESSAGE_TTL]),
    (&["solace.amqp"], &[SUBSCRIBE_WILDCARDS, MESSAGE_TTL]),
];

/// Bindings that only bring something in.
const INPUTS: &[&str] = &["cron", "kubernetes", "rethinkdb.statechange", "zeebe.jobworker"];

/// Bindings that only send something out.
const OUTPUTS: &[&str] = &[
    "alicloud.dubbo",
    "alicloud.oss",
    "alicloud.sls",
    "alicloud.tablestore",
    "apns",
    "aws.dynamodb",
    "aws.s3",
    "aws.ses",
    "aws.sns",
    "azure.blobstorage",
    "azure.cosmosdb",
    "azure.cosmosdb.gremlinapi",
    "azure.openai",
    "azure.signalr",
    "cloudflare.queues",
    "commercetools",
    "dubbo",
    "gcp.bucket",
    "graphql",
    "http",
    "huawei.obs",
    "influx",
    "localstorage",
    "mysql",
    "postgres",
    "postgresql",
    "postmark",
    "redis",
    "sftp",
    "smtp",
    "twilio.sendgrid",
    "twilio.sms",
    "wasm",
    "zeebe.command",
];

/// Bindings that can do both.
const BOTH: &[&str] = &[
    "alicloud.dingtalk.webhook",
    "aws.kinesis",
    "aws.sqs",
    "azure.eventgrid",
    "azure.eventhubs",
    "azure.servicebus.queues",
    "azure.servicebusqueues",
    "azure.storagequeues",
    "dingtalk.webhook",
    "gcp.pubsub",
    "kafka",
    "kubemq",
    "mqtt",
    "mqtt3",
    "rabbitmq",
    "rocketmq",
];

/// What a component can do.
pub(super) fn of(component: &Component) -> Vec<&'static str> {
    let Some((category, kind)) = component.kind.split_once('.') else {
        return Vec::new();
    };
    match category {
        "state" => state(component, kind),
        "pubsub" => found(PUBSUB, kind),
        "bindings" => bindings(component, kind),
        "secretstores" => secrets(component, kind),
        _ => Vec::new(),
    }
}

/// Types are compared without regard to case.
fn found(table: &[(&[&str], &[&'static str])], kind: &str) -> Vec<&'static str> {
    let row = table.iter().find(|(kinds, _)| is_one_of(kinds, kind));
    row.map_or_else(Vec::new, |(_, capabilities)| capabilities.to_vec())
}

fn is_one_of(kinds: &[&str], kind: &str) -> bool {
    kinds.iter().any(|known| known.eq_ignore_ascii_case(kind))
}

fn state(component: &Component, kind: &str) -> Vec<&'static str> {
    let mut capabilities = found(STATE, kind);
    let is_given = |name| component.value(name).is_some_and(|value| !value.is_empty());
    if kind.eq_ignore_ascii_case("aws.dynamodb") && is_given("ttlAttributeName") {
        capabilities.push(TTL);
    }
    if capabilities.contains(&ETAG) && capabilities.contains(&TRANSACTIONAL) {
        capabilities.push(ACTOR);
    }
    capabilities
}

fn bindings(component: &Component, kind: &str) -> Vec<&'static str> {
    let directions = component.value("direction");
    let is_wanted = |direction: &str| {
        directions.is_none_or(|given| {
            given
                .split(',')
                .any(|one| one.trim().eq_ignore_ascii_case(direction))
        })
    };
    let is_both = is_one_of(BOTH, kind);
    let mut capabilities = Vec::new();
    if (is_both || is_one_of(INPUTS, kind)) && is_wanted("input") {
        capabilities.push(INPUT);
    }
    if (is_both || is_one_of(OUTPUTS, kind)) && is_wanted("output") {
        capabilities.push(OUTPUT);
    }
    capabilities
}

fn secrets(component: &Component, kind: &str) -> Vec<&'static str> {
    let is_on = |name| {
        component
            .value(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    };
    let has_fields = match kind.to_lowercase().as_str() {
        "local.file" => is_on("multiValued"),
        "aws.secretmanager" => is_on("multipleKeyValuesPerSecret"),
        "hashicorp.vault" => component.value("vaultValueType") != Some("text"),
        _ => false,
    };
    if has_fields {
        vec![MULTIPLE_KEY_VALUES]
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use resources::Item;

    use super::*;

    #[test]
    fn types_and_what_they_can_do() {
        for (kind, metadata, wanted) in [
            (
                "state.in-memory",
                None,
                "ETAG TRANSACTIONAL TTL DELETE_WITH_PREFIX KEYS_LIKE ACTOR",
            ),
            ("state.SQLite", None, "ETAG TRANSACTIONAL TTL KEYS_LIKE ACTOR"),
            ("state.redis", None, "ETAG TRANSACTIONAL TTL KEYS_LIKE ACTOR"),
            (
                "state.azure.cosmosdb",
                None,
                "ETAG TRANSACTIONAL QUERY_API TTL PARTITION_KEY ACTOR",
            ),
            ("state.aws.dynamodb", None, "ETAG TRANSACTIONAL ACTOR"),
            (
                "state.aws.dynamodb",
                Some(("ttlAttributeName", "t")),
                "ETAG TRANSACTIONAL TTL ACTOR",
            ),
            ("state.zookeeper", None, "ETAG"),
            ("state.jetstream", None, ""),
            ("state.nobody-knows", None, ""),
            ("pubsub.in-memory", None, "SUBSCRIBE_WILDCARDS"),
            ("pubsub.redis", None, ""),
            ("pubsub.azure.servicebus.topics", None, "MESSAGE_TTL BULK_PUBSUB"),
            ("bindings.cron", None, "INPUT_BINDING"),
            ("bindings.http", None, "OUTPUT_BINDING"),
            ("bindings.kafka", None, "INPUT_BINDING OUTPUT_BINDING"),
            ("bindings.kafka", Some(("direction", "Output")), "OUTPUT_BINDING"),
            (
                "bindings.kafka",
                Some(("direction", "input, output")),
                "INPUT_BINDING OUTPUT_BINDING",
            ),
            ("secretstores.local.env", None, ""),
            (
                "secretstores.local.file",
                Some(("MultiValued", "true")),
                "MULTIPLE_KEY_VALUES_PER_SECRET",
            ),
            (
                "secretstores.hashicorp.vault",
                None,
                "MULTIPLE_KEY_VALUES_PER_SECRET",
            ),
            (
                "secretstores.hashicorp.vault",
                Some(("vaultValueType", "text")),
                "",
            ),
            ("middleware.http.bearer", None, ""),
            ("nothing", None, ""),
        ] {
            let item = metadata.map(|(name, value): (&str, &str)| Item {
                name: name.to_owned(),
                value: Some(value.to_owned()),
                ..Item::default()
            });
            let component = Component {
                kind: kind.to_owned(),
                metadata: item.into_iter().collect(),
                ..Component::default()
            };
            assert_eq!(of(&component).join(" "), wanted, "{kind} {metadata:?}");
        }
    }

    #[test]
    fn no_type_stands_twice() {
        let of_table = |table: &[(&[&'static str], &[&str])]| {
            let kinds = table.iter().flat_map(|(kinds, _)| kinds.to_vec());
            kinds.collect::<Vec<_>>()
        };
        for kinds in [
            of_table(STATE),
            of_table(PUBSUB),
            [INPUTS, OUTPUTS, BOTH].concat(),
        ] {
            let mut once = kinds.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), kinds.len());
        }
    }
}
