//! Describes, checks and, on request, creates the table.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;
use aws_sdk_dynamodb::operation::update_continuous_backups::UpdateContinuousBackupsError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndexDescription, IndexStatus,
    KeySchemaElement, KeyType, MultiRegionConsistency, PointInTimeRecoverySpecification,
    ReplicaDescription, ScalarAttributeType, TableDescription, TableStatus, Tag,
};
use kcl_core::backend::LeaseStoreError;
use kcl_proto::consumer::backoff::Backoff;
use tokio::time::{sleep, timeout};

use crate::config::{DynamoLeaseStoreConfig, NewTable, TableSetup};
use crate::error::lease_store_error;
use crate::item::LEASE_KEY;

/// The timeout of an attempt. It is long, because the first credentials may be slow.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The preparation of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table<'a> {
    /// The store's client.
    pub(crate) client: &'a Client,
    /// The store's settings.
    pub(crate) config: &'a DynamoLeaseStoreConfig,
}

impl Table<'_> {
    /// Waits, within the prepare timeout, until the table is ready.
    pub(crate) async fn prepare(self) -> Result<(), LeaseStoreError> {
        let mut status = "not described".to_owned();
        let ready = timeout(self.config.prepare_timeout, self.wait(&mut status)).await;
        ready.unwrap_or_else(|_| {
            Err(LeaseStoreError::TableNotReady { table: self.config.table.clone(), status })
        })
    }

    /// Describes the table until it is ready. `status` is its last state.
    async fn wait(self, status: &mut String) -> Result<(), LeaseStoreError> {
        let mut pauses = Backoff::TABLE_STATUS.pauses();
        loop {
            match (self.describe().await?, &self.config.setup) {
                (None, TableSetup::MustExist) => return Err(self.missing()),
                (None, TableSetup::CreateIfMissing(new)) => {
                    "created, not listed yet".clone_into(status);
                    if self.create(new).await? {
                        continue;
                    }
                }
                (Some(table), setup) => {
                    self.check_key(&table)?;
                    self.check_replicas(&table)?;
                    let busy = unready(&table);
                    let is_ready = busy.is_none();
                    *status = busy.unwrap_or_else(|| "waiting for its backups".to_owned());
                    if is_ready && self.protect(setup).await? {
                        return Ok(());
                    }
                }
            }
            sleep(pauses.next().unwrap_or_default()).await; // The pauses never end.
        }
    }

    async fn describe(self) -> Result<Option<TableDescription>, LeaseStoreError> {
        let call = self.client.describe_table().table_name(&self.config.table);
        match call.customize().config_override(self.timeouts()).send().await {
            Ok(output) => Ok(output.table),
            Err(error) => match error.as_service_error() {
                Some(DescribeTableError::ResourceNotFoundException(_)) => Ok(None),
                _ => {
                    let action = "dynamodb:DescribeTable";
                    Err(lease_store_error(&self.config.table, action, error))
                }
            },
        }
    }

    /// Creates the table. Returns `false` if another worker creates it at the same time.
    async fn create(self, new: &NewTable) -> Result<bool, LeaseStoreError> {
        let key = AttributeDefinition::builder()
            .attribute_name(LEASE_KEY)
            .attribute_type(ScalarAttributeType::S)
            .build();
        let schema =
            KeySchemaElement::builder().attribute_name(LEASE_KEY).key_type(KeyType::Hash).build();
        let mut call = self
            .client
            .create_table()
            .table_name(&self.config.table)
            .attribute_definitions(key.expect("both parts are set"))
            .key_schema(schema.expect("both parts are set"))
            .billing_mode(BillingMode::PayPerRequest);
        // The request names only what is configured: tags need a permission of their own.
        if new.deletion_protection {
            call = call.deletion_protection_enabled(true);
        }
        for (key, value) in &new.tags {
            let tag = Tag::builder().key(key).value(value).build();
            call = call.tags(tag.expect("both parts are set"));
        }
        match call.customize().config_override(self.timeouts()).send().await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(CreateTableError::ResourceInUseException(_)) => Ok(false),
                _ => {
                    let action = "dynamodb:CreateTable";
                    Err(lease_store_error(&self.config.table, action, error))
                }
            },
        }
    }

    /// Enables point-in-time recovery if it is configured. Returns `false` if it is too early.
    async fn protect(self, setup: &TableSetup) -> Result<bool, LeaseStoreError> {
        match setup {
            TableSetup::CreateIfMissing(new) if new.point_in_time_recovery => {}
            TableSetup::CreateIfMissing(_) | TableSetup::MustExist => return Ok(true),
        }
        let recovery = PointInTimeRecoverySpecification::builder()
            .point_in_time_recovery_enabled(true)
            .build()
            .expect("the required part is set");
        let call = self
            .client
            .update_continuous_backups()
            .table_name(&self.config.table)
            .point_in_time_recovery_specification(recovery);
        match call.customize().config_override(self.timeouts()).send().await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                // Backups of a new table are unavailable for its first seconds.
                Some(UpdateContinuousBackupsError::ContinuousBackupsUnavailableException(_)) => {
                    Ok(false)
                }
                _ => {
                    let action = "dynamodb:UpdateContinuousBackups";
                    Err(lease_store_error(&self.config.table, action, error))
                }
            },
        }
    }

    fn check_key(self, table: &TableDescription) -> Result<(), LeaseStoreError> {
        let kind = |name: &str| {
            table
                .attribute_definitions()
                .iter()
                .find(|definition| definition.attribute_name() == name)
                .map_or("of unknown type", |definition| definition.attribute_type().as_str())
        };
        match table.key_schema() {
            [hash] if hash.attribute_name() == LEASE_KEY && kind(LEASE_KEY) == "S" => Ok(()),
            keys => {
                let found: Vec<String> = keys
                    .iter()
                    .map(|key| {
                        format!("{:?} ({})", key.attribute_name(), kind(key.attribute_name()))
                    })
                    .collect();
                let table = self.config.table.clone();
                Err(LeaseStoreError::WrongKey { table, found: found.join(" and ") })
            }
        }
    }

    fn check_replicas(self, table: &TableDescription) -> Result<(), LeaseStoreError> {
        let is_strong = table.multi_region_consistency() == Some(&MultiRegionConsistency::Strong);
        if self.config.one_region || is_strong || table.replicas().is_empty() {
            return Ok(());
        }
        let regions = table.replicas().iter().filter_map(ReplicaDescription::region_name);
        let regions = regions.collect::<Vec<_>>().join(", ");
        Err(LeaseStoreError::Replicated { table: self.config.table.clone(), regions })
    }

    fn missing(self) -> LeaseStoreError {
        LeaseStoreError::TableMissing { table: self.config.table.clone() }
    }

    /// Returns the timeouts of calls about the table, which are longer than those about leases.
    fn timeouts(self) -> Builder {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.config.connect_timeout)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT.min(self.config.prepare_timeout))
            .operation_timeout(self.config.prepare_timeout)
            .build();
        Builder::default().timeout_config(timeouts)
    }
}

