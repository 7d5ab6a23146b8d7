//! Stories of one worker: what it reads when, and which workers it condemns.

use super::*;
use crate::model::{Liveness, SessionKind};

const EXPIRY: Duration = Duration::from_secs(9);

/// A worker that looks every second, and the rows that it finds.
struct Story {
    watch: SessionWatch,
    rows: Vec<Session>,
    named: Named,
}

impl Story {
    fn begin(workers: &[&str]) -> Self {
        let watch = SessionWatch::new("me".into(), EXPIRY, Duration::from_secs(1));
        let rows = workers.iter().map(|it| Session { expiry: EXPIRY, ..Session::sample(it) });
        let named = workers.iter().map(|it| (WorkerId::from(*it), EXPIRY)).collect();
        Self { watch, rows: rows.collect(), named }
    }

    /// Looks every second from `from` to `to`.
    fn look(&mut self, from: u64, to: u64, is_consistent: bool) {
        for second in from..=to {
            let now = Moment::at_secs(second);
            self.watch.observe(&self.rows, &self.named, is_consistent, now);
        }
    }

    fn silent(&self, second: u64) -> Vec<(WorkerId, u64)> {
        self.watch.silent(Moment::at_secs(second))
    }

    fn is_dead(&self, worker: &str) -> bool {
        self.watch.dead().contains(worker)
    }
}

fn silent(worker: &str, beat: u64) -> Vec<(WorkerId, u64)> {
    vec![(worker.into(), beat)]
}

#[test]
fn silent_worker_is_condemned_after_a_whole_expiry() {
    let mut story = Story::begin(&["a", "me"]);
    story.look(1, 9, false);
    assert_eq!(story.silent(9), []);
    assert_eq!(story.watch.next_silence(Moment::at_secs(9)), Some(Moment::at_secs(10)));
    story.look(10, 10, false);
    assert_eq!(story.silent(10), silent("a", 1), "and never itself");
    story.rows[0].beat = 2;
    story.look(11, 19, false);
    assert_eq!(story.silent(19), []);
    story.rows[0].beat = 1; // A stale read.
    story.look(20, 20, false);
    assert_eq!(story.silent(20), silent("a", 2), "a stale read is no sign of life");
    assert!(!story.is_dead("a"), "silence alone is no death");
}

#[test]
fn longer_expiry_of_the_worker_counts() {
    let mut story = Story::begin(&["a"]);
    story.rows[0].expiry = EXPIRY * 2;
    story.look(1, 18, false);
    assert_eq!(story.silent(18), []);
    story.look(19, 19, false);
    assert_eq!(story.silent(19), silent("a", 1));
}

#[test]
fn only_sessions_are_condemned() {
    for kind in [SessionKind::Aware, SessionKind::Unaware] {
        let mut story = Story::begin(&["a"]);
        story.rows[0].kind = kind;
        story.look(1, 30, true);
        assert_eq!(story.silent(30), []);
        assert!(!story.is_dead("a"));
    }
}

#[test]
fn silence_starts_anew_after_an_outage() {
    let mut story = Story::begin(&["a"]);
    story.look(1, 8, false);
    assert_eq!(story.silent(12), [], "no look came through");
    story.look(12, 20, false);
    assert_eq!(story.silent(20), []);
    story.look(21, 21, false);
    assert_eq!(story.silent(21), silent("a", 1));
    let mut story = Story::begin(&["a"]);
    story.look(1, 8, false);
    story.look(11, 11, false);
    assert_eq!(story.silent(11), silent("a", 1), "a third of an expiry is no outage");
}

#[test]
fn row_that_says_so_proves_death_for_good() {
    let mut story = Story::begin(&["a"]);
    story.look(1, 1, false);
    let alive = story.rows[0].clone();
    story.rows[0].dead = Some("b".into());
    story.look(2, 2, false);
    assert!(story.is_dead("a"));
    assert_eq!(story.watch.frozen(&"a".into()), Some(&SessionProgress::EMPTY));
    story.rows[0] = alive; // A stale read.
    story.look(3, 20, true);
    assert!(story.is_dead("a"));
    assert_eq!(story.silent(20), []);
}

#[test]
fn absent_row_proves_death_after_a_whole_expiry_of_consistent_looks() {
    let mut story = Story::begin(&["a"]);
    story.rows.clear();
    story.look(1, 30, false);
    assert!(!story.is_dead("a"), "a stale read lacks rows");
    story.look(31, 39, true);
    assert!(!story.is_dead("a"));
    story.look(40, 40, true);
    assert!(story.is_dead("a"));
    assert_eq!(story.watch.frozen(&"a".into()), Some(&SessionProgress::EMPTY));
    let mut story = Story::begin(&["a"]);
    let row = std::mem::take(&mut story.rows);
    story.look(1, 5, true);
    story.rows = row;
    story.look(6, 6, false);
    story.rows.clear();
    story.look(7, 15, true);
    assert!(!story.is_dead("a"), "it was there between");
    story.look(16, 16, true);
    assert!(story.is_dead("a"));
}

#[test]
fn absent_worker_has_the_expiry_that_its_leases_say() {
    let mut story = Story::begin(&["a"]);
    story.rows.clear();
    story.look(1, 5, true);
    let lives_by = Liveness::Session;
    let lease = Lease {
        owner: Some("a".into()),
        expiry: Some(lives_by.stored(EXPIRY * 3)),
        ..Lease::sample()
    };
    story.named = named([&lease.written_by("a")]);
    story.look(6, 27, true);
    assert!(!story.is_dead("a"));
    story.look(28, 28, true);
    assert!(story.is_dead("a"));
}

#[test]
fn absence_starts_anew_after_an_outage() {
    let mut story = Story::begin(&["a"]);
    story.rows.clear();
    story.look(1, 8, true);
    story.look(13, 21, true);
    assert!(!story.is_dead("a"));
    story.look(22, 22, true);
    assert!(story.is_dead("a"));
}

#[test]
fn dead_worker_is_buried_once_no_lease_names_it() {
    let mut story = Story::begin(&["a"]);
    story.rows[0].dead = Some("b".into());
    story.look(1, 1, true);
    let named = story.named.clone();
    assert_eq!(story.watch.buryable(&named), []);
    let nobody = Named::new();
    assert_eq!(story.watch.buryable(&nobody), [WorkerId::from("a")]);
    story.watch.buried(&"a".into());
    assert_eq!(story.watch.buryable(&named), []);
    assert!(story.is_dead("a"), "a late take may still name it");
    assert_eq!(story.watch.buryable(&nobody), []);
    assert!(!story.is_dead("a"), "forgotten");
}

#[test]
fn unknown_worker_has_no_frozen_progress() {
    assert_eq!(Story::begin(&["a"]).watch.frozen(&"a".into()), None);
}
