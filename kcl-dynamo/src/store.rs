//! `DynamoLeaseStore`: builds an expression, sends it, converts the answer.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::RequestId;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::{
    AttributeValue, ConsumedCapacity, KeysAndAttributes, ReturnConsumedCapacity, ReturnValue,
    ReturnValuesOnConditionCheckFailure,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_types::SdkConfig;
use kcl_aws::{Attempts, FreshCredentials};
use kcl_core::backend::{
    Bulletin, Conditional, LeaseStore, LeaseStoreError, LeaseWrite, Page, PageToken, Publication,
    Reading, SessionWrite,
};
use kcl_core::config::{InvalidSetting, LeaseConfig};
use kcl_core::model::{Lease, LeaseKey, Presence, Session, StreamName, StreamStart, WorkerId};

use crate::attributes::{Item, Problem, number, size_bytes, text};
use crate::config::{DynamoLeaseStoreConfig, NewTable, TableSetup};
use crate::error::{credentials_error, lease_store_error, of_write};
use crate::expression::{Expression, Request, request};
use crate::item::{ENTITY_TYPE, LEASE_COUNTER, LEASE_KEY, START_POSITION, key_of};
use crate::page::Row;
use crate::session::ENTITY_WORKER;
use crate::stream::{BOOTSTRAPPED, ENTITY_STREAM, STREAM_ID};
use crate::table::Table;
use crate::{bulletin, page, session, stream};

/// The bytes of a consistent read that one read unit pays for; of an eventual one it pays for twice
/// as many.
///
/// Source: DynamoDB developer guide, "Read consumption": 4 KB.
const READ_UNIT_BYTES: usize = 4_096;

/// How long `prepare` waits for the first credentials before it returns that there are none yet.
const CREDENTIALS_READY: Duration = Duration::from_secs(10);

/// Leases in a DynamoDB table, in the format of the Java KCL.
///
/// The store has its own client: lease traffic does not share connections with other calls of the
/// process, so that these cannot delay a renewal. Credentials are loaded ahead of time, on a thread
/// that all clients of one `SdkConfig` share. Clones share the client.
#[derive(Clone, Debug)]
pub struct DynamoLeaseStore {
    client: Client,
    config: DynamoLeaseStoreConfig,
    credentials: FreshCredentials,
}

impl DynamoLeaseStore {
    /// Creates a store in the table that `config` names; a table's name is a `config` with all
    /// defaults.
    ///
    /// The store uses region, credentials and endpoint of `sdk`, and ignores its timeouts and
    /// retries, because a lease cannot wait as long as other calls can. If `sdk` names an HTTP
    /// client, the store shares it with every other user of that client.
    #[must_use]
    pub fn new(sdk: &SdkConfig, config: impl Into<DynamoLeaseStoreConfig>) -> Self {
        let config = config.into();
        let credentials = FreshCredentials::new(sdk, config.attempt_timeout);
        Self { client: config.client(sdk, credentials.clone()), config, credentials }
    }

    /// Creates the table, billed by request, if it is missing.
    ///
    /// The short form of [`TableSetup::CreateIfMissing`] with its defaults.
    #[must_use]
    pub fn create_if_missing(mut self) -> Self {
        self.config.setup = TableSetup::CreateIfMissing(NewTable::default());
        self
    }

