//! Every metric, in one table.

use crate::metrics::definition::{
    Kind, Label, Level, Metric, Part, Unit, java, per_shard, per_worker, success, table_success,
};

/// Every metric, in the order of snapshots and of the documents.
pub const CATALOGUE: &[&Metric] = &[
    &RECORDS,
    &BYTES,
    &BATCHES,
    &PROCESS_SECONDS,
    &CALL_SECONDS,
    &LAG_SECONDS,
    &LAG_MAX_SECONDS,
    &SLOW_CALLS,
    &RETRIES,
    &SET_ASIDE,
    &DEAD_LETTER_FAILURES,
    &STOPPED_SHARDS,
    &STALLED,
    &LOST,
    &AT_RISK,
    &READS,
    &READ_SECONDS,
    &READ_RECORDS,
    &READ_BYTES,
    &OPENS,
    &OPEN_SECONDS,
    &STREAM_CALLS,
    &MEMORY_BYTES,
    &MEMORY_BUDGET_BYTES,
    &MEMORY_WAIT_SECONDS,
    &LEASES_HELD,
    &LEASES,
    &WORKERS,
    &TAKES,
    &LEASE_ENDS,
    &HAND_OVERS,
    &RENEWALS,
    &RENEW_SECONDS,
    &DEADLINE_HEADROOM_SECONDS,
    &TABLE_CALLS,
    &TABLE_CALL_SECONDS,
    &TABLE_READ_UNITS,
    &LEASES_CREATED,
    &LEASES_DELETED,
    &SHARDS_ENDED,
    &UNREADABLE_ROWS,
    &UNCOVERED,
    &LEASE_SIDE_SILENCE_SECONDS,
    &WORKER_STATE,
    &BUILD_INFO,
];

/// A counter of things without labels.
const COUNTER: Metric =
    Metric { name: "", kind: Kind::Counter, unit: Unit::Count, labels: &[], when: "", java: &[] };

/// A gauge of things without labels.
const GAUGE: Metric = Metric { kind: Kind::Gauge, ..COUNTER };

/// A histogram without labels.
const HISTOGRAM: Metric = Metric { kind: Kind::Histogram, ..COUNTER };

/// The outcomes of a call to the lease table.
const TABLE_OUTCOMES: Label = Label::of("outcome", &["ok", "lost", "throttled", "error"]);

/// The outcomes of a call to the stream.
const STREAM_OUTCOMES: Label = Label::of("outcome", &["ok", "throttled", "error"]);

/// The calls to the lease table.
const TABLE_OPERATIONS: Label = Label::of(
    "operation",
    &[
        "prepare",
        "scan",
        "read",
        "renew",
        "take",
        "create",
        "hand_over",
        "ask",
        "release",
        "end_shard",
        "delete",
        "beat",
        "worker",
        "stream",
    ],
);

pub(super) static RECORDS: Metric = Metric {
    name: "kcl_records_total",
    labels: &[Label::SHARD],
    when: "records done: processed with `Ok`, or acknowledged",
    java: &[per_shard("ProcessTask", "RecordsProcessed", Level::Summary, Part::All)],
    ..COUNTER
};

pub(super) static BYTES: Metric = Metric {
    name: "kcl_bytes_total",
    unit: Unit::Bytes,
    labels: &[Label::SHARD],
    when: "data of the records for which `process_records` returned `Ok`, without their keys",
    java: &[per_shard("ProcessTask", "DataBytesProcessed", Level::Summary, Part::All)],
    ..COUNTER
};

pub(super) static BATCHES: Metric = Metric {
    name: "kcl_batches_total",
    labels: &[Label::SHARD, Label::of("outcome", &["ok", "error", "panic", "cancelled"])],
    when: "a call of `process_records` ended; `panic` includes acknowledgements that failed, and \
           `cancelled` is one that the end of its lease ended",
    java: &[per_shard("ProcessTask", "Success", Level::Summary, success(&["ok"]))],
    ..COUNTER
};

pub(super) static PROCESS_SECONDS: Metric = Metric {
    name: "kcl_process_seconds_total",
    unit: Unit::Seconds,
    labels: &[Label::SHARD],
    when: "time in `process_records`: its rate is the share of time that the shard is busy",
    java: &[per_shard(
        "ProcessTask",
        "RecordProcessor.processRecords.Time",
        Level::Summary,
        Part::All,
    )],
    ..COUNTER
};

