//! Reports of small fleets, row by row.

use std::time::Duration;

use crate::model::{
    Checkpoint, HashKeyRange, HoldUp, HoldUpKind, JavaRow, KeptProgress, Lease, LeaseCounter,
    LeaseKey, Liveness, Posted, Presence, Session, ShardId, StreamStart, Timestamp, UnreadableRow,
    WorkerId,
};
use crate::operate::finding::{FindingKind, Verdict};
use crate::operate::fleet_report::{FleetReport, WrittenBy};
use crate::operate::look::{Look, Seen, StreamFacts};
use crate::operate::shard_report::ShardState;
use crate::operate::worker_report::WorkerState;

/// When the fleet is looked at, in seconds.
pub(super) const NOW: i64 = 100_000;

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_epoch_seconds(seconds)
}

/// A lease of shard `number` of `count` that `owner` holds, caught up two seconds ago.
pub(super) fn lease(number: u64, count: u64, owner: &str) -> Lease {
    let part = u128::MAX / u128::from(count);
    let start = u128::from(number % count) * part;
    let end = if number % count + 1 == count { u128::MAX } else { start + part - 1 };
    let shard = ShardId::of_number(number).unwrap();
    let mut lease = Lease::sample();
    lease.key = LeaseKey::from(&shard);
    lease.hash_range = Some(HashKeyRange { start, end });
    lease.counter = LeaseCounter(40);
    lease.checkpoint = Checkpoint::after(7);
    lease.expiry = Some(Duration::from_secs(10));
    lease.token = Some(LeaseCounter(33).into());
    lease.caught_up_at = Some(at(NOW - 2));
    lease.owner = (!owner.is_empty()).then(|| owner.into());
    lease.written_by(if owner.is_empty() { "gone:0" } else { owner })
}

pub(super) fn worker(name: &str, wrote_ago: i64) -> Session {
    let expiry = Duration::from_secs(10);
    let last_update = at(NOW - wrote_ago - 3_600);
    Session::from(Presence::new(name.into(), 9, expiry, last_update))
}

pub(super) fn look(leases: impl IntoIterator<Item = Lease>, workers: &[Session]) -> Look {
    Look {
        at: at(NOW),
        leases: leases.into_iter().map(|lease| (lease.key.clone(), lease)).collect(),
        sessions: workers.iter().map(|row| (row.worker.clone(), row.clone())).collect(),
        stream_starts: vec![StreamStart::sample()],
        ..Look::default()
    }
}

/// The same rows, seen earlier.
fn earlier(look: &Look, seconds: i64) -> Look {
    Look { at: at(NOW - seconds), ..look.clone() }
}

fn report(look: &Look) -> FleetReport {
    FleetReport::of(&Seen::once("app", look))
}

fn kinds(report: &FleetReport) -> Vec<FindingKind> {
    report.findings.iter().map(|finding| finding.kind).collect()
}

#[track_caller]
fn check(look: &Look, states: &[ShardState], verdict: Verdict, findings: &[FindingKind]) {
    let report = report(look);
    let found: Vec<_> = report.shards.iter().map(|shard| shard.state).collect();
    assert_eq!(found, states, "{:?}", report.shards);
    assert_eq!(kinds(&report), findings, "{:?}", report.findings);
    assert_eq!(report.verdict, verdict);
}

#[test]
fn caught_up_fleet_is_healthy() {
    let look =
        look([lease(0, 2, "a:1"), lease(1, 2, "b:1")], &[worker("a:1", 2), worker("b:1", 3)]);
    check(&look, &[ShardState::CaughtUp; 2], Verdict::Healthy, &[]);
    let report = report(&look);
    assert_eq!(report.lag_max, Some(Duration::from_secs(2)));
    assert_eq!(report.written_by, WrittenBy::Ours);
    assert_eq!(report.workers_alive(), 2);
    assert_eq!(report.uncovered, Some(vec![]));
    assert_eq!(report.workers[1].leases, 1);
}

#[test]
fn shard_without_an_owner_degrades() {
    let look = look([lease(0, 2, "a:1"), lease(1, 2, "")], &[worker("a:1", 2)]);
    let states = [ShardState::CaughtUp, ShardState::Unowned];
    check(&look, &states, Verdict::Degraded, &[FindingKind::Unowned]);
    let report = report(&look);
    assert_eq!(report.findings[0].text, "shard 1 has no owner");
    assert_eq!(report.findings[0].command.as_deref(), Some("kclctl why app 1"));
}

