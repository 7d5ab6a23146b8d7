//! Which workers are present.

use super::*;

const EXPIRY: Duration = Duration::from_secs(10);

fn scan(watch: &mut PresenceWatch, rows: &[(&str, u64)], second: u64) {
    let row = |(worker, beat): &(&str, u64)| Presence { beat: *beat, ..Presence::sample(worker) };
    watch.observe_scan(&rows.iter().map(row).collect::<Vec<_>>(), Moment::at_secs(second));
}

/// Checks which workers are present at `second` while leases of `silenced` are expired.
#[track_caller]
fn check(watch: &mut PresenceWatch, silenced: &[&str], second: u64, expected: &[&str]) {
    let ids = |names: &[&str]| names.iter().map(|name| WorkerId::new(*name)).collect();
    assert_eq!(watch.present(EXPIRY, &ids(silenced), Moment::at_secs(second)), ids(expected));
}

#[test]
fn worker_is_present_for_an_expiry() {
    let mut watch = PresenceWatch::default();
    scan(&mut watch, &[("a", 1)], 5);
    scan(&mut watch, &[("a", 1)], 9);
    check(&mut watch, &[], 14, &["a"]);
    check(&mut watch, &[], 15, &[]);
}

#[test]
fn row_of_a_long_silent_worker_is_deletable() {
    let mut watch = PresenceWatch::default();
    scan(&mut watch, &[("a", 1), ("b", 1)], 5);
    scan(&mut watch, &[("a", 1), ("b", 2)], 100);
    assert_eq!(watch.long_gone(EXPIRY, Moment::at_secs(124)), []);
    assert_eq!(watch.long_gone(EXPIRY, Moment::at_secs(125)), ["a".into()]);
    assert_eq!(watch.long_gone(EXPIRY * 9, Moment::at_secs(125)), [], "rare scans wait longer");
}

#[test]
fn longer_expiry_of_a_worker_counts() {
    let mut watch = PresenceWatch::default();
    let row = Presence { expiry: EXPIRY * 3, ..Presence::sample("a") };
    watch.observe_scan(&[row], Moment::at_secs(5));
    check(&mut watch, &[], 34, &["a"]);
    check(&mut watch, &[], 35, &[]);
    assert_eq!(watch.last_moved(&"a".into(), EXPIRY, EXPIRY), Some(Moment::at_secs(25)));
    assert_eq!(watch.last_moved(&"a".into(), EXPIRY * 4, EXPIRY * 4), Some(Moment::at_secs(5)));
}

#[test]
fn rare_scans_extend_the_presence() {
    let mut watch = PresenceWatch::default();
    scan(&mut watch, &[("a", 1)], 5);
    let (worker, window) = (WorkerId::new("a"), Duration::from_secs(84));
    let moved_at = watch.last_moved(&worker, EXPIRY, window).unwrap();
    assert_eq!(
        moved_at + EXPIRY,
        Moment::at_secs(89),
        "waiting for an expiry is waiting for the window"
    );
    let ids = BTreeSet::new();
    assert_eq!(watch.present(window, &ids, Moment::at_secs(88)), BTreeSet::from([worker]));
    assert_eq!(watch.present(window, &ids, Moment::at_secs(89)), ids);
}

#[test]
fn second_of_two_rare_scans_proves_that_a_heartbeat_stands_still() {
    let mut watch = PresenceWatch::default();
    let window = Duration::from_mins(5);
    let mut present = |beat, second| {
        scan(&mut watch, &[("a", beat)], second);
        !watch.present(window, &BTreeSet::new(), Moment::at_secs(second)).is_empty()
    };
    assert!(present(1, 5));
    assert!(present(1, 14), "a beat may come late");
    assert!(!present(1, 15));
    assert!(present(2, 100));
    assert!(!present(2, 195));
}

#[test]
fn moving_heartbeat_keeps_a_worker_present() {
    let mut watch = PresenceWatch::default();
    scan(&mut watch, &[("a", 1), ("b", 1)], 5);
    scan(&mut watch, &[("a", 2), ("b", 1)], 9);
    assert_eq!(watch.last_moved(&"a".into(), EXPIRY, EXPIRY), Some(Moment::at_secs(9)));
    assert_eq!(watch.last_moved(&"b".into(), EXPIRY, EXPIRY), Some(Moment::at_secs(5)));
    assert_eq!(watch.last_moved(&"c".into(), EXPIRY, EXPIRY), None);
    check(&mut watch, &[], 18, &["a"]);
}

