//! How often a worker calls. A loop without a pause exceeds these limits.

use std::collections::BTreeMap;

use super::call::Request;
use crate::time::Time;

/// The most reads of one shard in a second: five, by a clock that may run a fifth too fast.
const READS_MAX: u32 = 6;

/// The most calls of any other kind in a second, for one shard or lease if the call names one:
/// scans are 100 ms apart, and housekeeping makes some of its own.
const CALLS_MAX: u32 = 20;

/// The most questions about the stream in a second: one for each shard that cannot be read.
const QUESTIONS_MAX: u32 = 100;

/// The calls of one worker within the second of its last call.
#[derive(Debug, Default)]
pub(crate) struct CallRate {
    second: u64,
    calls: BTreeMap<(&'static str, String), u32>,
}

impl CallRate {
    /// Counts a call.
    ///
    /// # Errors
    /// The number of such calls in this second, if it exceeds the limit.
    pub(crate) fn count(&mut self, at: Time, request: &Request) -> Result<(), u32> {
        let second = at.millis() / 1_000;
        if self.second != second {
            self.second = second;
            self.calls.clear();
        }
        let Some((kind, target)) = request.kind() else { return Ok(()) };
        let calls = self.calls.entry((kind, target.to_owned())).or_default();
        *calls += 1;
        let most = if matches!(request, Request::Read(_)) {
            READS_MAX
        } else if matches!(request, Request::Describe | Request::ListShards) {
            QUESTIONS_MAX
        } else {
            CALLS_MAX
        };
        if *calls > most { Err(*calls) } else { Ok(()) }
    }
}
