//! A worker process whose file descriptors are closed or replaced from outside.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kcl_tests::fleet::Fleet;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::scene::LIMIT;

const WORKER: &str = env!("CARGO_BIN_EXE_fleet_worker");

/// The source of the preloaded library, which breaks file descriptors on a signal.
const BREAKER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/break_sockets.c");

fn compile(library: &Path) {
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(library).arg(BREAKER);
    assert!(compiler.status().unwrap().success(), "the C compiler works");
}

/// Breaks all connections of one of two workers, several times, while records arrive. Checks that
/// no record is lost. Returns the number of shards of each worker afterwards, and the standard
/// error of the broken one.
async fn break_connections(signal: Signal) -> (BTreeMap<String, usize>, String) {
    let folder = TempDir::new().unwrap();
    let library = folder.path().join("break_sockets.so");
    compile(&library);
    let mut fleet = Fleet::start(Path::new(WORKER), 4, &["--failover-ms", "2000"]).await.unwrap();
    fleet.spawn("a").unwrap();
    fleet.set_environment("LD_PRELOAD", library);
    fleet.spawn("b").unwrap();
    fleet.balanced(&["a", "b"], 2, LIMIT).await.unwrap();
    let producer = fleet.produce(100);
    for _ in 0..3 {
        fleet.signal("b", signal).unwrap();
        sleep(Duration::from_millis(700)).await;
    }
    let produced = producer.stop().await.unwrap();
    fleet.delivered(&produced, LIMIT).await.unwrap();
    let mut held = None;
    let settled = async || {
        held = fleet.held().await?;
        Ok(held.is_some())
    };
    kcl_tests::fleet::until("every shard has an owner", LIMIT, settled).await.unwrap();
    (held.unwrap_or_default(), fleet.errors("b"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_descriptors_are_survived_or_reported() {
    let (held, errors) = break_connections(Signal::USR1).await;
    // The standard library of a debug build aborts a process that closes a closed descriptor.
    let is_member = held.contains_key("b");
    assert!(is_member || errors.contains("file descriptor already closed"), "{held:?} {errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_connections_are_replaced() {
    let (held, errors) = break_connections(Signal::USR2).await;
    assert!(held.contains_key("b"), "{held:?} {errors}");
}
