//! Why a look failed, and what to do.

use std::fmt;

use kcl_core::backend::{LeaseStoreError, SourceError};
use thiserror::Error;

/// Why a look failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OperateError {
    /// The lease table could not be read.
    #[error(transparent)]
    Table(#[from] LeaseStoreError),
    /// The stream could not be read. The table can be looked at without it.
    #[error(transparent)]
    Stream(#[from] SourceError),
    /// The table has more pages than a lease table ever has. It is a table of something else.
    #[error("table {table:?} has over {pages_max} MB: name a lease table")]
    TooLarge {
        /// The table.
        table: String,
        /// The most pages of 1 MB that are read.
        pages_max: usize,
    },
    /// The table has the key of a lease table, and none of its rows is one of a lease table.
    #[error(
        "table {table:?} is not a lease table: none of its {rows} rows is a lease, such as {key:?}: \
         name another table"
    )]
    NotALeaseTable {
        /// The table.
        table: String,
        /// How many rows it has.
        rows: usize,
        /// The key of one.
        key: String,
    },
    /// The tables of the account could not be listed.
    #[error("access denied to dynamodb:ListTables: grant it, or name the application")]
    ListDenied {
        /// The service's error.
        #[source]
        source: kcl_core::BoxError,
    },
    /// The tables of the account could not be listed, for another reason.
    #[error("the tables of the account could not be listed")]
    List {
        /// The service's error.
        #[source]
        source: kcl_core::BoxError,
    },
}

/// What a caller does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "each kind has an exit code of its own")]
pub enum ErrorKind {
    /// Look at the message.
    Failed,
    /// Grant a permission, or renew the credentials.
    Access,
}

/// A statement to add to a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyLine {
    /// The action, such as `dynamodb:Scan`.
    pub action: &'static str,
    /// The resource that it is needed on.
    pub resource: String,
}

/// A statement of a policy in JSON.
impl fmt::Display for PolicyLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, resource } = self;
        write!(f, r#"{{"Effect":"Allow","Action":"{action}","Resource":"{resource}"}}"#)
    }
}

impl OperateError {
    /// Returns what a caller does about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Table(
                LeaseStoreError::AccessDenied { .. }
                | LeaseStoreError::Credentials { .. }
                | LeaseStoreError::CredentialsNotConfigured { .. },
            )
            | Self::Stream(
                SourceError::AccessDenied { .. }
                | SourceError::Credentials { .. }
                | SourceError::CredentialsNotConfigured { .. },
            )
            | Self::ListDenied { .. } => ErrorKind::Access,
            Self::Table(_)
            | Self::Stream(_)
            | Self::TooLarge { .. }
            | Self::NotALeaseTable { .. }
            | Self::List { .. } => ErrorKind::Failed,
        }
    }

    /// Returns the statement that would have let the call through; `None` if a permission is not
    /// what is missing.
    #[must_use]
    pub fn policy_line(&self) -> Option<PolicyLine> {
        let (action, resource) = match self {
            Self::Table(LeaseStoreError::AccessDenied { table, action, .. }) => {
                (*action, arn(table, "dynamodb", "table"))
            }
            Self::Stream(SourceError::AccessDenied { stream, action, .. }) => {
                (*action, arn(stream, "kinesis", "stream"))
            }
            Self::ListDenied { .. } => ("dynamodb:ListTables", "*".to_owned()),
            Self::Table(_)
            | Self::Stream(_)
            | Self::TooLarge { .. }
            | Self::NotALeaseTable { .. }
            | Self::List { .. } => return None,
        };
        Some(PolicyLine { action, resource })
    }
}

/// Returns the ARN of a table or stream that may be one already.
fn arn(name: &str, service: &str, kind: &str) -> String {
    if name.starts_with("arn:") {
        name.to_owned()
    } else {
        format!("arn:aws:{service}:*:*:{kind}/{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denied_action_becomes_a_line_of_a_policy() {
        let (table, action) = ("orders-consumer".to_owned(), "dynamodb:Scan");
        let denied = LeaseStoreError::AccessDenied { table, action, source: "no".into() };
        let error = OperateError::from(denied);
        assert_eq!(error.kind(), ErrorKind::Access);
        let line = r#"{"Effect":"Allow","Action":"dynamodb:Scan","Resource":"arn:aws:dynamodb:*:*:table/orders-consumer"}"#;
        assert_eq!(error.policy_line().unwrap().to_string(), line);
        let missing = LeaseStoreError::TableMissing { table: "x".to_owned() };
        assert_eq!(OperateError::from(missing).policy_line(), None);
    }
}
