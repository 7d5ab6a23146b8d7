//! One lease → the state of its shard: a total table.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{HoldUp, HoldUpKind, Lease, LeaseKey, ShardId};
use crate::operate::look::Seen;
use crate::operate::progress::{self, Done, Lag};
use crate::operate::shard_report::{ShardReport, ShardState};
use crate::operate::sign_of_life::SignOfLife;

/// How far a shard is behind at most that is caught up.
pub(super) const CAUGHT_UP: Duration = Duration::from_secs(5);

/// How long records wait, and none is done, until a shard counts as stuck.
pub(super) const STUCK_AFTER: Duration = Duration::from_secs(30);

/// From which change on, in seconds per second, a lag grows or shrinks.
const TREND_MIN: f64 = 0.1;

/// How many failures in a row make a shard stuck.
const FAILURES_MIN: u64 = 3;

/// Returns the report of the shard of `lease`. `waiting` says which shards wait for which parent.
pub(super) fn report(
    lease: &Lease,
    waiting: &BTreeMap<LeaseKey, ShardId>,
    seen: &Seen<'_>,
) -> ShardReport {
    let done = Done::of(lease, seen.look);
    let lag = Lag::of(lease, seen.look);
    let waits_for = waiting.get(&lease.key).cloned();
    let owner = lease.holder().cloned();
    let is_moving = lease.checkpoint_owner.is_some();
    let sessions = &seen.look.sessions;
    let posted = owner.as_ref().and_then(|owner| sessions.get(owner)).map(|row| &row.posted);
    let hold_up = posted.and_then(|posted| posted.shards.get(&lease.key).or(posted.table.as_ref()));
    let lag_trend = progress::trend(lease, seen);
    let mut report = ShardReport {
        shard: lease.key.shard(),
        state: ShardState::Held,
        next: lease.owner.clone().filter(|_| is_moving),
        waits_for,
        lag: lag.map(|lag| lag.behind),
        lag_is_bound: lag.is_some_and(|lag| lag.is_bound),
        lag_trend,
        checkpoint: done.checkpoint,
        token: lease.token.filter(|_| lease.is_ours()),
        counter: lease.counter,
        hash_range: lease.hash_range.or_else(|| listed_range(lease, seen)),
        parents: lease.parents.iter().cloned().collect(),
        children: lease.children.iter().cloned().collect(),
        is_ours: lease.is_ours(),
        hold_up: hold_up.cloned(),
        owner,
    };
    report.state = state(lease, &report, seen);
    if !is_held(report.state) {
        report.hold_up = None;
    }
    report
}

fn listed_range(lease: &Lease, seen: &Seen<'_>) -> Option<crate::model::HashKeyRange> {
    let shards = &seen.stream?.shards;
    let shard = shards.iter().find(|shard| shard.id.as_str() == lease.key.as_str());
    shard.map(|shard| shard.hash_range)
}

/// Whether a worker holds a shard in this state.
const fn is_held(state: ShardState) -> bool {
    use ShardState::{
        Behind, Blocked, CatchingUp, CaughtUp, Ended, Expired, FallingBehind, Held, Moving, Stuck,
        Unowned,
    };
    match state {
        Held | CaughtUp | CatchingUp | Behind | FallingBehind | Stuck | Moving => true,
        Ended | Blocked | Unowned | Expired => false,
    }
}

fn state(lease: &Lease, report: &ShardReport, seen: &Seen<'_>) -> ShardState {
    let Some(holder) = lease.holder() else {
        return if lease.is_ended() {
            ShardState::Ended
        } else if report.waits_for.is_some() {
            ShardState::Blocked
        } else {
            ShardState::Unowned
        };
    };
    if lease.is_ended() {
        return ShardState::Ended;
    }
    if report.waits_for.is_some() {
        return ShardState::Blocked;
    }
    if SignOfLife::of_holder(holder, lease, seen).is_lost() {
        return ShardState::Expired;
    }
    if report.next.is_some() {
        return ShardState::Moving;
    }
    // The owner itself says that its processor keeps it from work.
    if report.hold_up.as_ref().is_some_and(is_standing_still) {
        return ShardState::Stuck;
    }
    match report.lag {
        None => ShardState::Held,
        Some(lag) if report.lag_is_bound && lag > allowed(lease) => ShardState::Held,
        Some(lag) => of_lag(lease, lag, report.lag_trend, seen),
    }
}

/// Whether what an owner posts means that no record is done.
fn is_standing_still(hold_up: &HoldUp) -> bool {
    match hold_up.kind {
        HoldUpKind::Call => hold_up.number >= STUCK_AFTER.as_secs(),
        HoldUpKind::Failing | HoldUpKind::Reads => hold_up.number >= FAILURES_MIN,
        HoldUpKind::Table => false,
    }
}

fn of_lag(lease: &Lease, lag: Duration, trend: Option<f64>, seen: &Seen<'_>) -> ShardState {
    if lag <= allowed(lease) {
        return ShardState::CaughtUp;
    }
    let stands = progress::has_moved(lease, seen) == Some(false);
    if stands && seen.between() >= STUCK_AFTER {
        return ShardState::Stuck;
    }
    match trend {
        Some(trend) if trend > TREND_MIN => ShardState::FallingBehind,
        Some(trend) if trend < -TREND_MIN => ShardState::CatchingUp,
        Some(_) | None => ShardState::Behind,
    }
}

/// How far behind the rows of a caught-up shard may claim to be: the holder writes every third of
/// its expiry.
fn allowed(lease: &Lease) -> Duration {
    CAUGHT_UP + lease.holder_expiry().unwrap_or_default() / 2
}
