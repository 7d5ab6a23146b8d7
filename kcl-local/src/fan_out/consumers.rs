//! Registered consumers: their states, and the limits and rates of their calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ferrokinesis::error::KinesisErrorResponse;
use ferrokinesis::store::Store;
use ferrokinesis::types::{Consumer, ConsumerStatus, EpochSeconds};
use ferrokinesis::util::current_time_ms;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::fan_out::rate::Rate;
use crate::fan_out::rules::SubscriptionRules;
use crate::repair::stream_arn::name_in;

/// The consumers of all streams, which the embedded store keeps.
///
/// One call at a time: with a folder, a write waits for the disk.
pub(crate) struct Consumers {
    store: Store,
    rules: Arc<SubscriptionRules>,
    state: Mutex<State>,
}

/// What the store does not keep. A restart completes all changes of states.
#[derive(Debug, Default)]
struct State {
    /// When the state of a consumer changes, by ARN; `None` if it never does.
    changes: BTreeMap<String, Option<Instant>>,
    registers: Rate,
    /// The calls of other operations, by operation and stream.
    calls: BTreeMap<(&'static str, String), Rate>,
    /// The time in the newest ARN of a name, in seconds since 1970, by ARN without it.
    created: BTreeMap<String, u64>,
}

/// The outcome of a call.
type Outcome<T> = Result<T, KinesisErrorResponse>;

impl Consumers {
    /// Creates a view of the consumers in `store`.
    pub(crate) fn new(store: Store, rules: Arc<SubscriptionRules>) -> Self {
        Self { store, rules, state: Mutex::default() }
    }

    /// `RegisterStreamConsumer`.
    pub(crate) async fn register(&self, fields: &Map<String, Value>) -> Outcome<Value> {
        let (stream_arn, name) = (text(fields, "StreamARN")?, text(fields, "ConsumerName")?);
        if !is_consumer_name(name) {
            return Err(invalid(&format!(
                "ConsumerName {name:?} is not 1 to 128 of a-z A-Z 0-9 _ . -"
            )));
        }
        let mut state = self.state.lock().await;
        self.settle(&mut state).await?;
        self.store.get_stream(name_in(stream_arn).unwrap_or_default()).await?;
        let now = Instant::now();
        if !state.registers.allows(self.rules.registers_per_second, now) {
            return Err(exceeded("Rate exceeded for RegisterStreamConsumer of the account."));
        }
        let others = self.store.list_consumers_for_stream(stream_arn).await;
        if others.iter().any(|consumer| consumer.consumer_name == name) {
            let message = format!("Consumer {name} of {stream_arn} already exists.");
            return Err(in_use(&message));
        }
        if others.len() >= self.rules.consumers_max {
            return Err(exceeded(&format!("{stream_arn} has the most consumers possible.")));
        }
        if self.count_creating(&state).await >= self.rules.creating_max {
            return Err(exceeded("Too many consumers are CREATING."));
        }
        let consumer = self.create(&mut state, stream_arn, name).await?;
        Ok(json!({ "Consumer": consumer }))
    }

    /// `DescribeStreamConsumer`.
    pub(crate) async fn describe(&self, fields: &Map<String, Value>) -> Outcome<Value> {
        let mut state = self.state.lock().await;
        self.settle(&mut state).await?;
        let most = self.rules.describes_per_second;
        state.count("DescribeStreamConsumer", stream_of(fields)?, most)?;
        let consumer = self.find(fields).await?;
        Ok(json!({ "ConsumerDescription": consumer }))
    }

