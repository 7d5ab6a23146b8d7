//! When a table with rows of another library may be written.

use super::*;

/// One row of a scan.
#[derive(Clone)]
enum Row {
    Lease(Box<Lease>),
    Java(JavaRow),
    Unreadable(UnreadableRow),
}

fn lease(shard: u32, counter: u64) -> Lease {
    let key = LeaseKey::new(shard.to_string());
    let (owner, counter) = (Some("me".into()), LeaseCounter(counter));
    Lease { key, owner, counter, ..Lease::sample() }
}

/// A lease that another library wrote last.
fn foreign(shard: u32, counter: u64) -> Row {
    Row::Lease(Box::new(lease(shard, counter)))
}

/// A lease that this library wrote last.
fn ours(shard: u32, counter: u64) -> Row {
    Row::Lease(Box::new(lease(shard, counter).written_by("me")))
}

/// A Java leader's lock.
fn lock(content: &str) -> Row {
    Row::Java(JavaRow::new("lock".into(), "LEADER".into(), content.into(), None))
}

/// A Java leader's lock that holds for `seconds`.
fn lock_for(content: &str, seconds: u64) -> Row {
    let holds_for = Some(Duration::from_secs(seconds));
    Row::Java(JavaRow::new("lock".into(), "LEADER".into(), content.into(), holds_for))
}

fn unreadable(content: &str) -> Row {
    let problem = "attribute \"checkpoint\" is missing".into();
    Row::Unreadable(UnreadableRow::new("odd".into(), problem, content.into()))
}

fn observe(watch: &mut TenancyWatch, rows: &[Row], second: u64) -> Tenancy {
    let (mut leases, mut java, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        match row.clone() {
            Row::Lease(lease) => leases.push(*lease),
            Row::Java(row) => java.push(row),
            Row::Unreadable(row) => unreadable.push(row),
        }
    }
    let found = Rows { leases: &leases, java: &java, unreadable: &unreadable };
    watch.observe(found, Moment::at_secs(second))
}

/// The scans of one worker, with their times in seconds.
struct Scans {
    watch: TenancyWatch,
    tenancy: Option<Tenancy>,
}

/// The scans of a worker with this lease expiry in seconds.
fn with_expiry(seconds: u64) -> Scans {
    Scans { watch: TenancyWatch::new(Duration::from_secs(seconds)), tenancy: None }
}

fn scan(second: u64, rows: &[Row]) -> Scans {
    with_expiry(10).scan(second, rows)
}

impl Scans {
    fn scan(mut self, second: u64, rows: &[Row]) -> Self {
        self.tenancy = Some(observe(&mut self.watch, rows, second));
        self
    }

    #[track_caller]
    fn is_clear(&self) {
        assert_eq!(self.tenancy, Some(Tenancy::Clear));
    }

    #[track_caller]
    fn is_alive(&self) {
        assert!(matches!(self.tenancy, Some(Tenancy::Alive { .. })), "{:?}", self.tenancy);
    }

    /// The worker has to wait until `second`.
    #[track_caller]
    fn waits_until(&self, second: u64) {
        let Some(Tenancy::Wait { until, .. }) = &self.tenancy else { panic!("{:?}", self.tenancy) };
        assert_eq!(*until, Moment::at_secs(second));
    }
}

#[test]
fn table_without_foreign_rows_is_clear_at_once() {
    scan(0, &[]).is_clear();
    scan(0, &[ours(0, 4), ours(1, 7)]).is_clear();
}

#[test]
fn foreign_rows_must_stand_still() {
    scan(1, &[foreign(0, 4)]).waits_until(91);
    scan(1, &[foreign(0, 4)]).scan(90, &[foreign(0, 4)]).waits_until(91);
    scan(1, &[foreign(0, 4)]).scan(91, &[foreign(0, 4)]).is_clear();
    scan(1, &[lock("a")]).scan(90, &[lock("a")]).waits_until(91);
    scan(1, &[lock("a")]).scan(91, &[lock("a")]).is_clear();
}

#[test]
fn longer_expiry_or_lock_extends_the_wait() {
    with_expiry(120).scan(1, &[foreign(0, 4)]).waits_until(121);
    let rows = || [foreign(0, 4), lock_for("a", 200)];
    scan(1, &rows()).waits_until(201);
    scan(1, &rows()).scan(200, &rows()).waits_until(201);
    scan(1, &[lock_for("a", 5)]).waits_until(91);
}