#[test]
fn silent_owner_has_lost_its_shard() {
    let (a, b) = (lease(0, 2, "a:1"), lease(1, 2, "b:1"));
    let look = look([a, b], &[worker("a:1", 2), worker("b:1", 16)]);
    let states = [ShardState::CaughtUp, ShardState::Expired];
    check(&look, &states, Verdict::Degraded, &[FindingKind::Expired]);
    assert_eq!(report(&look).workers[1].state, WorkerState::Silent);
}

/// Each living worker of this library has a row.
#[test]
fn owner_without_a_row_is_gone() {
    let look = look([lease(0, 2, "a:1"), lease(1, 2, "b:1")], &[worker("a:1", 2)]);
    let states = [ShardState::CaughtUp, ShardState::Expired];
    check(&look, &states, Verdict::Degraded, &[FindingKind::Expired]);
    assert_eq!(report(&look).workers[1].state, WorkerState::Gone);
}

#[test]
fn fleet_without_workers_is_down() {
    let look = look([lease(0, 1, "a:1")], &[worker("a:1", 600)]);
    let findings = [FindingKind::NoWorkers, FindingKind::Expired];
    check(&look, &[ShardState::Expired], Verdict::Down, &findings);
}

#[test]
fn empty_table_is_no_fleet() {
    check(&look([], &[]), &[], Verdict::Healthy, &[FindingKind::NoLeases]);
}

#[test]
fn lag_grows_while_the_owner_is_dead() {
    let look = look([lease(0, 1, "a:1")], &[worker("a:1", 600)]);
    let later = Look { at: at(NOW + 60), ..look.clone() };
    assert_eq!(report(&look).lag_max, Some(Duration::from_secs(2)));
    assert_eq!(report(&later).lag_max, Some(Duration::from_secs(62)));
}

/// A lease that lives by a session has its progress there, under its token.
#[test]
fn session_says_how_far_its_leases_are() {
    let mut held = lease(0, 1, "a:1");
    held.expiry = Some(Liveness::Session.stored(Duration::from_secs(10)));
    held.caught_up_at = Some(at(NOW - 900));
    let mut row = worker("a:1", 2);
    row.kind = crate::model::SessionKind::Session;
    let before = look([held.clone()], &[row.clone()]);
    assert_eq!(report(&before).shards[0].state, ShardState::Behind);
    let (position, token) = (None, held.token.unwrap());
    let progress = KeptProgress { token, position, caught_up_at: Some(at(NOW - 1)) };
    row.progress.0.insert(held.key.clone(), progress);
    check(&look([held], &[row]), &[ShardState::CaughtUp], Verdict::Healthy, &[]);
}

#[test]
fn dead_session_frees_its_leases() {
    let mut held = lease(0, 1, "a:1");
    held.expiry = Some(Liveness::Session.stored(Duration::from_secs(10)));
    let mut row = worker("a:1", 2);
    (row.kind, row.dead) = (crate::model::SessionKind::Session, Some("b:1".into()));
    let found = report(&look([held], &[row, worker("b:1", 1)]));
    assert_eq!(found.shards[0].state, ShardState::Expired);
    assert_eq!(found.workers[0].state, WorkerState::Dead);
}

#[test]
fn trend_needs_two_looks() {
    let of = |before: i64, now: i64, stood_for: i64| {
        let at_lag = |lag: i64, seen_at: i64| {
            let mut held = lease(0, 1, "a:1");
            held.caught_up_at = Some(at(seen_at - lag));
            let mut row = worker("a:1", NOW - seen_at + 2);
            row.beat = u64::try_from(seen_at).unwrap();
            Look { at: at(seen_at), ..look([held], &[row]) }
        };
        let (one, two) = (at_lag(before, NOW - stood_for), at_lag(now, NOW));
        let seen = Seen { earlier: Some(&one), ..Seen::once("app", &two) };
        FleetReport::of(&seen).shards[0].state
    };
    assert_eq!(of(60, 40, 10), ShardState::CatchingUp);
    assert_eq!(of(60, 60, 10), ShardState::Behind);
    assert_eq!(of(60, 65, 10), ShardState::FallingBehind);
    assert_eq!(of(60, 70, 10), ShardState::FallingBehind, "it stands still, for how long?");
    assert_eq!(of(60, 90, 30), ShardState::Stuck);
    assert_eq!(of(60, 2, 10), ShardState::CaughtUp);
}