    /// `ListStreamConsumers`.
    pub(crate) async fn list(&self, fields: &Map<String, Value>) -> Outcome<Value> {
        let stream_arn = text(fields, "StreamARN")?;
        let mut state = self.state.lock().await;
        self.settle(&mut state).await?;
        let stream = stream_of(fields)?;
        self.store.get_stream(&stream).await?;
        state.count("ListStreamConsumers", stream, CALLS_PER_SECOND)?;
        let after = match fields.get("NextToken").and_then(Value::as_str) {
            None => String::new(),
            Some(token) => name_of_token(token).ok_or_else(|| {
                KinesisErrorResponse::client_error("ExpiredNextTokenException", Some(token))
            })?,
        };
        let most = match fields.get("MaxResults").map(Value::as_u64) {
            None => PAGE_MAX,
            Some(Some(most @ 1..=10_000)) => {
                usize::try_from(most).unwrap_or(PAGE_MAX).min(PAGE_MAX)
            }
            Some(_) => return Err(invalid("MaxResults is not 1 to 10000.")),
        };
        let mut consumers = self.store.list_consumers_for_stream(stream_arn).await;
        consumers.sort_by(|one, other| one.consumer_name.cmp(&other.consumer_name));
        consumers.retain(|consumer| consumer.consumer_name > after);
        let more = consumers.len() > most;
        consumers.truncate(most);
        let token = consumers.last().filter(|_| more);
        let token = token.map(|last| URL_SAFE_NO_PAD.encode(&last.consumer_name));
        let mut answer = json!({ "Consumers": consumers });
        if let (Some(token), Some(answer)) = (token, answer.as_object_mut()) {
            answer.insert("NextToken".to_owned(), Value::from(token));
        }
        Ok(answer)
    }

    /// `DeregisterStreamConsumer`. Returns the consumer's ARN.
    pub(crate) async fn deregister(&self, fields: &Map<String, Value>) -> Outcome<String> {
        let mut state = self.state.lock().await;
        self.settle(&mut state).await?;
        state.count("DeregisterStreamConsumer", stream_of(fields)?, CALLS_PER_SECOND)?;
        let mut consumer = self.find(fields).await?;
        let arn = consumer.consumer_arn.clone();
        if consumer.consumer_status != ConsumerStatus::Deleting {
            consumer.consumer_status = ConsumerStatus::Deleting;
            self.store.put_consumer(&arn, consumer).await?;
            state.changes.insert(arn.clone(), after(Instant::now(), self.rules.deleting));
        }
        Ok(arn)
    }

    /// Returns an error unless the consumer is `ACTIVE`.
    pub(crate) async fn check_active(&self, arn: &str) -> Outcome<()> {
        let mut state = self.state.lock().await;
        self.settle(&mut state).await?;
        let consumer = self.store.get_consumer(arn).await.ok_or_else(|| not_found(arn))?;
        match consumer.consumer_status {
            ConsumerStatus::Active => Ok(()),
            status @ (ConsumerStatus::Creating | ConsumerStatus::Deleting) => {
                Err(in_use(&format!("Consumer {arn} is {status}, not ACTIVE.")))
            }
        }
    }

    /// Deletes the consumers of a stream that is to be deleted. Returns their ARNs. An error if
    /// there are any and `enforced` is false.
    pub(crate) async fn delete_all(&self, stream: &str, enforced: bool) -> Outcome<Vec<String>> {
        let mut state = self.state.lock().await;
        self.settle(&mut state).await?;
        let Ok(stream) = self.store.get_stream(stream).await else {
            return Ok(Vec::new());
        };
        let consumers = self.store.list_consumers_for_stream(&stream.stream_arn).await;
        if !consumers.is_empty() && !enforced {
            return Err(in_use(&format!(
                "Stream {} has consumers: deregister them, or set EnforceConsumerDeletion.",
                stream.stream_name
            )));
        }
        let mut arns = Vec::new();
        for consumer in consumers {
            state.changes.remove(&consumer.consumer_arn);
            self.store.delete_consumer(&consumer.consumer_arn).await?;
            arns.push(consumer.consumer_arn);
        }
        Ok(arns)
    }

    async fn count_creating(&self, state: &State) -> usize {
        let mut count = 0;
        for arn in state.changes.keys() {
            let consumer = self.store.get_consumer(arn).await;
            let is_creating =
                |consumer: Consumer| consumer.consumer_status == ConsumerStatus::Creating;
            count += usize::from(consumer.is_some_and(is_creating));
        }
        count
    }

    /// Stores a new consumer. Its ARN has the second of its creation, and is never that of an
    /// earlier consumer.
    async fn create(&self, state: &mut State, stream_arn: &str, name: &str) -> Outcome<Consumer> {
        let prefix = format!("{stream_arn}/consumer/{name}:");
        let earliest = state.created.get(&prefix).map_or(0, |before| before + 1);
        let created = (current_time_ms() / 1000).max(earliest);
        let consumer = Consumer {
            consumer_name: name.to_owned(),
            consumer_arn: format!("{prefix}{created}"),
            consumer_status: ConsumerStatus::Creating,
            consumer_creation_timestamp: EpochSeconds(seconds(created)),
        };
        let arn = &consumer.consumer_arn;
        self.store.put_consumer(arn, consumer.clone()).await?;
        state.changes.insert(arn.clone(), after(Instant::now(), self.rules.creating));
        state.created.insert(prefix, created);
        Ok(consumer)
    }

