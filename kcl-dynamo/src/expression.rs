//! Lease writes → condition and update expressions. Pure: a translation of
//! [`LeaseWrite::precondition`] and [`LeaseWrite::effect`].

use std::collections::BTreeMap;
use std::fmt::Display;

use aws_sdk_dynamodb::types::AttributeValue;
use kcl_core::backend::{Change, Effect, Field, LeaseWrite, Precondition, Update};
use kcl_core::model::{Checkpoint, WorkerId};

use crate::attributes::{Item, number, text};
use crate::item;

/// The call that makes a lease write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Request {
    /// `PutItem`.
    Put(Item, Expression),
    /// `UpdateItem`.
    Update(Expression),
    /// `DeleteItem`.
    Delete(Expression),
}

/// A condition and, for an update, its changes, with the names and values of their placeholders.
///
/// Every attribute has a placeholder, because DynamoDB reserves hundreds of words.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Expression {
    conditions: Vec<String>,
    sets: Vec<String>,
    removes: Vec<String>,
    adds: Vec<String>,
    deletes: Vec<String>,
    /// Placeholder → attribute.
    pub(crate) names: BTreeMap<String, String>,
    /// Placeholder → value.
    pub(crate) values: BTreeMap<String, AttributeValue>,
}

/// Returns the request that makes `write` if its precondition holds.
pub(crate) fn request(write: &LeaseWrite) -> Request {
    let condition = condition(&write.precondition());
    match write.effect() {
        Effect::Put(lease) => Request::Put(item::encode(&lease), condition),
        Effect::Update(update) => Request::Update(update_of(condition, &update)),
        Effect::Delete => Request::Delete(condition),
    }
}

fn condition(precondition: &Precondition) -> Expression {
    let mut expression = Expression::default();
    match precondition {
        Precondition::NoRow => expression.must_be_absent(item::LEASE_KEY),
        Precondition::Row { counter, owner, checkpoint_owner, last_write, must_be_ended } => {
            expression.must_be(item::LEASE_COUNTER, number(counter));
            expression.must_admit(item::LEASE_OWNER, owner);
            expression.must_admit(item::CHECKPOINT_OWNER, checkpoint_owner);
            expression.must_admit(item::LAST_WRITE, last_write);
            if *must_be_ended {
                expression.must_be(item::CHECKPOINT, text(Checkpoint::ShardEnd.to_text()));
            }
        }
    }
    expression
}

fn update_of(mut expression: Expression, update: &Update) -> Expression {
    if let Some(stamp) = &update.stamp {
        expression.set(item::LEASE_COUNTER, number(stamp.counter));
        expression.set(item::LAST_WRITE, item::text_of(stamp));
    }
    expression.change(item::LEASE_OWNER, &update.owner);
    expression.change(item::CHECKPOINT_OWNER, &update.checkpoint_owner);
    if let Some(checkpoint) = update.checkpoint {
        expression.set(item::CHECKPOINT, text(checkpoint.to_text()));
        expression.set(item::CHECKPOINT_SUB_SEQUENCE, number(item::sub_sequence(checkpoint)));
    }
    if let Some(time) = update.start_at {
        expression.set(item::START_AT, item::timestamp(time));
    }
    match &update.pending {
        Change::Keep => {}
        Change::Set(pending) => {
            let sub_sequence = number(item::sub_sequence(pending.checkpoint));
            expression.set(item::PENDING, text(pending.checkpoint.to_text()));
            expression.set(item::PENDING_SUB_SEQUENCE, sub_sequence);
            expression.set_or_remove(item::PENDING_STATE, item::pending_state(pending));
        }
        Change::Remove => {
            expression.remove(item::PENDING);
            expression.remove(item::PENDING_SUB_SEQUENCE);
            expression.remove(item::PENDING_STATE);
        }
    }
    if let Some(switches) = update.owner_switches {
        expression.set(item::OWNER_SWITCHES, number(switches));
    }
    if let Some(token) = update.token {
        expression.set(item::TOKEN, number(token));
    }
    if let Some(expiry) = update.expiry {
        expression.set(item::EXPIRY_MILLIS, item::millis(expiry));
    }
    if let Some(time) = update.caught_up_at {
        expression.set(item::CAUGHT_UP_AT, item::timestamp(time));
    }
    if let Some(children) = &update.children {
        expression.set_or_remove(item::CHILDREN, item::shards(children));
    }
    expression
}

impl Expression {
    /// Returns the condition: the conjunction of all parts.
    pub(crate) fn condition(&self) -> String {
        self.conditions.join(" AND ")
    }

