//! Promises about leases: counters, checkpoints, holders, ends.

use kcl_core::backend::WriteKind;
use kcl_core::model::{Checkpoint, Lease, Liveness, ShardId};

use super::Oracle;
use super::facts::Facts;
use super::holdings::{Held, Parties};
use super::landing::Landing;
use super::shard_facts::{OwnerFacts, WITHIN};
use crate::time::Time;

impl Facts {
    /// Checks a write that has landed and changed a row.
    pub(crate) fn landed(&mut self, landing: &Landing<'_>) {
        self.counts(landing);
        match (landing.before, landing.after) {
            (None, Some(after)) => self.created(landing, after),
            (Some(before), Some(after)) => {
                self.counter(landing, before, after);
                self.checkpoint(landing, before, after);
                self.pending(landing, before, after);
                self.renewed(landing, before, after);
                self.renewed_in_session(landing, before, after);
                self.taken(landing, before, after);
                self.stored(landing, before, after);
                self.extends(landing, before, after);
            }
            (Some(before), None) => self.deleted(landing, before),
            (None, None) => {}
        }
    }

    /// Checks how many leases the writer holds.
    fn counts(&mut self, landing: &Landing<'_>) {
        let (worker, expiry) =
            (&landing.write.worker, landing.after.and_then(Lease::holder_expiry));
        let time = self.in_the_world(worker, expiry.unwrap_or_default() * 9 / 10);
        let is_session = landing.after.is_some_and(|row| row.lives_by() == Liveness::Session);
        // A take that lands under a dead session begins nothing.
        let is_dead = is_session && self.is_session_dead(landing.at, worker);
        let until = if is_dead { landing.at } else { self.first_sent(landing) + time };
        let held = Held { until, is_session };
        let writer = self.person(worker).clone();
        let former = landing.before.and_then(|lease| lease.holder());
        let former = former.map(|former| self.person(former).clone());
        let parties = Parties { writer: &writer, former: former.as_ref() };
        if let Some((held, most)) = self.holdings.landed(landing, parties, held) {
            self.broken(landing.at, Oracle::MaximaKept, || {
                format!("{worker} holds {held} leases, of at most {most}")
            });
        }
    }

    /// Checks that a lease is renewed in time.
    fn renewed(&mut self, landing: &Landing<'_>, before: &Lease, after: &Lease) {
        let is_renewal = matches!(landing.write.kind, WriteKind::Renew { .. });
        let Some(facts) = self.shards.get(&after.key.shard()).filter(|_| is_renewal) else {
            return;
        };
        let (gap, half) = (landing.at - facts.moved, before.expiry.unwrap_or_default() / 2);
        let is_timely = gap <= half || !self.calls.renews(facts.moved);
        self.check(landing.at, Oracle::RenewedInTime, is_timely, || {
            format!("{} is renewed after {gap:?}, more than {half:?}", after.key)
        });
    }

    /// Checks that a lease which lives by a session is renewed only to store what the session cannot
    /// hold, or what was done while a hand-over that came to nothing was drained for.
    fn renewed_in_session(&mut self, landing: &Landing<'_>, before: &Lease, after: &Lease) {
        let (at, write) = (landing.at, landing.write);
        let proves_parents = !before.parents.is_empty() && !before.checkpoint.has_progressed();
        let has_reason = before.pending.is_some() || after.pending.is_some() || proves_parents;
        let is_automatic = self.is_automatic;
        let Some(facts) = self.shards.get_mut(&after.key.shard()) else { return };
        let owner = facts.owners.range_mut(..=before.counter.0).next_back();
        let Some((_, owner)) = owner.filter(|_| is_automatic && !facts.is_disturbed) else {
            return;
        };
        let is_request = matches!(write.kind, WriteKind::BeginHandover { .. });
        let is_renewal = matches!(write.kind, WriteKind::Renew { .. })
            && before.session_holder() == Some(&write.worker);
        owner.requests += u32::from(is_request);
        owner.renewals += u32::from(is_renewal && !has_reason);
        let (requests, renewals) = (owner.requests, owner.renewals);
        self.check(at, Oracle::WritesBounded, renewals <= requests, || {
            format!("{} is renewed {renewals} times, after {requests} requests", after.key)
        });
    }