#[test]
fn child_waits_for_its_parent() {
    let mut child = lease(1, 1, "");
    child.parents = [ShardId::of_number(0).unwrap()].into();
    child.hash_range = Some(HashKeyRange::FULL);
    child.checkpoint = Checkpoint::TrimHorizon;
    (child.last_write, child.counter) = (None, LeaseCounter(0));
    let mut look = look([lease(0, 1, "a:1"), child], &[worker("a:1", 2)]);
    check(&look, &[ShardState::CaughtUp, ShardState::Blocked], Verdict::Healthy, &[]);
    look.stream_starts.clear();
    assert_eq!(report(&look).written_by, WrittenBy::Ours, "no worker took the child yet");
}

#[test]
fn open_hand_over_is_a_move() {
    let mut moving = lease(0, 1, "b:1");
    moving.checkpoint_owner = Some("a:1".into());
    let look = look([moving], &[worker("a:1", 2), worker("b:1", 2)]);
    check(&look, &[ShardState::Moving], Verdict::Healthy, &[]);
    let report = report(&look);
    assert_eq!(report.shards[0].owner, Some("a:1".into()));
    assert_eq!(report.shards[0].next, Some("b:1".into()));
}

#[test]
fn hole_in_the_hash_keys_is_an_error() {
    let look = look([lease(0, 3, "a:1"), lease(2, 3, "a:1")], &[worker("a:1", 2)]);
    let states = [ShardState::CaughtUp, ShardState::CaughtUp];
    check(&look, &states, Verdict::Degraded, &[FindingKind::Uncovered]);
}

#[test]
fn records_about_to_be_trimmed_are_a_finding() {
    let risk = |lag: i64| {
        let mut held = lease(0, 1, "a:1");
        held.caught_up_at = Some(at(NOW - lag));
        let look = look([held], &[worker("a:1", 2)]);
        let (name, retention) = ("orders".into(), Duration::from_hours(1));
        let stream = StreamFacts { name, shards: vec![], retention };
        kinds(&FleetReport::of(&Seen { stream: Some(&stream), ..Seen::once("app", &look) }))
    };
    assert_eq!(risk(1_700), []);
    assert_eq!(risk(1_900), [FindingKind::AtRisk]);
    assert_eq!(risk(3_700), [FindingKind::Lost]);
}

#[test]
fn unreadable_row_is_named() {
    let mut look = look([lease(0, 1, "a:1")], &[worker("a:1", 2)]);
    let problem = "attribute \"checkpoint\" is missing".to_owned();
    look.unreadable.push(UnreadableRow::new("x".into(), problem, String::new()));
    check(&look, &[ShardState::CaughtUp], Verdict::Degraded, &[FindingKind::UnreadableRow]);
}

#[test]
fn many_shards_make_one_finding() {
    let held = (0..9).map(|number| lease(number, 9, ""));
    let report = report(&look(held, &[worker("a:1", 2)]));
    assert_eq!(kinds(&report), [FindingKind::Unowned]);
    assert_eq!(report.findings[0].text, "shards 0, 1, 2 and 6 more have no owner");
    assert_eq!(report.findings[0].shards.len(), 9);
    assert_eq!(report.verdict, Verdict::Down, "no shard is worked on");
}

#[test]
fn clock_of_a_worker_that_is_ahead_shows_in_one_look() {
    let look = look([lease(0, 1, "a:1")], &[worker("a:1", -600)]);
    check(&look, &[ShardState::CaughtUp], Verdict::Degraded, &[FindingKind::Clock]);
}

#[test]
fn clock_of_a_worker_that_is_behind_needs_two_looks() {
    let second = look([lease(0, 1, "a:1")], &[worker("a:1", 600)]);
    assert_eq!(report(&second).shards[0].state, ShardState::Expired);
    let mut first = earlier(&second, 5);
    first.sessions.values_mut().for_each(|row| row.beat -= 1);
    let found = FleetReport::of(&Seen { earlier: Some(&first), ..Seen::once("app", &second) });
    assert_eq!(found.shards[0].state, ShardState::CaughtUp);
    assert_eq!(kinds(&found), [FindingKind::Clock]);
    assert_eq!(found.workers[0].clock_ahead, Some(-595));
}

/// A lease of the Java KCL, whose sequence number says 2018.
fn java_lease(owner: &str) -> Lease {
    let mut lease = Lease::sample();
    let sequence = "49590338271490256608559692538361571095921575989136588898";
    lease.checkpoint = Checkpoint::parse(sequence, 0).unwrap();
    lease.counter = LeaseCounter(3);
    lease.owner = Some(owner.into());
    lease
}

