//! The types of components that Dapr 1.18 has: facts, to tell a misspelt one from one that does nothing here.

/// By category, without it.
const TYPES: &[(&str, &[&str])] = &[
    (
        "bindings",
        &[
            "alicloud.dingtalk.webhook",
            "alicloud.dubbo",
            "alicloud.oss",
            "alicloud.sls",
            "alicloud.tablestore",
            "apns",
            "aws.dynamodb",
            "aws.kinesis",
            "aws.s3",
            "aws.ses",
            "aws.sns",
            "aws.sqs",
            "azure.blobstorage",
            "azure.cosmosdb",
            "azure.cosmosdb.gremlinapi",
            "azure.eventgrid",
            "azure.eventhubs",
            "azure.openai",
            "azure.servicebus.queues",
            "azure.servicebusqueues",
            "azure.signalr",
            "azure.storagequeues",
            "cloudflare.queues",
            "commercetools",
            "cron",
            "dingtalk.webhook",
            "dubbo",
            "gcp.bucket",
            "gcp.pubsub",
            "graphql",
            "http",
            "huawei.obs",
            "influx",
            "kafka",
            "kubemq",
            "kubernetes",
            "localstorage",
            "mqtt",
            "mqtt3",
            "mysql",
            "postgres",
            "postgresql",
            "postmark",
            "rabbitmq",
            "redis",
            "rethinkdb.statechange",
            "rocketmq",
            "sftp",
            "smtp",
            "twilio.sendgrid",
            "twilio.sms",
            "wasm",
            "zeebe.command",
            "zeebe.jobworker",
        ],
    ),
    (
        "configuration",
        &["azure.appconfig", "kubernetes", "postgres", "postgresql", "redis"],
    ),
    (
        "conversation",
        &[
            "anthropic",
            "aws.bedrock",
            "deepseek",
            "echo",
            "googleai",
            "huggingface",
            "mistral",
            "ollama",
            "openai",
        ],
    ),
    (
        "crypto",
        &[
            "azure.keyvault",
            "dapr.jwks",
            "dapr.kubernetes.secrets",
            "dapr.localstorage",
        ],
    ),
    ("lock", &["redis"]),
    (
        "pubsub",
        &[
            "aws.snssqs",
            "azure.eventhubs",
            "azure.servicebus",
            "azure.servicebus.queues",
            "azure.servicebus.topics",
            "azure.servicebusqueues",
            "gcp.pubsub",
            "in-memory",
            "jetstream",
            "kafka",
            "kubemq",
            "mqtt",
            "mqtt3",
            "pulsar",
            "rabbitmq",
            "redis",
            "rocketmq",
            "snssqs",
            "solace.amqp",
        ],
    ),
    (
        "secretstores",
        &[
            "alicloud.parameterstore",
            "aws.parameterstore",
            "aws.secretmanager",
            "azure.keyvault",
            "gcp.secretmanager",
            "hashicorp.vault",
            "huaweicloud.csms",
            "kubernetes",
            "local.env",
            "local.file",
            "spiffeprobe",
            "tencentcloud.ssm",
        ],
    ),
    (
        "state",
        &[
            "aerospike",
            "alicloud.tablestore",
            "aws.dynamodb",
            "azure.blobstorage",
            "azure.cosmosdb",
            "azure.tablestorage",
            "cassandra",
            "cloudflare.workerskv",
            "cockroachdb",
            "coherence",
            "consul",
            "couchbase",
            "etcd",
            "gcp.firestore",
            "hashicorp.consul",
            "hazelcast",
            "in-memory",
            "jetstream",
            "memcached",
            "mongodb",
            "mysql",
            "oci.objectstorage",
            "oracledatabase",
            "postgres",
            "postgresql",
            "ravendb",
            "redis",
            "rethinkdb",
            "spiffeprobe",
            "sqlite",
            "sqlite3",
            "sqlserver",
            "yugabyte",
            "yugabytedb",
            "zookeeper",
        ],
    ),
];

/// Types that have another name by now.
const RENAMED: &[(&str, &str)] = &[
    (
        "bindings.azure.servicebusqueues",
        "bindings.azure.servicebus.queues",
    ),
    ("bindings.mqtt", "bindings.mqtt3"),
    ("pubsub.azure.servicebus", "pubsub.azure.servicebus.topics"),
    ("pubsub.azure.servicebusqueues", "pubsub.azure.servicebus.queues"),
    ("pubsub.mqtt", "pubsub.mqtt3"),
    ("pubsub.snssqs", "pubsub.aws.snssqs"),
    ("state.sqlite3", "state.sqlite"),
];

/// All of them, with those of middleware.
pub fn all() -> impl Iterator<Item = String> {
    let others = TYPES.iter().flat_map(|(category, names)| {
        let full = move |name: &&str| format!("{category}.{name}");
        names.iter().map(full)
    });
    others.chain(middleware::known_types())
}

/// Whether there is such a type; case does not matter.
pub fn is_known(kind: &str) -> bool {
    all().any(|known| known.eq_ignore_ascii_case(kind))
}

/// What a type is called by now.
pub fn renamed(kind: &str) -> Option<&'static str> {
    let renamed = RENAMED.iter().find(|(old, _)| old.eq_ignore_ascii_case(kind));
    renamed.map(|(_, new)| *new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        for (kind, wanted) in [
            ("state.redis", true),
            ("State.Redis", true),
            ("middleware.http.bearer", true),
            ("state.rediss", false),
            ("redis", false),
        ] {
            assert_eq!(is_known(kind), wanted, "{kind}");
        }
        assert!(RENAMED.iter().all(|(old, new)| is_known(old) && is_known(new)));
    }
}
