//! Answers that no available server gives on request, and the requests behind them.

#![cfg(test)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcl_core::backend::{Conditional, LeaseStore, LeaseStoreError, Reading};
use kcl_core::backend::{LeaseWrite, WriteKind};
use kcl_core::model::{LeaseCounter, LeaseKey, Presence, Timestamp};
use kcl_dynamo::{DynamoLeaseStore, DynamoLeaseStoreConfig, NewTable, TableSetup};
use kcl_tests::dynamodb::sdk;
use kcl_tests::errors::chain;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const LEASE: &str = r#"{"leaseKey":{"S":"shardId-000000000000"},"entityType":{"S":"LEASE"},"leaseCounter":{"N":"7"},"ownerSwitchesSinceCheckpoint":{"N":"0"},"checkpoint":{"S":"TRIM_HORIZON"}}"#;

type Is<'a> = &'a dyn Fn(&LeaseStoreError) -> bool;

/// Covers the table of `kcl-dynamo/src/error.rs`, code by code.
#[tokio::test]
async fn every_service_code_is_classified() {
    use LeaseStoreError as E;
    let is_throttled = |error: &E| matches!(error, E::Throttled { .. });
    let is_unavailable = |error: &E| matches!(error, E::Unavailable { .. });
    let is_credentials = |error: &E| matches!(error, E::Credentials { .. });
    let is_clock = |error: &E| matches!(error, E::Clock { .. });
    let is_refused = |error: &E| matches!(error, E::Refused { .. });
    let is_denied =
        |error: &E| matches!(error, E::AccessDenied { action: "dynamodb:UpdateItem", .. });
    let is_missing = |error: &E| matches!(error, E::TableMissing { .. });
    let is_busy = |error: &E| matches!(error, E::TableNotReady { .. });
    let rows: [(u16, &str, Is<'_>, bool); 18] = [
        (400, "ProvisionedThroughputExceededException", &is_throttled, true),
        (400, "ThrottlingException", &is_throttled, true),
        (400, "RequestLimitExceeded", &is_throttled, true),
        (400, "LimitExceededException", &is_throttled, true),
        (400, "ResourceNotFoundException", &is_missing, false),
        (400, "ResourceInUseException", &is_busy, true),
        (400, "AccessDeniedException", &is_denied, false),
        (400, "UnrecognizedClientException", &is_credentials, false),
        (400, "ExpiredTokenException", &is_credentials, false),
        (400, "InvalidSignatureException", &is_clock, true),
        (400, "SignatureDoesNotMatch", &is_clock, true),
        (400, "RequestExpired", &is_clock, true),
        (400, "RequestTimeTooSkewed", &is_clock, true),
        (400, "TransactionConflictException", &is_unavailable, true),
        (500, "InternalServerError", &is_unavailable, true),
        (503, "SomethingNew", &is_unavailable, true),
        (400, "ValidationException", &is_refused, false),
        (400, "SomethingNew", &is_refused, false),
    ];
    for (status, code, is_as_expected, is_retryable) in rows {
        let server = Scripted::answering(vec![(status, error(code))]).await;
        let store = DynamoLeaseStore::new(&sdk(&server.endpoint), "leases");
        let expiry = Duration::from_secs(10);
        let presence = Presence::new("host-a:00".into(), 1, expiry, Timestamp::default());
        let error = store.put_presence(&presence).await.unwrap_err();
        assert!(is_as_expected(&error), "{status} {code}: {error:?}");
        assert_eq!(error.is_retryable(), is_retryable, "{code}");
        let chain = chain(&error);
        assert!(chain.contains("leases"), "{chain}");
        if !matches!(error, E::TableMissing { .. } | E::TableNotReady { .. }) {
            assert!(chain.contains(&format!("{code}: what the service says")), "{chain}");
        }
    }
}

/// The SDK's own retries would multiply the calls while there is too little capacity.
#[tokio::test]
async fn throttled_calls_are_sent_once() {
    let refused = (400, error("ProvisionedThroughputExceededException"));
    let server = Scripted::answering(vec![refused]).await;
    let store = DynamoLeaseStore::new(&sdk(&server.endpoint), "leases");
    let error = store.write(&take()).await.unwrap_err();
    assert!(matches!(error, LeaseStoreError::Throttled { .. }), "{error:?}");
    assert_eq!(server.requests().len(), 1);
    let error = store.scan(None, Reading::Eventual).await.unwrap_err();
    assert!(matches!(error, LeaseStoreError::Throttled { .. }), "{error:?}");
    assert_eq!(server.requests().len(), 2);
}

/// `Throttled` says that the write was not made. An earlier copy of this one may have been.
#[tokio::test]
async fn write_that_was_sent_before_it_was_throttled_is_unknown() {
    let failed = (500, error("InternalServerError"));
    let throttled = (400, error("ProvisionedThroughputExceededException"));
    let server = Scripted::answering(vec![failed, throttled]).await;
    let store = DynamoLeaseStore::new(&sdk(&server.endpoint), "leases");
    let error = store.write(&take()).await.unwrap_err();
    assert!(matches!(error, LeaseStoreError::Unavailable { .. }), "{error:?}");
    let chain = chain(&error);
    assert!(chain.contains("ProvisionedThroughputExceededException"), "{chain}");
    assert_eq!(server.requests().len(), 2);
}

/// A read that concludes a loss must not be stale; one that only hints may be.
#[tokio::test]
async fn gets_are_consistent_and_scans_as_requested() {
    let item = format!("{{\"Item\":{LEASE}}}");
    let page = format!("{{\"Items\":[{LEASE},{LEASE}],\"Count\":2,\"ScannedCount\":2}}");
    let answers = vec![(200, item), (200, "{}".to_owned()), (200, page.clone()), (200, page)];
    let server = Scripted::answering(answers).await;
    let store = DynamoLeaseStore::new(&sdk(&server.endpoint), "leases");
    assert!(store.get(&key()).await.unwrap().is_some());
    assert!(store.stream_start(&"orders".into()).await.unwrap().is_none());
    let page = store.scan(None, Reading::Eventual).await.unwrap();
    assert_eq!(page.leases.len(), 2);
    assert!((page.read_units - 0.5).abs() < 0.01, "estimated: {}", page.read_units);
    let page = store.scan(None, Reading::Consistent).await.unwrap();
    assert!((page.read_units - 1.0).abs() < 0.01, "estimated: {}", page.read_units);
    let [get, start, scan, fresh] = &server.requests()[..] else {
        panic!("{:?}", server.requests())
    };
    for consistent in [get, start, fresh] {
        assert!(consistent.contains("\"ConsistentRead\":true"), "{consistent}");
    }
    assert!(scan.contains("\"ConsistentRead\":false"), "{scan}");
    assert!(scan.contains("\"ReturnConsumedCapacity\":\"TOTAL\""), "{scan}");
}

/// A batch read leaves out what the service had no capacity for. It is throttled if that is all.
#[tokio::test]
async fn batch_read_is_throttled_if_the_service_reads_nothing() {
    let key = |key: &str| format!("{{\"leaseKey\":{{\"S\":\"{key}\"}}}}");
    let answer = |items: &str, left: &[&str], more: &str| {
        let left: Vec<_> = left.iter().copied().map(key).collect();
        let left = format!("{{\"leases\":{{\"Keys\":[{}]}}}}", left.join(","));
        let left = if left.contains("leaseKey") { left } else { "{}".to_owned() };
        let answer = format!("\"Responses\":{{\"leases\":[{items}]}},\"UnprocessedKeys\":{left}");
        (200, format!("{{{answer}{more}}}"))
    };
    let (first, missing) = ("shardId-000000000000", "shardId-000000000001");
    let consumed = ",\"ConsumedCapacity\":[{\"TableName\":\"leases\",\"CapacityUnits\":7.5}]";
    let server = Scripted::answering(vec![
        answer(LEASE, &[], consumed),
        answer(LEASE, &[missing], ""),
        answer("", &[first], ""),
        answer("", &[first, missing], ""),
        (400, error("AccessDeniedException")),
    ])
    .await;
    let store = DynamoLeaseStore::new(&sdk(&server.endpoint), "leases");
    let keys = [first, missing, first].map(String::from);
    let read = async |reading| store.rows(&keys, reading).await;
    let page = read(Reading::Eventual).await.unwrap();
    assert_eq!((page.leases.len(), page.read_units), (1, 7.5));
    let page = read(Reading::Consistent).await.unwrap();
    assert_eq!((page.leases.len(), page.read_units), (1, 1.0), "estimated");
    assert_eq!(read(Reading::Eventual).await.unwrap().leases, [], "the other one was read");
    let error = read(Reading::Eventual).await.unwrap_err();
    assert!(matches!(error, LeaseStoreError::Throttled { .. }), "{error:?}");
    let error = read(Reading::Eventual).await.unwrap_err();
    let is_denied =
        matches!(error, LeaseStoreError::AccessDenied { action: "dynamodb:BatchGetItem", .. });
    assert!(is_denied, "{error:?}");
    let requests = server.requests();
    assert_eq!(requests.len(), 5, "left out keys are not read again: {requests:?}");
    assert!(requests[0].contains("\"ConsistentRead\":false"), "{}", requests[0]);
    assert!(requests[0].contains("\"ReturnConsumedCapacity\":\"TOTAL\""), "{}", requests[0]);
    assert!(requests[1].contains("\"ConsistentRead\":true"), "{}", requests[1]);
    assert_eq!(requests[0].matches(first).count(), 1, "{}", requests[0]);
    assert_eq!(store.rows(&[], Reading::Eventual).await.unwrap().read_units, 0.0);
    store.ring(&"orders".into(), &[].into()).await.unwrap();
    assert_eq!(server.requests().len(), 5, "nothing to read or to write is no call");
}

/// A server that does not know `ReturnValuesOnConditionCheckFailure` leaves the row out.
#[tokio::test]
async fn lost_write_without_a_row_reads_it() {
    let answers = vec![
        (400, error("ConditionalCheckFailedException")),
        (200, format!("{{\"Item\":{LEASE}}}")),
    ];
    let server = Scripted::answering(answers).await;
    let store = DynamoLeaseStore::new(&sdk(&server.endpoint), "leases");
    let outcome = store.write(&take()).await.unwrap();
    let Conditional::Lost { found: Some(found) } = outcome else { panic!("{outcome:?}") };
    assert_eq!(found.counter, LeaseCounter(7));
    let [update, get] = &server.requests()[..] else { panic!("{:?}", server.requests()) };
    let old = "\"ReturnValuesOnConditionCheckFailure\":\"ALL_OLD\"";
    assert!(update.contains(old), "{update}");
    assert!(get.contains("\"ConsistentRead\":true"), "{get}");
}

/// Covers the steps that take a while in the service: the table, then its backups.
#[tokio::test]
async fn new_table_is_awaited_then_protected() {
    let answers = vec![
        (200, described("CREATING")),
        (200, described("ACTIVE")),
        (400, error("ContinuousBackupsUnavailableException")),
        (200, described("ACTIVE")),
        (200, "{}".to_owned()),
    ];
    let server = Scripted::answering(answers).await;
    let new = NewTable::default().with_point_in_time_recovery();
    let config = DynamoLeaseStoreConfig::new("leases").with_setup(TableSetup::CreateIfMissing(new));
    DynamoLeaseStore::new(&sdk(&server.endpoint), config).prepare().await.unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 5, "{requests:?}");
    let last = requests.last().unwrap();
    assert!(last.contains("\"PointInTimeRecoveryEnabled\":true"), "{last}");
}

