//! Starts, kills and stops the worker processes.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use kcl_core::backend::{Clock as _, SystemClock};
use kcl_core::model::Moment;
use rustix::process::{Pid, Signal, kill_process};

use crate::args::Args;
use crate::stream::Stream;

/// The names of the workers.
const NAMES: [&str; 8] = ["anna", "ben", "cleo", "dan", "eve", "finn", "gus", "hana"];

/// The state of a worker's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerState {
    /// Running.
    Running,
    /// Asked to stop, and draining.
    Stopping,
    /// Stopped on request.
    Stopped,
    /// Killed.
    Killed,
}

/// The worker processes. Dropping the fleet kills them.
#[derive(Debug)]
pub(crate) struct Fleet {
    program: PathBuf,
    arguments: Vec<String>,
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
    /// Creates a fleet without workers. They log their deliveries in `folder`.
    pub(crate) fn new(args: &Args, stream: &Stream, folder: &Path) -> anyhow::Result<Self> {
        let liveness = ["--liveness".to_owned(), args.liveness.to_string()];
        let arguments = stream.arguments().into_iter().chain(liveness).collect();
        Ok(Self {
            program: std::env::current_exe().context("cannot find the path of this program")?,
            arguments,
            folder: folder.to_owned(),
            members: Vec::new(),
        })
    }

    /// Starts a worker. Returns its name.
    pub(crate) fn start(&mut self) -> anyhow::Result<&'static str> {
        let name =
            NAMES.get(self.members.len()).copied().context("no name is left for another worker")?;
        let errors = File::create(self.folder.join(format!("{name}.log")))?;
        let child = Command::new(&self.program)
            .args(["--worker", name, "--folder"])
            .arg(&self.folder)
            .args(&self.arguments)
            // Ctrl-C must reach the parent only, which then ends its workers.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .context("cannot start a worker process")?;
        self.members.push(Member { name, state: WorkerState::Running, child });
        Ok(name)
    }

    /// Kills a worker. Returns the time.
    pub(crate) fn kill(&mut self, name: &str) -> anyhow::Result<Moment> {
        self.signal(name, Signal::KILL, WorkerState::Killed)
    }

    /// Asks a worker to stop. Returns the time.
    pub(crate) fn stop(&mut self, name: &str) -> anyhow::Result<Moment> {
        self.signal(name, Signal::TERM, WorkerState::Stopping)
    }

    fn signal(&mut self, name: &str, signal: Signal, state: WorkerState) -> anyhow::Result<Moment> {
        let member = self.members.iter_mut().find(|member| member.name == name);
        let member = member.with_context(|| format!("no worker is named {name}"))?;
        let pid = i32::try_from(member.child.id()).ok().and_then(Pid::from_raw);
        let now = SystemClock.now();
        kill_process(pid.context("the worker has no process")?, signal)?;
        member.state = state;
        Ok(now)
    }

    /// Returns the state of every worker.
    ///
    /// # Errors
    /// If a worker ended unasked, or with an error.
    pub(crate) fn states(&mut self) -> anyhow::Result<BTreeMap<&'static str, WorkerState>> {
        let mut states = BTreeMap::new();
        for member in &mut self.members {
            match (member.state, member.child.try_wait()?) {
                (WorkerState::Running, Some(status)) => {
                    bail!("{} ended unasked: {status}", member.name);
                }
                (WorkerState::Stopping, Some(status)) if status.success() => {
                    member.state = WorkerState::Stopped;
                }
                (WorkerState::Stopping, Some(status)) => {
                    bail!("{} stopped with an error: {status}", member.name);
                }
                (WorkerState::Stopped | WorkerState::Killed, _) | (_, None) => {}
            }
            states.insert(member.name, member.state);
        }
        Ok(states)
    }

    /// Returns the names of the running workers, in the order of their start.
    pub(crate) fn running(&self) -> Vec<&'static str> {
        let running = |member: &&Member| member.state == WorkerState::Running;
        self.members.iter().filter(running).map(|member| member.name).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for member in &mut self.members {
            // Killing an ended process fails, which is fine.
            drop(member.child.kill());
            drop(member.child.wait());
        }
    }
}