    /// Returns when the first copy of a write was sent.
    fn first_sent(&self, landing: &Landing<'_>) -> Time {
        let write = (landing.write.worker.clone(), landing.write.number);
        self.sent.get(&write).copied().unwrap_or(landing.at)
    }

    fn created(&mut self, landing: &Landing<'_>, after: &Lease) {
        let place = self.after(after);
        let facts = self.shards.entry(after.key.shard()).or_default();
        facts.had_lease = true;
        if facts.may_return {
            facts.row_deleted();
        }
        facts.moved = landing.at;
        let done = facts.done();
        self.check(landing.at, Oracle::NoSkip, place.is_some_and(|place| place <= done), || {
            let at = (after.checkpoint, after.start_at);
            format!(
                "{} is created at {at:?}, place {place:?}, before place {done} all are done",
                after.key
            )
        });
    }

    fn counter(&mut self, landing: &Landing<'_>, before: &Lease, after: &Lease) {
        let begins = matches!(landing.write.kind, WriteKind::BeginHandover { .. });
        let rises = after.counter > before.counter || begins && after.counter == before.counter;
        self.check(landing.at, Oracle::CountersRise, rises, || {
            format!("{}: from {} to {}", after.key, before.counter, after.counter)
        });
        self.shards.entry(after.key.shard()).or_default();
    }

    fn checkpoint(&mut self, landing: &Landing<'_>, before: &Lease, after: &Lease) {
        if before.checkpoint == after.checkpoint {
            return;
        }
        let (at, write, key) = (landing.at, landing.write, &after.key);
        let change = || format!("{key}: {:?} to {:?}", before.checkpoint, after.checkpoint);
        let is_disturbed = self.shards.get(&key.shard()).is_some_and(|facts| facts.is_disturbed);
        let rises = after.checkpoint > before.checkpoint || is_disturbed;
        self.check(at, Oracle::CheckpointsRise, rises, change);
        // A take of a lease that lives by a session adopts what that session kept.
        let adopts = is_adoption(landing, before);
        self.check(
            at,
            Oracle::HolderWrites,
            adopts || before.holder() == Some(&write.worker),
            || format!("{} by {}, held by {:?}", change(), write.worker, before.holder()),
        );
        let (is_automatic, knows) = (self.is_automatic, self.knows_processors);
        self.has_stored |= after.checkpoint != Checkpoint::ShardEnd;
        let Some(facts) = self.shards.get_mut(&key.shard()) else { return };
        if facts.is_of_another_stream {
            return;
        }
        let (place, done) = (facts.after(after.checkpoint, after.start_at), facts.done());
        let delivered = facts.owners.values().map(|owner| owner.next).max().unwrap_or(0);
        // Records that are acknowledged one by one may be done before the world sees it.
        let detached = facts.owners.values().filter_map(|owner| owner.detached.last());
        let detached = detached.map(|(_, place)| *place).max().unwrap_or(0);
        let bound = if is_automatic {
            done
        } else if after.is_ended() {
            done.max(detached)
        } else if knows {
            facts.asked.max(facts.unexpected())
        } else {
            done.max(delivered)
        };
        let is_due = place.is_some_and(|place| place <= bound);
        if let Some(place) = place.filter(|_| is_due && !is_automatic && !knows) {
            // The application checkpointed these, even if some were not delivered yet.
            facts.set_done(done..place);
            let owner = facts.owners.range_mut(..=before.counter.0).next_back();
            if let Some((_, owner)) = owner {
                owner.next = owner.next.max(place);
            }
        }
        self.check(at, Oracle::NoSkip, is_due, || {
            format!("{} is place {place:?}, done {done}, allowed {bound}", change())
        });
        if after.checkpoint == Checkpoint::ShardEnd {
            self.ended(landing, after);
        }
    }