/// Conditional writes of a global table hold within one region only.
#[tokio::test]
async fn replicated_table_is_refused_unless_all_workers_run_in_one_region() {
    let replicas = r#""Replicas":[{"RegionName":"us-east-1"},{"RegionName":"eu-west-1"}],"#;
    let strong = format!("{replicas}\"MultiRegionConsistency\":\"STRONG\",");
    let described = |more: &str| {
        described("ACTIVE").replacen("\"KeySchema\"", &format!("{more}\"KeySchema\""), 1)
    };
    let config = DynamoLeaseStoreConfig::new("leases");
    for (more, one_region, refused) in [
        (replicas, false, true),
        (replicas, true, false),
        (&strong, false, false),
        ("", false, false),
    ] {
        let server = Scripted::answering(vec![(200, described(more))]).await;
        let mut config = config.clone();
        config.one_region = one_region;
        let prepared = DynamoLeaseStore::new(&sdk(&server.endpoint), config).prepare().await;
        let error = prepared.err();
        let is_refused = matches!(&error, Some(LeaseStoreError::Replicated { regions, .. })
            if regions == "us-east-1, eu-west-1");
        assert_eq!(is_refused, refused, "{more}: {error:?}");
        assert!(refused || error.is_none(), "{error:?}");
    }
}