pub(super) static CALL_SECONDS: Metric = Metric {
    name: "kcl_call_seconds",
    unit: Unit::Seconds,
    labels: &[Label::of(
        "call",
        &["initialize", "process_records", "shard_ended", "shutdown_requested", "dead_letter"],
    )],
    when: "a call of the application's code ended, of any shard",
    java: &[
        java(
            "InitializeTask",
            "RecordProcessor.initialize.Time",
            Level::Summary,
            Part::Only(&["initialize"]),
        ),
        java(
            "ShutdownTask",
            "RecordProcessor.shutdown.Time",
            Level::Summary,
            Part::Only(&["shard_ended", "shutdown_requested"]),
        ),
    ],
    ..HISTOGRAM
};

pub(super) static LAG_SECONDS: Metric = Metric {
    name: "kcl_lag_seconds",
    unit: Unit::Seconds,
    labels: &[Label::SHARD, Label::of("at", &["read", "done"])],
    when: "`read`: how far the last read was behind the end of the shard. `done`: how old the \
           oldest record that is not done may be; it grows while a processor hangs or fails. \
           Missing until the first read",
    java: &[
        per_shard("ProcessTask", "MillisBehindLatest", Level::Summary, Part::Only(&["read"])),
        java("ApplicationTracker", "MillisBehindLatest", Level::Summary, Part::Only(&["read"])),
    ],
    ..GAUGE
};

pub(super) static LAG_MAX_SECONDS: Metric = Metric {
    name: "kcl_lag_max_seconds",
    unit: Unit::Seconds,
    when: "the greatest `kcl_lag_seconds` at `done` of the held shards; 0 without any",
    ..GAUGE
};

pub(super) static SLOW_CALLS: Metric = Metric {
    name: "kcl_slow_calls",
    when: "held shards with a call that has run for `delivery.slow_after` or longer",
    ..GAUGE
};

pub(super) static RETRIES: Metric = Metric {
    name: "kcl_retries_total",
    labels: &[Label::SHARD, Label::of("kind", &["batch", "record", "call"])],
    when: "a batch, a record of `for_each` or another call of the processor failed, and is retried",
    ..COUNTER
};

pub(super) static SET_ASIDE: Metric = Metric {
    name: "kcl_set_aside_total",
    labels: &[Label::SHARD, Label::of("how", &["dead_letter", "skipped"])],
    when: "a record used up its attempts, and its shard continues without it",
    ..COUNTER
};

pub(super) static DEAD_LETTER_FAILURES: Metric = Metric {
    name: "kcl_dead_letter_failures_total",
    labels: &[Label::SHARD],
    when: "the dead letter did not store a record",
    ..COUNTER
};

pub(super) static STOPPED_SHARDS: Metric = Metric {
    name: "kcl_stopped_shards_total",
    when: "a shard was stopped: its records, or another call, used up their attempts",
    ..COUNTER
};

pub(super) static STALLED: Metric = Metric {
    name: "kcl_stalled_total",
    when: "a processor ran past its time, and the lease was released",
    ..COUNTER
};

pub(super) static LOST: Metric = Metric {
    name: "kcl_lost_total",
    when: "records were trimmed before they were processed, each gap once",
    ..COUNTER
};

pub(super) static AT_RISK: Metric = Metric {
    name: "kcl_at_risk_total",
    when: "a warning that records may be trimmed before they are processed",
    ..COUNTER
};

pub(super) static READS: Metric = Metric {
    name: "kcl_reads_total",
    labels: &[
        Label::SHARD,
        Label::of("outcome", &["records", "empty", "throttled", "expired", "error"]),
    ],
    when: "a read of records ended",
    java: &[
        per_shard(
            "ProcessTask",
            "KinesisDataFetcher.getRecords.Success",
            Level::Detailed,
            success(&["records", "empty"]),
        ),
        java("ProcessTask", "ExpiredIterator", Level::Summary, Part::Only(&["expired"])),
    ],
    ..COUNTER
};

pub(super) static READ_SECONDS: Metric = Metric {
    name: "kcl_read_seconds_total",
    unit: Unit::Seconds,
    labels: &[Label::SHARD],
    when: "time of these reads",
    java: &[per_shard(
        "ProcessTask",
        "KinesisDataFetcher.getRecords.Time",
        Level::Detailed,
        Part::All,
    )],
    ..COUNTER
};

