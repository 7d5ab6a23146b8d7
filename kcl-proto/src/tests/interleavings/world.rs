//! The world: one row, the network, the clocks and two workers.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::call::{CallState, Read};
use super::consumer::position;
use super::oracles::{self, Onlooker};
use super::scope::Scope;
use super::step::{Budget, Step, Tag, Who};
use super::violation::Violation;
use super::worker::{Role, Sent, Worker};
use crate::lease::holding::HoldingInput;
use crate::lease::precondition::Precondition;
use crate::lease::request::RequestInput;
use crate::lease::write::{LeaseWrite, WriteKind};
use crate::model::{Conditional, Lease, LeaseKey, NewLease};

/// Two workers and one lease.
#[derive(Clone)]
pub(super) struct World {
    pub(super) scope: &'static Scope,
    pub(super) budget: Budget,
    pub(super) row: Option<Arc<Lease>>,
    /// The row as it was before the last write, while a stale scan may still return it.
    pub(super) before: Option<Arc<Lease>>,
    /// Copies of writes that have not landed.
    pub(super) network: Vec<LeaseWrite>,
    pub(super) workers: [Worker; 2],
    onlooker: Onlooker,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.budget.hash(state);
        self.row.hash(state);
        self.before.hash(state);
        self.network.hash(state);
        self.workers.hash(state);
        self.onlooker.hash(state);
    }
}

const NAMES: [&str; 2] = ["a", "b"];

impl World {
    /// A lease that no worker ever took.
    pub(super) fn new(scope: &'static Scope) -> Self {
        let key = LeaseKey::new("shard");
        let new = NewLease { key, checkpoint: position(0), ..NewLease::sample() };
        let kind = WriteKind::Create(new);
        let key = LeaseKey::new("shard");
        let create = LeaseWrite { key, worker: "first".into(), number: 0, kind };
        let row = create.apply(None).expect("no row yet").map(Arc::new);
        let worker = |name| Worker::new(name, 0, 0, scope.times);
        Self {
            scope,
            budget: scope.budget,
            before: row.clone(),
            row,
            network: Vec::new(),
            workers: NAMES.map(worker),
            onlooker: Onlooker::default(),
        }
    }

    /// Carries out one step and checks what must hold after it.
    pub(super) fn advance(&mut self, step: Step) -> Result<(), Violation> {
        self.budget.spend(step);
        match step {
            Step::Tick => self.tick(),
            Step::Land(tag) => self.land(tag)?,
            Step::Copy(tag) => {
                if let Some(write) = self.network.iter().find(|it| Self::tag(it) == tag).cloned() {
                    self.send(vec![write]);
                }
            }
            Step::Crash(who) => self.crash(who),
            Step::Clean => self.before = self.row.take(),
            step => {
                let sent = self.act(step)?;
                self.send(sent);
            }
        }
        if self.budget.stale_scans == 0 {
            self.before = None;
        }
        self.tidy()?;
        self.onlooker.see_workers(&self.workers, self.row.as_deref())
    }

    pub(super) fn tag(write: &LeaseWrite) -> Tag {
        let name = write.worker.name();
        let who = NAMES.iter().position(|it| *it == name).unwrap_or(NAMES.len());
        let life = u8::from_str_radix(&write.worker.as_str()[name.len() + 1..], 16);
        Tag(who, life.unwrap_or(u8::MAX), write.number)
    }

    pub(super) fn is_waited_for(&self, write: &LeaseWrite) -> bool {
        let mut calls = self.workers.iter().filter_map(|worker| worker.call.as_ref());
        calls.any(|call| call.is_waiting() && call.write == *write)
    }

    pub(super) fn copies(&self, write: &LeaseWrite) -> usize {
        self.network.iter().filter(|it| *it == write).count()
    }

    /// Puts copies into the network, at most two of each write: more make no difference.
    fn send(&mut self, sent: Sent) {
        for write in sent {
            if self.copies(&write) < 2 {
                self.network.push(write);
            }
        }
        self.network.sort_by(|a, b| (&a.worker, a.number).cmp(&(&b.worker, b.number)));
    }

    fn land(&mut self, tag: Tag) -> Result<(), Violation> {
        let Some(at) = self.network.iter().position(|it| Self::tag(it) == tag) else {
            return Ok(());
        };
        let write = self.network.remove(at);
        let applied = write.apply(self.row.as_deref());
        let is_made = applied.is_some();
        let answer = match applied {
            Some(after) => {
                let after = after.map(Arc::new);
                self.onlooker.see_write(&write, self.row.as_deref(), after.as_deref())?;
                let answered = after.clone().or_else(|| self.row.clone());
                self.before = std::mem::replace(&mut self.row, after);
                Conditional::Applied(answered.as_deref().cloned().expect("a row before or after"))
            }
            None => Conditional::Lost { found: self.row.as_deref().cloned() },
        };
        for worker in &mut self.workers {
            let Some(call) = &mut worker.call else { continue };
            if call.write == write {
                call.is_made |= is_made;
                if call.is_waiting() {
                    call.state = CallState::Answered(Box::new(answer.clone()));
                }
            }
        }
        Ok(())
    }

    /// Drops copies that can no longer change the row and that no worker waits for.
    fn tidy(&mut self) -> Result<(), Violation> {
        let network = std::mem::take(&mut self.network);
        for write in network {
            let is_late = match (write.precondition(), &self.row) {
                (Precondition::Row { counter, .. }, Some(row)) => counter < row.counter,
                (Precondition::Row { .. }, None) => true,
                (Precondition::NoRow, _) => false,
            };
            if is_late {
                oracles::late_copies_do_not_count(&write, self.row.as_deref())?;
            }
            if !is_late || self.is_waited_for(&write) {
                self.network.push(write);
            }
        }
        Ok(())
    }

