//! A worker process whose file descriptors are closed or replaced underneath it.

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

/// What is preloaded to strike at file descriptors.
const STRIKER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/break_sockets.c");

fn compile(library: &Path) {
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(library).arg(STRIKER);
    assert!(compiler.status().unwrap().success(), "the C compiler that the build needs works");
}

/// Strikes at all connections of one of two workers, several times, while records arrive. Nothing is
/// lost. Returns who holds how many shards afterwards, and what the struck one wrote to its errors.
async fn struck(signal: Signal) -> (BTreeMap<String, usize>, String) {
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
async fn a_worker_whose_descriptors_are_closed_underneath_recovers_or_says_why_it_ends() {
    let (held, errors) = struck(Signal::USR1).await;
    // The standard library of a debug build ends a process that closes what is closed already.
    let is_member = held.contains_key("b");
    assert!(is_member || errors.contains("file descriptor already closed"), "{held:?} {errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_connections_go_dead_underneath_opens_others() {
    let (held, errors) = struck(Signal::USR2).await;
    assert!(held.contains_key("b"), "{held:?} {errors}");
}
