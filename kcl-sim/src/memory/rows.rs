//! The rows of a lease table in memory.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use kcl_core::backend::{JavaRow, LeaseStoreError, Page, PageToken};
use kcl_core::model::{Bulletin, Lease, LeaseKey, Session, StreamName, StreamStart, WorkerId};

/// The name of the table in errors.
pub(super) const TABLE: &str = "memory";

/// All rows by key. As in DynamoDB, all kinds of rows share one key space.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) rows: BTreeMap<String, Row>,
    /// What the last writes replaced, newest last.
    undo: VecDeque<(String, Option<Row>)>,
    pub(super) undo_max: usize,
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all rows are leases")]
pub(super) enum Row {
    Lease(Lease),
    Session(Session),
    Stream(StreamStart),
    Java(JavaRow),
}

impl Table {
    pub(super) fn set(&mut self, key: String, row: Option<Row>) {
        let old = match row {
            Some(row) => self.rows.insert(key.clone(), row),
            None => self.rows.remove(&key),
        };
        if self.undo_max > 0 {
            self.undo.push_back((key, old));
            let surplus = self.undo.len().saturating_sub(self.undo_max);
            self.undo.drain(..surplus);
        }
    }

    pub(super) fn lease(&self, key: &LeaseKey) -> Result<Option<&Lease>, LeaseStoreError> {
        match self.rows.get(key.as_str()) {
            None => Ok(None),
            Some(Row::Lease(lease)) => Ok(Some(lease)),
            Some(Row::Session(_) | Row::Stream(_) | Row::Java(_)) => {
                Err(unreadable(key.as_str(), "the row is not a lease"))
            }
        }
    }

    /// A Java row of that key is not a stream start.
    pub(super) fn start(
        &self,
        stream: &StreamName,
    ) -> Result<Option<&StreamStart>, LeaseStoreError> {
        match self.rows.get(stream.as_str()) {
            None | Some(Row::Java(_)) => Ok(None),
            Some(Row::Stream(start)) => Ok(Some(start)),
            Some(Row::Lease(_) | Row::Session(_)) => {
                Err(unreadable(stream.as_str(), "the row is not a stream start"))
            }
        }
    }

    /// Changes the bulletin of a stream, if `change` returns a new one. Returns it.
    pub(super) fn change_bulletin(
        &mut self,
        stream: &StreamName,
        change: impl FnOnce(&Bulletin) -> Option<Bulletin>,
    ) -> Option<Bulletin> {
        let Some(Row::Stream(start)) = self.rows.get(stream.as_str()) else { return None };
        let bulletin = change(&start.bulletin)?;
        let mut start = start.clone();
        start.bulletin = bulletin.clone();
        self.set(stream.to_string(), Some(Row::Stream(start)));
        Some(bulletin)
    }

    /// A Java row of that key is not a session.
    pub(super) fn session(&self, worker: &WorkerId) -> Result<Option<&Session>, LeaseStoreError> {
        match self.rows.get(worker.as_str()) {
            None | Some(Row::Java(_)) => Ok(None),
            Some(Row::Session(session)) => Ok(Some(session)),
            Some(Row::Lease(_) | Row::Stream(_)) => {
                Err(unreadable(worker.as_str(), "the row is not a worker's"))
            }
        }
    }

    /// Returns the rows as they were before the last `lag` writes.
    pub(super) fn before(&self, lag: usize) -> BTreeMap<String, Row> {
        let mut rows = self.rows.clone();
        for (key, old) in self.undo.iter().rev().take(lag) {
            match old {
                Some(row) => rows.insert(key.clone(), row.clone()),
                None => rows.remove(key),
            };
        }
        rows
    }
}

pub(super) fn after(from: Option<&PageToken>) -> Bound<&str> {
    from.map_or(Bound::Unbounded, |PageToken(key)| Bound::Excluded(key.as_str()))
}

/// Reads a page. Returns it, and how many rows it has.
pub(super) fn page(
    rows: &BTreeMap<String, Row>,
    from: Option<&PageToken>,
    rows_max: usize,
) -> (Page, usize) {
    let mut page = Page::default();
    let mut rest = rows.range::<str, _>((after(from), Bound::Unbounded)).peekable();
    let mut read: usize = 0;
    let mut last = None;
    for (key, row) in rest.by_ref().take(rows_max) {
        add(&mut page, row);
        read += 1;
        last = Some(key);
    }
    if rest.peek().is_some() {
        page.next = last.cloned().map(PageToken);
    }
    (page, read)
}

/// Adds a row to a page.
pub(super) fn add(page: &mut Page, row: &Row) {
    match row.clone() {
        Row::Lease(lease) => page.leases.push(lease),
        Row::Session(session) => page.sessions.push(session),
        Row::Stream(start) => page.stream_starts.push(start),
        Row::Java(row) => page.java.push(row),
    }
}

pub(super) fn unreadable(key: &str, problem: &str) -> LeaseStoreError {
    LeaseStoreError::Unreadable {
        table: TABLE.to_owned(),
        key: key.to_owned(),
        problem: problem.to_owned(),
    }
}
