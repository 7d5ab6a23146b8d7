//! The stack as a process: starting, serving, stopping.

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpStream;
    use std::process::{Child, Command, Stdio};

    use aws_credential_types::Credentials;
    use aws_sdk_kinesis::Client;
    use aws_sdk_kinesis::config::{BehaviorVersion, Region};
    use rustix::process::{Pid, Signal, kill_process};

    fn start(arguments: &[&str]) -> (Child, String) {
        let mut process = Command::new(env!("CARGO_BIN_EXE_kcl-local"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url =
            line.split([' ', ',']).find(|word| word.starts_with("http://")).unwrap().to_owned();
        (process, url)
    }

    fn get(url: &str, path: &str) -> String {
        let mut connection = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
        write!(connection, "GET {path} HTTP/1.1\r\nhost: local\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    fn stop(mut process: Child) -> Option<i32> {
        kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
        process.wait().unwrap().code()
    }

    fn client(url: &str) -> Client {
        let config = aws_sdk_kinesis::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(url)
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .build();
        Client::from_conf(config)
    }

    #[test]
    fn a_command_reaches_the_demo_stream_and_its_end_is_passed_on() {
        let script = "test \"$AWS_ACCESS_KEY_ID\" = test && echo \"$AWS_ENDPOINT_URL\"; exit 7";
        let output = Command::new(env!("CARGO_BIN_EXE_kcl-local"))
            .args(["--demo", "orders", "sh", "-c", script])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(7));
        assert!(String::from_utf8(output.stdout).unwrap().starts_with("http://127.0.0.1:"));
    }

    #[tokio::test]
    async fn a_demo_stream_gets_records() {
        let (process, url) = start(&["--port", "0", "--demo", "orders"]);
        let shards = client(&url).list_shards().stream_name("orders").send().await.unwrap();
        assert_eq!(shards.shards().len(), 2);
        let puts = || get(&url, "/calls").contains("Kinesis.PutRecord");
        while !puts() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(stop(process), Some(0));
    }

    #[tokio::test]
    async fn process_serves_counts_and_stops() {
        let (process, url) = start(&["--port", "0"]);
        assert_eq!(get(&url, "/health"), "ok\n");
        client(&url).create_stream().stream_name("orders").shard_count(1).send().await.unwrap();
        assert_eq!(get(&url, "/calls"), r#"{"Kinesis.CreateStream":1}"#);
        assert_eq!(stop(process), Some(0));
    }

    #[tokio::test]
    async fn folder_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["--port", "0", "--data", folder.path().to_str().unwrap()];
        let (process, url) = start(&arguments);
        client(&url).create_stream().stream_name("orders").shard_count(1).send().await.unwrap();
        assert_eq!(stop(process), Some(0));
        let (process, url) = start(&arguments);
        assert_eq!(client(&url).list_streams().send().await.unwrap().stream_names(), ["orders"]);
        assert_eq!(stop(process), Some(0));
    }

    #[test]
    fn port_in_use_is_explained() {
        let (process, url) = start(&["--port", "0"]);
        let port = url.rsplit(':').next().unwrap();
        let refused =
            Command::new(env!("CARGO_BIN_EXE_kcl-local")).args(["--port", port]).output().unwrap();
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success());
        assert!(message.contains(&format!("port {port} is in use")), "{message}");
        assert!(message.contains("port 0"), "{message}");
        stop(process);
    }
}
