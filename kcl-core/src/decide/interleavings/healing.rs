//! No dead end: left in peace, any state leads to a lease that is held, or to a finished shard.

use super::explorer::Violation;
use super::world::World;

/// Nothing yet.
pub(super) fn heals(_world: &World) -> Result<(), Violation> {
    Ok(())
}
