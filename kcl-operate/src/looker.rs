//! Reads a lease table, and the stream that it is for.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_types::SdkConfig;
use kcl_core::backend::{
    Clock as _, LeaseStore as _, LeaseStoreError, Page, PageToken, Reading, RecordSource as _,
    ShardFilter, SystemClock,
};
use kcl_core::model::{StreamName, Timestamp};
use kcl_dynamo::{DynamoLeaseStore, DynamoLeaseStoreConfig};
use kcl_kinesis::{KinesisSource, KinesisSourceConfig, StreamId};
use kcl_proto::operate::look::{Look, StreamFacts};
use tokio::time::sleep;

use crate::error::OperateError;
use crate::service_time::ServiceTime;

/// The most pages of 1 MB that are read.
const PAGES_MAX: usize = 200;

/// How long a page may take: people look over slow lines, and no lease waits for it.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a throttled page is read, and the pause in between.
const THROTTLED_MAX: usize = 4;
const THROTTLED_PAUSE: Duration = Duration::from_secs(1);

/// From which difference on this machine's clock is not used.
const CLOCK_OFF: Duration = Duration::from_secs(2);

/// Reads a lease table. It changes nothing.
#[derive(Clone, Debug)]
pub struct Looker {
    sdk: SdkConfig,
    store: DynamoLeaseStore,
    application: String,
    /// Replaces the time of looks, for reports of rows that stand still.
    at: Option<Timestamp>,
}

/// What a look found, and what it cost.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Looked {
    /// The rows.
    pub look: Look,
    /// The DynamoDB read units that it took.
    pub read_units: f64,
    /// How far this machine's clock is off, in seconds: positive if it is ahead.
    pub clock_ahead: i64,
}

impl Looker {
    /// Creates a looker at the table of this name or ARN. Makes no call.
    #[must_use]
    pub fn new(sdk: &SdkConfig, table: &str) -> Self {
        let mut config = DynamoLeaseStoreConfig::new(table)
            .with_one_region()
            .with_attempt_timeout(PAGE_TIMEOUT)
            .with_operation_timeout(PAGE_TIMEOUT * 3);
        config.connect_timeout = PAGE_TIMEOUT / 2;
        let application = table.rsplit('/').next().unwrap_or(table).to_owned();
        let store = DynamoLeaseStore::new(sdk, config);
        Self { sdk: sdk.clone(), store, application, at: None }
    }

    /// Makes reports as of `time`, whatever any clock says: for rows that stand still, such as
    /// copies.
    #[must_use]
    pub const fn at(mut self, time: Timestamp) -> Self {
        self.at = Some(time);
        self
    }

    /// Returns the application: the table's name.
    #[must_use]
    pub fn application(&self) -> &str {
        &self.application
    }

    /// Checks that the table is a lease table, and reads all of it.
    ///
    /// Needs `dynamodb:DescribeTable` and `dynamodb:Scan`. The reads are eventual: a row may be a
    /// second old, and 8 KB cost one read unit.
    ///
    /// # Errors
    /// If the table does not exist, is none of leases, may not be read, or does not answer.
    pub async fn look(&self) -> Result<Looked, OperateError> {
        self.store.prepare().await?;
        let clock_ahead = self.clock_ahead().await;
        let mut looked = Looked { look: Look::default(), read_units: 0.0, clock_ahead };
        let (mut from, mut pages) = (None, 0);
        loop {
            let page = self.page(from).await?;
            looked.read_units += page.read_units;
            pages += 1;
            from = page.next.clone();
            add(&mut looked.look, page);
            if from.is_none() {
                break;
            }
            if pages >= PAGES_MAX {
                let table = self.store.table().to_owned();
                return Err(OperateError::TooLarge { table, pages_max: PAGES_MAX });
            }
        }
        self.check(&looked.look)?;
        let now = SystemClock.time_of_day().epoch_millis() - clock_ahead * 1_000;
        looked.look.at = self.at.unwrap_or_else(|| Timestamp::from_epoch_millis(now));
        Ok(looked)
    }

    /// Reads a page. A throttled one is read again.
    async fn page(&self, from: Option<PageToken>) -> Result<Page, LeaseStoreError> {
        let mut throttled = 0;
        loop {
            match self.store.scan(from.clone(), Reading::Eventual).await {
                Err(error) if error.is_throttled() && throttled + 1 < THROTTLED_MAX => {
                    throttled += 1;
                    sleep(THROTTLED_PAUSE).await;
                }
                page => return page,
            }
        }
    }

    /// Returns how far this machine's clock is off, in seconds, as far as a whole second tells.
    async fn clock_ahead(&self) -> i64 {
        let time = ServiceTime::default();
        let call = Client::new(&self.sdk).describe_table().table_name(self.store.table());
        drop(call.customize().interceptor(time.clone()).send().await);
        let mine = SystemClock.time_of_day();
        let ahead = time.get().map_or(0, |time| mine.epoch_seconds() - time.epoch_seconds());
        if ahead.unsigned_abs() > CLOCK_OFF.as_secs() { ahead } else { 0 }
    }

    /// A table of something else may happen to have the key of a lease table.
    fn check(&self, look: &Look) -> Result<(), OperateError> {
        let is_known = look.leases.is_empty()
            && look.sessions.is_empty()
            && look.stream_starts.is_empty()
            && look.java.is_empty();
        match look.unreadable.first() {
            Some(row) if is_known => Err(OperateError::NotALeaseTable {
                table: self.store.table().to_owned(),
                rows: look.unreadable.len(),
                key: row.key.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Reads the stream: its shards, and how long it keeps records.
    ///
    /// Needs `kinesis:DescribeStreamSummary` and `kinesis:ListShards`.
    ///
    /// # Errors
    /// If the stream does not exist, may not be read, or does not answer.
    pub async fn stream(&self, stream: StreamId) -> Result<StreamFacts, OperateError> {
        let source = KinesisSource::with_config(&self.sdk, KinesisSourceConfig::new(stream));
        let description = source.describe().await?;
        let shards = source.list_shards(ShardFilter::All).await?;
        let (name, retention): (StreamName, _) = (description.name, description.retention);
        Ok(StreamFacts { name, shards, retention })
    }
}

fn add(look: &mut Look, page: Page) {
    look.leases.extend(page.leases.into_iter().map(|lease| (lease.key.clone(), lease)));
    look.sessions.extend(page.sessions.into_iter().map(|row| (row.worker.clone(), row)));
    look.stream_starts.extend(page.stream_starts);
    look.java.extend(page.java);
    look.unreadable.extend(page.unreadable);
}