/// Returns why a table is not ready; `None` if it is.
///
/// A table is not ready while an index is being created: a starting Java fleet creates one and
/// waits for it.
fn unready(table: &TableDescription) -> Option<String> {
    match table.table_status() {
        None | Some(TableStatus::Active | TableStatus::Updating) => {}
        Some(busy) => return Some(busy.as_str().to_owned()),
    }
    let is_new = |index: &&GlobalSecondaryIndexDescription| {
        index.index_status() == Some(&IndexStatus::Creating)
    };
    let index = table.global_secondary_indexes().iter().find(is_new)?;
    Some(format!("creating the index {}", index.index_name().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: TableStatus, index: Option<IndexStatus>, expected: Option<&str>) {
        let index = index.map(|status| {
            GlobalSecondaryIndexDescription::builder().index_name("i").index_status(status).build()
        });
        let table = TableDescription::builder()
            .table_status(status)
            .set_global_secondary_indexes(index.map(|index| vec![index]))
            .build();
        assert_eq!(unready(&table).as_deref(), expected);
    }

    #[test]
    fn table_is_not_ready_while_it_or_its_index_is_created() {
        check(TableStatus::Active, None, None);
        check(TableStatus::Updating, None, None);
        check(TableStatus::Creating, None, Some("CREATING"));
        check(TableStatus::Deleting, None, Some("DELETING"));
        check(TableStatus::Updating, Some(IndexStatus::Creating), Some("creating the index i"));
        check(TableStatus::Active, Some(IndexStatus::Creating), Some("creating the index i"));
        check(TableStatus::Active, Some(IndexStatus::Active), None);
        check(TableStatus::Updating, Some(IndexStatus::Deleting), None);
    }
}
