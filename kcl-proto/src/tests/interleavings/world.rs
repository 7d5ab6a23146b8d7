//! The row, the network, the clocks and two workers: all that can happen to them.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::explorer::{Model, Violation};
use super::oracles::{self, Told};
use super::scopes::Scope;
use super::steps::{Left, Step, Tag, Who};
use super::worker::{CallState, Read, Role, Sent, Worker, position};
use crate::lease::holding::HoldingInput;
use crate::lease::request::AskingInput;
use crate::lease::write::{LeaseWrite, Precondition, WriteKind};
use crate::lease::write_numbers::WriteNumbers;
use crate::model::{Conditional, HashKeyRange, Lease, LeaseKey, NewLease};

/// Two workers, one lease.
#[derive(Clone)]
pub(super) struct World {
    pub(super) scope: &'static Scope,
    pub(super) left: Left,
    pub(super) row: Option<Arc<Lease>>,
    pub(super) before: Option<Arc<Lease>>,
    /// Copies of writes that have not landed.
    pub(super) network: Vec<LeaseWrite>,
    pub(super) workers: [Worker; 2],
    told: Told,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.left.hash(state);
        self.row.hash(state);
        self.before.hash(state);
        self.network.hash(state);
        self.workers.hash(state);
        self.told.hash(state);
    }
}

const NAMES: [&str; 2] = ["a", "b"];

impl World {
    /// A lease that nobody ever took.
    pub(super) fn new(scope: &'static Scope) -> Self {
        let new = NewLease {
            key: LeaseKey::new("shard"),
            checkpoint: position(0),
            start_at: None,
            parents: std::iter::empty().collect(),
            hash_range: HashKeyRange::FULL,
        };
        let kind = WriteKind::Create(new);
        let key = LeaseKey::new("shard");
        let create = LeaseWrite { key, worker: "first".into(), number: 0, kind };
        let row = create.apply(None).expect("no row yet").map(Arc::new);
        let worker = |name| Worker::new(name, 0, 0, scope.times);
        Self {
            scope,
            left: scope.left,
            before: row.clone(),
            row,
            network: Vec::new(),
            workers: NAMES.map(worker),
            told: Told::default(),
        }
    }

