//! The memory that a consumer takes whatever its shard holds.

use crate::data_side::tests::world::World;

/// Every held shard pays for it. A future that passes through an async function by value counts
/// twice in it.
const SIZE_MAX: usize = 3 * 1024;

#[tokio::test(start_paused = true)]
async fn consumer_is_small() {
    let (_holder, consumer) = World::new().start();
    let size = size_of_val(&consumer);
    assert!(size <= SIZE_MAX, "{size} bytes");
}
