//! Promises about records: order, parents first, one deliverer, and abandoned records.

use kcl_core::model::{Checkpoint, PendingCheckpoint, Position, ShardId, WorkerId};

use super::Oracle;
use super::facts::{Abandoned, By, Facts};
use super::shard_facts::WITHIN;
use crate::journal::Ownership;
use crate::time::Time;

impl Facts {
    pub(crate) fn polled(&mut self, By { at, worker: who, of }: By<'_>) {
        let is_exclusive = self.is_exclusive();
        let facts = self.shards.entry(of.shard.clone()).or_default();
        let until = facts.owner_mut(who, of.token).map(|owner| owner.until + WITHIN);
        let is_in_time = until.is_none_or(|until| at <= until);
        self.check(at, Oracle::OneDeliverer, is_in_time, || {
            format!("{who} polls {of} after its ownership ended at {until:?}")
        });
        let facts = self.shards.entry(of.shard.clone()).or_default();
        if facts.is_disturbed {
            return; // Tokens start again after a row is deleted by hand.
        }
        let (last, since) = facts.polled.unwrap_or((0, at));
        if of.token >= last {
            let since = if of.token == last { since } else { at };
            facts.polled = Some((of.token, since));
            return;
        }
        let overlaps = at > since;
        self.check(at, Oracle::OneDeliverer, !overlaps || !is_exclusive, || {
            format!(
                "{who} polls {of}, and the processor of @{last} has been polled since {since} s"
            )
        });
    }

    pub(crate) fn delivered(&mut self, by: By<'_>, records: &[Position]) {
        let By { at, worker: who, of } = by;
        self.parents_first(at, of);
        let (is_automatic, is_recreated) = (self.is_automatic, self.is_recreated);
        let is_exclusive = self.is_exclusive();
        let (facts, owner) = self.ownership(by);
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
            format!("{of} delivers records of a finished shard")
        });
        self.check(at, Oracle::ShardOrder, rises && fits, || {
            format!("{of} delivers places {places:?}, expected {expected}, processed {oldest}")
        });
    }

    pub(crate) fn processed(&mut self, by: By<'_>) {
        let By { at, worker: who, of } = by;
        let (facts, owner) = self.ownership(by);
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
            self.check_wait(at, &of.shard, first);
        }
    }

    /// Records are delivered that are acknowledged one by one.
    pub(crate) fn detached(&mut self, By { at, worker: who, of }: By<'_>) {
        let facts = self.shards.entry(of.shard.clone()).or_default();
        if let Some(owner) = facts.owner_mut(who, of.token) {
            owner.detached.push((at, owner.in_hand.1));
        }
    }

    /// A processor is created.
    pub(crate) fn made(
        &mut self,
        by: By<'_>,
        resume: Checkpoint,
        pending: Option<&PendingCheckpoint>,
    ) {
        let By { at, worker: who, of } = by;
        let former = self.alive.insert((who.clone(), of.shard.clone()), of.token);
        self.check(at, Oracle::OneDeliverer, former.is_none(), || {
            format!("{who} has a processor for {of}, and one for @{former:?} as well")
        });
        let is_recreated = self.is_recreated;
        let (facts, owner) = self.ownership(by);
        let is_known = owner.is_some() || facts.is_disturbed || is_recreated;
        let first = owner.as_ref().filter(|owner| !owner.was_made && !facts.is_disturbed);
        let kept = first.is_none_or(|owner| owner.pending.as_ref() == pending);
        let expected = first.and_then(|owner| owner.pending.clone());
        self.check(at, Oracle::Fencing, is_known, || {
            format!("{who} has a processor for {of}, and no take of its lease set that token")
        });
        self.check(at, Oracle::PendingKept, kept, || {
            format!("the processor of {of} gets {pending:?} as prepared, not {expected:?}")
        });
        let (Some(facts), Some(mut owner)) = (self.shards.get_mut(&of.shard), owner) else {
            return;
        };
        // `AtTimestamp` alone has no place: the first processor begins where the ownership does.
        owner.began = facts.after(resume, None).unwrap_or(owner.processed);
        owner.done_later.clear();
        owner.was_made = true;
        facts.owners.insert(of.token, owner);
    }

    /// A processor asks for a checkpoint: all records up to that one are done, even if some were
    /// not delivered yet.
    pub(crate) fn asked(&mut self, By { worker: who, of, .. }: By<'_>, position: Position) {
        let facts = self.shards.entry(of.shard.clone()).or_default();
        let Some(place) = facts.place(position).map(|place| place + 1) else { return };
        facts.asked = facts.asked.max(place);
        facts.set_done(facts.done()..place);
        if let Some(owner) = facts.owner_mut(who, of.token) {
            owner.next = owner.next.max(place);
        }
    }

    /// A processor is dropped.
    pub(crate) fn gone(&mut self, By { worker: who, of, .. }: By<'_>) {
        let place = (who.clone(), of.shard.clone());
        if self.alive.get(&place) == Some(&of.token) {
            self.alive.remove(&place);
        }
    }

    /// A processor begins a record: the earlier ones of its key must be done.
    pub(crate) fn begun(&mut self, by: By<'_>, record: Position) {
        let By { at, of, .. } = by;
        let (facts, owner) = self.ownership(by);
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
    pub(crate) fn done(&mut self, by: By<'_>, record: Position) {
        let By { at, of, .. } = by;
        let (facts, owner) = self.ownership(by);
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

    /// The dead letter store has stored a record.
    pub(crate) fn stored_elsewhere(&mut self, at: Time, shard: &ShardId, record: Position) {
        let knows_poison = self.knows_processors;
        let Some(facts) = self.shards.get_mut(shard) else { return };
        let Some(place) = facts.place(record) else { return };
        facts.stored.insert(place);
        let is_poison = facts.is_poison(place) || !knows_poison;
        self.check(at, Oracle::OnlyPoisonSetAside, is_poison, || {
            format!("{shard} {record} is in the dead letter store, and can be processed")
        });
    }

    /// A consumer abandons a record.
    pub(crate) fn abandoned(&mut self, at: Time, who: &WorkerId, abandoned: &Abandoned<'_>) {
        let Abandoned { shard, record, is_stored: must_be_stored } = *abandoned;
        let knows_poison = self.knows_processors;
        let Some(facts) = self.shards.get_mut(shard) else { return };
        let Some(place) = facts.place(record) else { return };
        let is_poison = facts.is_poison(place) || !knows_poison;
        let is_stored = facts.stored.contains(&place) || !must_be_stored;
        let token = facts.owners.iter().rev().find(|(_, owner)| owner.is(who)).map(|it| *it.0);
        facts.set_done(place..place + 1);
        if let Some(token) = token {
            let of = Ownership { shard: shard.clone(), token };
            self.done(By { at, worker: who, of: &of }, record);
        }
        self.check(at, Oracle::OnlyPoisonSetAside, is_poison && is_stored, || {
            format!("{shard} abandons {record}: poison {is_poison}, stored {is_stored}")
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
            format!("{of} delivers records before its parent {undone:?} has ended")
        });
    }
}
