//! Promises about records: order, parents first, one deliverer, and what is set aside.

use kcl_core::model::{Checkpoint, PendingCheckpoint, Position, ShardId, WorkerId};

use super::facts::WITHIN;
use super::{Facts, Oracle};
use crate::journal::Ownership;
use crate::time::Time;

impl Facts {
    pub(crate) fn polled(&mut self, at: Time, (who, of): (&WorkerId, &Ownership)) {
        let is_exclusive = self.is_exclusive();
        let facts = self.shards.entry(of.shard.clone()).or_default();
        let until = facts.owner_mut((who, of.token)).map(|owner| owner.until + WITHIN);
        let is_in_time = until.is_none_or(|until| at <= until);
        self.check(at, Oracle::OneDeliverer, is_in_time, || {
            format!("{of} is polled by {who}, whose time was over at {until:?}")
        });
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

    pub(crate) fn delivered(
        &mut self,
        at: Time,
        (who, of): (&WorkerId, &Ownership),
        records: &[Position],
    ) {
        self.parents_first(at, of);
        let (is_automatic, is_recreated) = (self.is_automatic, self.is_recreated);
        let is_exclusive = self.is_exclusive();
        let (facts, owner) = self.ownership((who, of));
        let is_ended = facts.is_ended;
        let places: Vec<_> = records.iter().map(|record| facts.place(*record)).collect();
        let Some(mut owner) = owner else {
            if let Some(first) = places.first().copied().flatten() {
                facts.strays.insert((who.clone(), of.token), (first, first + places.len()));
            }
            return;
        };
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
        // A slow clock may not know yet that its time is over.
        self.check(at, Oracle::NoResurrection, !is_ended || !is_exclusive, || {
            format!("{of} is handed records of a finished shard")
        });
        self.check(at, Oracle::ShardOrder, rises && fits, || {
            format!("{of} is handed places {places:?}, expected {expected}, done {oldest}")
        });
    }

    pub(crate) fn processed(&mut self, at: Time, (who, of): (&WorkerId, &Ownership)) {
        let (facts, owner) = self.ownership((who, of));
        let Some(mut owner) = owner else {
            if let Some((from, to)) = facts.strays.remove(&(who.clone(), of.token)) {
                facts.set_done(from..to);
            }
            return;
        };
        let (from, to) = owner.in_hand;
        let first = facts.done().max(from);
        facts.set_done(from..to);
        owner.processed = owner.processed.max(to);
        owner.done_later = owner.done_later.split_off(&owner.processed);
        owner.history.push((at, owner.processed));
        facts.owners.insert(of.token, owner);
        if first < to {
            self.waits(at, &of.shard, first);
        }
    }

    /// Records were handed over that are acknowledged one by one.
    pub(crate) fn detached(&mut self, at: Time, (who, of): (&WorkerId, &Ownership)) {
        let facts = self.shards.entry(of.shard.clone()).or_default();
        if let Some(owner) = facts.owner_mut((who, of.token)) {
            owner.detached.push((at, owner.in_hand.1));
        }
    }

    /// A processor came to life.
    pub(crate) fn made(
        &mut self,
        at: Time,
        (who, of): (&WorkerId, &Ownership),
        resume: Checkpoint,
        pending: Option<&PendingCheckpoint>,
    ) {
        let former = self.alive.insert((who.clone(), of.shard.clone()), of.token);
        self.check(at, Oracle::OneDeliverer, former.is_none(), || {
            format!("{who} has a processor for {of}, and one for @{former:?} as well")
        });
        let is_recreated = self.is_recreated;
        let (facts, owner) = self.ownership((who, of));
        let is_known = owner.is_some() || facts.is_disturbed || is_recreated;
        let told = owner.as_ref().filter(|owner| !owner.was_made && !facts.is_disturbed);
        let kept = told.is_none_or(|owner| owner.pending.as_ref() == pending);
        let expected = told.and_then(|owner| owner.pending.clone());
        self.check(at, Oracle::Fencing, is_known, || {
            format!("{who} has a processor for {of}, which no take of its lease began")
        });
        self.check(at, Oracle::PendingKept, kept, || {
            format!("{of} is told that {pending:?} is prepared, not {expected:?}")
        });
        let (Some(facts), Some(mut owner)) = (self.shards.get_mut(&of.shard), owner) else {
            return;
        };
        // A lease that starts at a time does so for its first processor.
        owner.began = facts.after(resume, None).unwrap_or(owner.processed);
        owner.done_later.clear();
        owner.was_made = true;
        facts.owners.insert(of.token, owner);
    }

    /// A processor asks for a checkpoint: it says that all up to that record is done, perhaps before
    /// it came to it.
    pub(crate) fn asked(&mut self, (who, of): (&WorkerId, &Ownership), position: Position) {
        let facts = self.shards.entry(of.shard.clone()).or_default();
        let Some(place) = facts.place(position).map(|place| place + 1) else { return };
        facts.asked = facts.asked.max(place);
        facts.set_done(facts.done()..place);
        if let Some(owner) = facts.owner_mut((who, of.token)) {
            owner.next = owner.next.max(place);
        }
    }

    /// A processor is dropped.
    pub(crate) fn gone(&mut self, (who, of): (&WorkerId, &Ownership)) {
        let place = (who.clone(), of.shard.clone());
        if self.alive.get(&place) == Some(&of.token) {
            self.alive.remove(&place);
        }
    }

    /// A record is begun: those of its key before it must be done.
    pub(crate) fn begun(&mut self, at: Time, (who, of): (&WorkerId, &Ownership), record: Position) {
        let (facts, owner) = self.ownership((who, of));
        let (Some(owner), Some(place)) = (owner, facts.place(record)) else { return };
        let key = |place: usize| facts.records.get(place).map(|record| record.key);
        let from = owner.began.max(owner.processed).max(facts.trimmed);
        let mut before = (from..place).rev().filter(|before| key(*before) == key(place));
        let undone = before.find(|before| !owner.done_later.contains(before));
        self.check(at, Oracle::KeyOrder, undone.is_none(), || {
            format!("{of} begins place {place} before {undone:?} of the same key is done")
        });
    }

    /// A record is done.
    pub(crate) fn done(&mut self, at: Time, (who, of): (&WorkerId, &Ownership), record: Position) {
        let (facts, owner) = self.ownership((who, of));
        let Some(place) = facts.place(record) else { return };
        facts.set_done(place..place + 1);
        let Some(mut owner) = owner else { return };
        if place >= owner.processed {
            owner.done_later.insert(place);
        }
        while owner.done_later.remove(&owner.processed) {
            owner.processed += 1;
        }
        if owner.history.last().is_none_or(|(_, last)| *last < owner.processed) {
            owner.history.push((at, owner.processed));
        }
        owner.acknowledges = true;
        facts.owners.insert(of.token, owner);
    }

    /// The dead letter has a record.
    pub(crate) fn stored_elsewhere(&mut self, at: Time, shard: &ShardId, record: Position) {
        let knows_poison = self.knows_processors;
        let Some(facts) = self.shards.get_mut(shard) else { return };
        let Some(place) = facts.place(record) else { return };
        facts.stored.insert(place);
        let is_poison = facts.is_poison(place) || !knows_poison;
        self.check(at, Oracle::OnlyPoisonSetAside, is_poison, || {
            format!("{shard} {record} is in the dead letter, though it can be processed")
        });
    }

    /// A shard goes on without a record.
    pub(crate) fn set_aside(
        &mut self,
        at: Time,
        (who, shard): (&WorkerId, &ShardId),
        record: Position,
        must_be_stored: bool,
    ) {
        let knows_poison = self.knows_processors;
        let Some(facts) = self.shards.get_mut(shard) else { return };
        let Some(place) = facts.place(record) else { return };
        let is_poison = facts.is_poison(place) || !knows_poison;
        let is_stored = facts.stored.contains(&place) || !must_be_stored;
        let token = facts.owners.iter().rev().find(|(_, owner)| owner.is(who)).map(|it| *it.0);
        facts.set_done(place..place + 1);
        if let Some(token) = token {
            self.done(at, (who, &Ownership { shard: shard.clone(), token }), record);
        }
        self.check(at, Oracle::OnlyPoisonSetAside, is_poison && is_stored, || {
            format!("{shard} goes on without {record}: poison {is_poison}, stored {is_stored}")
        });
    }

    fn parents_first(&mut self, at: Time, of: &Ownership) {
        let Some(facts) = self.shards.get(&of.shard) else { return };
        let undone = facts.parents.iter().find(|parent| {
            let parent = self.shards.get(*parent);
            parent.is_some_and(|parent| {
                let ends = parent.had_lease && !parent.is_disturbed && !self.is_recreated;
                !parent.is_all_done() || ends && !parent.is_ended
            })
        });
        let undone = undone.cloned();
        self.check(at, Oracle::ParentsFirst, undone.is_none(), || {
            format!("{of} is handed records before its parent {undone:?} has ended")
        });
    }
}
