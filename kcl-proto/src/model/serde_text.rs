//! How ids, positions and times are serialized: as the text that they print.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::{
    Checkpoint, FencingToken, HashKeyRange, InitialPosition, LeaseCounter, LeaseKey, Position,
    SequenceNumber, ShardId, StreamArn, StreamName, Timestamp, WorkerId,
};

macro_rules! serialize_as_text {
    ($($type:ty),+ $(,)?) => {
        $(impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        })+
    };
}

macro_rules! deserialize_from_text {
    ($($type:ty),+ $(,)?) => {
        $(impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        })+
    };
}

serialize_as_text!(
    Checkpoint,
    HashKeyRange,
    InitialPosition,
    LeaseKey,
    Position,
    SequenceNumber,
    ShardId,
    StreamArn,
    StreamName,
    Timestamp,
    WorkerId,
);

deserialize_from_text!(InitialPosition, SequenceNumber, Timestamp);

/// A number.
impl Serialize for FencingToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.get())
    }
}

/// A number.
impl Serialize for LeaseCounter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}
