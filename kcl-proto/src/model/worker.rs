//! The id of a worker.

use crate::model::name::name;

name! {
    /// One incarnation of a worker: its stable name, a colon, and random letters.
    ///
    /// A restarted process is another worker, so that its former writes are never mistaken for its
    /// own.
    WorkerId
}

impl WorkerId {
    /// Creates the id of an incarnation of the worker `name`.
    #[must_use]
    pub fn incarnation(name: &str, incarnation: u64) -> Self {
        Self::new(format!("{name}:{incarnation:016x}"))
    }

    /// Returns the stable name: the part before the last colon, or all of it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.as_str().rsplit_once(':').map_or(self.as_str(), |(name, _)| name)
    }
}
