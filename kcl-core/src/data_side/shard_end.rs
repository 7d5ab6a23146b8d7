//! Finds the children of a shard that has ended, until they prove that it has.

use std::time::Duration;

use kcl_proto::consumer::backoff;
use kcl_proto::model::{Checkpoint, ChildShard, ShardFilter};
use kcl_proto::shards::successors::{self, Ended, Successors};

use crate::data_side::reader::FetchParts;
use crate::report::event::Event;
use crate::report::log::chain;
use crate::tasks::sleep::sleep_until;

/// The shortest and longest pause between two lists.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// How often children that are not listed yet are waited for in silence: lists lag behind.
const SILENT_TRIES: u32 = 3;

/// The shards that go on with the hash keys of the lease's shard: those that its end `told`, if they
/// cover it, else those that are listed. None if they are not known after a long time.
pub(super) async fn prove(
    parts: &FetchParts,
    told: &[ChildShard],
    done: Checkpoint,
) -> Option<Vec<ChildShard>> {
    let ended = Ended {
        id: &parts.lease.key.shard(),
        parents: &parts.lease.parents,
        hash_range: parts.lease.hash_range,
        reached: done.position().map(|position| position.sequence),
    };
    if let Some(successors) = successors::told(&ended, told) {
        return Some(taken(parts, successors));
    }
    let since = parts.clock.now();
    let mut tries = 0_u32;
    loop {
        let problem = match parts.source.list_shards(ShardFilter::All).await {
            Ok(shards) => match successors::listed(&ended, &shards) {
                Some(successors) => return Some(taken(parts, successors)),
                None => None,
            },
            Err(error) => Some(chain(&error)),
        };
        tries = tries.saturating_add(1);
        let retry_in = backoff::pause(tries, PAUSES, parts.chance.draw());
        if problem.is_some() || tries > SILENT_TRIES {
            let shard = ended.id.clone();
            let error = problem.unwrap_or_else(|| "children are not listed yet".to_owned());
            parts.events.emit(&Event::FetchFailed { shard, error, retry_in });
        }
        if backoff::is_hopeless(parts.clock.now() - since, true) {
            return None;
        }
        sleep_until(&*parts.clock, parts.clock.now() + retry_in).await;
    }
}

fn taken(parts: &FetchParts, successors: Successors) -> Vec<ChildShard> {
    match successors {
        Successors::Children(children) => children,
        Successors::Descendants(descendants) => {
            // What was in the shards between is gone.
            parts.events.emit(&Event::DataLost {
                shard: parts.lease.key.shard(),
                from: Checkpoint::ShardEnd,
                to: Checkpoint::TrimHorizon,
                caught_up_at: None,
            });
            descendants
        }
    }
}
