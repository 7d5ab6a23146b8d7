//! The conformance suite, against every source.

use kcl_core::testing::record_source::check_all;
use kcl_kinesis::Encoding;
use kcl_sim::memory::Limits;

use crate::endpoint::{ServerStream, endpoint};
use crate::memory::Memory;

#[tokio::test]
async fn memory_stream_keeps_the_contract() {
    check_all(|| async { Memory::new() }).await;
}

#[tokio::test]
async fn throttled_memory_stream_keeps_the_contract() {
    check_all(|| async {
        let memory = Memory::new();
        memory.stream.set_end_apart(true);
        memory.stream.set_limits(Limits::KINESIS);
        memory
    })
    .await;
}

#[tokio::test]
async fn source_keeps_the_contract_on_the_embedded_server() {
    for encoding in [Encoding::Cbor, Encoding::Json] {
        let endpoint = endpoint();
        check_all(|| ServerStream::create(&endpoint, encoding)).await;
    }
}
