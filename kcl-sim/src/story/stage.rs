//! What the members of a story share: the world, the script, and the journal.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use kcl_core::ProcessorFactory;
use kcl_core::config::WorkerConfig;
use kcl_core::model::InitialPosition;

use crate::error::SimError;
use crate::journal::Journal as WorkerJournal;
use crate::processor::Equipment;
use crate::story::journal::Journal;
use crate::story::letters::Letters;
use crate::story::script::{Script, ScriptedFactory};
use crate::time::Time;
use crate::world::{Simulation, WorkerSpec, heal, shut_down};

/// How often a story looks whether a condition holds.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The seed of all stories: chance decides nothing but what workers draw.
const SEED: u64 = 1;

/// What the members of a story share.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) world: RefCell<Simulation>,
    pub(super) journal: Journal,
    pub(super) script: Script,
    pub(super) letters: Letters,
    pub(super) config: RefCell<WorkerConfig>,
    pub(super) poison: RefCell<BTreeSet<String>>,
    pub(super) is_over: Cell<bool>,
}

impl Stage {
    pub(super) fn new(shards: usize) -> Self {
        let mut config = WorkerConfig::default();
        config.retrieval.initial_position = InitialPosition::TrimHorizon;
        let mut world = Simulation::new(SEED, shards);
        world.observed.keep_entries();
        world.net.set_quick();
        world.observed.facts.processors_are_known();
        Self {
            world: RefCell::new(world),
            journal: Journal::default(),
            script: Script::default(),
            letters: Letters::default(),
            config: RefCell::new(config),
            poison: RefCell::default(),
            is_over: Cell::new(false),
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.world.borrow().now() - Time::default()
    }

    /// Does something to the world, and adds to the journal what happened meanwhile.
    #[track_caller]
    pub(super) fn act<T>(&self, act: impl FnOnce(&mut Simulation) -> Result<T, SimError>) -> T {
        let mut world = self.world.borrow_mut();
        let done = act(&mut world);
        let entries = world.observed.take_entries();
        drop(world);
        self.journal.add(entries);
        match done {
            Ok(done) => done,
            Err(error) => self.fail(error),
        }
    }

    /// Ends the story.
    #[track_caller]
    #[expect(clippy::panic, reason = "a story is a test")]
    pub(super) fn fail(&self, why: impl fmt::Display) -> ! {
        self.is_over.set(true);
        panic!("{why}\n{self}")
    }

    /// Starts a worker, and returns the name under which the world knows it.
    #[track_caller]
    pub(super) fn start<F: ProcessorFactory>(
        &self,
        name: &str,
        factory: impl Fn(&WorkerJournal) -> F + Send + Sync + 'static,
    ) -> String {
        let running = self.world.borrow().members.names();
        let numbered = (2..).map(|number| format!("{name}#{number}"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        let key = names.find(|name| !running.contains(name)).unwrap_or_default();
        let letters = self.letters.clone();
        let equip = move |journal: &WorkerJournal| Equipment {
            factory: factory(journal),
            dead_letter: letters.of(journal),
        };
        let config = self.config.borrow().clone();
        self.act(|world| world.start(&key, WorkerSpec::equipped(1_000, config, equip)));
        key
    }

    /// Starts a worker with scripted processors, and returns the name under which the world knows
    /// it.
    #[track_caller]
    pub(super) fn start_scripted(&self, name: &str) -> String {
        let (script, worker) = (self.script.clone(), name.to_owned());
        self.start(name, move |journal| ScriptedFactory {
            worker: worker.clone(),
            script: script.clone(),
            journal: journal.clone(),
        })
    }

    /// Ends all faults, waits until the fleet has healed, and shuts it down.
    pub(super) fn settle(&self) {
        self.script.clear();
        self.letters.fail_next(0);
        let is_empty = {
            let mut world = self.world.borrow_mut();
            world.net.clear_call_faults();
            world.net.set_scan_lag(0);
            world.members.is_empty()
        };
        if is_empty {
            self.start_scripted("heir");
        }
        self.act(heal);
        self.act(shut_down);
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.journal)?;
        for lease in self.world.borrow().table.leases() {
            writeln!(f, "{lease:?}")?;
        }
        Ok(())
    }
}