    /// Checks the prepared checkpoint.
    fn pending(&mut self, landing: &Landing<'_>, before: &Lease, after: &Lease) {
        if before.pending == after.pending {
            return;
        }
        let (at, worker, key) = (landing.at, &landing.write.worker, &after.key);
        let change = || format!("{key}: {:?} to {:?}", before.pending, after.pending);
        let may = is_adoption(landing, before) || before.holder() == Some(worker);
        self.check(at, Oracle::HolderWrites, may, change);
        let Some(facts) = self.shards.get_mut(&key.shard()) else { return };
        let token = facts.owners.range(..=before.counter.0).next_back().map_or(0, |it| *it.0);
        let is_by_another = std::mem::replace(&mut facts.prepared_by, token) != token;
        let is_stored = before.checkpoint != after.checkpoint;
        let is_settled = before.pending.as_ref().is_none_or(|pending| {
            after.pending.is_some()
                || after.checkpoint >= pending.checkpoint
                || is_by_another && is_stored
                || facts.is_disturbed
        });
        self.check(at, Oracle::PendingKept, is_settled, || {
            format!("{}, stored {:?}", change(), after.checkpoint)
        });
    }

    /// Notes until when the writer owns the lease.
    fn extends(&mut self, landing: &Landing<'_>, before: &Lease, after: &Lease) {
        let (at, write, sent) = (landing.at, landing.write, self.first_sent(landing));
        let time = self.in_the_world(&write.worker, after.expiry.unwrap_or_default() * 9 / 10);
        let is_session = after.lives_by() == Liveness::Session;
        let session = self.sessions.get(&write.worker).filter(|_| is_session);
        let (until, time) = match session {
            Some(session) => (session.until, session.lasts()),
            None => (sent + time, time),
        };
        let place = self.after(after).unwrap_or(0);
        let person = self.person(&write.worker).clone();
        let Some(facts) = self.shards.get_mut(&after.key.shard()) else { return };
        (facts.held_for, facts.row_place) = (time, place);
        let is_take = matches!(write.kind, WriteKind::Take { .. });
        let token = if is_take { after.counter.0 } else { before.counter.0 };
        let owner = facts.owners.range_mut(..=token).next_back().map(|(_, owner)| owner);
        let Some(owner) = owner.filter(|owner| owner.is(&person)) else { return };
        let holds = after.holder() == Some(&write.worker);
        owner.session = Some(write.worker.clone()).filter(|_| holds && is_session);
        owner.until = if holds { owner.until.max(until) } else { owner.until.min(at) };
    }

    fn ended(&mut self, landing: &Landing<'_>, after: &Lease) {
        let shard = after.key.shard();
        let Some(facts) = self.shards.get_mut(&shard) else { return };
        facts.is_ended = true;
        let (is_closed, is_done) = (facts.is_closed, facts.is_all_done());
        let children = facts.children.clone();
        let orphan = children
            .into_iter()
            .find(|child| self.shards.get(child).is_none_or(|child| !child.had_lease));
        let is_proven = is_closed && is_done && orphan.is_none();
        self.check(landing.at, Oracle::ShardEndProven, is_proven, || {
            format!("{shard}: closed {is_closed}, done {is_done}, child without lease {orphan:?}")
        });
    }

    fn taken(&mut self, landing: &Landing<'_>, before: &Lease, after: &Lease) {
        let WriteKind::Take { .. } = landing.write.kind else { return };
        let (at, key) = (landing.at, &after.key);
        let place = self.after(after);
        let due = self.by_the_fastest(before.expiry.unwrap_or_default());
        let elder = self.elder(&key.shard());
        let person = self.person(&landing.write.worker).clone();
        let facts = self.shards.entry(key.shard()).or_default();
        let (is_ended, silent) = (facts.is_ended, at - facts.moved);
        let is_disturbed = facts.is_disturbed;
        let next = place.unwrap_or(0);
        let former = facts.owners.range(..=before.counter.0).next_back();
        let kept = former.map_or(0, |(_, former)| former.kept);
        let worker = Some(person);
        let pending = after.pending.clone();
        let owner = OwnerFacts { worker, next, processed: next, pending, ..OwnerFacts::default() };
        facts.owners.insert(after.counter.0, owner);
        self.check(at, Oracle::NoResurrection, !is_ended || is_disturbed, || {
            format!("{key} is taken, and its shard is finished")
        });
        let is_above = elder.is_none_or(|elder| elder < after.counter.0);
        self.check(at, Oracle::Fencing, is_above || is_disturbed, || {
            format!("{key} is taken under token {}, its parent under {elder:?}", after.counter)
        });
        self.check(at, Oracle::StoredKept, next >= kept || is_disturbed, || {
            format!("{key} is taken at place {next}, and its session kept place {kept}")
        });
        let robbed = before.holder().filter(|holder| **holder != landing.write.worker);
        let is_dead = robbed.is_some_and(|robbed| self.is_session_dead(at, robbed));
        let has_waited = before.lives_by() == Liveness::Counter && silent + WITHIN >= due;
        let may = robbed.is_none() || is_disturbed || has_waited || is_dead;
        self.check(at, Oracle::LiveOwnersKept, may, || {
            format!("{key} is taken from {robbed:?}, silent for {silent:?}, less than {due:?}")
        });
    }

