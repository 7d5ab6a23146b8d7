//! Endpoints that refuse, never answer, or throttle, at the start and while a worker runs.

use std::time::Duration;

use aws_sdk_kinesis::primitives::Blob;
use kcl_core::event::{Event, LeaseEnd};
use kcl_dynamo::DynamoLeaseStore;
use kcl_local::{LocalStack, LocalStackOptions, sdk_config};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::gate::Verdict;
use crate::scene::{EXPIRY, Running, STREAM, Scene, TABLE, created, records};

/// Starts a worker whose services are at `endpoint`, not at the scene's.
fn start_at(scene: &Scene, endpoint: &str) -> Running {
    let aws = sdk_config(endpoint);
    let leases = DynamoLeaseStore::new(&aws, created(TABLE));
    scene.run("w", scene.builder("w").records(records(&aws, STREAM)).leases(leases))
}

async fn check_stops_at_once(worker: Running) {
    let began = Instant::now();
    assert!(worker.stop().await.shards.is_empty());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn refusing_endpoint_is_retried_until_it_answers() {
    let scene = Scene::empty().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let worker = start_at(&scene, &format!("http://{address}"));
    scene.until_reported(&["lease table \"leases\" did not answer", "refused"]).await;
    let stack = LocalStack::start_with(&LocalStackOptions::default().with_port(address.port()));
    let stack = stack.unwrap();
    let kinesis = aws_sdk_kinesis::Client::new(&stack.sdk_config());
    kinesis.create_stream().stream_name(STREAM).shard_count(1).send().await.unwrap();
    let put = kinesis.put_record().stream_name(STREAM).partition_key("a").data(Blob::new("a"));
    put.send().await.unwrap();
    scene.until_delivered("a").await;
    worker.stop().await;
}

#[tokio::test]
async fn refusing_endpoint_does_not_block_shutdown() {
    let scene = Scene::empty().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let worker = start_at(&scene, &endpoint);
    scene.until_reported(&["\"leases\" did not answer"]).await;
    check_stops_at_once(worker).await;
}

#[tokio::test]
async fn silent_endpoint_does_not_block_shutdown() {
    let scene = Scene::empty().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let worker = start_at(&scene, &format!("http://{}", listener.local_addr().unwrap()));
    let silent = listener.accept().await.unwrap();
    check_stops_at_once(worker).await;
    drop(silent);
}

/// Applies `verdict` to all calls of a running worker for longer than its leases last, while
/// records arrive. Checks that the worker reports both services, and that no record is lost.
async fn check_at_work(verdict: Verdict, of_table: &[&str], of_stream: &[&str]) {
    let scene = Scene::new(1).await;
    scene.put("0").await;
    let worker = scene.start("w");
    scene.until_delivered("0").await;
    scene.gate.rule(move |_| verdict.clone());
    let stopped_at = Instant::now();
    let mut number = 1;
    while stopped_at.elapsed() < EXPIRY * 2 {
        scene.put(&number.to_string()).await;
        number += 1;
        sleep(Duration::from_millis(400)).await;
    }
    scene.until_reported(of_table).await;
    scene.until_reported(of_stream).await;
    scene.gate.open();
    for number in 0..number {
        scene.until_delivered(&number.to_string()).await;
    }
    worker.stop().await;
    let ends = scene
        .events(|event| if let Event::LeaseEnded { how, .. } = event { Some(*how) } else { None });
    assert_eq!(ends.first(), Some(&LeaseEnd::Expired), "the lease expires");
    assert_eq!(ends.last(), Some(&LeaseEnd::Released), "the worker holds it again");
}

#[tokio::test]
async fn silent_endpoints_cost_the_lease_and_no_record() {
    let stream = ["stream \"orders\" did not answer"];
    check_at_work(Verdict::Hang, &["lease table \"leases\" did not answer"], &stream).await;
}

#[tokio::test]
async fn throttling_beyond_the_retries_is_reported() {
    let throttled = Verdict::Refuse("ProvisionedThroughputExceededException");
    check_at_work(throttled, &["lease table \"leases\" is throttled"], &["reading is throttled"])
        .await;
}

#[tokio::test]
async fn throttled_start_succeeds_after_throttling_ends() {
    let scene = Scene::new(1).await;
    scene.put("a").await;
    scene.gate.rule(|_| Verdict::Refuse("ThrottlingException"));
    let worker = scene.start("w");
    scene.until_reported(&["lease table \"leases\" is throttled"]).await;
    scene.gate.open();
    scene.until_delivered("a").await;
    worker.stop().await;
}
