//! What a live worker does with a lease whose row names it and that it does not hold.
//!
//! Nobody else may take a lease from a live session, so such a lease would be stuck for as long as
//! its worker lives: after a deadline that the session outlived, after a take whose answer came too
//! late, after a hand-over that was cancelled.

use std::time::Duration;

use crate::lease::adoption::adopted;
use crate::lease::write::WriteKind;
use crate::model::{Lease, LeaseCounter, Liveness, SessionProgress, WorkerId};

/// A worker that settles what names it.
#[derive(Clone, Copy, Debug)]
pub struct Settler<'a> {
    /// Its id.
    pub me: &'a WorkerId,
    /// Its expiry.
    pub expiry: Duration,
    /// The [progress](crate::lease::session::SessionKeeper::progress) of its session.
    pub progress: &'a SessionProgress,
    /// Whether it takes nothing more.
    pub is_stopping: bool,
}

impl Settler<'_> {
    /// Returns the write that settles the lease with this row, as a consistent read or a lost write
    /// returned it, or `None` if it does not name the worker, or another write settles it.
    ///
    /// The caller does not hold the lease, has no write to it in flight, and its former consumer is
    /// gone. `floor` is what the counter of a take must exceed as well. A request of this worker is
    /// the task of [`HandoverRequest`](crate::lease::request::HandoverRequest).
    #[must_use]
    pub fn settle(&self, row: &Lease, floor: LeaseCounter) -> Option<WriteKind> {
        if row.holder() != Some(self.me) || row.is_ended() {
            return None;
        }
        let (counter, unmark) = (row.counter, row.lives_by().unmark(self.expiry));
        let progress = adopted(row, self.progress);
        let next = row.owner.clone().filter(|owner| owner != self.me);
        let is_free_to_take = next.is_none() || row.lives_by() == Liveness::Session;
        Some(match next {
            // What was asked for meanwhile is overruled: the worker is not done with it.
            _ if !self.is_stopping && is_free_to_take => WriteKind::Take {
                counter,
                last_write: row.last_write.clone().into(),
                floor,
                expiry: self.expiry,
                owner_switches: row.owner_switches,
                start_at: None,
                lives_by: Liveness::Session,
                adopt: progress.map(Box::new),
            },
            Some(next) => WriteKind::CompleteHandover { counter, next, progress, unmark },
            None => WriteKind::Release { counter, progress, unmark },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Checkpoint, KeptProgress, Position};

    const EXPIRY: Duration = Duration::from_secs(10);
    const TOKEN: LeaseCounter = LeaseCounter(5);

    fn row(owner: &str, checkpoint_owner: Option<&str>, lives_by: Liveness) -> Lease {
        let row = Lease {
            owner: Some(owner.into()),
            checkpoint_owner: checkpoint_owner.map(WorkerId::from),
            counter: TOKEN,
            token: Some(TOKEN.into()),
            expiry: Some(lives_by.stored(EXPIRY)),
            ..Lease::sample()
        };
        row.written_by("me")
    }

    fn settled(row: &Lease, is_stopping: bool) -> Option<WriteKind> {
        let position = Some(Position::of(7.into()));
        let entry = KeptProgress { token: TOKEN.into(), position, caught_up_at: None };
        let progress = SessionProgress([(Lease::sample().key, entry)].into());
        let me = WorkerId::from("me");
        let settler = Settler { me: &me, expiry: EXPIRY, progress: &progress, is_stopping };
        settler.settle(row, LeaseCounter(0))
    }

    fn name(kind: Option<&WriteKind>) -> String {
        let text = format!("{kind:?}");
        text.trim_start_matches("Some(").split(' ').next().unwrap_or_default().to_owned()
    }

    #[test]
    fn lease_that_names_its_worker_is_taken_anew_or_freed() {
        use Liveness::{Counter, Session};
        for (row, running, stopping) in [
            (row("me", None, Session), "Take", "Release"),
            (row("me", None, Counter), "Take", "Release"),
            (row("next", Some("me"), Session), "Take", "CompleteHandover"),
            (row("next", Some("me"), Counter), "CompleteHandover", "CompleteHandover"),
            (row("me", Some("other"), Session), "None", "None"),
            (row("other", None, Session), "None", "None"),
            (
                Lease { checkpoint: Checkpoint::ShardEnd, ..row("me", None, Session) },
                "None",
                "None",
            ),
            (Lease::sample(), "None", "None"),
        ] {
            assert_eq!(name(settled(&row, false).as_ref()), running, "{row:?}");
            assert_eq!(name(settled(&row, true).as_ref()), stopping, "{row:?}");
        }
    }

    #[test]
    fn progress_in_the_session_is_not_lost() {
        let row = row("me", None, Liveness::Session);
        let at = Some(Checkpoint::after(7));
        let Some(WriteKind::Take { adopt, lives_by, .. }) = settled(&row, false) else {
            panic!("a take")
        };
        assert_eq!((adopt.and_then(|it| it.checkpoint), lives_by), (at, Liveness::Session));
        let Some(WriteKind::Release { progress, unmark, .. }) = settled(&row, true) else {
            panic!("a release")
        };
        assert_eq!((progress.and_then(|it| it.checkpoint), unmark), (at, Some(EXPIRY)));
    }
}
