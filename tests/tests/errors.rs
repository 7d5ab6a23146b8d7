//! Error messages: each error prints only its own part of the chain.

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::error::Error;
    use std::fs;
    use std::io;
    use std::path::Path;

    use kcl_core::BoxError;
    use kcl_core::backend::LeaseStoreError;
    use kcl_core::backend::{ReadFrom, SourceError};
    use kcl_core::config::WorkerConfig;
    use kcl_core::error::CheckpointError;
    use kcl_core::error::RunError;
    use kcl_core::model::{Checkpoint, HashKeyRange, Position, SequenceNumber};
    use kcl_local::StartError;

    /// Words that are always capitalized.
    const NAMES: [&str; 1] = ["Java"];

    fn cause() -> BoxError {
        io::Error::other("connection reset by peer").into()
    }

    fn messages(error: &dyn Error) -> Vec<String> {
        std::iter::successors(Some(error), |error| (*error).source())
            .map(ToString::to_string)
            .collect()
    }

    #[track_caller]
    fn check(error: &dyn Error) {
        let messages = messages(error);
        for message in &messages {
            let is_name = NAMES.iter().any(|name| message.starts_with(name));
            let is_small = message.starts_with(|letter: char| !letter.is_uppercase());
            assert!(is_small || is_name, "begins with a capital: {message:?}");
            assert!(!message.ends_with(['.', '!', '\n']), "ends like a sentence: {message:?}");
            assert!(!message.contains("  "), "has a gap: {message:?}");
        }
        for (index, outer) in messages.iter().enumerate() {
            for inner in messages.iter().skip(index + 1) {
                assert!(!outer.contains(inner.as_str()), "{outer:?} repeats {inner:?}");
            }
        }
    }

    /// Returns the variants of the enum `name` in a source file.
    fn variants(path: &str, name: &str) -> BTreeSet<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let text = fs::read_to_string(root.join(path)).expect("readable");
        let start = text.find(&format!("pub enum {name} {{")).expect("the enum");
        text[start..]
            .lines()
            .skip(1)
            .take_while(|line| *line != "}")
            .filter_map(|line| line.strip_prefix("    "))
            .filter(|line| line.starts_with(|letter: char| letter.is_ascii_uppercase()))
            .map(|line| line.chars().take_while(char::is_ascii_alphanumeric).collect())
            .collect()
    }

    /// Checks each error, and that no variant is missing.
    #[track_caller]
    fn check_all<E: Error>(path: &str, name: &str, errors: &[E]) {
        let mut seen = BTreeSet::new();
        for error in errors {
            check(error);
            let debug = format!("{error:?}");
            seen.insert(debug.chars().take_while(char::is_ascii_alphanumeric).collect());
        }
        assert_eq!(seen, variants(path, name), "{name}");
    }

    fn lease_store_errors() -> Vec<LeaseStoreError> {
        let table = || "orders-consumer".to_owned();
        vec![
            LeaseStoreError::Throttled { table: table(), source: cause() },
            LeaseStoreError::Unavailable { table: table(), source: cause() },
            LeaseStoreError::TableMissing { table: table() },
            LeaseStoreError::TableNotReady { table: table(), status: "CREATING".to_owned() },
            LeaseStoreError::WrongKey { table: table(), found: "id (N)".to_owned() },
            LeaseStoreError::Replicated { table: table(), regions: "eu-west-1".to_owned() },
            LeaseStoreError::AccessDenied {
                table: table(),
                action: "dynamodb:Scan",
                source: cause(),
            },
            LeaseStoreError::Credentials { table: table(), source: cause() },
            LeaseStoreError::CredentialsNotConfigured { table: table(), source: cause() },
            LeaseStoreError::Clock { table: table(), source: cause() },
            LeaseStoreError::Unreadable {
                table: table(),
                key: "shardId-000000000000".to_owned(),
                problem: "leaseCounter is missing".to_owned(),
            },
            LeaseStoreError::Refused { table: table(), source: cause() },
        ]
    }

    fn source_errors() -> Vec<SourceError> {
        let stream = || "orders".to_owned();
        let shard = || "shardId-000000000000".into();
        vec![
            SourceError::Throttled { source: cause() },
            SourceError::Expired,
            SourceError::Unavailable { stream: stream(), source: cause() },
            SourceError::Incomplete { stream: stream(), source: cause() },
            SourceError::EncodingRefused { stream: stream(), encoding: "CBOR", source: cause() },
            SourceError::EndUnconfirmed { shard: shard() },
            SourceError::StreamMissing { stream: stream() },
            SourceError::ShardMissing { stream: stream(), shard: shard() },
            SourceError::PositionRefused {
                shard: shard(),
                from: ReadFrom::TrimHorizon,
                source: cause(),
            },
            SourceError::AccessDenied {
                stream: stream(),
                action: "kinesis:GetRecords",
                source: cause(),
            },
            SourceError::Credentials { stream: stream(), source: cause() },
            SourceError::CredentialsNotConfigured { stream: stream(), source: cause() },
            SourceError::Clock { stream: stream(), source: cause() },
            SourceError::Refused { stream: stream(), source: cause() },
        ]
    }

    fn run_errors() -> Vec<RunError> {
        let mut errors = vec![
            RunError::StreamDeleted { stream: "orders".into() },
            RunError::StreamRecreated {
                stream: "orders".into(),
                stored: "2026-01-01".to_owned(),
                found: "2026-02-01".to_owned(),
            },
            RunError::OtherStream { stored: "arn:one".into(), found: "arn:other".into() },
            RunError::JavaFleetAlive { seen: "LEADER row \"Leader\" changed".to_owned() },
            RunError::RecordsFailed {
                shard: "shardId-000000000000".into(),
                position: Position { sequence: SequenceNumber::from(7), sub_sequence: 0 },
                error: "connection refused".to_owned(),
            },
            RunError::ProcessorFailed {
                shard: "shardId-000000000000".into(),
                call: "initialize",
                error: "connection refused".to_owned(),
            },
            RunError::TaskPanicked { task: "holder", message: "boom".to_owned() },
            RunError::Thread(cause()),
        ];
        errors.extend(lease_store_errors().into_iter().map(RunError::Leases));
        errors.extend(source_errors().into_iter().map(RunError::Stream));
        errors
    }

    #[test]
    fn errors_of_lease_stores_read_well() {
        let errors = lease_store_errors();
        check_all("kcl-core/src/backend/lease_store.rs", "LeaseStoreError", &errors);
    }

    #[test]
    fn errors_of_record_sources_read_well() {
        check_all("kcl-core/src/backend/record_source.rs", "SourceError", &source_errors());
    }

    #[test]
    fn errors_of_a_run_read_well_with_their_causes() {
        check_all("kcl-core/src/report/run_error.rs", "RunError", &run_errors());
    }

    #[test]
    fn errors_of_checkpoints_read_well() {
        let sequence: SequenceNumber = "17".parse().unwrap();
        let position = Position { sequence, sub_sequence: 0 };
        let errors = [
            CheckpointError::LeaseLost,
            CheckpointError::OutOfRange { position },
            CheckpointError::StateTooLarge { bytes: 70_000, max: 65_536 },
        ];
        check_all("kcl-core/src/report/checkpoint_error.rs", "CheckpointError", &errors);
    }

    #[test]
    fn errors_of_the_local_stack_read_well() {
        let errors = [
            StartError::PortInUse { port: 4567 },
            StartError::Folder { folder: "/data".into(), reason: "it is locked".to_owned() },
            StartError::Io(io::Error::other("no thread left")),
            StartError::Service { reason: "no reason given".to_owned() },
        ];
        check_all("kcl-local/src/stack.rs", "StartError", &errors);
    }

    #[test]
    fn errors_of_values_read_well() {
        check(&"x1".parse::<SequenceNumber>().unwrap_err());
        check(&Checkpoint::parse("SOMEWHERE", 0).unwrap_err());
        check(&HashKeyRange::parse("9", "1").unwrap_err());
        let mut config = WorkerConfig::default();
        config.retrieval.records_max = 0;
        config.shutdown.drain = std::time::Duration::ZERO;
        check(&config.validate().unwrap_err());
    }
}
