//! When the calls of a lookout are due.

use kcl_proto::model::Moment;
use kcl_proto::recurring::Recurring;

/// When each kind of call is due.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) reading: Recurring,
    pub(super) polling: Recurring,
    pub(super) looking: Recurring,
    pub(super) hearing: Recurring,
    pub(super) publishing: Recurring,
}

impl Calls {
    pub(super) const fn new(now: Moment) -> Self {
        let due = Recurring::new(now);
        Self { reading: due, polling: due, looking: due, hearing: due, publishing: due }
    }
}
