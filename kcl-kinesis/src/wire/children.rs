//! The children that the last reply of a closed shard names.

use kcl_core::model::{ChildShard, HashKeyRange, ShardId};

use super::cbor::Cursor;
use crate::error::Unreadable;

/// Reads the children at the cursor; none for null.
pub(super) fn read(at: &mut Cursor<'_>) -> Result<Vec<ChildShard>, Unreadable> {
    let mut children = Vec::new();
    let Some(mut left) = at.array()? else { return Ok(children) };
    while at.has_next(&mut left) {
        children.push(child(at)?);
    }
    Ok(children)
}

fn child(at: &mut Cursor<'_>) -> Result<ChildShard, Unreadable> {
    let (mut id, mut parents, mut range) = (None, Vec::new(), None);
    let mut members = at.map()?.ok_or(Unreadable::new("child that is null"))?;
    while at.has_next(&mut members) {
        match at.name()? {
            b"ShardId" => id = at.text()?.map(ShardId::from),
            b"ParentShards" => parents = ids(at)?,
            b"HashKeyRange" => range = hash_range(at)?,
            _ => at.skip()?,
        }
    }
    Ok(ChildShard {
        id: id.ok_or(Unreadable::new("child without an id"))?,
        parents,
        hash_range: range.ok_or(Unreadable::new("shard without hash range"))?,
    })
}

fn ids(at: &mut Cursor<'_>) -> Result<Vec<ShardId>, Unreadable> {
    let mut ids = Vec::new();
    let Some(mut left) = at.array()? else { return Ok(ids) };
    while at.has_next(&mut left) {
        ids.extend(at.text()?.map(ShardId::from));
    }
    Ok(ids)
}

fn hash_range(at: &mut Cursor<'_>) -> Result<Option<HashKeyRange>, Unreadable> {
    let Some(mut members) = at.map()? else { return Ok(None) };
    let (mut start, mut end) = ("", "");
    while at.has_next(&mut members) {
        match at.name()? {
            b"StartingHashKey" => start = at.text()?.unwrap_or_default(),
            b"EndingHashKey" => end = at.text()?.unwrap_or_default(),
            _ => at.skip()?,
        }
    }
    let range = HashKeyRange::parse(start, end);
    range.map(Some).map_err(|error| Unreadable::because("hash range of a shard", error))
}
