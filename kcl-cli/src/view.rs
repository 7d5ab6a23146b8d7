//! What every command needs: the AWS configuration, looks at the table, and where output goes.

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, bail};
use aws_config::{BehaviorVersion, Region};
use aws_types::SdkConfig;
use indicatif::ProgressBar;
use kcl_operate::{FleetReport, Looked, Looker, OperateError, Seen, StreamFacts, StreamId};
use tokio::time::sleep;

use crate::args::{Color, Global, Output, Stream};
use crate::context::{self, Context};

/// The port of `kclctl local`.
pub(crate) const LOCAL_URL: &str = "http://127.0.0.1:4567";

/// The global options, and the context that they name.
#[derive(Debug)]
pub(crate) struct View {
    global: Global,
    context: Context,
}

/// What the looks of a command found.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) application: String,
    pub(crate) earlier: Option<Looked>,
    pub(crate) looked: Looked,
    pub(crate) stream: Option<StreamFacts>,
}

impl Scene {
    pub(crate) fn seen(&self) -> Seen<'_> {
        let mut seen = Seen::once(&self.application, &self.looked.look);
        seen.earlier = self.earlier.as_ref().map(|earlier| &earlier.look);
        seen.stream = self.stream.as_ref();
        seen
    }

    pub(crate) fn report(&self) -> FleetReport {
        FleetReport::of(&self.seen())
    }
}

impl View {
    pub(crate) fn new(global: Global) -> anyhow::Result<Self> {
        let context = context::load(global.config.as_deref(), global.context.as_deref())?;
        Ok(Self { global, context })
    }

    /// Returns the application that a command names, or else the context.
    pub(crate) fn application(&self, named: Option<&str>) -> anyhow::Result<String> {
        let app = named.or(self.context.app.as_deref());
        app.map(str::to_owned)
            .context("no application: name the lease table, or a context that has one with -c")
    }

    /// Loads the AWS configuration as every AWS program does.
    pub(crate) async fn sdk(&self) -> SdkConfig {
        let Global { profile, region, endpoint_url, local, .. } = &self.global;
        if *local {
            return kcl_local::sdk_config(LOCAL_URL);
        }
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(profile) = profile.as_ref().or(self.context.profile.as_ref()) {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = region.as_ref().or(self.context.region.as_ref()) {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(url) = endpoint_url.as_ref().or(self.context.endpoint_url.as_ref()) {
            loader = loader.endpoint_url(url);
        }
        loader.load().await
    }

    pub(crate) fn looker(&self, sdk: &SdkConfig, table: &str) -> anyhow::Result<Looker> {
        if sdk.region().is_none() {
            bail!("no region: set AWS_REGION, or name one with --region, --profile or a context");
        }
        let looker = Looker::new(sdk, table);
        Ok(match self.global.at {
            Some(at) => looker.at(at),
            None => looker,
        })
    }

    /// Looks at a table, twice if `again` asks for it after the first look, and at its stream.
    pub(crate) async fn look(
        &self,
        app: &str,
        stream: &Stream,
        again: impl FnOnce(&FleetReport) -> Option<Duration>,
    ) -> anyhow::Result<Scene> {
        let sdk = self.sdk().await;
        let looker = self.looker(&sdk, app)?;
        let progress = self.progress(format!("reading {app}"));
        let looked = looker.look().await?;
        let stream = self.stream(&looker, stream, &looked).await?;
        let application = looker.application().to_owned();
        let mut scene = Scene { application, earlier: None, looked, stream };
        if let Some(pause) = again(&scene.report()).filter(|pause| !pause.is_zero()) {
            progress.set_message(format!("looking again in {} s", pause.as_secs()));
            sleep(pause).await;
            let newer = looker.look().await?;
            scene.earlier = Some(std::mem::replace(&mut scene.looked, newer));
        }
        progress.finish_and_clear();
        if scene.looked.clock_ahead != 0 {
            let (off, table) = (scene.looked.clock_ahead, &scene.application);
            self.warn(&format!(
                "this machine's clock is {} s {} the one that {table} is kept by, which is used",
                off.unsigned_abs(),
                if off > 0 { "ahead of" } else { "behind" }
            ));
        }
        Ok(scene)
    }

    /// Reads the stream that is named, or that the table says. Without a permission for it the rest
    /// is shown.
    async fn stream(
        &self,
        looker: &Looker,
        wanted: &Stream,
        looked: &Looked,
    ) -> Result<Option<StreamFacts>, OperateError> {
        let in_table = looked.look.stream().map(|start| StreamId::Name(start.stream.clone()));
        let in_context = self.context.stream.as_ref().and_then(|it| it.parse().ok());
        let named = wanted.stream.clone().or(in_context);
        let is_named = named.is_some();
        let Some(stream) = named.or(in_table).filter(|_| !wanted.no_stream) else {
            return Ok(None);
        };
        match looker.stream(stream).await {
            Ok(facts) => Ok(Some(facts)),
            Err(error) if is_named => Err(error),
            Err(error) => {
                self.warn(&format!("the stream is left out: {error}"));
                if let Some(line) = error.policy_line() {
                    self.warn(&format!("the statement that grants it: {line}"));
                }
                Ok(None)
            }
        }
    }

    /// A note on the standard error. A closed one is no failure.
    pub(crate) fn warn(&self, text: &str) {
        if !self.global.quiet {
            drop(writeln!(io::stderr(), "note: {text}"));
        }
    }

    /// A spinner on the standard error, if that is a terminal.
    pub(crate) fn progress(&self, message: String) -> ProgressBar {
        if self.global.quiet || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let spinner = ProgressBar::new_spinner().with_message(message);
        spinner.enable_steady_tick(Duration::from_millis(100));
        spinner
    }

    pub(crate) const fn output(&self) -> Output {
        self.global.output
    }

    pub(crate) fn is_json(&self) -> bool {
        self.global.output == Output::Json
    }

    /// The width of the terminal; `None` if the output is none, or wide.
    pub(crate) fn width(&self) -> Option<usize> {
        if let Some(width) = self.global.width {
            return Some(width.into());
        }
        let is_terminal = io::stdout().is_terminal() && self.output() != Output::Wide;
        let size = terminal_size::terminal_size().filter(|_| is_terminal);
        size.map(|(width, _)| width.0.into())
    }

    /// Whether to use colour.
    pub(crate) fn is_coloured(&self) -> bool {
        match self.global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                let is_off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                io::stdout().is_terminal() && !is_off
            }
        }
    }
}

/// Writes to the standard output. Returns `false` if its reader is gone, as with `| head`: that is
/// no failure, and there is nothing more to do.
pub(crate) fn print(text: &str) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to the standard output"),
    }
}

/// Writes a value as JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<bool> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}
