//! A fleet of real worker processes on the embedded stack, with real signals.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{PipeReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use aws_sdk_kinesis::Client;
use kcl_core::backend::{Clock as _, SystemClock};
use kcl_core::backend::{LeaseStore as _, Reading};
use kcl_core::model::Lease;
use kcl_dynamo::DynamoLeaseStore;
use kcl_local::LocalStack;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::audit::Audit;
use crate::producer::Producer;

/// The interval at which conditions are checked.
const CHECK_EVERY: Duration = Duration::from_millis(20);

/// The application, and so the table, of every fleet. Each fleet has its own stack.
const APPLICATION: &str = "fleet-app";

/// The stream of every fleet with a Kinesis of its own.
const STREAM: &str = "fleet-stream";

/// How long a stream may take to be created or resharded.
const ACTIVE_WITHIN: Duration = Duration::from_secs(20);

/// A stack, a stream and worker processes. Dropping it kills the processes.
#[derive(Debug)]
pub struct Fleet {
    stack: LocalStack,
    /// The endpoint of Kinesis.
    kinesis: String,
    stream: String,
    folder: TempDir,
    binary: PathBuf,
    workers: BTreeMap<String, Child>,
    extra: Vec<String>,
    environment: BTreeMap<String, OsString>,
    /// The full pipes that are the standard error of workers.
    pipes: Vec<PipeReader>,
}

impl Fleet {
    /// Starts a stack with a stream of `shards` shards, and no worker. `binary` is `fleet_worker`,
    /// `extra` its additional arguments.
    ///
    /// # Errors
    /// If the stack cannot start, or the stream cannot be created.
    pub async fn start(binary: &Path, shards: i32, extra: &[&str]) -> anyhow::Result<Self> {
        let mut fleet = Self::new(binary)?;
        fleet.set_extra(extra);
        fleet.with_shards(shards).await
    }

    /// Sets the additional arguments of workers that start from now on.
    pub fn set_extra(&mut self, extra: &[&str]) {
        self.extra = extra.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Starts a fleet like [`start`](Self::start) whose Kinesis is another server.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_on(kinesis: &str, binary: &Path, shards: i32) -> anyhow::Result<Self> {
        let mut fleet = Self::new(binary)?;
        kinesis.clone_into(&mut fleet.kinesis);
        // Other runs may use the same server.
        fleet.stream = format!("{STREAM}-{}", SystemClock.time_of_day().epoch_millis());
        fleet.with_shards(shards).await
    }

    fn new(binary: &Path) -> anyhow::Result<Self> {
        let stack = LocalStack::start()?;
        Ok(Self {
            kinesis: stack.endpoint_url(),
            stack,
            stream: STREAM.to_owned(),
            folder: TempDir::new()?,
            binary: binary.to_owned(),
            workers: BTreeMap::new(),
            extra: Vec::new(),
            environment: BTreeMap::new(),
            pipes: Vec::new(),
        })
    }

    async fn with_shards(self, shards: i32) -> anyhow::Result<Self> {
        let client = self.kinesis();
        client.create_stream().stream_name(&self.stream).shard_count(shards).send().await?;
        self.active(&client).await?;
        Ok(self)
    }

    /// Returns a Kinesis client.
    #[must_use]
    pub fn kinesis(&self) -> Client {
        Client::new(&kcl_local::sdk_config(&self.kinesis))
    }

    /// Returns the stack.
    #[must_use]
    pub const fn stack(&self) -> &LocalStack {
        &self.stack
    }

    /// Returns the stream's name.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Starts a producer of `per_second` records a second.
    #[must_use]
    pub fn produce(&self, per_second: u32) -> Producer {
        Producer::start(self.kinesis(), &self.stream, per_second)
    }

    /// Splits a shard in the middle.
    ///
    /// # Errors
    /// If Kinesis refuses.
    pub async fn split(&self, client: &Client, shard: &str) -> anyhow::Result<()> {
        let shards = client.list_shards().stream_name(&self.stream).send().await?;
        let range = shards
            .shards()
            .iter()
            .find(|listed| listed.shard_id() == shard)
            .and_then(|listed| listed.hash_key_range())
            .context("no such shard")?;
        let start: u128 = range.starting_hash_key().parse()?;
        let end: u128 = range.ending_hash_key().parse()?;
        let middle = start + (end - start) / 2 + 1;
        client
            .split_shard()
            .stream_name(&self.stream)
            .shard_to_split(shard)
            .new_starting_hash_key(middle.to_string())
            .send()
            .await?;
        self.active(client).await
    }

    /// Merges two adjacent shards.
    ///
    /// # Errors
    /// If Kinesis refuses.
    pub async fn merge(&self, client: &Client, one: &str, other: &str) -> anyhow::Result<()> {
        let merge = client.merge_shards().stream_name(&self.stream);
        merge.shard_to_merge(one).adjacent_shard_to_merge(other).send().await?;
        self.active(client).await
    }

    async fn active(&self, client: &Client) -> anyhow::Result<()> {
        let active = async || {
            let summary = client.describe_stream_summary().stream_name(&self.stream).send().await?;
            let summary = summary.stream_description_summary().context("no summary")?;
            Ok(summary.stream_status().as_str() == "ACTIVE")
        };
        until("the stream is active", ACTIVE_WITHIN, active).await
    }

    /// Sets an environment variable of all worker processes that start later.
    pub fn set_environment(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.insert(name.to_owned(), value.into());
    }

    /// Starts a worker process.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&mut self, name: &str) -> anyhow::Result<()> {
        let errors = std::fs::File::create(self.folder.path().join(format!("{name}.err")))?;
        self.spawn_with(name, Stdio::null(), Stdio::from(errors))
    }

