//! Finds the shards that continue an ended shard, which proves that it has ended.

use kcl_proto::consumer::backoff::{self, Backoff};
use kcl_proto::model::{Checkpoint, ChildShard, ShardFilter};
use kcl_proto::shards::successors::{self, Ended, Successors};

use crate::data_side::parts::ReadParts;
use crate::report::event::Event;
use crate::report::log::chain;
use crate::tasks::sleep::sleep_until;

/// How many lists may lack the children before that is reported: lists lag behind.
const UNREPORTED_TRIES: u32 = 3;

/// Returns the shards that cover the hash keys of the lease's shard: those `reported` with its end,
/// if they cover it, else those listed. `None` if neither covers it for a long time.
pub(super) async fn children(
    parts: &ReadParts,
    reported: &[ChildShard],
    done: Checkpoint,
) -> Option<Vec<ChildShard>> {
    let ended = Ended {
        id: &parts.lease.key.shard(),
        parents: &parts.lease.parents,
        hash_range: parts.lease.hash_range,
        reached: done.position().map(|position| position.sequence),
    };
    if let Some(successors) = successors::announced(&ended, reported) {
        return Some(children_of(parts, successors));
    }
    let since = parts.clock.now();
    let mut tries = 0_u32;
    loop {
        let problem = match parts.source.list_shards(ShardFilter::All).await {
            Ok(shards) => match successors::listed(&ended, &shards) {
                Some(successors) => return Some(children_of(parts, successors)),
                None => None,
            },
            Err(error) => Some(chain(&error)),
        };
        tries = tries.saturating_add(1);
        let retry_in = Backoff::READ.jittered(tries, parts.chance.draw());
        if problem.is_some() || tries > UNREPORTED_TRIES {
            let shard = ended.id.clone();
            let error = problem.unwrap_or_else(|| "children are not listed yet".to_owned());
            parts.events.emit(&Event::FetchFailed { shard, error, retry_in });
        }
        if backoff::is_unreadable(parts.clock.now() - since, None) {
            return None;
        }
        sleep_until(&*parts.clock, parts.clock.now() + retry_in).await;
    }
}

fn children_of(parts: &ReadParts, successors: Successors) -> Vec<ChildShard> {
    match successors {
        Successors::Children(children) => children,
        Successors::Descendants(descendants) => {
            // The records of the shards in between are gone.
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
