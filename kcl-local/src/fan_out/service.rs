//! Calls of `SubscribeToShard`, and the state that they share.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::response::Response;
use ferrokinesis::actions::get_shard_iterator;
use ferrokinesis::error::KinesisErrorResponse;
use ferrokinesis::sequence::resolve_shard_id;
use ferrokinesis::shard_iterator::decode_shard_iterator;
use ferrokinesis::store::Store;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::fan_out::consumers::Consumers;
use crate::fan_out::rules::SubscriptionRules;
use crate::fan_out::stock::Stock;
use crate::fan_out::strike::{Fault, SUBSCRIBE, Strike, Target, Waiting};
use crate::fan_out::subscription::{Place, Subscription};
use crate::fan_out::table::{Key, Refusal, Registration, Table};
use crate::repair::stream_arn::name_in;
use crate::repair::timestamp;
use crate::wire::Encoding;

/// The rules, the subscriptions and the faults of a stack. Any thread strikes, the server's thread
/// does all else.
#[derive(Debug)]
pub(crate) struct FanOut {
    rules: Arc<SubscriptionRules>,
    table: Arc<Mutex<Table>>,
    waiting: Mutex<Waiting>,
}

impl FanOut {
    /// Creates the state of a stack without subscriptions.
    pub(crate) fn new(rules: SubscriptionRules) -> Self {
        Self { rules: Arc::new(rules), table: Arc::default(), waiting: Mutex::default() }
    }

    /// Returns the times and limits.
    pub(crate) const fn rules(&self) -> &Arc<SubscriptionRules> {
        &self.rules
    }

    /// Lets a fault strike. Returns the number of running subscriptions that it struck.
    pub(crate) fn strike(&self, strike: Strike) -> usize {
        match strike.target {
            Target::Running => self.table().strike(strike.shard.as_deref(), &strike.fault),
            Target::Next(_) => {
                self.waiting().add(strike);
                0
            }
        }
    }

    /// Forgets the faults that wait for a call.
    pub(crate) fn mend(&self) {
        self.waiting().clear();
    }

    /// Returns the consumer and shard of each running subscription.
    pub(crate) fn running(&self) -> Vec<Key> {
        self.table().running()
    }

    /// Returns the refusal of a call that a fault strikes. Those of `SubscribeToShard` depend on its
    /// shard: [`Self::subscribe`].
    pub(crate) fn refusal(&self, operation: &str) -> Option<KinesisErrorResponse> {
        if operation == SUBSCRIBE {
            return None;
        }
        let fault = self.waiting().take(operation, None);
        match fault? {
            Fault::Refuse(error) => Some(refused(&error)),
            Fault::Silence
            | Fault::Cut(_)
            | Fault::HalfFrame
            | Fault::WrongChecksum
            | Fault::WrongLength(_)
            | Fault::UnknownEvent
            | Fault::Exception(_)
            | Fault::End
            | Fault::NoAnswer
            | Fault::NoEvent => None,
        }
    }

    /// Ends the subscriptions of a consumer that was deregistered.
    pub(crate) fn consumer_gone(&self, consumer: &str) {
        self.table().consumer_gone(consumer);
    }

    /// `SubscribeToShard`.
    pub(crate) async fn subscribe(
        &self,
        mut fields: Map<String, Value>,
        encoding: Encoding,
        consumers: &Consumers,
        stock: Stock,
    ) -> Result<Response, KinesisErrorResponse> {
        let (consumer, shard) = (text(&fields, "ConsumerARN")?, text(&fields, "ShardId")?);
        let fault = self.waiting().take(SUBSCRIBE, Some(&shard));
        match &fault {
            Some(Fault::Refuse(error)) => return Err(refused(error)),
            Some(Fault::NoAnswer) => pending::<()>().await,
            Some(_) | None => {}
        }
        let stream = name_in(&consumer)
            .ok_or_else(|| invalid(&format!("{consumer:?} is not the ARN of a consumer.")))?
            .to_owned();
        let key = Key { consumer, shard };
        self.admit(&key)?;
        consumers.check_active(&key.consumer).await?;
        timestamp::in_subscription(&stock.store, &mut fields).await;
        let place = place(&stock.store, stream, &key.shard, &fields).await?;
        let (id, orders) = self.table().start(&key, Instant::now());
        let registration = Registration { table: Arc::clone(&self.table), key, id };
        let subscription = Subscription::new(place, encoding, (registration, orders), stock, fault);
        let mut response = Response::new(subscription.into_body());
        let content_type = HeaderValue::from_static("application/vnd.amazon.eventstream");
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        Ok(response)
    }

    fn admit(&self, key: &Key) -> Result<(), KinesisErrorResponse> {
        let admitted = self.table().admit(key, &self.rules, Instant::now());
        admitted.map_err(|refusal| {
            let (error, message) = match refusal {
                Refusal::TooSoon => (
                    "LimitExceededException",
                    "Rate exceeded for SubscribeToShard of the consumer and shard.",
                ),
                Refusal::InUse => (
                    "ResourceInUseException",
                    "Another active subscription exists for this consumer and shard.",
                ),
            };
            KinesisErrorResponse::client_error(error, Some(message))
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resolves the starting position of a call, as `GetShardIterator` does.
async fn place(
    store: &Store,
    stream: String,
    shard: &str,
    fields: &Map<String, Value>,
) -> Result<Place, KinesisErrorResponse> {
    let position = fields.get("StartingPosition").and_then(Value::as_object);
    let position = position.ok_or_else(|| invalid("StartingPosition is missing."))?;
    let call = json!({
        "StreamName": stream,
        "ShardId": shard,
        "ShardIteratorType": position.get("Type"),
        "StartingSequenceNumber": position.get("SequenceNumber"),
        "Timestamp": position.get("Timestamp"),
    });
    let answer = get_shard_iterator::execute(store, call).await?;
    let iterator = answer.as_ref().and_then(|answer| answer.get("ShardIterator")?.as_str());
    let decoded = iterator.and_then(|iterator| decode_shard_iterator(iterator).ok());
    let from = decoded.map(|(_, _, _, from)| from);
    let shard_ix = resolve_shard_id(shard).ok().map(|(_, shard_ix)| shard_ix);
    match (from, shard_ix) {
        (Some(from), Some(shard_ix)) => Ok(Place { stream, shard_ix, from, passed: 0 }),
        (None, _) | (_, None) => Err(KinesisErrorResponse::server_error(None, None)),
    }
}

/// Returns the error of a fault: the service's fault if its name says so, else the client's.
fn refused(error: &str) -> KinesisErrorResponse {
    let status = match error {
        "InternalFailure" | "InternalFailureException" => 500,
        "ServiceUnavailable" => 503,
        _ => 400,
    };
    KinesisErrorResponse::new(status, error, Some("A fault on demand."))
}

fn text(fields: &Map<String, Value>, name: &str) -> Result<String, KinesisErrorResponse> {
    let text = fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    text.map(ToOwned::to_owned).ok_or_else(|| invalid(&format!("{name} is missing.")))
}

fn invalid(message: &str) -> KinesisErrorResponse {
    KinesisErrorResponse::client_error("InvalidArgumentException", Some(message))
}