    /// Returns the table's name.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.config.table
    }

    async fn item(&self, key: &str) -> Result<Option<Item>, LeaseStoreError> {
        let call = self.client.get_item().table_name(self.table()).set_key(Some(key_of(key)));
        match call.consistent_read(true).send().await {
            Ok(output) => Ok(output.item),
            Err(error) => Err(self.failed("dynamodb:GetItem", error)),
        }
    }

    /// Makes a conditional write. `read` reads a row of the kind that it writes.
    async fn make<T>(
        &self,
        key: &str,
        request: Request,
        read: impl Fn(&Item) -> Result<T, LeaseStoreError>,
    ) -> Result<Conditional<T>, LeaseStoreError> {
        let outcome = match request {
            Request::Put(item, expression) => self.put(item, expression).await?,
            Request::Update(expression) => self.update(key, expression).await?,
            Request::Delete(expression) => self.delete(key, expression).await?,
        };
        let found = match outcome {
            Outcome::Made(Some(item)) => return Ok(Conditional::Applied(read(&item)?)),
            Outcome::Made(None) => {
                return Err(self.unreadable(key.to_owned(), &Problem::missing(LEASE_KEY)));
            }
            Outcome::Refused(Some(item)) => Some(item),
            Outcome::Refused(None) => self.item(key).await?, // The server did not return the row.
        };
        Ok(Conditional::Lost { found: found.map(|item| read(&item)).transpose()? })
    }

    async fn update(&self, key: &str, expression: Expression) -> Result<Outcome, LeaseStoreError> {
        let call = self
            .client
            .update_item()
            .table_name(self.table())
            .set_key(Some(key_of(key)))
            .update_expression(expression.update())
            .condition_expression(expression.condition())
            .set_expression_attribute_names(Some(expression.names.into_iter().collect()))
            .set_expression_attribute_values(values(expression.values))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let attempts = Attempts::default();
        match call.customize().interceptor(attempts.clone()).send().await {
            Ok(UpdateItemOutput { attributes, .. }) => Ok(Outcome::Made(attributes)),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(Outcome::Refused(failed.item().cloned()))
                }
                _ => Err(of_write(self.failed("dynamodb:UpdateItem", error), &attempts)),
            },
        }
    }

    async fn put(&self, item: Item, expression: Expression) -> Result<Outcome, LeaseStoreError> {
        let call = self
            .client
            .put_item()
            .table_name(self.table())
            .set_item(Some(item.clone()))
            .condition_expression(expression.condition())
            .set_expression_attribute_names(Some(expression.names.into_iter().collect()))
            .set_expression_attribute_values(values(expression.values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let attempts = Attempts::default();
        match call.customize().interceptor(attempts.clone()).send().await {
            Ok(_) => Ok(Outcome::Made(Some(item))),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(Outcome::Refused(failed.item().cloned()))
                }
                _ => Err(of_write(self.failed("dynamodb:PutItem", error), &attempts)),
            },
        }
    }

    async fn delete(&self, key: &str, expression: Expression) -> Result<Outcome, LeaseStoreError> {
        let call = self
            .client
            .delete_item()
            .table_name(self.table())
            .set_key(Some(key_of(key)))
            .condition_expression(expression.condition())
            .set_expression_attribute_names(Some(expression.names.into_iter().collect()))
            .set_expression_attribute_values(values(expression.values))
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let attempts = Attempts::default();
        match call.customize().interceptor(attempts.clone()).send().await {
            Ok(output) => Ok(Outcome::Made(output.attributes)),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(Outcome::Refused(failed.item().cloned()))
                }
                _ => Err(of_write(self.failed("dynamodb:DeleteItem", error), &attempts)),
            },
        }
    }

    fn lease(&self, item: &Item) -> Result<Lease, LeaseStoreError> {
        match page::read(item) {
            Ok(Row::Lease(lease)) => Ok(*lease),
            Ok(Row::Session(_) | Row::Stream(_) | Row::Java(_)) => {
                Err(self.unreadable(page::key(item), &not_a(ENTITY_TYPE, "a lease's")))
            }
            Err(problem) => Err(self.unreadable(page::key(item), &problem)),
        }
    }

    fn worker(&self, item: &Item) -> Result<Session, LeaseStoreError> {
        match page::read(item) {
            Ok(Row::Session(session)) => Ok(*session),
            Ok(Row::Lease(_) | Row::Stream(_) | Row::Java(_)) => {
                Err(self.unreadable(page::key(item), &not_a(ENTITY_TYPE, ENTITY_WORKER)))
            }
            Err(problem) => Err(self.unreadable(page::key(item), &problem)),
        }
    }

    /// Returns the start in a stream's row; `None` if the row is Java's and has none.
    fn start(&self, item: &Item) -> Result<Option<StreamStart>, LeaseStoreError> {
        match page::read(item) {
            Ok(Row::Stream(start)) => Ok(Some(start)),
            Ok(Row::Java(row)) if row.entity == ENTITY_STREAM => Ok(None),
            Ok(Row::Lease(_) | Row::Session(_) | Row::Java(_)) => {
                Err(self.unreadable(page::key(item), &not_a(ENTITY_TYPE, "a stream's")))
            }
            Err(problem) => Err(self.unreadable(page::key(item), &problem)),
        }
    }

    fn unreadable(&self, key: String, problem: &Problem) -> LeaseStoreError {
        let table = self.config.table.clone();
        LeaseStoreError::Unreadable { table, key, problem: problem.to_string() }
    }

    fn failed<E>(&self, action: &'static str, error: SdkError<E, HttpResponse>) -> LeaseStoreError
    where
        E: std::error::Error + ProvideErrorMetadata + RequestId + Send + Sync + 'static,
    {
        let error = lease_store_error(self.table(), action, error);
        if matches!(error, LeaseStoreError::Credentials { .. }) {
            self.credentials.renew();
        }
        error
    }
}

