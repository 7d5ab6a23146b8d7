//! Notes of processors that work on single records: when each is begun and done.

use kcl_core::{Record, ShardContext};

use crate::journal::{Entry, Journal, Ownership};

/// Takes the notes of one worker's processors. Clones are the same.
///
/// The oracles read them: a record may be begun only when those of its partition key before it are
/// done.
#[derive(Clone, Debug)]
pub struct Notes {
    journal: Journal,
}

impl Notes {
    pub(super) const fn new(journal: Journal) -> Self {
        Self { journal }
    }

    /// Takes the notes of one processor.
    #[must_use]
    pub fn of(&self, shard: &ShardContext) -> ShardNotes {
        ShardNotes { journal: self.journal.clone(), of: Ownership::of(shard.info()) }
    }
}

/// Takes the notes of one processor. Clones are the same.
#[derive(Clone, Debug)]
pub struct ShardNotes {
    journal: Journal,
    of: Ownership,
}

impl ShardNotes {
    /// Work on a record begins.
    pub fn begin(&self, record: &Record) {
        self.journal.log(Entry::Begun { of: self.of.clone(), record: record.position });
    }

    /// A record is done.
    pub fn done(&self, record: &Record) {
        self.journal.log(Entry::Done { of: self.of.clone(), record: record.position });
    }
}