    async fn find(&self, fields: &Map<String, Value>) -> Outcome<Consumer> {
        if let Some(arn) = fields.get("ConsumerARN").and_then(Value::as_str) {
            return self.store.get_consumer(arn).await.ok_or_else(|| not_found(arn));
        }
        let (stream_arn, name) = (text(fields, "StreamARN")?, text(fields, "ConsumerName")?);
        let found = self.store.find_consumer(stream_arn, name).await;
        found.ok_or_else(|| not_found(&format!("{name} of {stream_arn}")))
    }

    /// Changes the states whose time has come.
    async fn settle(&self, state: &mut State) -> Outcome<()> {
        let now = Instant::now();
        let due = |at: &Option<Instant>| at.is_some_and(|at| at <= now);
        let due: Vec<String> =
            (state.changes.iter()).filter(|(_, at)| due(at)).map(|(arn, _)| arn.clone()).collect();
        for arn in due {
            state.changes.remove(&arn);
            let Some(mut consumer) = self.store.get_consumer(&arn).await else { continue };
            if consumer.consumer_status == ConsumerStatus::Deleting {
                self.store.delete_consumer(&arn).await?;
            } else {
                consumer.consumer_status = ConsumerStatus::Active;
                self.store.put_consumer(&arn, consumer).await?;
            }
        }
        Ok(())
    }
}

impl State {
    /// Counts a call of a stream's consumers. An error if it is one more than `most` in a second.
    fn count(&mut self, operation: &'static str, stream: String, most: usize) -> Outcome<()> {
        let rate = self.calls.entry((operation, stream)).or_default();
        if rate.allows(most, Instant::now()) {
            Ok(())
        } else {
            Err(exceeded(&format!("Rate exceeded for {operation} of the stream.")))
        }
    }
}

/// The most calls of `ListStreamConsumers`, and of `DeregisterStreamConsumer`, in a second and
/// stream.
///
/// Source: Kinesis API reference.
const CALLS_PER_SECOND: usize = 5;

/// The most consumers in an answer, and the default.
///
/// Source: Kinesis API reference, `ListStreamConsumers`, parameter `MaxResults`.
const PAGE_MAX: usize = 100;

/// Returns when a time from now is over; `None` if it never is.
fn after(now: Instant, time: Duration) -> Option<Instant> {
    now.checked_add(time)
}

/// Source: Kinesis API reference, `RegisterStreamConsumer`, parameter `ConsumerName`.
fn is_consumer_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// Returns the name of the stream whose consumer a call names.
fn stream_of(fields: &Map<String, Value>) -> Outcome<String> {
    let arn = match fields.get("ConsumerARN").and_then(Value::as_str) {
        Some(arn) => arn,
        None => text(fields, "StreamARN")?,
    };
    let name = name_in(arn).ok_or_else(|| invalid(&format!("{arn:?} is not an ARN of Kinesis")))?;
    Ok(name.to_owned())
}

fn name_of_token(token: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Outcome<&'a str> {
    let text = fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    text.ok_or_else(|| invalid(&format!("{name} is missing.")))
}

fn invalid(message: &str) -> KinesisErrorResponse {
    KinesisErrorResponse::client_error("InvalidArgumentException", Some(message))
}

fn in_use(message: &str) -> KinesisErrorResponse {
    KinesisErrorResponse::client_error("ResourceInUseException", Some(message))
}

fn exceeded(message: &str) -> KinesisErrorResponse {
    KinesisErrorResponse::client_error("LimitExceededException", Some(message))
}

fn not_found(consumer: &str) -> KinesisErrorResponse {
    let message = format!("Consumer {consumer} not found.");
    KinesisErrorResponse::client_error("ResourceNotFoundException", Some(&message))
}

#[expect(clippy::cast_precision_loss, reason = "seconds are exact for 285 million years")]
fn seconds(seconds: u64) -> f64 {
    seconds as f64
}