#[async_trait]
impl LeaseStore for DynamoLeaseStore {
    fn validate(&self, leases: &LeaseConfig) -> Vec<InvalidSetting> {
        self.config.validate(leases)
    }

    async fn prepare(&self) -> Result<(), LeaseStoreError> {
        // The first credentials may take long; calls do not wait for them as long as this.
        if let Err(error) = self.credentials.ready(CREDENTIALS_READY).await {
            return Err(credentials_error(self.table(), error));
        }
        Table { client: &self.client, config: &self.config }.prepare().await
    }

    async fn scan(
        &self,
        from: Option<PageToken>,
        reading: Reading,
    ) -> Result<Page, LeaseStoreError> {
        let call = self
            .client
            .scan()
            .table_name(self.table())
            .consistent_read(reading == Reading::Consistent)
            .set_exclusive_start_key(from.map(|PageToken(key)| key_of(&key)))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let output = match call.send().await {
            Ok(output) => output,
            Err(error) => return Err(self.failed("dynamodb:Scan", error)),
        };
        let consumed = output.consumed_capacity().and_then(ConsumedCapacity::capacity_units);
        let mut page = page::sort(output.items());
        page.read_units = consumed.unwrap_or_else(|| estimated_read_units(output.items(), reading));
        // The table has no sort key, so the last key is one string.
        page.next = output.last_evaluated_key().map(|key| PageToken(page::key(key)));
        Ok(page)
    }

    /// DynamoDB leaves out keys that it has no capacity for, and those beyond 16 MB. If it reads
    /// none at all, the call is throttled.
    async fn rows(&self, keys: &[String], reading: Reading) -> Result<Page, LeaseStoreError> {
        // DynamoDB refuses a key that occurs twice, and a read of no keys.
        let keys: BTreeSet<&String> = keys.iter().collect();
        if keys.is_empty() {
            return Ok(Page::default());
        }
        let table = || self.table().to_owned();
        let wanted = KeysAndAttributes::builder()
            .set_keys(Some(keys.iter().map(|key| key_of(key)).collect()))
            .consistent_read(reading == Reading::Consistent)
            .build()
            .map_err(|error| LeaseStoreError::Refused { table: table(), source: error.into() })?;
        let call = self
            .client
            .batch_get_item()
            .request_items(self.table(), wanted)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let output = match call.send().await {
            Ok(output) => output,
            Err(error) => return Err(self.failed("dynamodb:BatchGetItem", error)),
        };
        let left_out = output.unprocessed_keys().into_iter().flat_map(|tables| tables.values());
        if left_out.map(|left| left.keys().len()).sum::<usize>() >= keys.len() {
            let source = "no key was processed".into();
            return Err(LeaseStoreError::Throttled { table: table(), source });
        }
        let consumed = output.consumed_capacity().iter();
        let consumed = consumed.filter_map(ConsumedCapacity::capacity_units);
        let consumed = consumed.reduce(|one, next| one + next);
        // No other table was asked for.
        let tables = output.responses.unwrap_or_default();
        let items: Vec<Item> = tables.into_values().flatten().collect();
        let mut page = page::sort(&items);
        // Each row is billed for itself.
        let estimate = || items.chunks(1).map(|item| estimated_read_units(item, reading)).sum();
        page.read_units = consumed.unwrap_or_else(estimate);
        Ok(page)
    }

    async fn get(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        let item = self.item(key.as_str()).await?;
        item.map(|item| self.lease(&item)).transpose()
    }

    async fn write(&self, write: &LeaseWrite) -> Result<Conditional, LeaseStoreError> {
        self.make(write.key.as_str(), request(write), |item| self.lease(item)).await
    }

    async fn stream_start(
        &self,
        stream: &StreamName,
    ) -> Result<Option<StreamStart>, LeaseStoreError> {
        let item = self.item(stream.as_str()).await?;
        item.map_or(Ok(None), |item| self.start(&item))
    }

    async fn create_stream_start(
        &self,
        start: &StreamStart,
    ) -> Result<StreamStart, LeaseStoreError> {
        let key = start.stream.as_str();
        let mut expression = Expression::default();
        // Java may have created the row, with the stream's id only: the id stays.
        expression.must_be_absent_or(ENTITY_TYPE, text(ENTITY_STREAM));
        expression.must_be_absent(START_POSITION);
        expression.must_be_absent(LEASE_COUNTER);
        for (name, value) in stream::attributes(start) {
            expression.set(name, value);
        }
        if let Some(id) = &start.id {
            expression.set_if_absent(STREAM_ID, text(id));
        }
        let stored = match self.update(key, expression).await? {
            Outcome::Made(item) => item,
            Outcome::Refused(Some(item)) => Some(item),
            Outcome::Refused(None) => self.item(key).await?,
        };
        let stored = stored.map_or(Ok(None), |item| self.start(&item))?;
        stored.ok_or_else(|| self.unreadable(key.to_owned(), &Problem::missing(START_POSITION)))
    }

