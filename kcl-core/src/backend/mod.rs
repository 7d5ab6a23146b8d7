//! What a backend implements: [`LeaseStore`], [`RecordSource`], [`DeadLetter`], [`Clock`].

mod clock;
mod dead_letter;
mod lease_store;
mod record_source;

pub use kcl_proto::consumer::read_size::COPIES_DEFAULT;
pub use kcl_proto::lease::precondition::{Field, Precondition};
pub use kcl_proto::lease::session_write::{
    SessionEffect, SessionPrecondition, SessionUpdate, SessionWrite, SessionWriteKind,
};
pub use kcl_proto::lease::write::{Change, Effect, LeaseWrite, Progress, Update, WriteKind};
pub use kcl_proto::model::{
    Bulletin, Conditional, JavaRow, Publication, ReadFrom, ShardFilter, UnreadableRow,
};

pub use clock::{Clock, SystemClock};
pub use dead_letter::{DeadLetter, FailedRecord, FileDeadLetter};
pub use lease_store::{LeaseStore, LeaseStoreError, Page, PageToken, ROWS_MAX, Reading};
pub use record_source::{Fetched, RecordSource, Retrieval, ShardClosed, ShardReader, SourceError};