#[test]
fn foreign_row_that_changes_or_appears_is_alive() {
    scan(1, &[foreign(0, 4)]).scan(2, &[foreign(0, 5)]).is_alive();
    scan(1, &[lock("a")]).scan(2, &[lock("b")]).is_alive();
    scan(1, &[foreign(0, 4)]).scan(2, &[foreign(0, 4), foreign(1, 1)]).is_alive();
    scan(1, &[ours(0, 4)]).scan(2, &[foreign(0, 5)]).is_alive();
    scan(1, &[foreign(0, 4)]).scan(91, &[foreign(0, 5)]).is_alive();
}

#[test]
fn changed_row_must_stand_still_again() {
    scan(1, &[foreign(0, 4), foreign(1, 1)])
        .scan(50, &[foreign(0, 5), foreign(1, 1)])
        .scan(51, &[foreign(0, 5), foreign(1, 1)])
        .waits_until(140);
}

#[test]
fn our_rows_may_change() {
    scan(1, &[foreign(0, 4), ours(1, 7)])
        .scan(91, &[foreign(0, 4), ours(1, 9), ours(2, 1)])
        .is_clear();
}

#[test]
fn our_workers_may_take_and_delete_foreign_rows() {
    let start = || scan(1, &[foreign(0, 4), foreign(1, 7)]);
    start().scan(20, &[ours(0, 5)]).is_clear();
    start().scan(20, &[ours(0, 5), foreign(1, 7)]).waits_until(91);
}

#[test]
fn stale_scan_is_no_sign_of_java() {
    let both = || [foreign(0, 4), foreign(1, 7)];
    // Another worker of ours took the row,
    scan(1, &both()).scan(20, &[ours(0, 5), foreign(1, 7)]).scan(21, &both()).waits_until(91);
    // or deleted it.
    scan(1, &both()).scan(20, &[foreign(1, 7)]).scan(21, &both()).waits_until(91);
    scan(1, &both()).scan(91, &[ours(0, 5), foreign(1, 7)]).scan(92, &both()).is_clear();
    // It was taken before the first scan.
    scan(1, &[ours(0, 5), foreign(1, 7)]).scan(2, &both()).waits_until(92);
}

#[test]
fn java_may_take_our_rows() {
    scan(1, &[foreign(0, 4), foreign(1, 7)])
        .scan(20, &[ours(0, 5), foreign(1, 7)])
        .scan(21, &[foreign(0, 6), foreign(1, 7)])
        .is_alive();
    scan(1, &[foreign(0, 4)])
        .scan(20, &[ours(0, 5)])
        .scan(21, &[foreign(0, 4)])
        .scan(22, &[foreign(0, 6)])
        .is_alive();
    scan(1, &[ours(0, 5)]).scan(2, &[foreign(0, 6)]).is_alive();
    // Java created the row again and counted up.
    scan(1, &[ours(0, 5), foreign(1, 7)]).scan(2, &[foreign(0, 5), foreign(1, 7)]).is_alive();
}

#[test]
fn unreadable_row_blocks_nothing_until_it_changes() {
    scan(1, &[unreadable("a")]).is_clear();
    let rows = |content| [foreign(0, 4), unreadable(content)];
    scan(1, &rows("a")).scan(91, &rows("a")).is_clear();
    scan(1, &rows("a")).scan(2, &rows("b")).is_alive();
    scan(1, &[foreign(0, 4)]).scan(2, &rows("a")).waits_until(91);
    scan(1, &[foreign(0, 4)]).scan(2, &rows("a")).scan(3, &rows("b")).is_alive();
}

#[test]
fn result_describes_the_rows() {
    let mut watch = TenancyWatch::new(Duration::from_secs(10));
    let seen = "2 rows of another library, such as lease 0 of me at counter 4";
    let expected = Tenancy::Wait { until: Moment::at_secs(90), seen: seen.into() };
    assert_eq!(observe(&mut watch, &[foreign(0, 4), lock("a")], 0), expected);
    let expected = Tenancy::Alive { seen: "lease 0 of me at counter 5 changed".into() };
    assert_eq!(observe(&mut watch, &[foreign(0, 5), lock("a")], 1), expected);
    let seen = "row \"odd\", whose attribute \"checkpoint\" is missing, changed";
    drop(observe(&mut watch, &[foreign(0, 5), unreadable("a")], 2));
    let expected = Tenancy::Alive { seen: seen.into() };
    assert_eq!(observe(&mut watch, &[foreign(0, 5), unreadable("b")], 3), expected);
}