    /// A lease that the first worker has just taken.
    pub(super) fn held(scope: &'static Scope) -> Self {
        let mut world = Self::new(scope);
        let take = Tag(0, 0, WriteNumbers::of_lane(1).draw());
        for step in [Step::Scan(0), Step::Take(0), Step::Land(take), Step::Answer(0)] {
            assert!(world.steps().contains(&step), "{step:?}");
            world.go(step).expect("a take breaks no rule");
        }
        world
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

    /// Puts copies into the network. More than two of one write make no difference.
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
                self.told.lands(&write, self.row.as_deref(), after.as_deref())?;
                let told = after.clone().or_else(|| self.row.clone());
                self.before = std::mem::replace(&mut self.row, after);
                Conditional::Applied(told.as_deref().cloned().expect("a row before or after"))
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

    /// Forgets copies that can change nothing any more, and that nobody waits for.
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

    /// What the worker does, without the network's part.
    pub(super) fn act(&mut self, step: Step) -> Result<Sent, Violation> {
        let row = self.row.clone();
        match step {
            Step::Wake(who) => {
                let worker = &mut self.workers[who];
                match &worker.role {
                    Role::Holding(_) => worker.holds(HoldingInput::Tick),
                    Role::Asking(_) => Ok(worker.asks(AskingInput::Tick)),
                    Role::Watching | Role::Taking { .. } | Role::Losing(_) => Ok(Sent::new()),
                }
            }
            Step::Answer(who) => {
                let worker = &mut self.workers[who];
                match worker.call.as_ref().map(|call| call.state.clone()) {
                    Some(CallState::Answered(answer)) => worker.hears(Some(*answer)),
                    Some(CallState::Waiting | CallState::Failed) | None => Ok(Sent::new()),
                }
            }
            Step::Fail(who) => {
                let worker = &mut self.workers[who];
                if let Some(call) = &mut worker.call {
                    call.state = CallState::Failed;
                }
                worker.hears(None)
            }
            Step::Scan(who) => self.scan(who, row),
            Step::ScanStale(who) => self.scan(who, self.before.clone()),
            Step::Take(who) => {
                let worker = &mut self.workers[who];
                let Some(row) = worker.takeable() else { return Ok(Sent::new()) };
                let (counter, switches) = (row.counter, row.owner_switches + 1);
                Ok(worker.take(counter, switches))
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
            Step::Hear(who) => {
                let worker = &mut self.workers[who];
                match worker.read.clone() {
                    Some(Read::Served(row)) => worker.reads(row),
                    Some(Read::Sent) | None => Ok(Sent::new()),
                }
            }
            Step::Beat(who) => {
                let worker = &mut self.workers[who];
                let now = worker.now();
                worker.holds(HoldingInput::NextOwnerMoved(Some(now)))
            }
            Step::Stop(who) => {
                let worker = &mut self.workers[who];
                worker.is_stopping = true;
                let until = worker.now() + worker.times.tick;
                match &worker.role {
                    Role::Holding(_) => worker.holds(HoldingInput::Stop { until }),
                    Role::Asking(_) => Ok(worker.asks(AskingInput::Stop)),
                    Role::Watching | Role::Taking { .. } | Role::Losing(_) => Ok(Sent::new()),
                }
            }
            other => self.consume(other),
        }
    }

    fn scan(&mut self, who: Who, row: Option<Arc<Lease>>) -> Result<Sent, Violation> {
        let worker = &mut self.workers[who];
        match &worker.role {
            Role::Holding(_) => worker.holds(HoldingInput::HandOverHinted),
            Role::Watching | Role::Asking(_) | Role::Taking { .. } | Role::Losing(_) => {
                worker.sees(row);
                Ok(Sent::new())
            }
        }
    }

    /// What a consumer does.
    fn consume(&mut self, step: Step) -> Result<Sent, Violation> {
        match step {
            Step::Process(who) => {
                let next = self.told.process(self.workers[who].consumer())?;
                let worker = &mut self.workers[who];
                if let Role::Holding(held) = &mut worker.role {
                    held.1.processed = next;
                }
                worker.consumer_says(HoldingInput::Tick)
            }
            Step::Checkpoint(who) => {
                let worker = &mut self.workers[who];
                let Some(consumer) = worker.consumer() else { return Ok(Sent::new()) };
                let checkpoint = consumer.processed;
                worker.consumer_says(HoldingInput::Checkpoint(checkpoint))
            }
            Step::EndShard(who) => {
                self.told.is_finished = true;
                self.workers[who].consumer_says(HoldingInput::ShardEnded(Vec::new()))
            }
            Step::ChildrenCreated(who) => {
                self.workers[who].creates_children = false;
                self.workers[who].holds(HoldingInput::ChildrenCreated)
            }
            Step::Drained(who) => self.workers[who].consumer_says(HoldingInput::Drained),
            Step::GiveUp(who) => self.workers[who].consumer_says(HoldingInput::GaveUp),
            Step::Leave(who) => {
                self.workers[who].role = Role::Watching;
                Ok(Sent::new())
            }
            _ => Ok(Sent::new()),
        }
    }
}

impl Model for World {
    type Step = Step;

    fn steps(&self) -> Vec<Step> {
        self.possible()
    }

    fn go(&mut self, step: Step) -> Result<(), Violation> {
        self.spend(step);
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
        if self.left.stale_scans == 0 {
            self.before = None;
        }
        self.tidy()?;
        self.told.looks(&self.workers, self.row.as_deref())
    }

    fn essence(&self) -> impl Hash {
        (&self.row, &self.network, &self.workers)
    }

    fn check(&self) -> Result<(), Violation> {
        super::healing::heals(self)
    }
}