    /// Returns the update.
    pub(crate) fn update(&self) -> String {
        let clause = |verb: &str, parts: &[String]| {
            (!parts.is_empty()).then(|| format!("{verb} {}", parts.join(", ")))
        };
        let clauses = [
            clause("SET", &self.sets),
            clause("REMOVE", &self.removes),
            clause("ADD", &self.adds),
            clause("DELETE", &self.deletes),
        ];
        clauses.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// Requires that an attribute is `value`.
    pub(crate) fn must_be(&mut self, name: &str, value: AttributeValue) {
        let name_placeholder = self.name(name);
        let value_placeholder = format!(":is_{name}");
        self.conditions.push(format!("{name_placeholder} = {value_placeholder}"));
        self.values.insert(value_placeholder, value);
    }

    /// Requires that an attribute is missing.
    pub(crate) fn must_be_absent(&mut self, name: &str) {
        let placeholder = self.name(name);
        self.conditions.push(format!("attribute_not_exists({placeholder})"));
    }

    /// Requires that an attribute exists.
    pub(crate) fn must_exist(&mut self, name: &str) {
        let placeholder = self.name(name);
        self.conditions.push(format!("attribute_exists({placeholder})"));
    }

    /// Requires that an attribute is `value` or missing.
    pub(crate) fn must_be_absent_or(&mut self, name: &str, value: AttributeValue) {
        let name_placeholder = self.name(name);
        let value_placeholder = format!(":is_{name}");
        self.conditions.push(format!(
            "(attribute_not_exists({name_placeholder}) OR {name_placeholder} = {value_placeholder})"
        ));
        self.values.insert(value_placeholder, value);
    }

    /// Sets an attribute.
    pub(crate) fn set(&mut self, name: &str, value: AttributeValue) {
        let name_placeholder = self.name(name);
        let value_placeholder = format!(":{name}");
        self.sets.push(format!("{name_placeholder} = {value_placeholder}"));
        self.values.insert(value_placeholder, value);
    }

    /// Sets an attribute if it is missing.
    pub(crate) fn set_if_absent(&mut self, name: &str, value: AttributeValue) {
        let name_placeholder = self.name(name);
        let value_placeholder = format!(":{name}");
        self.sets.push(format!(
            "{name_placeholder} = if_not_exists({name_placeholder}, {value_placeholder})"
        ));
        self.values.insert(value_placeholder, value);
    }

    fn must_admit(&mut self, name: &str, field: &Field<impl Display>) {
        match field {
            Field::Any => {}
            Field::Absent => self.must_be_absent(name),
            Field::Is(value) => self.must_be(name, text(value.to_string())),
        }
    }

    fn change(&mut self, name: &str, change: &Change<WorkerId>) {
        match change {
            Change::Keep => {}
            Change::Set(worker) => self.set(name, item::worker(worker)),
            Change::Remove => self.remove(name),
        }
    }

    /// Sets an attribute, or removes it for `None`.
    pub(crate) fn set_or_remove(&mut self, name: &str, value: Option<AttributeValue>) {
        match value {
            Some(value) => self.set(name, value),
            None => self.remove(name),
        }
    }

    /// Adds members to a set of strings.
    pub(crate) fn add(&mut self, name: &str, members: AttributeValue) {
        let part = self.with_value(name, members);
        self.adds.push(part);
    }

    /// Deletes members of a set of strings, and the attribute with the last one.
    pub(crate) fn delete(&mut self, name: &str, members: AttributeValue) {
        let part = self.with_value(name, members);
        self.deletes.push(part);
    }

    fn with_value(&mut self, name: &str, value: AttributeValue) -> String {
        let name_placeholder = self.name(name);
        let value_placeholder = format!(":{name}");
        let part = format!("{name_placeholder} {value_placeholder}");
        self.values.insert(value_placeholder, value);
        part
    }

    fn remove(&mut self, name: &str) {
        let placeholder = self.name(name);
        self.removes.push(placeholder);
    }

    fn name(&mut self, name: &str) -> String {
        let placeholder = format!("#{name}");
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }
}

#[cfg(test)]
mod tests {
    use kcl_core::backend::{Progress, WriteKind};
    use kcl_core::model::{LeaseCounter, Liveness, PendingCheckpoint, WriteStamp};

    use super::*;

    fn write(kind: WriteKind) -> LeaseWrite {
        LeaseWrite { key: "shardId-000000000000".into(), worker: "me:1".into(), number: 9, kind }
    }

