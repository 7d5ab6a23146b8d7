//! How often a worker calls: what repeats a call without a pause is a loop that nothing bounds.

use std::collections::BTreeMap;

use crate::time::Time;
use crate::world::call::What;

/// How often a worker may read one shard within a second: five times, by a clock that may be a fifth
/// too fast.
const READS_MAX: u32 = 6;

/// How often it may make any other call, for one shard or one lease if it is about one: scans have
/// 100 ms between them, and housekeeping has some of its own.
const CALLS_MAX: u32 = 20;

/// How often it may ask about the stream: as often, for each of many shards that cannot be read.
const QUESTIONS_MAX: u32 = 100;

/// The calls of one worker in the second of its last one.
#[derive(Debug, Default)]
pub(crate) struct Haste {
    second: u64,
    calls: BTreeMap<(&'static str, String), u32>,
}

impl Haste {
    /// Counts a call.
    ///
    /// # Errors
    /// How many of them there were in this second, if these are too many.
    pub(crate) fn count(&mut self, at: Time, what: &What) -> Result<(), u32> {
        let second = at.millis() / 1_000;
        if self.second != second {
            self.second = second;
            self.calls.clear();
        }
        let Some((kind, of)) = what.kind() else { return Ok(()) };
        let calls = self.calls.entry((kind, of.to_owned())).or_default();
        *calls += 1;
        let most = if matches!(what, What::Read(_)) {
            READS_MAX
        } else if matches!(what, What::Describe | What::ListShards) {
            QUESTIONS_MAX
        } else {
            CALLS_MAX
        };
        if *calls > most { Err(*calls) } else { Ok(()) }
    }
}
