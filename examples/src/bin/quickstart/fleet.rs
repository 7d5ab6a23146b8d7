//! The worker processes: started, killed, stopped. Dropping the fleet kills them all.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use kcl_core::backend::{Clock as _, SystemClock};
use kcl_core::model::Moment;
use rustix::process::{Pid, Signal, kill_process};

use crate::stream::Stream;

/// What the workers are called.
const NAMES: [&str; 8] = ["anna", "ben", "cleo", "dan", "eve", "finn", "gus", "hana"];

/// What a worker's process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerState {
    /// It works.
    Running,
    /// It was asked to stop, and finishes what it has in hand.
    Stopping,
    /// It stopped as it was asked to.
    Stopped,
    /// It was killed.
    Killed,
}

/// The worker processes.
#[derive(Debug)]
pub(crate) struct Fleet {
    program: PathBuf,
    words: Vec<String>,
    folder: PathBuf,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: &'static str,
    state: WorkerState,
    child: Child,
}

impl Fleet {
    /// A fleet without a worker. Its workers write into `folder`.
    pub(crate) fn new(stream: &Stream, folder: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            program: std::env::current_exe().context("this program's file is not known")?,
            words: stream.words(),
            folder: folder.to_owned(),
            members: Vec::new(),
        })
    }

    /// Starts one more worker; returns its name.
    pub(crate) fn start(&mut self) -> anyhow::Result<&'static str> {
        let name = NAMES.get(self.members.len()).copied().context("there are no more names")?;
        let errors = File::create(self.folder.join(format!("{name}.log")))?;
        let child = Command::new(&self.program)
            .args(["--worker", name, "--folder"])
            .arg(&self.folder)
            .args(&self.words)
            // Ctrl-C is for the parent alone, which then ends its workers.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .context("a worker process could not be started")?;
        self.members.push(Member { name, state: WorkerState::Running, child });
        Ok(name)
    }

    /// Kills a worker, without a warning; returns when.
    pub(crate) fn kill(&mut self, name: &str) -> anyhow::Result<Moment> {
        self.strike(name, Signal::KILL, WorkerState::Killed)
    }

    /// Asks a worker to stop; returns when.
    pub(crate) fn stop(&mut self, name: &str) -> anyhow::Result<Moment> {
        self.strike(name, Signal::TERM, WorkerState::Stopping)
    }

    fn strike(&mut self, name: &str, signal: Signal, state: WorkerState) -> anyhow::Result<Moment> {
        let member = self.members.iter_mut().find(|member| member.name == name);
        let member = member.context("there is no such worker")?;
        let pid = i32::try_from(member.child.id()).ok().and_then(Pid::from_raw);
        let now = SystemClock.now();
        kill_process(pid.context("the worker has no process")?, signal)?;
        member.state = state;
        Ok(now)
    }

    /// What every worker is doing, in the order of their start. An error if one ended by itself.
    pub(crate) fn look(&mut self) -> anyhow::Result<BTreeMap<&'static str, WorkerState>> {
        let mut states = BTreeMap::new();
        for member in &mut self.members {
            match (member.state, member.child.try_wait()?) {
                (WorkerState::Running, Some(status)) => {
                    bail!("{} ended by itself: {status}", member.name);
                }
                (WorkerState::Stopping, Some(status)) if status.success() => {
                    member.state = WorkerState::Stopped;
                }
                (WorkerState::Stopping, Some(status)) => {
                    bail!("{} did not stop well: {status}", member.name);
                }
                (WorkerState::Stopped | WorkerState::Killed, _) | (_, None) => {}
            }
            states.insert(member.name, member.state);
        }
        Ok(states)
    }

    /// The names of the workers that run, in the order of their start.
    pub(crate) fn running(&self) -> Vec<&'static str> {
        let running = |member: &&Member| member.state == WorkerState::Running;
        self.members.iter().filter(running).map(|member| member.name).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for member in &mut self.members {
            // One that is gone already cannot be killed, and need not be.
            drop(member.child.kill());
            drop(member.child.wait());
        }
    }
}
