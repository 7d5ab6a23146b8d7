//! The lease tables of an account.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata as _};
use aws_sdk_dynamodb::types::KeyType;
use aws_types::SdkConfig;
use kcl_aws::CodeKind;

use crate::error::OperateError;

/// The hash key of every lease table.
const LEASE_KEY: &str = "leaseKey";

/// The most tables of an account that are looked at.
const TABLES_MAX: usize = 10_000;

/// Returns the names of the tables whose key is that of a lease table, in order. Tables that may
/// not be described are left out.
///
/// Calls `ListTables` once for 100 tables, and `DescribeTable` once for each: neither costs
/// capacity.
///
/// # Errors
/// If the tables cannot be listed.
pub async fn lease_tables(sdk: &SdkConfig) -> Result<Vec<String>, OperateError> {
    let client = Client::new(sdk);
    let mut found = Vec::new();
    let (mut from, mut seen) = (None, 0);
    loop {
        let page = client.list_tables().set_exclusive_start_table_name(from).send().await;
        let page = page.map_err(|error| {
            let code = error.code().map(str::to_owned).unwrap_or_default();
            let source = DisplayErrorContext(error).to_string().into();
            match CodeKind::of(&code) {
                Some(CodeKind::AccessDenied) => OperateError::ListDenied { source },
                Some(_) | None => OperateError::List { source },
            }
        })?;
        seen += page.table_names().len();
        for table in page.table_names() {
            if is_lease_table(&client, table).await {
                found.push(table.clone());
            }
        }
        from = page.last_evaluated_table_name;
        if from.is_none() || seen >= TABLES_MAX {
            return Ok(found);
        }
    }
}

async fn is_lease_table(client: &Client, table: &str) -> bool {
    let Ok(reply) = client.describe_table().table_name(table).send().await else { return false };
    let Some(described) = reply.table else { return false };
    match described.key_schema() {
        [key] => key.attribute_name() == LEASE_KEY && *key.key_type() == KeyType::Hash,
        _ => false,
    }
}