    /// Starts a worker process whose standard output is a small pipe. Returns its end: while nobody
    /// reads there, the process's writes block.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn_into_pipe(&mut self, name: &str) -> anyhow::Result<PipeReader> {
        let (reader, writer) = std::io::pipe()?;
        rustix::pipe::fcntl_setpipe_size(&writer, 4_096)?;
        let errors = std::fs::File::create(self.folder.path().join(format!("{name}.err")))?;
        self.spawn_with(name, Stdio::from(writer), Stdio::from(errors))?;
        Ok(reader)
    }

    /// Starts a worker process whose standard error is a full pipe: its first log line blocks for as
    /// long as the fleet exists.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn_with_blocked_log(&mut self, name: &str) -> anyhow::Result<()> {
        let (reader, mut writer) = std::io::pipe()?;
        let size = rustix::pipe::fcntl_setpipe_size(&writer, 4_096)?;
        writer.write_all(&vec![b'\n'; size])?;
        self.pipes.push(reader);
        self.spawn_with(name, Stdio::null(), Stdio::from(writer))
    }

    fn spawn_with(&mut self, name: &str, output: Stdio, errors: Stdio) -> anyhow::Result<()> {
        let log = self.folder.path().join(format!("{name}.log"));
        let child = Command::new(&self.binary)
            .args(["--endpoint", &self.stack.endpoint_url(), "--kinesis", &self.kinesis])
            .args(["--stream", &self.stream])
            .args(["--app", APPLICATION, "--worker", name, "--log"])
            .arg(log)
            .args(&self.extra)
            .envs(&self.environment)
            .stdout(output)
            .stderr(errors)
            .spawn()?;
        self.workers.insert(name.to_owned(), child);
        Ok(())
    }

    /// Sends a signal to a worker. Returns the time, in milliseconds since the epoch.
    ///
    /// # Errors
    /// If there is no such worker.
    pub fn signal(&self, name: &str, signal: Signal) -> anyhow::Result<i64> {
        let child = self.workers.get(name).context("no such worker")?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("no pid")?;
        let now = SystemClock.time_of_day().epoch_millis();
        kill_process(pid, signal)?;
        Ok(now)
    }

    /// Starts the worker `new`, and stops `old`.
    ///
    /// # Errors
    /// If one cannot be started, or the other does not end well within `limit`.
    pub async fn replace(&mut self, old: &str, new: &str, limit: Duration) -> anyhow::Result<()> {
        self.spawn(new)?;
        self.signal(old, Signal::TERM)?;
        ensure!(self.gone(old, limit).await?, "{old} failed: {}", self.errors(old));
        Ok(())
    }

    /// Waits until a worker's process ends. Returns whether it succeeded.
    ///
    /// # Errors
    /// If it does not end within `limit`.
    pub async fn gone(&mut self, name: &str, limit: Duration) -> anyhow::Result<bool> {
        let mut child = self.workers.remove(name).context("no such worker")?;
        let mut status = None;
        until("the process ends", limit, async || {
            status = child.try_wait()?;
            Ok(status.is_some())
        })
        .await?;
        Ok(status.is_some_and(|status| status.success()))
    }

    /// Returns the resident memory of a worker's process, in bytes.
    ///
    /// # Errors
    /// If the system does not report it.
    pub fn resident_bytes(&self, name: &str) -> anyhow::Result<u64> {
        self.memory(name, "VmRSS:")
    }

    /// Returns the peak resident memory of a worker's process, in bytes.
    ///
    /// # Errors
    /// If the system does not report it.
    pub fn peak_resident_bytes(&self, name: &str) -> anyhow::Result<u64> {
        self.memory(name, "VmHWM:")
    }

    fn memory(&self, name: &str, which: &str) -> anyhow::Result<u64> {
        let pid = self.workers.get(name).context("no such worker")?.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(which));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no such line")?;
        Ok(kib.trim().parse::<u64>()? * 1024)
    }

    /// Returns the CPU time of a worker's process.
    ///
    /// # Errors
    /// If the system does not report it.
    pub fn cpu(&self, name: &str) -> anyhow::Result<Duration> {
        let pid = self.workers.get(name).context("no such worker")?.id();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, rest) = stat.rsplit_once(')').context("no stat")?;
        let ticks: u64 = rest.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Returns a worker's delivery log.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        let path = self.folder.path().join(format!("{name}.log"));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Returns a worker's standard error.
    #[must_use]
    pub fn errors(&self, name: &str) -> String {
        let path = self.folder.path().join(format!("{name}.err"));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Returns all deliveries so far.
    ///
    /// # Errors
    /// If a log is unreadable.
    pub fn audit(&self) -> anyhow::Result<Audit> {
        Audit::read(self.folder.path())
    }

    /// Returns the leases of the table; none if the table is missing.
    ///
    /// # Errors
    /// If the table is unreadable.
    pub async fn leases(&self) -> anyhow::Result<Vec<Lease>> {
        let store = DynamoLeaseStore::new(&self.stack.sdk_config(), APPLICATION);
        Ok(store.scan(None, Reading::Eventual).await.map(|page| page.leases).unwrap_or_default())
    }

    /// Returns the number of unended leases of each worker; `None` during a hand-over, or while a
    /// lease has no owner.
    ///
    /// # Errors
    /// If the table is unreadable.
    pub async fn held(&self) -> anyhow::Result<Option<BTreeMap<String, usize>>> {
        let mut held = BTreeMap::new();
        let leases = self.leases().await?;
        for lease in leases.iter().filter(|lease| !lease.is_ended()) {
            match (&lease.owner, &lease.checkpoint_owner) {
                (Some(owner), None) => *held.entry(owner.name().to_owned()).or_insert(0) += 1,
                _ => return Ok(None),
            }
        }
        Ok((!leases.is_empty()).then_some(held))
    }

    /// Waits until each of `workers` holds `each` leases.
    ///
    /// # Errors
    /// If they do not within `limit`.
    pub async fn balanced(
        &self,
        workers: &[&str],
        each: usize,
        limit: Duration,
    ) -> anyhow::Result<()> {
        let expected: BTreeMap<String, usize> =
            workers.iter().map(|worker| ((*worker).to_owned(), each)).collect();
        until("the fleet is balanced", limit, async || {
            Ok(self.held().await? == Some(expected.clone()))
        })
        .await
    }

    /// Waits until the first and the last delivery to `worker` are `time` apart.
    ///
    /// # Errors
    /// If they are not after `limit`.
    pub async fn works_for(
        &self,
        worker: &str,
        time: Duration,
        limit: Duration,
    ) -> anyhow::Result<()> {
        let time = i64::try_from(time.as_millis())?;
        until("the worker has worked long enough", limit, async || {
            let audit = self.audit()?;
            let mut times = audit.by(worker).map(|delivery| delivery.at);
            let first = times.next();
            Ok(first.zip(times.last()).is_some_and(|(first, last)| last - first >= time))
        })
        .await
    }

    /// Waits until all of `produced` is delivered, then checks the order.
    ///
    /// # Errors
    /// If a record is missing after `limit`, or order was broken.
    pub async fn delivered(
        &self,
        produced: &BTreeSet<String>,
        limit: Duration,
    ) -> anyhow::Result<Audit> {
        let all = async || {
            let audit = self.audit()?;
            let ids = audit.ids();
            Ok(produced.iter().all(|id| ids.contains(id.as_str())))
        };
        // After a timeout the check names the missing records.
        let waited = until("everything is delivered", limit, all).await;
        let audit = self.audit()?;
        audit.check(produced)?;
        waited.map(|()| audit)
    }
}

impl Drop for Fleet {
    #[expect(clippy::print_stderr, reason = "a failing test prints the errors of its workers")]
    fn drop(&mut self) {
        for child in self.workers.values_mut() {
            // Killing an ended process fails, which is fine.
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            for name in self.workers.keys() {
                eprintln!("== {name}\n{}", self.errors(name));
            }
        }
    }
}

/// Waits until a condition holds.
///
/// # Errors
/// If it does not hold within `limit`, or its check fails.
pub async fn until(
    what: &str,
    limit: Duration,
    mut holds: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let start = SystemClock.now();
    while !holds().await? {
        if SystemClock.now().since(start) > limit {
            bail!("not within {limit:?}: {what}");
        }
        sleep(CHECK_EVERY).await;
    }
    Ok(())
}
