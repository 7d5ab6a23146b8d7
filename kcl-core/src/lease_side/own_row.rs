//! This worker's own row: a presence that a task keeps moving, or a session.

use std::sync::Arc;

use kcl_proto::model::{Moment, SessionProgress};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::lease_side::inbox::ToMainLoop;
use crate::lease_side::own_session::OwnSession;
use crate::lease_side::presence::{self, Leaving};
use crate::lease_side::shared::Shared;
use crate::tasks::supervisor::{TaskEnd, Tasks};

/// This worker's own row.
#[derive(Debug)]
pub(super) enum OwnRow {
    /// Its leases live by their counters.
    Presence {
        /// When its row is removed.
        removal: CancellationToken,
        task: Tasks,
    },
    /// Its leases live by this session.
    Session(Box<OwnSession>),
}

/// What the row wants.
#[derive(Debug)]
pub(super) enum Wake {
    /// The presence's task has ended.
    TaskEnded(TaskEnd),
    /// A holder wants progress to be stored at once.
    Urgent,
}

impl OwnRow {
    /// The row that the startup wrote: `session`, or a presence. `announce` is when it says that
    /// this worker leaves.
    pub(super) fn new(
        shared: &Arc<Shared>,
        session: Option<OwnSession>,
        announce: CancellationToken,
        main_loop: mpsc::Sender<ToMainLoop>,
    ) -> Self {
        if let Some(session) = session {
            return Self::Session(Box::new(session));
        }
        let removal = CancellationToken::new();
        let leaving = Leaving { announce, remove: removal.clone() };
        let mut task = Tasks::default();
        task.spawn("presence", Span::none(), presence::run(Arc::clone(shared), leaving, main_loop));
        Self::Presence { removal, task }
    }

    /// Whether this worker's leases live by its session.
    pub(super) const fn is_session(&self) -> bool {
        matches!(self, Self::Session(_))
    }

    /// The session, if there is one.
    pub(super) const fn session(&mut self) -> Option<&mut OwnSession> {
        match self {
            Self::Presence { .. } => None,
            Self::Session(session) => Some(session),
        }
    }

    /// The progress of this worker's leases that their rows may lack.
    pub(super) const fn progress(&self) -> &SessionProgress {
        match self {
            Self::Presence { .. } => const { &SessionProgress::EMPTY },
            Self::Session(session) => session.progress(),
        }
    }

    /// The progress that this worker's row contains.
    pub(super) const fn stored(&self) -> &SessionProgress {
        match self {
            Self::Presence { .. } => const { &SessionProgress::EMPTY },
            Self::Session(session) => session.stored(),
        }
    }

    /// Whether leases may be taken: the session, if there is one, lives.
    pub(super) fn may_take(&self, now: Moment) -> bool {
        match self {
            Self::Presence { .. } => true,
            Self::Session(session) => session.lives_until(now).is_some(),
        }
    }

    /// When to call [`OwnSession::tick`].
    pub(super) fn wake_at(&self) -> Option<Moment> {
        match self {
            Self::Presence { .. } => None,
            Self::Session(session) => session.wake_at(),
        }
    }

    /// Announces that this worker leaves.
    pub(super) fn leave(&mut self, now: Moment) {
        match self {
            Self::Presence { .. } => {} // Its task has the token of the stop itself.
            Self::Session(session) => session.leave(now),
        }
    }

    /// Removes the row, unless holders need it until their leases are released.
    pub(super) fn remove(&self) {
        match self {
            Self::Presence { removal, .. } => removal.cancel(),
            Self::Session(_) => {}
        }
    }

    /// Whether the row is removed, or counts no longer.
    pub(super) fn is_gone(&self) -> bool {
        match self {
            Self::Presence { task, .. } => task.len() == 0,
            Self::Session(session) => session.is_over(),
        }
    }

    /// Waits until the row wants something before [`wake_at`](Self::wake_at).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn wakes(&mut self) -> Wake {
        match self {
            Self::Presence { task, .. } => Wake::TaskEnded(task.ended().await),
            Self::Session(session) => {
                session.urgent().await;
                Wake::Urgent
            }
        }
    }
}
