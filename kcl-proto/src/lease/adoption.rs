//! The progress that a holder's session has beyond the row of its lease, for whoever writes that
//! row next.

use crate::lease::write::{Change, Progress};
use crate::model::{Checkpoint, Lease, Liveness, SessionProgress};

/// Returns the progress that the holder of `row` stored in its session, beyond what the row says,
/// or `None` if there is none.
///
/// Pass the row as the write requires it, and the progress in the holder's session as any read
/// returned it since the holder is dead, or this worker's own. An entry counts only under the row's
/// own token: any other one is of another ownership.
#[must_use]
pub fn adopted(row: &Lease, session: &SessionProgress) -> Option<Progress> {
    if row.lives_by() != Liveness::Session || row.is_ended() {
        return None;
    }
    let entry = session.0.get(&row.key)?;
    if row.token != Some(entry.token) {
        return None;
    }
    let checkpoint = entry.position.map(Checkpoint::After).filter(|it| *it > row.checkpoint);
    let caught_up_at = entry.caught_up_at.filter(|at| Some(*at) > row.caught_up_at);
    let is_settled = row.pending.as_ref().is_some_and(|it| Some(it.checkpoint) <= checkpoint);
    let pending = if is_settled { Change::Remove } else { Change::Keep };
    let moves = checkpoint.is_some() || caught_up_at.is_some();
    moves.then_some(Progress { checkpoint, pending, caught_up_at })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lease::precondition::Field;
    use crate::lease::write::{LeaseWrite, WriteKind};
    use crate::model::{
        FencingToken, KeptProgress, LeaseCounter, PendingCheckpoint, Position, Timestamp, WorkerId,
    };

    const TOKEN: u64 = 5;

    /// A lease that "a" holds by its session, processed up to record 10.
    fn row() -> Lease {
        let row = Lease {
            owner: Some("a".into()),
            counter: LeaseCounter(TOKEN),
            checkpoint: Checkpoint::after(10),
            token: Some(LeaseCounter(TOKEN).into()),
            expiry: Some(Liveness::Session.stored(Duration::ZERO)),
            ..Lease::sample()
        };
        row.written_by("a")
    }

    fn session(token: u64, position: u128) -> SessionProgress {
        let entry = KeptProgress {
            token: FencingToken::from(LeaseCounter(token)),
            position: Some(Position::of(position.into())),
            caught_up_at: None,
        };
        SessionProgress(std::iter::once((row().key, entry)).collect())
    }

    #[test]
    fn greater_position_under_the_rows_token_is_adopted() {
        let adopted = |row: &Lease, session: &SessionProgress| {
            adopted(row, session).and_then(|progress| progress.checkpoint)
        };
        let at = |position| Some(Checkpoint::after(position));
        assert_eq!(adopted(&row(), &session(TOKEN, 11)), at(11));
        assert_eq!(adopted(&row(), &session(TOKEN, 10)), None);
        assert_eq!(adopted(&row(), &session(TOKEN - 1, 11)), None, "an earlier ownership");
        assert_eq!(adopted(&row(), &SessionProgress::EMPTY), None);
        let asked = Lease { owner: Some("b".into()), checkpoint_owner: Some("a".into()), ..row() };
        assert_eq!(adopted(&asked, &session(TOKEN, 11)), at(11), "it still holds it");
        let by_counter = Lease { expiry: Some(Duration::from_secs(10)), ..row() };
        assert_eq!(adopted(&by_counter, &session(TOKEN, 11)), None);
        let foreign = Lease { counter: LeaseCounter(TOKEN + 1), ..row() };
        assert_eq!(adopted(&foreign, &session(TOKEN, 11)), None);
        let ended = Lease { checkpoint: Checkpoint::ShardEnd, ..row() };
        assert_eq!(adopted(&ended, &session(TOKEN, 11)), None);
    }

    #[test]
    fn what_was_prepared_beyond_stays() {
        let prepared = |position| Lease {
            pending: Some(PendingCheckpoint {
                checkpoint: Checkpoint::after(position),
                state: None,
            }),
            ..row()
        };
        let pending = |row: &Lease| adopted(row, &session(TOKEN, 20)).unwrap().pending;
        assert_eq!(pending(&prepared(21)), Change::Keep);
        assert_eq!(pending(&prepared(20)), Change::Remove);
        assert_eq!(pending(&row()), Change::Keep);
    }

    #[test]
    fn later_time_at_the_end_is_adopted_alone() {
        let mut session = session(TOKEN, 10);
        let entry = session.0.get_mut(&row().key).unwrap();
        let at = Some(Timestamp::from_epoch_seconds(9));
        entry.caught_up_at = at;
        let progress = adopted(&row(), &session).unwrap();
        assert_eq!((progress.checkpoint, progress.caught_up_at), (None, at));
        let known = Lease { caught_up_at: at, ..row() };
        assert_eq!(adopted(&known, &session), None);
    }

    /// The take that adopts, and the writes that end its holding.
    #[test]
    fn mark_comes_with_a_take_and_goes_with_its_holder() {
        let by = |worker: &str, kind| LeaseWrite {
            key: row().key,
            worker: WorkerId::from(worker),
            number: 1,
            kind,
        };
        let expiry = Duration::from_secs(7);
        let take = |lives_by| WriteKind::Take {
            counter: LeaseCounter(TOKEN),
            last_write: Field::Any,
            floor: LeaseCounter(8),
            expiry,
            owner_switches: 3,
            start_at: Some(Timestamp::default()),
            lives_by,
            adopt: adopted(&row(), &session(TOKEN, 11)).map(Box::new),
        };
        for lives_by in [Liveness::Counter, Liveness::Session] {
            let taken = by("b", take(lives_by)).apply(Some(&row())).unwrap().unwrap();
            assert_eq!(taken.lives_by(), lives_by);
            assert_eq!(taken.expiry, Some(lives_by.stored(expiry)));
            assert_eq!(taken.token, Some(LeaseCounter(9).into()));
            assert_eq!((taken.checkpoint, taken.start_at), (Checkpoint::after(11), None));
            assert_eq!((taken.owner_switches, taken.owner.clone()), (3, Some("b".into())));
            let (counter, unmark, next) = (taken.counter, Some(expiry), WorkerId::from("c"));
            let children = std::iter::empty().collect();
            let begin = WriteKind::BeginHandover { counter, victim: "b".into() };
            let asked = by("c", begin).apply(Some(&taken)).unwrap().unwrap();
            assert_eq!(asked.lives_by(), lives_by, "its holder lives as before");
            for (row, kind) in [
                (&taken, WriteKind::Release { counter, progress: None, unmark }),
                (&taken, WriteKind::EndShard { counter, next: None, children, unmark }),
                (&asked, WriteKind::CompleteHandover { counter, next, progress: None, unmark }),
            ] {
                let after = by("b", kind).apply(Some(row)).unwrap().unwrap();
                assert_eq!((after.lives_by(), after.expiry), (Liveness::Counter, Some(expiry)));
                assert_eq!(after.token, taken.token, "no take, no token");
            }
            let cancel = by("b", WriteKind::CancelHandover { counter });
            let after = cancel.apply(Some(&asked)).unwrap().unwrap();
            assert_eq!((after.lives_by(), after.token), (lives_by, taken.token));
        }
    }
}
