//! Writes each batch to a sink exactly once, although its worker crashes in the worst moment.
//!
//! On screen: `wrote batch 1 …` and so on. The third batch is written, and the worker crashes before it
//! can say so. Another one takes over after two seconds: `found batch 3 in the sink: done`, and goes on with
//! batch 4. It ends by itself after batch 6, with `no record is missing or twice`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcl_core::config::{CheckpointPolicy, WorkerConfig};
use kcl_core::context::ShardContext;
use kcl_core::model::Position;
use kcl_core::{BoxError, RecordBatch, RecordProcessor, Worker};
use kcl_dynamo::DynamoLeaseStore;
use kcl_examples::Demo;
use kcl_kinesis::KinesisSource;