    #[track_caller]
    fn check(kind: WriteKind, condition: &str, update: &str) {
        let (Request::Put(_, expression)
        | Request::Update(expression)
        | Request::Delete(expression)) = request(&write(kind));
        assert_eq!(expression.condition(), condition);
        assert_eq!(expression.update(), update);
        // DynamoDB refuses a placeholder that is defined and not used.
        let text = format!("{condition} {update}");
        for placeholder in expression.names.keys().chain(expression.values.keys()) {
            assert!(text.contains(placeholder.as_str()), "{placeholder} is not used");
        }
    }

    const N: LeaseCounter = LeaseCounter(7);
    const STAMP: &str = "SET #leaseCounter = :leaseCounter, #lastWrite = :lastWrite";

    #[test]
    fn writes_become_conditions_and_updates() {
        check(
            WriteKind::DeleteEnded { counter: N },
            "#leaseCounter = :is_leaseCounter AND #checkpoint = :is_checkpoint",
            "",
        );
        check(
            WriteKind::DeleteUntouched,
            "#leaseCounter = :is_leaseCounter AND attribute_not_exists(#leaseOwner) \
             AND attribute_not_exists(#checkpointOwner)",
            "",
        );
        check(
            WriteKind::CancelHandover { counter: N },
            "#leaseCounter = :is_leaseCounter AND #checkpointOwner = :is_checkpointOwner",
            &format!("{STAMP}, #leaseOwner = :leaseOwner REMOVE #checkpointOwner"),
        );
        check(
            WriteKind::BeginHandover { counter: N, victim: "you:1".into() },
            "#leaseCounter = :is_leaseCounter AND #leaseOwner = :is_leaseOwner \
             AND attribute_not_exists(#checkpointOwner)",
            "SET #leaseOwner = :leaseOwner, #checkpointOwner = :checkpointOwner",
        );
        check(
            WriteKind::Renew { counter: N, next: None, progress: None },
            "#leaseCounter = :is_leaseCounter AND #leaseOwner = :is_leaseOwner \
             AND attribute_not_exists(#checkpointOwner)",
            STAMP,
        );
    }

    #[test]
    fn take_names_the_last_write_and_stores_a_time_in_place_of_latest() {
        let take = |last_write, start_at| {
            let expiry = std::time::Duration::from_secs(10);
            WriteKind::Take {
                counter: N,
                last_write: Field::from(last_write),
                floor: LeaseCounter(0),
                expiry,
                owner_switches: 1,
                start_at,
                lives_by: Liveness::Counter,
                adopt: None,
            }
        };
        let condition = "#leaseCounter = :is_leaseCounter AND attribute_not_exists(#lastWrite)";
        let rest = "#ownerSwitchesSinceCheckpoint = :ownerSwitchesSinceCheckpoint, \
                    #token = :token, #expiryMillis = :expiryMillis REMOVE #checkpointOwner";
        let owned = format!("{STAMP}, #leaseOwner = :leaseOwner");
        check(take(None, None), condition, &format!("{owned}, {rest}"));
        let stored = "#checkpoint = :checkpoint, \
                      #checkpointSubSequenceNumber = :checkpointSubSequenceNumber, \
                      #startAt = :startAt";
        let time = kcl_core::model::Timestamp::from_epoch_millis(1_767_225_630_000);
        check(take(None, Some(time)), condition, &format!("{owned}, {stored}, {rest}"));
        let last_write = WriteStamp { counter: N, worker: "you:1".into(), number: 2 };
        check(
            take(Some(last_write), None),
            "#leaseCounter = :is_leaseCounter AND #lastWrite = :is_lastWrite",
            &format!("{owned}, {rest}"),
        );
    }

    #[test]
    fn prepared_checkpoint_without_state_removes_the_older_state() {
        let pending = PendingCheckpoint { checkpoint: Checkpoint::ShardEnd, state: None };
        let progress = Some(Progress::prepare(pending));
        check(
            WriteKind::Release { counter: N, progress, unmark: None },
            "#leaseCounter = :is_leaseCounter AND #leaseOwner = :is_leaseOwner \
             AND attribute_not_exists(#checkpointOwner)",
            &format!(
                "{STAMP}, #pendingCheckpoint = :pendingCheckpoint, \
             #pendingCheckpointSubSequenceNumber = :pendingCheckpointSubSequenceNumber \
             REMOVE #leaseOwner, #pendingCheckpointState"
            ),
        );
    }

    #[test]
    fn no_children_remove_the_attribute() {
        let kind =
            WriteKind::EndShard { counter: N, next: None, children: [].into(), unmark: None };
        let Request::Update(expression) = request(&write(kind)) else { panic!("not an update") };
        assert!(expression.update().ends_with("#childShardIds"), "{}", expression.update());
    }
}