#[test]
fn worker_without_a_row_is_absent() {
    let mut watch = PresenceWatch::default();
    scan(&mut watch, &[("a", 1), ("b", 1)], 5);
    scan(&mut watch, &[("b", 2)], 6);
    check(&mut watch, &[], 6, &["b"]);
}

#[test]
fn expired_lease_makes_its_worker_absent() {
    let mut watch = PresenceWatch::default();
    scan(&mut watch, &[("a", 1), ("b", 1)], 5);
    check(&mut watch, &["a"], 6, &["b"]);
    check(&mut watch, &[], 7, &["b"]); // Its lease was taken; its heartbeat stands still.
    scan(&mut watch, &[("a", 2), ("b", 1)], 8);
    check(&mut watch, &[], 8, &["a", "b"]);
}

#[test]
fn heartbeat_counts_before_the_expired_lease_is_taken() {
    let mut watch = PresenceWatch::default();
    scan(&mut watch, &[("a", 1)], 5);
    check(&mut watch, &["a"], 6, &[]);
    scan(&mut watch, &[("a", 2)], 8);
    check(&mut watch, &["a"], 8, &["a"]);
    scan(&mut watch, &[("a", 2)], 9);
    check(&mut watch, &["a"], 9, &["a"]);
    check(&mut watch, &[], 9, &["a"]);
    check(&mut watch, &["a"], 10, &[]); // A later lease of it expired.
}

#[test]
fn take_by_another_makes_the_former_owner_absent() {
    let mut watch = PresenceWatch::default();
    scan(&mut watch, &[("a", 1), ("b", 1)], 5);
    watch.dead_for_others(&["a".into(), "stranger".into()]);
    check(&mut watch, &[], 5, &["b"]);
    scan(&mut watch, &[("a", 1), ("b", 2)], 6);
    check(&mut watch, &[], 6, &["b"]);
    scan(&mut watch, &[("a", 2), ("b", 2)], 7);
    check(&mut watch, &[], 7, &["a", "b"]);
}

#[test]
fn live_worker_of_the_same_name_is_found() {
    let (me, other) = ("host:1", "host:2");
    let mut watch = PresenceWatch::default();
    scan(&mut watch, &[(me, 1), (other, 1), ("host2:3", 1)], 5);
    assert_eq!(
        watch.same_name(&me.into(), EXPIRY, Moment::at_secs(5)),
        None,
        "may be a leftover row"
    );
    scan(&mut watch, &[(me, 2), (other, 2), ("host2:3", 2)], 8);
    assert_eq!(watch.same_name(&me.into(), EXPIRY, Moment::at_secs(8)), Some(other.into()));
    assert_eq!(
        watch.same_name(&me.into(), EXPIRY, Moment::at_secs(18)),
        None,
        "its heartbeat stopped"
    );
}

#[test]
fn leaving_worker_is_absent() {
    let mut watch = PresenceWatch::default();
    scan(&mut watch, &[("a", 1), ("b", 1)], 5);
    let leaving = Presence { beat: 2, is_leaving: true, ..Presence::sample("a") };
    watch.observe_scan(&[leaving.clone(), Presence::sample("b")], Moment::at_secs(6));
    check(&mut watch, &[], 6, &["b"]);
    assert!(watch.is_one_leaving(EXPIRY, Moment::at_secs(15)));
    assert!(!watch.is_one_leaving(EXPIRY, Moment::at_secs(16)), "its row was left behind");
    watch.observe_scan(&[leaving], Moment::at_secs(7));
    check(&mut watch, &[], 7, &[]);
}

#[test]
fn row_of_a_dead_worker_is_removed_once_for_each_heartbeat() {
    let mut watch = PresenceWatch::default();
    scan(&mut watch, &[("a", 7)], 5);
    assert_eq!(watch.remove(&"a".into()), Some(7));
    assert_eq!(watch.remove(&"a".into()), None);
    scan(&mut watch, &[("a", 8)], 6);
    assert_eq!(watch.remove(&"a".into()), Some(8));
    assert_eq!(watch.remove(&"b".into()), None);
}
