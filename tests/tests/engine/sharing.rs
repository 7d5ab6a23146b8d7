//! Several workers: shares, hand-overs, crashes.

use std::time::Duration;

use kcl_core::backend::WriteKind;
use kcl_core::event::{Event, LeaseEnd, TakeReason};
use kcl_core::model::{Checkpoint, LeaseKey};
use kcl_sim::story::{Act, Call, CallFault, Calls, Member, Story};

const SECOND: Duration = Duration::from_secs(1);

/// Long enough for anything that needs no expiry.
const SOON: Duration = Duration::from_secs(10);

const fn taken(event: &Event) -> Option<TakeReason> {
    if let Event::LeaseTaken { why, .. } = event { Some(*why) } else { None }
}

const fn ended(event: &Event) -> Option<LeaseEnd> {
    if let Event::LeaseEnded { how, .. } = event { Some(*how) } else { None }
}

#[test]
fn shards_are_shared_evenly() {
    for shards in 1..=7 {
        let story = Story::new(shards);
        story.start("a");
        story.until("held", SOON, |story| story.owned_by("a") == Some(shards));
        story.start("b");
        let fair = |story: &Story| story.owned_by("b") == Some(shards / 2);
        story.until("shared", SECOND * 40, fair);
        story.pass(SECOND * 60);
        assert_eq!(story.owned_by("b"), Some(shards / 2), "{shards} shards");
        let ends = story.journal.events(ended);
        assert_eq!(ends.len(), shards / 2, "{shards} shards: {ends:?}");
        assert!(ends.iter().all(|(_, who, how)| who == "a" && *how == LeaseEnd::HandedOver));
    }
}

#[test]
fn handover_finishes_the_batch_and_repeats_nothing() {
    let story = Story::new(2);
    story.put(0, ["a"]);
    story.put(1, ["b"]);
    story.on(|call| call.is_batch() && call.worker == "old", Act::Take(SECOND * 12));
    story.start("old");
    story.until("begun", SOON, |story| story.journal.delivered().len() == 2);
    story.start("new");
    story.until("handed over", SECOND * 30, |story| story.owned_by("new") == Some(1));
    story.put(0, ["c"]);
    story.put(1, ["d"]);
    story.until("delivered", SECOND * 40, |story| story.journal.delivered().len() == 4);
    story.pass(SECOND * 60);
    assert_eq!(story.journal.delivered().len(), 4);
}

#[test]
fn crash_is_taken_over_within_an_expiry_and_a_scan() {
    let story = Story::new(4);
    let a = story.start("a");
    story.start("b");
    let shared = |story: &Story| story.owned_by("a") == Some(2) && story.owned_by("b") == Some(2);
    story.until("shared", SECOND * 40, shared);
    story.pass(SECOND * 30);
    let crashed_at = story.elapsed();
    a.crash();
    for shard in 0..4 {
        story.put(shard, [format!("r{shard}").as_str()]);
    }
    let all = |story: &Story| (0..4).all(|shard| story.journal.has(&format!("r{shard}")));
    story.until("taken over", SECOND * 30, all);
    let took = story.elapsed() - crashed_at;
    assert!(took <= SECOND * 11 + SECOND / 2, "{took:?}");
    for shard in 0..4 {
        assert_eq!(story.journal.who_got(&format!("r{shard}")), ["b"]);
    }
    let (_, _, why) = story.journal.events(taken).pop().unwrap();
    assert!(matches!(why, TakeReason::Expired { silent_for } if silent_for >= SECOND * 10));
}

#[test]
fn stop_is_followed_within_a_scan_and_a_second() {
    let story = Story::new(2);
    let a = story.start("a");
    story.start("b");
    story.until("shared", SECOND * 40, |story| story.owned_by("b") == Some(1));
    story.pass(SECOND * 5);
    a.stop().unwrap();
    let stopped_at = story.elapsed();
    story.until("followed", SOON, |story| story.owned_by("b") == Some(2));
    let took = story.elapsed() - stopped_at;
    assert!(took <= SECOND * 2, "{took:?}");
}

#[test]
fn tokens_rise_from_owner_to_owner() {
    let story = Story::new(1);
    for owner in 0..5 {
        let worker = story.start(&format!("w{owner}"));
        story.put(0, [format!("r{owner}").as_str()]);
        let record = format!("r{owner}");
        story.until("delivered", SECOND * 30, |story| story.journal.has(&record));
        story.pass(SECOND * 4);
        if owner % 2 == 0 {
            worker.crash();
        } else {
            worker.stop().unwrap();
        }
    }
    let deliveries = story.journal.deliveries();
    assert_eq!(deliveries.len(), 5);
    assert!(deliveries.is_sorted_by(|one, next| one.token < next.token), "{deliveries:?}");
}

