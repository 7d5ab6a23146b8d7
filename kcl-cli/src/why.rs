//! `kclctl why`: why a shard stands still.

use std::time::Duration;

use kcl_operate::{Found, ShardState, Why, shard_named};

use crate::args;
use crate::exit::End;
use crate::paint::Paint;
use crate::view::{View, print, print_json};

pub(crate) async fn run(view: &View, arguments: &args::Why) -> anyhow::Result<End> {
    let (app, shard) = match &*arguments.app_and_shard {
        [app, shard] => (Some(app.as_str()), shard),
        [shard] | [shard, ..] => (None, shard),
        [] => anyhow::bail!("no shard: name one, such as 2"),
    };
    let (app, shard) = (view.application(app)?, shard_named(shard));
    let again = |report: &kcl_operate::FleetReport| -> Option<Duration> {
        // One look tells all of a shard that is processed, and of one whose owner says what is
        // wrong.
        let state = report.shards.iter().find(|it| it.shard == shard).map(|it| it.state);
        let is_clear = matches!(
            state,
            Some(
                ShardState::Ended | ShardState::Blocked | ShardState::CaughtUp | ShardState::Stuck
            )
        );
        (!is_clear).then_some(arguments.pause)
    };
    let scene = view.look(&app, &arguments.stream, again).await?;
    let why = Why::of(&shard, &scene.report(), &scene.seen());
    let end = if why.has_cause() { End::Unhealthy } else { End::Good };
    if view.is_json() {
        print_json(&why)?;
        return Ok(end);
    }
    let paint = Paint(view.is_coloured());
    let mut lines = vec![why.summary.clone()];
    for check in &why.checks {
        let found = format!("{:<5}", check.found);
        let found = if check.found == Found::Cause { paint.cause(&found) } else { found };
        lines.push(format!("  {found}  {:<11}  {}", check.name, check.text));
    }
    lines.extend(why.advice.iter().map(|advice| format!("Do: {advice}")));
    print(&(lines.join("\n") + "\n"))?;
    Ok(end)
}
