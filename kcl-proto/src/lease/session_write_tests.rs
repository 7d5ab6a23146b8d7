//! The table "Writes" of sessions: every write on every kind of row.

use std::collections::BTreeMap;

use super::*;
use crate::model::{KeptProgress, LeaseCounter, LeaseKey};

const BEAT: u64 = 7;
const NUMBER: u64 = 40;

fn progress(token: u64) -> SessionProgress {
    let entry =
        KeptProgress { token: LeaseCounter(token).into(), position: None, caught_up_at: None };
    SessionProgress(BTreeMap::from([(LeaseKey::from("shard"), entry)]))
}

fn write(kind: SessionWriteKind) -> SessionWrite {
    SessionWrite { session: "me".into(), kind }
}

fn open() -> SessionWriteKind {
    let (expiry, last_update) = (Duration::from_secs(9), Timestamp::from_epoch_seconds(8));
    SessionWriteKind::Open { number: NUMBER, expiry, last_update }
}

fn beat(beat: u64) -> SessionWriteKind {
    let (progress, last_update) = (progress(3), Timestamp::from_epoch_seconds(9));
    let heard = BTreeSet::from(["heard".into()]);
    SessionWriteKind::Beat { beat, number: NUMBER, progress, heard, is_leaving: true, last_update }
}

fn ask() -> SessionWriteKind {
    SessionWriteKind::Ask { keys: BTreeSet::from(["new".into()]) }
}

fn condemn(beat: u64) -> SessionWriteKind {
    SessionWriteKind::Condemn { beat, by: "other".into() }
}

fn resign(beat: u64) -> SessionWriteKind {
    SessionWriteKind::Resign { beat, number: NUMBER, progress: progress(4) }
}

/// A live session of "me" at the heartbeat 7, which is asked for two leases.
fn live() -> Session {
    let asked = ["heard", "unheard"].map(LeaseKey::from).into();
    let row = Session::sample("me");
    Session { beat: BEAT, write: Some(39), progress: progress(2), asked, ..row }
}

fn dead(by: &str) -> Session {
    Session { dead: Some(by.into()), ..live() }
}

/// Every kind of row with its name, and every write with its name and whether it is applied to each.
#[test]
fn each_write_requires_what_the_protocol_says() {
    let rows = [
        ("no row", None),
        ("live", Some(live())),
        ("earlier", Some(Session { beat: BEAT - 1, ..live() })),
        ("later", Some(Session { beat: BEAT + 1, ..live() })),
        ("leaving", Some(Session { is_leaving: true, ..live() })),
        ("condemned", Some(dead("other"))),
        ("resigned", Some(dead("me"))),
        ("aware", Some(Session { kind: SessionKind::Aware, ..live() })),
        ("unaware", Some(Session { kind: SessionKind::Unaware, ..live() })),
    ];
    let live = ["live", "leaving"].as_slice();
    for (kind, allowed) in [
        (open(), ["no row"].as_slice()),
        (beat(BEAT), live),
        (ask(), ["live", "earlier", "later", "leaving"].as_slice()),
        (condemn(BEAT), live),
        (resign(BEAT), live),
        (SessionWriteKind::Close { beat: BEAT }, live),
        (SessionWriteKind::Bury, ["condemned", "resigned"].as_slice()),
    ] {
        let write = write(kind);
        let found: Vec<_> =
            rows.iter().filter(|(_, row)| write.is_allowed(row.as_ref())).map(|it| it.0).collect();
        assert_eq!(found, allowed, "{write:?}");
        for (name, row) in &rows {
            let is_applied = write.apply(row.as_ref()).is_some();
            assert_eq!(is_applied, allowed.contains(name), "{write:?} on {name}");
        }
    }
}

#[test]
fn each_write_changes_what_the_protocol_says() {
    let after = |kind| write(kind).apply(Some(&live())).unwrap();
    let opened = Session {
        write: Some(NUMBER),
        expiry: Duration::from_secs(9),
        last_update: Timestamp::from_epoch_seconds(8),
        ..Session::sample("me")
    };
    assert_eq!(write(open()).apply(None), Some(Some(opened)));
    let beaten = Session {
        beat: BEAT + 1,
        write: Some(NUMBER),
        progress: progress(3),
        asked: ["unheard".into()].into(),
        is_leaving: true,
        last_update: Timestamp::from_epoch_seconds(9),
        ..live()
    };
    assert_eq!(after(beat(BEAT)), Some(beaten));
    let asked = ["heard", "new", "unheard"].map(LeaseKey::from).into();
    assert_eq!(after(ask()), Some(Session { asked, ..live() }));
    assert_eq!(after(condemn(BEAT)), Some(dead("other")), "all else is frozen");
    let resigned =
        Session { beat: BEAT + 1, write: Some(NUMBER), progress: progress(4), ..dead("me") };
    assert_eq!(after(resign(BEAT)), Some(resigned));
    assert_eq!(after(SessionWriteKind::Close { beat: BEAT }), None);
    assert_eq!(write(SessionWriteKind::Bury).apply(Some(&dead("other"))), Some(None));
}

#[test]
fn stamp_settles_what_its_worker_wrote() {
    let (beaten, opened) = (write(beat(BEAT)), write(open()));
    let row = beaten.apply(Some(&live())).unwrap().unwrap();
    assert!(beaten.made(&row));
    assert!(!beaten.made(&live()), "another write set the heartbeat");
    assert!(opened.made(&opened.apply(None).unwrap().unwrap()));
    let condemned = Session { dead: Some("other".into()), ..row };
    assert!(!beaten.made(&condemned), "its worker is dead, whenever the beat counted");
    let resigned = write(resign(BEAT));
    let row = resigned.apply(Some(&live())).unwrap().unwrap();
    assert!(resigned.made(&row));
    assert!(!resigned.made(&condemned));
    let close = SessionWriteKind::Close { beat: BEAT };
    for kind in [ask(), condemn(BEAT), close, SessionWriteKind::Bury] {
        assert!(!write(kind).made(&row));
    }
}

/// No two of them count, in whichever order they land, and no copy counts twice.
#[test]
fn beat_and_condemnation_of_one_beat_exclude_each_other() {
    let writes = [beat(BEAT), condemn(BEAT), resign(BEAT)].map(write);
    for first in &writes {
        let row = first.apply(Some(&live())).unwrap().unwrap();
        for second in &writes {
            assert!(!second.is_allowed(Some(&row)), "{second:?} after {first:?}");
        }
    }
}