#[tokio::test]
async fn table_that_never_becomes_ready_times_out() {
    for status in ["CREATING", "DELETING"] {
        let server = Scripted::answering(vec![(200, described(status))]).await;
        let config =
            DynamoLeaseStoreConfig::new("leases").with_prepare_timeout(Duration::from_millis(400));
        let store = DynamoLeaseStore::new(&sdk(&server.endpoint), config);
        let error = store.prepare().await.unwrap_err();
        assert!(error.is_retryable());
        assert_eq!(error.to_string(), format!("lease table \"leases\" is {status}, not ready"));
        let looks = server.requests().len();
        assert!((3..20).contains(&looks), "{looks} looks");
    }
}

fn described(status: &str) -> String {
    format!(
        "{{\"Table\":{{\"TableName\":\"leases\",\"TableStatus\":\"{status}\",\
         \"KeySchema\":[{{\"AttributeName\":\"leaseKey\",\"KeyType\":\"HASH\"}}],\
         \"AttributeDefinitions\":[{{\"AttributeName\":\"leaseKey\",\"AttributeType\":\"S\"}}]}}}}"
    )
}

fn error(code: &str) -> String {
    format!(
        "{{\"__type\":\"com.amazonaws.dynamodb.v20120810#{code}\",\
         \"message\":\"what the service says\"}}"
    )
}

