//! Tables with fleets of which everything is known, at 2026-11-28T09:41:00Z.

use std::path::Path;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
    ScalarAttributeType,
};
use kcl_core::model::{
    Checkpoint, HashKeyRange, Lease, LeaseCounter, LeaseKey, ShardId, Timestamp, WriteStamp,
};
use kcl_local::LocalStack;
use serde_json::Value;

/// When the fleets are looked at.
pub(crate) const NOW: &str = "2026-11-28T09:41:00Z";

type Attribute = (String, AttributeValue);

pub(crate) struct Tables {
    pub(crate) client: Client,
}

impl Tables {
    pub(crate) fn of(stack: &LocalStack) -> Self {
        Self { client: Client::new(&stack.sdk_config()) }
    }

    /// Creates a table with this hash key.
    pub(crate) async fn create(&self, table: &str, key: &str) {
        let attribute = AttributeDefinition::builder()
            .attribute_name(key)
            .attribute_type(ScalarAttributeType::S)
            .build()
            .unwrap();
        let schema = KeySchemaElement::builder().attribute_name(key).key_type(KeyType::Hash);
        let call = self.client.create_table().table_name(table).key_schema(schema.build().unwrap());
        let call = call.attribute_definitions(attribute).billing_mode(BillingMode::PayPerRequest);
        call.send().await.unwrap();
    }

    pub(crate) async fn put(&self, table: &str, row: impl IntoIterator<Item = Attribute>) {
        let item = row.into_iter().collect();
        self.client.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
    }

    /// The rows of a fleet of this library, of which shard 1 has no owner and that of shard 2 is
    /// dead. Shard 4 waits for shard 3.
    pub(crate) async fn orders(&self) {
        let table = "orders-consumer";
        self.create(table, "leaseKey").await;
        let mut free = lease(1, 4, "", 5);
        free.owner = None;
        let mut child = lease(4, 4, "", 0);
        (child.parents, child.counter, child.owner) = ([shard(3)].into(), LeaseCounter(0), None);
        (child.checkpoint, child.last_write) = (Checkpoint::TrimHorizon, None);
        (child.hash_range, child.caught_up_at) = (lease(3, 4, "", 0).hash_range, None);
        let leases = [
            lease(0, 4, "orders-a:00f1", 1),
            free,
            lease(2, 4, "orders-b:77c2", 41),
            lease(3, 4, "orders-a:00f1", 75),
            child,
        ];
        for lease in leases {
            self.put(table, kcl_dynamo::testing::write(&lease)).await;
        }
        self.put(table, worker("orders-a:00f1", 2)).await;
        self.put(table, worker("orders-b:77c2", 45)).await;
    }

    /// The rows of a Java fleet, as it wrote them.
    pub(crate) async fn java(&self, table: &str, file: &str) {
        self.create(table, "leaseKey").await;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/java-rows");
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
        for row in rows {
            let row = row.as_object().unwrap().iter();
            self.put(table, row.map(|(name, value)| (name.clone(), attribute(value)))).await;
        }
    }
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn shard(number: u64) -> ShardId {
    ShardId::of_number(number).unwrap()
}

/// A lease of `owner` that was caught up `lag` seconds ago.
fn lease(number: u64, count: u64, owner: &str, lag: u64) -> Lease {
    let part = u128::MAX / u128::from(count) + 1;
    let start = u128::from(number % count) * part;
    let sequence = "49590338271490256608559692538361571095921575989136588898";
    let checkpoint = Checkpoint::parse(sequence, 0).unwrap();
    let mut lease = Lease::new(LeaseKey::from(&shard(number)), LeaseCounter(4123), checkpoint);
    lease.owner = Some(owner.into());
    lease.hash_range = Some(HashKeyRange { start, end: start + (part - 1) });
    lease.expiry = Some(Duration::from_secs(10));
    lease.token = Some(LeaseCounter(4100).into());
    lease.caught_up_at = Some(now().before(Duration::from_secs(lag)));
    let stamp = WriteStamp { counter: lease.counter, worker: owner.into(), number: 7 };
    lease.last_write = Some(stamp);
    lease
}

/// The row of a worker that wrote it `wrote_ago` seconds ago.
fn worker(key: &str, wrote_ago: u64) -> Vec<Attribute> {
    let claims = now().before(Duration::from_secs(3_600 + wrote_ago)).epoch_seconds();
    let number = |number: i64| AttributeValue::N(number.to_string());
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let row = [
        ("leaseKey", text(key)),
        ("entityType", text("WORKER_METRIC_STATS")),
        ("lut", number(claims)),
        ("beat", number(900)),
        ("expiryMillis", number(10_000)),
        ("session", number(0)),
    ];
    row.map(|(name, value)| (name.to_owned(), value)).into()
}

fn attribute(json: &Value) -> AttributeValue {
    let (kind, value) = json.as_object().unwrap().iter().next().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = |value: &Value| value.as_array().unwrap().clone();
    match kind.as_str() {
        "S" => AttributeValue::S(text(value)),
        "N" => AttributeValue::N(text(value)),
        "SS" => AttributeValue::Ss(list(value).iter().map(text).collect()),
        "L" => AttributeValue::L(list(value).iter().map(attribute).collect()),
        "M" => {
            let map = value.as_object().unwrap().iter();
            AttributeValue::M(map.map(|(name, it)| (name.clone(), attribute(it))).collect())
        }
        other => panic!("no fixture has {other}"),
    }
}