    /// Returns the greatest token of the parents of a shard.
    fn elder(&self, shard: &ShardId) -> Option<u64> {
        let parents = self.shards.get(shard)?.parents.iter();
        let parents = parents.filter_map(|parent| self.shards.get(parent));
        let parents = parents.filter(|parent| !parent.is_disturbed);
        parents.filter_map(|parent| parent.owners.keys().next_back()).max().copied()
    }

    /// Checks the progress that the holder stores along with a write.
    fn stored(&mut self, landing: &Landing<'_>, before: &Lease, after: &Lease) {
        let (at, write, sent) = (landing.at, landing.write, self.first_sent(landing));
        let place = self.after(after).unwrap_or(0);
        let is_automatic = self.is_automatic;
        // The lease side may not have read it yet.
        let person = self.person(&write.worker);
        let has_just_thawed = self.has_just_thawed(person, sent);
        let frozen = &self.with_frozen_holders;
        let has_frozen =
            |owner: &OwnerFacts| owner.worker.as_ref().is_some_and(|it| frozen.contains(it));
        let facts = self.shards.entry(after.key.shard()).or_default();
        if after.counter != before.counter {
            facts.moved = at;
        }
        let owner = facts.owners.range(..=before.counter.0).next_back().map(|(_, owner)| owner);
        let is_checked = is_automatic && !facts.is_disturbed;
        // What is done once an owner has let its lease expire, or its task stands still, is done
        // again.
        let is_lost = |owner: &OwnerFacts| owner.is_over || has_frozen(owner);
        let Some(owner) = owner.filter(|owner| is_checked && !is_lost(owner)) else { return };
        let oracle = match write.kind {
            WriteKind::Release { .. } | WriteKind::CompleteHandover { .. } => Oracle::CleanEnds,
            WriteKind::Renew { .. } => Oracle::RepeatsBounded,
            WriteKind::Create(_)
            | WriteKind::Take { .. }
            | WriteKind::BeginHandover { .. }
            | WriteKind::CancelHandover { .. }
            | WriteKind::Withdraw { .. }
            | WriteKind::EndShard { .. }
            | WriteKind::DeleteEnded { .. }
            | WriteKind::DeleteUntouched => return,
        };
        let is_slack = oracle == Oracle::RepeatsBounded && owner.acknowledges;
        if is_slack && has_just_thawed {
            return;
        }
        let due = owner.processed_by(sent, Self::published(is_slack) + self.calls.wait_max());
        self.check(at, oracle, place >= due, || {
            format!(
                "{} stores place {place}, processed when it was sent ({sent} s): {due}",
                after.key
            )
        });
    }

    fn deleted(&mut self, landing: &Landing<'_>, before: &Lease) {
        let is_due = match landing.write.kind {
            WriteKind::DeleteEnded { .. } => before.is_ended(),
            WriteKind::Create(_)
            | WriteKind::Take { .. }
            | WriteKind::Renew { .. }
            | WriteKind::BeginHandover { .. }
            | WriteKind::CompleteHandover { .. }
            | WriteKind::CancelHandover { .. }
            | WriteKind::Withdraw { .. }
            | WriteKind::Release { .. }
            | WriteKind::EndShard { .. }
            | WriteKind::DeleteUntouched => before.counter.0 == 0 && before.owner.is_none(),
        };
        self.check(landing.at, Oracle::NoResurrection, is_due, || {
            format!("{} is deleted at {:?}", before.key, before.checkpoint)
        });
    }
}

/// Whether a write is a take that stores what the holder's session kept.
fn is_adoption(landing: &Landing<'_>, before: &Lease) -> bool {
    matches!(landing.write.kind, WriteKind::Take { .. }) && before.lives_by() == Liveness::Session
}