    async fn mark_bootstrapped(&self, stream: &StreamName) -> Result<(), LeaseStoreError> {
        let key = stream.as_str();
        let mut expression = Expression::default();
        expression.must_exist(START_POSITION);
        expression.set(BOOTSTRAPPED, AttributeValue::Bool(true));
        match self.update(key, expression).await? {
            Outcome::Made(_) => Ok(()),
            Outcome::Refused(_) => {
                Err(self.unreadable(key.to_owned(), &Problem::missing(START_POSITION)))
            }
        }
    }

    async fn publish(
        &self,
        stream: &StreamName,
        publication: &Publication,
    ) -> Result<Option<Bulletin>, LeaseStoreError> {
        let key = stream.as_str();
        let item = match self.update(key, bulletin::publish(publication)).await? {
            Outcome::Made(item) => item,
            Outcome::Refused(_) => return Ok(None),
        };
        let stored = item.map_or(Ok(None), |item| self.start(&item))?;
        let stored = stored.map(|start| Some(start.bulletin));
        stored.ok_or_else(|| self.unreadable(key.to_owned(), &Problem::missing(START_POSITION)))
    }

    async fn ring(
        &self,
        stream: &StreamName,
        news: &BTreeSet<String>,
    ) -> Result<(), LeaseStoreError> {
        if !news.is_empty() {
            self.update(stream.as_str(), bulletin::ring(news)).await?;
        }
        Ok(())
    }

    async fn session(&self, worker: &WorkerId) -> Result<Option<Session>, LeaseStoreError> {
        let item = self.item(worker.as_str()).await?;
        item.map(|item| self.worker(&item)).transpose()
    }

    async fn write_session(
        &self,
        write: &SessionWrite,
    ) -> Result<Conditional<Session>, LeaseStoreError> {
        let request = session::request(write);
        self.make(write.session.as_str(), request, |item| self.worker(item)).await
    }

    async fn put_presence(&self, presence: &Presence) -> Result<(), LeaseStoreError> {
        let key = presence.worker.as_str();
        let mut expression = not_a_lease();
        for (name, value) in session::presence(presence) {
            expression.set(name, value);
        }
        match self.update(key, expression).await? {
            Outcome::Made(_) => Ok(()),
            Outcome::Refused(_) => {
                Err(self.unreadable(key.to_owned(), &not_a(ENTITY_TYPE, ENTITY_WORKER)))
            }
        }
    }

    async fn delete_presence(
        &self,
        worker: &WorkerId,
        beat: Option<u64>,
    ) -> Result<(), LeaseStoreError> {
        let mut expression = not_a_lease();
        expression.must_be_absent_or(session::SESSION, number(0));
        if let Some(beat) = beat {
            expression.must_be(session::BEAT, number(beat));
        }
        match self.delete(worker.as_str(), expression).await? {
            Outcome::Made(_) => Ok(()),
            Outcome::Refused(_) if beat.is_some() => Ok(()),
            // A session stays. What is no worker's row is an error.
            Outcome::Refused(found) => found.map_or(Ok(()), |item| self.worker(&item).map(drop)),
        }
    }
}

/// The outcome of a conditional write.
enum Outcome {
    /// The write was made. The row after it or, for a delete, before it.
    Made(Option<Item>),
    /// The condition failed. The row, if the server returns it.
    Refused(Option<Item>),
}

/// Requires that the row is not a lease: a worker named like a shard must not overwrite one.
fn not_a_lease() -> Expression {
    let mut expression = Expression::default();
    expression.must_be_absent(LEASE_COUNTER);
    expression
}

fn not_a(name: &str, expected: &str) -> Problem {
    Problem::value(name, "another kind of row", expected)
}

/// Returns the values; `None` if there are none, because DynamoDB refuses an empty map.
fn values(values: std::collections::BTreeMap<String, AttributeValue>) -> Option<Item> {
    (!values.is_empty()).then(|| values.into_iter().collect())
}

/// Estimates the read units of these items, for a server that does not report them.
fn estimated_read_units(items: &[Item], reading: Reading) -> f64 {
    let bytes: usize = items.iter().map(size_bytes).sum();
    let units = u32::try_from(bytes.div_ceil(READ_UNIT_BYTES)).unwrap_or(u32::MAX);
    match reading {
        Reading::Eventual => f64::from(units) / 2.0,
        Reading::Consistent => f64::from(units),
    }
}
