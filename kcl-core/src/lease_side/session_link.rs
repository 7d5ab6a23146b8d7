//! The channels between a lease's holder and the session of its worker.
//!
//! The holder leaves its progress in a cell, which the session reads before a heartbeat: a batch
//! that is done costs no message.

use std::future::pending;
use std::sync::Arc;

use kcl_proto::lease::holding::HoldingInput;
use kcl_proto::lease::session::HolderReport;
use kcl_proto::model::{FencingToken, KeptProgress, LeaseKey, Moment, Position};
use tokio::sync::{Notify, watch};

/// What the session tells a holder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct News {
    lives_until: Option<Moment>,
    stored: Option<Position>,
    is_over: bool,
}

/// The holder's end.
#[derive(Debug)]
pub(super) struct HolderEnd {
    /// What the session's row is to contain.
    progress: watch::Sender<Option<KeptProgress>>,
    news: watch::Receiver<News>,
    /// The news that [`next`](Self::next) has returned.
    known: News,
    urgent: Arc<Notify>,
}

/// The session's end.
#[derive(Debug)]
pub(super) struct KeeperEnd {
    key: LeaseKey,
    token: FencingToken,
    progress: watch::Receiver<Option<KeptProgress>>,
    /// The progress that was reported.
    reported: Option<KeptProgress>,
    news: watch::Sender<News>,
    /// Whether the holder did not answer: it lives no longer than it was told.
    is_stuck: bool,
}

/// Returns both ends of a new link, for the lease `key` that is held under `token`. `urgent` wakes
/// the session.
pub(super) fn link(
    key: LeaseKey,
    token: FencingToken,
    urgent: Arc<Notify>,
) -> (HolderEnd, KeeperEnd) {
    let (kept, progress) = watch::channel(None);
    let (news, heard) = watch::channel(News::default());
    let holder = HolderEnd { progress: kept, news: heard, known: News::default(), urgent };
    let session = KeeperEnd { key, token, progress, reported: None, news, is_stuck: false };
    (holder, session)
}

impl HolderEnd {
    /// Waits for news of the session.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> HoldingInput {
        loop {
            if let Some(input) = self.unread() {
                return input;
            }
            if self.news.changed().await.is_err() {
                return pending().await; // The session is over, and has said so.
            }
        }
    }

    fn unread(&mut self) -> Option<HoldingInput> {
        let news = *self.news.borrow_and_update();
        if news.is_over && !self.known.is_over {
            self.known.is_over = true;
            return Some(HoldingInput::SessionOver);
        }
        if let Some(until) = news.lives_until.filter(|_| news.lives_until != self.known.lives_until)
        {
            self.known.lives_until = news.lives_until;
            return Some(HoldingInput::SessionLives(until));
        }
        let stored = news.stored.filter(|_| news.stored != self.known.stored)?;
        self.known.stored = news.stored;
        Some(HoldingInput::SessionStored(stored))
    }

    /// Says that the holder is alive.
    pub(super) fn answer(&self) {
        self.progress.send_modify(|_| {});
    }

    /// Leaves progress for the next heartbeat, or for one at once.
    pub(super) fn keep(&self, progress: KeptProgress, is_urgent: bool) {
        self.progress.send_replace(Some(progress));
        if is_urgent {
            self.urgent.notify_one();
        }
    }
}

impl KeeperEnd {
    /// Returns what the holder has said since the last call, or `None` if it has not.
    pub(super) fn report(&mut self) -> Option<HolderReport> {
        // A holder that is gone has left its last words.
        let has_answered = self.progress.has_changed().unwrap_or(true);
        has_answered.then(|| self.last_report())
    }

    /// Returns what the holder said last, as far as it is new.
    pub(super) fn last_report(&mut self) -> HolderReport {
        let kept = *self.progress.borrow_and_update();
        let progress = kept.filter(|_| kept != self.reported);
        self.reported = kept;
        HolderReport { key: self.key.clone(), progress }
    }

    /// Lets the holder process until this moment, unless it is stuck.
    pub(super) fn lives(&self, until: Moment) {
        if !self.is_stuck {
            self.news.send_modify(|news| news.lives_until = Some(until));
        }
    }

    /// Says that the session's row contains this progress.
    pub(super) fn stored(&self, progress: KeptProgress) {
        if let Some(position) = progress.position.filter(|_| progress.token == self.token) {
            self.news.send_modify(|news| news.stored = Some(position));
        }
    }

    /// Says that the session is over.
    pub(super) fn over(&self) {
        self.news.send_modify(|news| news.is_over = true);
    }

    /// Gives the holder no later moment from now on.
    pub(super) const fn stuck(&mut self) {
        self.is_stuck = true;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use kcl_proto::model::LeaseCounter;

    use super::*;

    fn kept(record: u128) -> KeptProgress {
        let token = LeaseCounter(5).into();
        KeptProgress { token, position: Some(Position::of(record.into())), caught_up_at: None }
    }

    #[test]
    fn report_is_read_once_and_the_last_one_counts() {
        let token = LeaseCounter(5).into();
        let (holder, mut session) = link("shard".into(), token, Arc::default());
        assert_eq!(session.report(), None, "nothing was said");
        holder.keep(kept(1), false);
        holder.keep(kept(2), false);
        assert_eq!(session.report().and_then(|report| report.progress), Some(kept(2)));
        assert_eq!(session.report(), None);
        holder.answer();
        assert_eq!(session.report().map(|report| report.progress), Some(None), "nothing new");
        holder.keep(kept(3), false);
        drop(holder);
        let report = session.report().and_then(|report| report.progress);
        assert_eq!(report, Some(kept(3)), "it outlives its holder");
    }

    #[test]
    fn holder_hears_each_thing_once() {
        let token = LeaseCounter(5).into();
        let (mut holder, mut session) = link("shard".into(), token, Arc::default());
        session.lives(Moment::at_secs(9));
        session.stored(kept(7));
        session.stored(KeptProgress { token: LeaseCounter(4).into(), ..kept(3) });
        let lives = HoldingInput::SessionLives(Moment::at_secs(9));
        assert_eq!(holder.next().now_or_never(), Some(lives));
        let stored = HoldingInput::SessionStored(Position::of(7.into()));
        assert_eq!(holder.next().now_or_never(), Some(stored), "the former owner's is not its own");
        session.stuck();
        session.lives(Moment::at_secs(12));
        assert_eq!(holder.next().now_or_never(), None, "a holder that is stuck lives no longer");
        session.over();
        assert_eq!(holder.next().now_or_never(), Some(HoldingInput::SessionOver));
        drop(session);
        assert_eq!(holder.next().now_or_never(), None);
    }
}
