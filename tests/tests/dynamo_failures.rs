//! Errors of a store whose table, network or credentials fail.

#![cfg(test)]

use std::ops::Range;
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use kcl_core::backend::{LeaseStore, LeaseStoreError};
use kcl_core::model::{LeaseKey, Presence, Timestamp};
use kcl_dynamo::{DynamoLeaseStore, DynamoLeaseStoreConfig, NewTable, TableSetup};
use kcl_tests::dynamodb::{DynamoDb, sdk, unique_table};
use kcl_tests::errors::chain;
use tokio::net::TcpListener;
use tokio::time::Instant;

#[tokio::test]
async fn missing_table_is_not_created() {
    let server = DynamoDb::embedded().await.unwrap();
    let store = DynamoLeaseStore::new(&server.sdk(), "no-such-table");
    for _ in 0..2 {
        let error = store.prepare().await.unwrap_err();
        assert!(matches!(error, LeaseStoreError::TableMissing { .. }), "{error:?}");
        assert!(!error.is_retryable());
        assert!(error.to_string().contains("\"no-such-table\""), "{error}");
    }
    let error = store.get(&LeaseKey::from("shardId-000000000000")).await.unwrap_err();
    assert!(matches!(error, LeaseStoreError::TableMissing { .. }), "{error:?}");
}

#[tokio::test]
async fn table_with_another_key_is_named() {
    let server = DynamoDb::embedded().await.unwrap();
    let text = ScalarAttributeType::S;
    let number = ScalarAttributeType::N;
    for (keys, found) in [
        (vec![("id", text.clone())], "\"id\" (S)"),
        (vec![("leaseKey", number.clone())], "\"leaseKey\" (N)"),
        (vec![("leaseKey", text), ("sort", number)], "\"leaseKey\" (S) and \"sort\" (N)"),
    ] {
        let table = unique_table();
        create_table(&server, &table, &keys).await;
        for setup in [TableSetup::MustExist, TableSetup::CreateIfMissing(NewTable::default())] {
            let config = DynamoLeaseStoreConfig::new(&table).with_setup(setup);
            let error = DynamoLeaseStore::new(&server.sdk(), config).prepare().await.unwrap_err();
            let LeaseStoreError::WrongKey { found: named, .. } = &error else {
                panic!("{error:?}")
            };
            assert_eq!(named, found);
            assert!(!error.is_retryable());
        }
    }
}

#[tokio::test]
async fn four_workers_create_one_table_concurrently() {
    let server = DynamoDb::embedded().await.unwrap();
    let began = Instant::now();
    for _ in 0..5 {
        let table = unique_table();
        let new = NewTable::default().with_tag("team", "orders").with_deletion_protection();
        let setup = TableSetup::CreateIfMissing(new);
        let config = DynamoLeaseStoreConfig::new(&table).with_setup(setup);
        let stores = [(); 4].map(|()| DynamoLeaseStore::new(&server.sdk(), config.clone()));
        let [a, b, c, d] = &stores;
        tokio::try_join!(a.prepare(), b.prepare(), c.prepare(), d.prepare()).unwrap();
        let client = server.client();
        let described = client.describe_table().table_name(&table).send().await.unwrap();
        let described = described.table.unwrap();
        assert_eq!(described.deletion_protection_enabled, Some(true));
        let mode = described.billing_mode_summary.unwrap().billing_mode;
        assert_eq!(mode, Some(BillingMode::PayPerRequest));
        let call = client.list_tags_of_resource().resource_arn(described.table_arn.unwrap());
        let answer = call.send().await.unwrap();
        let tags: Vec<_> = answer.tags().iter().map(|tag| (tag.key(), tag.value())).collect();
        assert_eq!(tags, [("team", "orders")]);
    }
    let elapsed = began.elapsed();
    assert!(elapsed < Duration::from_secs(5), "the table is ready at once: {elapsed:?}");
}

#[tokio::test]
async fn refusing_endpoint_is_unavailable_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let store = DynamoLeaseStore::new(&sdk(&endpoint), "leases");
    let began = Instant::now();
    let error = store.put_presence(&presence()).await.unwrap_err();
    assert!(matches!(error, LeaseStoreError::Unavailable { .. }), "{error:?}");
    assert!(error.is_retryable());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let chain = chain(&error);
    assert!(chain.contains("refused"), "{chain}");
}

/// A renewal must fail with time left for another one: within a third of the default expiry, 10 s.
#[tokio::test]
async fn silent_endpoint_is_unavailable_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let accept = async {
        let mut open = vec![];
        loop {
            open.push(listener.accept().await.unwrap());
        }
    };
    let by_default = DynamoLeaseStoreConfig::new("leases");
    let hasty = DynamoLeaseStoreConfig::new("leases")
        .with_attempt_timeout(Duration::from_millis(300))
        .with_operation_timeout(Duration::from_millis(700))
        .with_attempts_max(10);
    tokio::select! {
            () = accept => unreachable!("the server never stops accepting"),
    // Three attempts of a second each. The deadline cuts the last one short.
            () = fails_after(&endpoint, by_default, 2_100..3_300) => {}
        }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    // The listener never accepts: the connection waits in its queue.
    fails_after(&endpoint, hasty, 600..1_000).await;
}

async fn fails_after(endpoint: &str, config: DynamoLeaseStoreConfig, millis: Range<u128>) {
    let store = DynamoLeaseStore::new(&sdk(endpoint), config);
    let began = Instant::now();
    let error = store.put_presence(&presence()).await.unwrap_err();
    let elapsed = began.elapsed();
    assert!(matches!(error, LeaseStoreError::Unavailable { .. }), "{error:?}");
    assert!(millis.contains(&elapsed.as_millis()), "{elapsed:?}");
    let chain = chain(&error);
    assert!(chain.contains("timeout"), "{chain}");
}

#[tokio::test]
async fn missing_credentials_have_their_own_error() {
    let server = DynamoDb::embedded().await.unwrap();
    let without = server.sdk().into_builder();
    let mut without = without;
    without.set_credentials_provider(None);
    let store = DynamoLeaseStore::new(&without.build(), "leases");
    let prepared = store.prepare().await.unwrap_err();
    let written = store.put_presence(&presence()).await.unwrap_err();
    for error in [prepared, written] {
        let is_named = matches!(error, LeaseStoreError::CredentialsNotConfigured { .. });
        assert!(is_named, "{error:?}");
        assert!(!error.is_retryable());
        let chain = chain(&error);
        assert!(chain.contains("no provider of credentials"), "{chain}");
    }
}

async fn create_table(server: &DynamoDb, table: &str, keys: &[(&str, ScalarAttributeType)]) {
    let mut call = server.client().create_table().table_name(table);
    let kinds = [KeyType::Hash, KeyType::Range];
    for ((name, kind), key) in keys.iter().zip(kinds) {
        let attribute = AttributeDefinition::builder().attribute_name(*name);
        let element = KeySchemaElement::builder().attribute_name(*name).key_type(key);
        call = call
            .attribute_definitions(attribute.attribute_type(kind.clone()).build().unwrap())
            .key_schema(element.build().unwrap());
    }
    call.billing_mode(BillingMode::PayPerRequest).send().await.unwrap();
}

fn presence() -> Presence {
    let last_update = Timestamp::from_epoch_millis(1_767_225_630_000);
    Presence::new("host-a:00".into(), 1, Duration::from_secs(10), last_update)
}
