//! The program's output, as the document shows it, and its bad input.

#![cfg(test)]

mod fleets;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Output, Stdio};

use aws_sdk_dynamodb::types::AttributeValue;
use kcl_local::LocalStack;

use crate::fleets::{NOW, Tables};

/// The program, led to a stack.
fn kclctl(stack: &LocalStack, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kclctl"));
    command.args(arguments).envs(environment(stack));
    command
}

fn environment(stack: &LocalStack) -> [(&'static str, String); 5] {
    [
        ("AWS_ENDPOINT_URL", stack.endpoint_url()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("KCL_AT", NOW.to_owned()),
    ]
}

#[track_caller]
fn check(output: &Output, code: i32, out: &str, error: &str) {
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{stdout}{stderr}");
    assert!(stdout.contains(out), "{out:?} is not in {stdout}");
    assert!(stderr.contains(error), "{error:?} is not in {stderr}");
}

/// Every example of the document is run, and its output compared. `TRYCMD=overwrite` writes them.
#[tokio::test(flavor = "multi_thread")]
async fn document_shows_what_the_program_prints() {
    let stack = LocalStack::start().unwrap();
    let tables = Tables::of(&stack);
    tables.orders().await;
    tables.java("billing", "kcl-3.5.1/table-scan-after-reshard.json").await;
    tables.java("audit", "kcl-2.7/table-scan-two-workers.json").await;
    let cases = trycmd::TestCases::new();
    for (name, value) in environment(&stack) {
        cases.env(name, value);
    }
    cases.case("../docs/operating/command-line.md");
    cases.run();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tables_are_named() {
    let stack = LocalStack::start().unwrap();
    let tables = Tables::of(&stack);
    let run = |arguments: &[&str]| kclctl(&stack, arguments).output().unwrap();
    let missing = "error: lease table \"nothing\" does not exist";
    check(&run(&["describe", "nothing"]), 1, "", missing);

    tables.create("customers", "id").await;
    check(&run(&["describe", "customers"]), 1, "", "is not a lease table: its key is");

    tables.create("sessions", "leaseKey").await;
    let text = |text: &str| AttributeValue::S(text.to_owned());
    tables.put("sessions", [("leaseKey".to_owned(), text("x"))]).await;
    let error = "is not a lease table: none of its 1 rows is a lease, such as \"x\"";
    check(&run(&["describe", "sessions"]), 1, "", error);

    tables.create("empty", "leaseKey").await;
    check(&run(&["describe", "empty"]), 0, "info    the table has no lease", "");
    check(&run(&["why", "empty", "2"]), 3, "Shard 2 has no lease.", "");

    tables.orders().await;
    let half = [
        ("leaseKey".to_owned(), text("shardId-000000000009")),
        ("leaseCounter".to_owned(), AttributeValue::N("3".to_owned())),
    ];
    tables.put("orders-consumer", half).await;
    let out = "warning row \"shardId-000000000009\" is unreadable: attribute";
    check(&run(&["describe", "orders-consumer"]), 3, out, "");
    let out = "CAUSE  lease        the row is unreadable";
    check(&run(&["why", "orders-consumer", "9"]), 3, out, "");
    check(&run(&["why", "orders-consumer", "77"]), 3, "Shard 77 has no lease", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_explained() {
    let stack = LocalStack::start().unwrap();
    let run = |arguments: &[&str]| kclctl(&stack, arguments).output().unwrap();
    check(&run(&["describe"]), 1, "", "no application: name the lease table");
    check(&run(&["describe", "x", "--for", "5"]), 2, "", "is not a time such as 30s");
    check(&run(&["-c", "x", "--config", "/nowhere", "list"]), 1, "", "there is no /nowhere");
    check(&run(&["list"]), 0, "no lease table", "");
    check(&run(&["completions", "bash"]), 0, "_kclctl", "");
    let folder = tempfile::tempdir().unwrap();
    check(&run(&["man", &folder.path().to_string_lossy()]), 0, "", "");
    assert!(folder.path().join("kclctl-describe.1").exists());
}

/// As `kclctl … | head -1` does.
#[tokio::test(flavor = "multi_thread")]
async fn closed_pipe_is_no_error() {
    let stack = LocalStack::start().unwrap();
    Tables::of(&stack).orders().await;
    let arguments = ["watch", "orders-consumer", "--every", "1ms", "--no-stream"];
    let mut watch = kclctl(&stack, &arguments);
    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(watch.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("5 shards, 2 workers"), "{line}");
    // The next line meets a closed pipe.
    let row = [("leaseKey".to_owned(), AttributeValue::S("shardId-000000000002".to_owned()))];
    Tables::of(&stack).put("orders-consumer", row).await;
    let mut stderr = String::new();
    watch.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((watch.wait().unwrap().code(), &*stderr), (Some(0), ""));
}
