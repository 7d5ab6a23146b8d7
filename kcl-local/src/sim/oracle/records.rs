//! Promises about records: order, parents first, one deliverer.

use kcl_core::model::{Position, WorkerId};

use super::super::journal::Ownership;
use super::super::time::Time;
use super::{Facts, Oracle};

impl Facts {
    pub(super) fn polled(&mut self, at: Time, of: &Ownership) {
        let is_exclusive = self.is_exclusive();
        let facts = self.shards.entry(of.shard.clone()).or_default();
        if facts.is_disturbed {
            return; // Tokens begin anew with a row that somebody deleted.
        }
        let (last, since) = facts.polled.unwrap_or((0, at));
        if of.token >= last {
            let since = if of.token == last { since } else { at };
            facts.polled = Some((of.token, since));
            return;
        }
        let overlaps = at > since;
        self.check(at, Oracle::OneDeliverer, !overlaps || !is_exclusive, || {
            format!("{of} is polled, though owner @{last} has been since {since} s")
        });
    }

    pub(super) fn delivered(
        &mut self,
        at: Time,
        (who, of): (&WorkerId, &Ownership),
        records: &[Position],
    ) {
        self.parents_first(at, of);
        let (is_automatic, is_recreated) = (self.is_automatic, self.is_recreated);
        let (facts, owner) = self.ownership((who, of));
        let is_ended = facts.is_ended;
        // An ownership that was never seen to begin: its row was deleted meanwhile.
        let Some(mut owner) = owner else { return };
        let places: Vec<_> = records.iter().map(|record| facts.place(*record)).collect();
        if is_recreated && owner.next == 0 && places.iter().all(Option::is_none) {
            facts.is_of_another_stream = true;
            return;
        }
        let first = places.first().copied().flatten();
        let rises = places.windows(2).all(|pair| match pair {
            [Some(one), Some(next)] => *next == *one + 1,
            _ => false,
        });
        let (expected, trimmed) = (owner.next.max(facts.trimmed), facts.trimmed);
        let oldest = if is_automatic { owner.processed } else { 0 };
        let fits =
            first.is_some_and(|first| first <= expected && (first >= oldest || first >= trimmed));
        if let Some(first) = first {
            owner.in_hand = (first, first + places.len());
            owner.next = owner.next.max(first + places.len());
        }
        facts.owners.insert(of.token, owner);
        self.check(at, Oracle::NoResurrection, !is_ended, || {
            format!("{of} is handed records of a finished shard")
        });
        self.check(at, Oracle::ShardOrder, rises && fits, || {
            format!("{of} is handed places {places:?}, expected {expected}, done {oldest}")
        });
    }

    pub(super) fn processed(&mut self, at: Time, (who, of): (&WorkerId, &Ownership)) {
        let (facts, owner) = self.ownership((who, of));
        let Some(mut owner) = owner else { return };
        let (from, to) = owner.in_hand;
        facts.set_done(from..to);
        owner.processed = owner.processed.max(to);
        owner.history.push((at, owner.processed));
        facts.owners.insert(of.token, owner);
    }

    fn parents_first(&mut self, at: Time, of: &Ownership) {
        let Some(facts) = self.shards.get(&of.shard) else { return };
        let undone = facts.parents.iter().find(|parent| {
            let parent = self.shards.get(parent);
            parent.is_some_and(|parent| parent.start.is_some() && !parent.is_all_done())
        });
        let undone = undone.cloned();
        self.check(at, Oracle::ParentsFirst, undone.is_none(), || {
            format!("{of} is handed records before its parent {undone:?} is done")
        });
    }
}