pub(super) static READ_RECORDS: Metric = Metric {
    name: "kcl_read_records_total",
    labels: &[Label::SHARD],
    when: "records read; an aggregate counts once",
    ..COUNTER
};

pub(super) static READ_BYTES: Metric = Metric {
    name: "kcl_read_bytes_total",
    unit: Unit::Bytes,
    labels: &[Label::SHARD],
    when: "data and partition keys read, which is what the shard's limit counts",
    ..COUNTER
};

pub(super) static OPENS: Metric = Metric {
    name: "kcl_opens_total",
    labels: &[Label::SHARD, STREAM_OUTCOMES],
    when: "a reader was opened (`GetShardIterator`)",
    java: &[per_shard(
        "ProcessTask",
        "KinesisDataFetcher.getShardIterator.Success",
        Level::Detailed,
        success(&["ok"]),
    )],
    ..COUNTER
};

pub(super) static OPEN_SECONDS: Metric = Metric {
    name: "kcl_open_seconds_total",
    unit: Unit::Seconds,
    labels: &[Label::SHARD],
    when: "time to open readers",
    java: &[per_shard(
        "ProcessTask",
        "KinesisDataFetcher.getShardIterator.Time",
        Level::Detailed,
        Part::All,
    )],
    ..COUNTER
};

pub(super) static STREAM_CALLS: Metric = Metric {
    name: "kcl_stream_calls_total",
    labels: &[Label::of("operation", &["describe", "list_shards"]), STREAM_OUTCOMES],
    when: "another call to the stream ended",
    ..COUNTER
};

pub(super) static MEMORY_BYTES: Metric = Metric {
    name: "kcl_memory_bytes",
    unit: Unit::Bytes,
    when: "memory that records hold, or that reads reserved",
    ..GAUGE
};

pub(super) static MEMORY_BUDGET_BYTES: Metric = Metric {
    name: "kcl_memory_budget_bytes",
    unit: Unit::Bytes,
    when: "the budget for that",
    ..GAUGE
};

pub(super) static MEMORY_WAIT_SECONDS: Metric = Metric {
    name: "kcl_memory_wait_seconds_total",
    unit: Unit::Seconds,
    when: "time that reads waited for memory",
    ..COUNTER
};

pub(super) static LEASES_HELD: Metric = Metric {
    name: "kcl_leases_held",
    when: "leases that the worker holds",
    java: &[per_worker("RenewAllLeases", "CurrentLeases", Level::Summary, Part::All)],
    ..GAUGE
};

pub(super) static LEASES: Metric = Metric {
    name: "kcl_leases",
    labels: &[Label::of("state", &["mine", "others", "free", "ended"])],
    when: "leases of the table as the worker last saw them: owned by it, owned by others, without \
           an owner, of finished shards. Updated about every second",
    java: &[per_worker("TakeLeases", "TotalLeases", Level::Detailed, Part::All)],
    ..GAUGE
};

pub(super) static WORKERS: Metric = Metric {
    name: "kcl_workers",
    when: "workers of the application that this one counts as present, itself included",
    java: &[per_worker("TakeLeases", "NumWorkers", Level::Summary, Part::All)],
    ..GAUGE
};

pub(super) static TAKES: Metric = Metric {
    name: "kcl_takes_total",
    labels: &[Label::of("why", &["unowned", "expired", "holder_dead", "handed_over"])],
    when: "a lease was taken",
    java: &[per_worker("TakeLeases", "TakenLeases", Level::Summary, Part::All)],
    ..COUNTER
};

pub(super) static LEASE_ENDS: Metric = Metric {
    name: "kcl_lease_ends_total",
    labels: &[Label::of(
        "how",
        &["released", "handed_over", "shard_ended", "lost", "expired", "kept"],
    )],
    when: "a lease is no longer held",
    java: &[per_worker(
        "RenewAllLeases",
        "LostLeases",
        Level::Summary,
        Part::Only(&["lost", "expired"]),
    )],
    ..COUNTER
};

pub(super) static HAND_OVERS: Metric = Metric {
    name: "kcl_hand_overs_total",
    labels: &[Label::of("step", &["begun", "asked", "failed"])],
    when: "`begun`: this worker asked another for a lease. `asked`: another asked this one. \
           `failed`: a hand-over ended without moving the lease",
    ..COUNTER
};