pub(super) fn java_worker(key: &str, wrote: i64) -> JavaRow {
    let mut row = JavaRow::new(key.into(), "WORKER_METRIC_STATS".into(), format!("{wrote}"), None);
    row.updated_at = Some(at(wrote));
    row
}

pub(super) fn java_look(java: Vec<JavaRow>) -> Look {
    let mut look = look([java_lease("java-1")], &[]);
    look.at = at(1_545_084_650 + 90);
    look.stream_starts.clear();
    look.java = java;
    look
}

#[test]
fn rows_of_java_3_say_who_lives() {
    let look = java_look(vec![java_worker("java-1", 1_545_084_700)]);
    let found = report(&look);
    assert_eq!(found.written_by, WrittenBy::Java3);
    assert_eq!(found.workers[0].state, WorkerState::Running);
    let shard = &found.shards[0];
    assert_eq!((shard.state, shard.lag), (ShardState::Held, Some(Duration::from_secs(90))));
    assert!(shard.lag_is_bound, "Java does not say when a shard was caught up");
    assert_eq!((found.lag_max, found.verdict), (None, Verdict::Healthy));
    let dead = report(&java_look(vec![java_worker("java-1", 1_545_084_600)]));
    assert_eq!(dead.shards[0].state, ShardState::Expired);
}

#[test]
fn rows_of_java_2_need_two_looks() {
    let look = java_look(vec![]);
    let once = report(&look);
    assert_eq!(once.written_by, WrittenBy::Java2);
    assert_eq!(once.workers[0].state, WorkerState::Unknown);
    let mut first = Look { at: at(1_545_084_650 + 65), ..look.clone() };
    let of = |first: &Look| {
        let seen = Seen { earlier: Some(first), ..Seen::once("app", &look) };
        FleetReport::of(&seen).workers[0].state
    };
    assert_eq!(of(&first), WorkerState::Silent);
    first.leases.values_mut().for_each(|lease| lease.counter = LeaseCounter(2));
    assert_eq!(of(&first), WorkerState::Running);
}

pub(super) fn posted(kind: HoldUpKind, number: u64, text: &str) -> Session {
    let hold_up = HoldUp::new(kind, number, text);
    let mut row = worker("a:1", 2);
    row.posted = match kind {
        HoldUpKind::Table => Posted { table: Some(hold_up), ..Posted::default() },
        HoldUpKind::Call | HoldUpKind::Failing | HoldUpKind::Reads => Posted {
            shards: [(LeaseKey::from(&ShardId::of_number(0).unwrap()), hold_up)].into(),
            table: None,
        },
    };
    row
}

#[test]
fn owner_says_what_holds_its_shard_up() {
    use HoldUpKind::{Call, Failing, Reads, Table};
    for (row, state) in [
        (posted(Call, 30, "process_records"), ShardState::Stuck),
        (posted(Call, 29, "process_records"), ShardState::CaughtUp),
        (posted(Failing, 3, "timeout"), ShardState::Stuck),
        (posted(Failing, 2, "timeout"), ShardState::CaughtUp),
        (posted(Reads, 3, "throttled"), ShardState::Stuck),
        (posted(Table, 99, "throttled"), ShardState::CaughtUp),
    ] {
        let found = report(&look([lease(0, 1, "a:1")], &[row]));
        assert_eq!(found.shards[0].state, state, "{:?}", found.shards[0].hold_up);
    }
    let look = look([lease(0, 1, "a:1")], &[posted(Call, 41, "process_records")]);
    let text = "shard 0 stands still while records wait: process_records 41 s";
    assert_eq!(report(&look).findings[0].text, text);
}

/// Ten thousand leases of two hundred workers.
#[test]
fn large_fleet_is_one_report() {
    let name = |number: u64| WorkerId::from(format!("w{}:1", number % 200));
    let leases = (0..10_000).map(|number| lease(number, 10_000, name(number).as_str()));
    let workers: Vec<_> = (0..200).map(|it| worker(name(it).as_str(), 2)).collect();
    let report = report(&look(leases, &workers));
    assert_eq!((report.shards.len(), report.workers.len()), (10_000, 200));
    assert_eq!(report.verdict, Verdict::Healthy, "{:?}", report.findings);
    assert!(report.workers.iter().all(|worker| worker.leases == 50));
}
