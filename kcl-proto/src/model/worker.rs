//! Who a worker is.

use crate::model::name::name;

name! {
    /// One incarnation of a worker: its stable name, a colon, and random letters.
    ///
    /// A restarted process is another worker: it is never mistaken for its former self.
    WorkerId
}

impl WorkerId {
    /// The id of the worker `name` in the incarnation `incarnation`.
    #[must_use]
    pub fn incarnation(name: &str, incarnation: u64) -> Self {
        Self::new(format!("{name}:{incarnation:016x}"))
    }

    /// The stable name: what stands before the last colon, or all of it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.as_str().rsplit_once(':').map_or(self.as_str(), |(name, _)| name)
    }
}