    fn tick(&mut self) {
        let [first, second] = &mut self.workers;
        let is_even = first.ticks == second.ticks;
        first.ticks += u8::from(!self.scope.is_drifting || !is_even);
        second.ticks += u8::from(!self.scope.is_drifting || is_even);
    }

    fn crash(&mut self, who: Who) {
        let worker = &self.workers[who];
        let life = if self.scope.same_incarnation { worker.life } else { worker.life + 1 };
        self.workers[who] = Worker::new(NAMES[who], life, worker.ticks, worker.times);
    }

    /// Carries out a worker's step. Returns the writes that it sends.
    fn act(&mut self, step: Step) -> Result<Sent, Violation> {
        let row = self.row.clone();
        match step {
            Step::Wake(who) => {
                let worker = &mut self.workers[who];
                match &worker.role {
                    Role::Holding(_) => worker.feed_holding(HoldingInput::Tick),
                    Role::Asking(_) => Ok(worker.feed_request(RequestInput::Tick)),
                    Role::Watching | Role::Taking { .. } | Role::Losing(_) => Ok(Sent::new()),
                }
            }
            Step::Answer(who) => {
                let worker = &mut self.workers[who];
                match worker.call.as_ref().map(|call| call.state.clone()) {
                    Some(CallState::Answered(answer)) => worker.write_answered(Some(*answer)),
                    Some(CallState::Waiting | CallState::Failed) | None => Ok(Sent::new()),
                }
            }
            Step::Fail(who) => {
                let worker = &mut self.workers[who];
                if let Some(call) = &mut worker.call {
                    call.state = CallState::Failed;
                }
                worker.write_answered(None)
            }
            Step::Scan(who) => self.scan(who, row),
            Step::ScanStale(who) => self.scan(who, self.before.clone()),
            Step::Take(who) => {
                let worker = &mut self.workers[who];
                let Some(row) = worker.takeable() else { return Ok(Sent::new()) };
                let (row, switches) = (row.clone(), row.owner_switches + 1);
                Ok(worker.take(&row, switches))
            }
            Step::Ask(who) => {
                let worker = &mut self.workers[who];
                if let Some(victim) = worker.victim().cloned() {
                    worker.ask(victim);
                }
                Ok(Sent::new())
            }
            Step::Read(who) => {
                self.workers[who].read = Some(Read::Served(row));
                Ok(Sent::new())
            }
            Step::ReadArrives(who) => {
                let worker = &mut self.workers[who];
                match worker.read.clone() {
                    Some(Read::Served(row)) => worker.read_answered(row),
                    Some(Read::Sent) | None => Ok(Sent::new()),
                }
            }
            Step::Beat(who) => {
                let worker = &mut self.workers[who];
                let now = worker.now();
                worker.feed_holding(HoldingInput::NextOwnerMoved(Some(now)))
            }
            Step::Stop(who) => {
                let worker = &mut self.workers[who];
                worker.is_stopping = true;
                let until = worker.now() + worker.times.tick;
                match &worker.role {
                    Role::Holding(_) => worker.feed_holding(HoldingInput::Stop { until }),
                    Role::Asking(_) => Ok(worker.feed_request(RequestInput::Stop)),
                    Role::Watching | Role::Taking { .. } | Role::Losing(_) => Ok(Sent::new()),
                }
            }
            step => self.consume(step),
        }
    }

    fn scan(&mut self, who: Who, row: Option<Arc<Lease>>) -> Result<Sent, Violation> {
        let worker = &mut self.workers[who];
        match &worker.role {
            Role::Holding(_) => worker.feed_holding(HoldingInput::ChangeHinted),
            Role::Watching | Role::Asking(_) | Role::Taking { .. } | Role::Losing(_) => {
                worker.observe(row);
                Ok(Sent::new())
            }
        }
    }

    /// Carries out a consumer's step.
    fn consume(&mut self, step: Step) -> Result<Sent, Violation> {
        match step {
            Step::Process(who) => {
                let next = match self.workers[who].consumer() {
                    Some(consumer) => self.onlooker.deliveries.process(consumer)?,
                    None => position(0),
                };
                let worker = &mut self.workers[who];
                if let Role::Holding(held) = &mut worker.role {
                    held.1.processed = next;
                }
                worker.consumer_reports(HoldingInput::Tick)
            }
            Step::Checkpoint(who) => {
                let worker = &mut self.workers[who];
                let Some(consumer) = worker.consumer() else { return Ok(Sent::new()) };
                let checkpoint = consumer.processed;
                worker.consumer_reports(HoldingInput::Checkpoint(checkpoint))
            }
            Step::EndShard(who) => {
                self.onlooker.is_finished = true;
                self.workers[who].consumer_reports(HoldingInput::ShardEnded(Vec::new()))
            }
            Step::ChildrenCreated(who) => {
                self.workers[who].creates_children = false;
                self.workers[who].feed_holding(HoldingInput::ChildrenCreated)
            }
            Step::Drained(who) => self.workers[who].consumer_reports(HoldingInput::Drained),
            Step::ConsumerFailed(who) => {
                self.workers[who].consumer_reports(HoldingInput::ConsumerFailed)
            }
            Step::Leave(who) => {
                self.workers[who].role = Role::Watching;
                Ok(Sent::new())
            }
            _ => Ok(Sent::new()),
        }
    }
}
