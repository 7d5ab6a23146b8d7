//! What a store says when its table, the network or its credentials are not as they must be.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use kcl_core::lease_store::{LeaseStore, LeaseStoreError};
use kcl_core::model::{LeaseKey, Presence, Timestamp};
use kcl_dynamo::{DynamoLeaseStore, DynamoLeaseStoreConfig, NewTable, TableSetup};
use kcl_tests::dynamodb::{DynamoDb, sdk, unique_table};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

#[tokio::test]
async fn a_missing_table_is_named_and_not_created() {
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
async fn a_table_with_another_key_is_refused_and_its_key_named() {
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
async fn four_workers_may_create_the_table_at_once() {
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
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "a table that is ready at once: {took:?}");
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_unavailable_at_once() {
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
async fn an_endpoint_that_never_answers_is_unavailable_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let accept = async {
        let mut open = vec![];
        loop {
            open.push(listener.accept().await.unwrap());
        }
    };
    let store = DynamoLeaseStore::new(&sdk(&endpoint), "leases");
    let began = Instant::now();
    let error = tokio::select! {
        () = accept => unreachable!("it accepts for ever"),
        outcome = async { store.put_presence(&presence()).await } => outcome.unwrap_err(),
    };
    let took = began.elapsed();
    assert!(matches!(error, LeaseStoreError::Unavailable { .. }), "{error:?}");
    assert!(took > Duration::from_secs(1), "no second attempt was made: {took:?}");
    assert!(took < Duration::from_millis(3_300), "{took:?}");
    let chain = chain(&error);
    assert!(chain.contains("timeout"), "{chain}");
}

#[tokio::test]
async fn no_credentials_are_told_as_such() {
    let server = DynamoDb::embedded().await.unwrap();
    let without = server.sdk().into_builder();
    let mut without = without;
    without.set_credentials_provider(None);
    let store = DynamoLeaseStore::new(&without.build(), "leases");
    let prepared = store.prepare().await.unwrap_err();
    let written = store.put_presence(&presence()).await.unwrap_err();
    for error in [prepared, written] {
        assert!(matches!(error, LeaseStoreError::Credentials { .. }), "{error:?}");
        assert!(!error.is_retryable());
        let chain = chain(&error);
        assert!(chain.contains("no provider of credentials"), "{chain}");
    }
}

/// The table of `kcl-dynamo/src/error.rs`, code by code, as the service answers.
#[tokio::test]
async fn every_code_of_the_service_is_sorted() {
    use LeaseStoreError as E;
    let is_throttled = |error: &E| matches!(error, E::Throttled { .. });
    let is_unavailable = |error: &E| matches!(error, E::Unavailable { .. });
    let is_credentials = |error: &E| matches!(error, E::Credentials { .. });
    let is_refused = |error: &E| matches!(error, E::Refused { .. });
    let is_denied =
        |error: &E| matches!(error, E::AccessDenied { action: "dynamodb:UpdateItem", .. });
    let is_missing = |error: &E| matches!(error, E::TableMissing { .. });
    let is_busy = |error: &E| matches!(error, E::TableNotReady { .. });
    let rows: [(u16, &str, &dyn Fn(&E) -> bool, bool); 15] = [
        (400, "ProvisionedThroughputExceededException", &is_throttled, true),
        (400, "ThrottlingException", &is_throttled, true),
        (400, "RequestLimitExceeded", &is_throttled, true),
        (400, "LimitExceededException", &is_throttled, true),
        (400, "ResourceNotFoundException", &is_missing, false),
        (400, "ResourceInUseException", &is_busy, true),
        (400, "AccessDeniedException", &is_denied, false),
        (400, "UnrecognizedClientException", &is_credentials, false),
        (400, "ExpiredTokenException", &is_credentials, false),
        (400, "InvalidSignatureException", &is_credentials, false),
        (400, "TransactionConflictException", &is_unavailable, true),
        (500, "InternalServerError", &is_unavailable, true),
        (503, "SomethingNew", &is_unavailable, true),
        (400, "ValidationException", &is_refused, false),
        (400, "SomethingNew", &is_refused, false),
    ];
    for (status, code, is_as_expected, is_retryable) in rows {
        let error = refused_with(status, code).await;
        assert!(is_as_expected(&error), "{status} {code}: {error:?}");
        assert_eq!(error.is_retryable(), is_retryable, "{code}");
        let chain = chain(&error);
        assert!(chain.contains("leases"), "{chain}");
        if !matches!(error, E::TableMissing { .. } | E::TableNotReady { .. }) {
            assert!(chain.contains(&format!("{code}: what the service says")), "{chain}");
        }
    }
}

/// What a write comes to if the service answers with this code, each time it is asked.
async fn refused_with(status: u16, code: &str) -> LeaseStoreError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let body = format!(
        "{{\"__type\":\"com.amazonaws.dynamodb.v20120810#{code}\",\
         \"message\":\"what the service says\"}}"
    );
    let answer = format!(
        "HTTP/1.1 {status} Refused\r\ncontent-type: application/x-amz-json-1.0\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let serve = async {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 64 * 1024];
            // The request fits in one packet; the answer does not depend on it.
            connection.read(&mut request).await.unwrap();
            connection.write_all(answer.as_bytes()).await.unwrap();
        }
    };
    let sdk: SdkConfig = sdk(&endpoint);
    let store = DynamoLeaseStore::new(&sdk, "leases");
    tokio::select! {
        () = serve => unreachable!("it serves for ever"),
        outcome = async { store.put_presence(&presence()).await } => outcome.unwrap_err(),
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
    Presence { worker: "host-a:00".into(), beat: 1, last_update }
}

/// The error with its causes, none of which may say again what the one before it said.
fn chain(error: &LeaseStoreError) -> String {
    let mut messages = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        messages.push(error.to_string());
        cause = error.source();
    }
    for (outer, inner) in messages.iter().zip(messages.iter().skip(1)) {
        assert!(!outer.contains(inner.as_str()), "printed twice: {messages:?}");
    }
    let counted = messages.iter().map(|message| (message.clone(), ())).collect::<BTreeMap<_, _>>();
    assert_eq!(counted.len(), messages.len(), "printed twice: {messages:?}");
    messages.join(": ")
}