#[test]
fn workers_of_one_name_share_and_report_it() {
    let story = Story::new(2);
    let one = story.start("twin");
    let other = story.start("twin");
    let both = |story: &Story| {
        let owners: Vec<_> = story.table.leases().into_iter().filter_map(|l| l.owner).collect();
        owners.contains(&one.id) && owners.contains(&other.id)
    };
    story.until("shared", SECOND * 40, both);
    let reported = |event: &Event| matches!(event, Event::NameShared { .. }).then_some(());
    story.until("reported", SECOND * 20, |story| !story.journal.events(reported).is_empty());
    story.put(0, ["a"]);
    story.put(1, ["b"]);
    story.until("delivered", SOON, |story| story.journal.delivered().len() == 2);
}

#[test]
fn lease_that_an_owner_refused_is_taken_as_soon_as_it_is_free() {
    let story = Story::new(2);
    story.put(0, ["a"]);
    story.put(1, ["b"]);
    story.on(|call| call.is_batch() && call.worker == "old", Act::Take(SECOND * 12));
    let old = story.start("old");
    story.until("begun", SOON, |story| story.journal.delivered().len() == 2);
    let new = story.start("new");
    let asked = |event: &Event| matches!(event, Event::HandoverAsked { .. }).then_some(());
    story.until("asked", SOON, |story| !story.journal.events(asked).is_empty());
    new.freeze(SECOND * 14); // The owner does not wait for a worker that was silent for an expiry.
    let over = |event: &Event| matches!(event, Event::HandoverEnded { .. }).then_some(());
    let is_refused = |story: &Story| story.journal.events(over).iter().any(|it| it.1 == "new");
    story.until("refused", SECOND * 16, is_refused);
    let refused_at = story.elapsed();
    old.stop().unwrap();
    story.until("taken", SECOND * 3, |story| story.owned_by("new") == Some(2));
    assert!(story.elapsed() < refused_at + SECOND * 9, "before it might ask again");
}

fn begin(story: &Story, owner: &Member) -> WriteKind {
    WriteKind::BeginHandover { counter: story.lease(0).counter, victim: owner.id.clone() }
}

/// Returns the owner of the only lease: it has a batch of 5 s in hand, and a request for the lease
/// was made and just withdrawn.
fn withdrawn_amid_a_batch(story: &Story) -> Member {
    story.put(0, ["a"]);
    story.on(Call::is_batch, Act::Take(SECOND * 5));
    let owner = story.start("owner");
    story.until("begun", SOON, |story| story.journal.has("a"));
    story.write_as("first", 0, begin(story, &owner));
    let asked = |event: &Event| matches!(event, Event::HandoverAsked { .. }).then_some(());
    story.until("asked", SOON, |story| !story.journal.events(asked).is_empty());
    let (counter, victim) = (story.lease(0).counter, owner.id.clone());
    story.write_as("first", 0, WriteKind::Withdraw { counter, victim });
    owner
}

#[test]
fn owner_heeds_the_next_request_after_a_withdrawal() {
    let story = Story::new(1);
    let owner = withdrawn_amid_a_batch(&story);
    story.write_as("second", 0, begin(&story, &owner));
    story.until("over", SOON, |story| !story.journal.events(ended).is_empty());
    let ends: Vec<_> = story.journal.events(ended).into_iter().map(|(.., how)| how).collect();
    assert_eq!(ends, [LeaseEnd::HandedOver]);
    let lease = story.lease(0);
    assert_eq!((lease.owner, lease.checkpoint_owner), (Some("second".into()), None));
    assert!(matches!(lease.checkpoint, Checkpoint::After(_)), "the batch in hand is stored");
}

#[test]
fn lease_kept_during_a_stop_is_released() {
    let story = Story::new(1);
    let owner = withdrawn_amid_a_batch(&story);
    story.pass(SECOND * 3);
    // The batch ends after the stop began, and before the holder hears of it.
    owner.fault(Calls::Goodbye, CallFault::Slow(SECOND * 3));
    let report = owner.stop().unwrap();
    let ends: Vec<_> = story.journal.events(ended).into_iter().map(|(.., how)| how).collect();
    assert_eq!(ends, [LeaseEnd::Kept, LeaseEnd::Released]);
    assert_eq!(report.shards[0].how, LeaseEnd::Released);
    assert_eq!(story.lease(0).owner, None);
}

#[test]
fn newcomer_gets_its_share_where_scans_are_rare() {
    let story = Story::new(2);
    story.configure(|config| config.lease.scan_units = 1);
    story.put(0, ["a"]);
    story.put(1, ["b"]);
    story.on(Call::is_batch, Act::Take(SECOND * 20));
    story.start("old");
    story.until("begun", SOON, |story| story.journal.delivered().len() == 2);
    for number in 0..2_000 {
        let mut lease = story.lease(0);
        lease.key = LeaseKey::new(format!("shardId-{number:012}-finished"));
        lease.checkpoint = Checkpoint::ShardEnd;
        story.table.insert_lease(lease);
    }
    story.pass(SECOND * 2); // The owner's next scan is far.
    story.start("new");
    story.until("shared", SECOND * 30, |story| story.owned_by("new") == Some(1));
    story.until("over", SECOND, |story| !story.journal.events(ended).is_empty());
    let ends: Vec<_> = story.journal.events(ended).into_iter().map(|(.., how)| how).collect();
    assert_eq!(ends, [LeaseEnd::HandedOver], "nothing is kept and asked for again");
}