fn take() -> LeaseWrite {
    let kind = WriteKind::sample_take(LeaseCounter(3), 1);
    LeaseWrite { key: key(), worker: "host-a:00".into(), number: 1, kind }
}

fn key() -> LeaseKey {
    LeaseKey::from("shardId-000000000000")
}

/// A server that gives one answer after the other, and repeats the last one.
struct Scripted {
    endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    #[expect(clippy::disallowed_methods, reason = "the server's task ends with the test")]
    async fn answering(answers: Vec<(u16, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(vec![]));
        let seen = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            let last = answers.last().cloned().unwrap();
            let mut answers = answers.into_iter();
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let request = request(&mut connection).await;
                seen.lock().unwrap().push(request);
                let (status, body) = answers.next().unwrap_or_else(|| last.clone());
                let head = format!(
                    "HTTP/1.1 {status} Answer\r\ncontent-type: application/x-amz-json-1.0\r\n\
                     content-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                connection.write_all(head.as_bytes()).await.unwrap();
                connection.write_all(body.as_bytes()).await.unwrap();
            }
        });
        Self { endpoint, requests, task }
    }

    /// Returns the bodies of all requests so far.
    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Reads a request to its end. Returns its body.
async fn request(connection: &mut TcpStream) -> String {
    let mut bytes = vec![];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.unwrap().parse().unwrap() {
                return body.to_owned();
            }
        }
        assert_ne!(connection.read_buf(&mut bytes).await.unwrap(), 0, "half a request");
    }
}