pub(super) static RENEWALS: Metric = Metric {
    name: "kcl_renewals_total",
    labels: &[TABLE_OUTCOMES],
    when: "a renewal of a lease, or a heartbeat of the worker's session, ended",
    java: &[per_worker(
        "RenewAllLeases",
        "RenewLease.Success",
        Level::Detailed,
        success(&["ok", "lost"]),
    )],
    ..COUNTER
};

pub(super) static RENEW_SECONDS: Metric = Metric {
    name: "kcl_renew_seconds",
    unit: Unit::Seconds,
    when: "time of these",
    java: &[per_worker("RenewAllLeases", "RenewLease.Time", Level::Detailed, Part::All)],
    ..HISTOGRAM
};

pub(super) static DEADLINE_HEADROOM_SECONDS: Metric = Metric {
    name: "kcl_deadline_headroom_seconds",
    unit: Unit::Seconds,
    when: "the smallest time that is left to the deadline of a held lease: how near the worker is \
           to losing leases. Missing without any",
    ..GAUGE
};

pub(super) static TABLE_CALLS: Metric = Metric {
    name: "kcl_table_calls_total",
    labels: &[TABLE_OPERATIONS, TABLE_OUTCOMES],
    when: "a call to the lease table ended; `lost` is a condition that did not hold",
    java: &[
        per_worker("TakeLeases", "ListLeases.Success", Level::Detailed, table_success("scan")),
        per_worker("TakeLeases", "TakeLease.Success", Level::Detailed, table_success("take")),
        java("ShardSyncTask", "CreateLease.Success", Level::Detailed, table_success("create")),
    ],
    ..COUNTER
};

pub(super) static TABLE_CALL_SECONDS: Metric = Metric {
    name: "kcl_table_call_seconds_total",
    unit: Unit::Seconds,
    labels: &[TABLE_OPERATIONS],
    when: "time of these calls",
    java: &[
        per_worker("TakeLeases", "ListLeases.Time", Level::Detailed, Part::Only(&["scan"])),
        per_worker("TakeLeases", "TakeLease.Time", Level::Detailed, Part::Only(&["take"])),
        java("ShardSyncTask", "CreateLease.Time", Level::Detailed, Part::Only(&["create"])),
    ],
    ..COUNTER
};

pub(super) static TABLE_READ_UNITS: Metric = Metric {
    name: "kcl_table_read_units_total",
    when: "read units that scans and reads of several rows cost, rounded up for each page",
    ..COUNTER
};

pub(super) static LEASES_CREATED: Metric = Metric {
    name: "kcl_leases_created_total",
    when: "a lease was created for a shard that had none",
    ..COUNTER
};

pub(super) static LEASES_DELETED: Metric = Metric {
    name: "kcl_leases_deleted_total",
    when: "the lease of a finished shard was deleted",
    ..COUNTER
};

pub(super) static SHARDS_ENDED: Metric = Metric {
    name: "kcl_shards_ended_total",
    when: "a shard ended: all its records are done",
    ..COUNTER
};

pub(super) static UNREADABLE_ROWS: Metric = Metric {
    name: "kcl_unreadable_rows_total",
    when: "a row of the table turned out to be unreadable, each problem once",
    ..COUNTER
};

pub(super) static UNCOVERED: Metric = Metric {
    name: "kcl_uncovered_total",
    when: "hash keys turned out to have no lease, each range once while that lasts",
    ..COUNTER
};

pub(super) static LEASE_SIDE_SILENCE_SECONDS: Metric = Metric {
    name: "kcl_lease_side_silence_seconds",
    unit: Unit::Seconds,
    when: "time since the lease thread last showed that it runs, once a second. Missing before it \
           has started and in simulations",
    ..GAUGE
};

pub(super) static WORKER_STATE: Metric = Metric {
    name: "kcl_worker_state",
    labels: &[Label::of("state", &["starting", "running", "stopping", "stopped"])],
    when: "1 for the state of the worker, 0 for the others",
    ..GAUGE
};

pub(super) static BUILD_INFO: Metric = Metric {
    name: "kcl_build_info",
    labels: &[Label::of("version", &[env!("CARGO_PKG_VERSION")])],
    when: "always 1: the version of this library",
    ..GAUGE
};
