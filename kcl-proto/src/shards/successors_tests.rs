//! Which shards succeed an ended one.

use super::*;

/// An open shard of these hash keys that starts at `start`.
fn shard(id: &str, parents: &[&str], (first, last): (u128, u128), start: u128) -> Shard {
    Shard {
        id: id.into(),
        parents: parents.iter().copied().map(ShardId::from).collect(),
        hash_range: HashKeyRange { start: first, end: last },
        starting_sequence: start.into(),
        ending_sequence: None,
    }
}

fn closed(shard: Shard, end: u128) -> Shard {
    Shard { ending_sequence: Some(end.into()), ..shard }
}

/// The shard whose successors are looked for.
fn itself() -> Shard {
    closed(shard("p", &["o"], (0, 99), 10), 20)
}

/// Its left child.
fn left() -> Shard {
    shard("l", &["p"], (0, 49), 21)
}

/// Its right child.
fn right() -> Shard {
    shard("r", &["p"], (50, 99), 21)
}

/// A shard of other hash keys.
fn other() -> Shard {
    shard("x", &[], (100, 199), 1)
}

/// Looks for successors of the shard `p`, of which nothing but its row is known.
fn found(reached: Option<u128>, shards: &[Shard]) -> Option<Successors> {
    let ended = Ended {
        id: &"p".into(),
        parents: &BTreeSet::from(["o".into()]),
        hash_range: Some(HashKeyRange { start: 0, end: 99 }),
        reached: reached.map(SequenceNumber::from),
    };
    listed(&ended, shards)
}

fn children(shards: &[Shard]) -> Successors {
    Successors::Children(shards.iter().map(ChildShard::from).collect())
}

fn descendants(shards: &[Shard]) -> Successors {
    Successors::Descendants(shards.iter().map(ChildShard::from).collect())
}

#[test]
fn children_name_the_shard_as_their_parent() {
    assert_eq!(
        found(None, &[itself(), left(), right(), other()]),
        Some(children(&[left(), right()]))
    );
    assert_eq!(found(None, &[left(), right()]), Some(children(&[left(), right()])));
    let merged = shard("m", &["p", "x"], (0, 199), 21);
    assert_eq!(found(None, &[itself(), merged.clone()]), Some(children(&[merged])));
}

#[test]
fn list_without_all_children_proves_nothing() {
    assert_eq!(found(None, &[itself(), left(), other()]), None);
    assert_eq!(found(None, &[itself()]), None);
    assert_eq!(found(None, &[]), None);
}

#[test]
fn shard_listed_as_open_has_not_ended() {
    let open = shard("p", &["o"], (0, 99), 10);
    assert_eq!(found(None, &[open, left(), right()]), None);
}

#[test]
fn trimmed_children_are_replaced_by_the_oldest_descendants() {
    let right_left = || closed(shard("rl", &["r"], (50, 59), 31), 40);
    let right_right = || shard("rr", &["r"], (60, 99), 31);
    let below = || shard("rll", &["rl"], (50, 59), 41);
    let expected = || Some(descendants(&[left(), right_left(), right_right()]));
    let listed = [left(), right_left(), right_right(), below(), other()];
    assert_eq!(found(None, &listed), expected());
    assert_eq!(found(Some(20), &[left(), right_left(), right_right(), below()]), expected());
    assert_eq!(found(Some(20), &[left(), right_left(), below()]), None);
}

#[test]
fn shard_that_began_before_the_end_is_no_descendant() {
    let ancestor = closed(shard("a", &[], (0, 99), 1), 9);
    assert_eq!(found(Some(15), std::slice::from_ref(&ancestor)), None);
    assert_eq!(found(None, &[itself(), ancestor]), None);
}

#[test]
fn list_with_the_parent_but_without_the_shard_is_stale() {
    let parent = || shard("o", &[], (0, 99), 1);
    assert_eq!(found(None, &[closed(parent(), 9)]), None);
    assert_eq!(found(None, &[shard("o", &[], (0, 199), 1)]), None);
}

#[test]
fn announced_children_count_if_they_cover_the_shard() {
    let (id, parents) = ("p".into(), BTreeSet::new());
    let ended = |hash_range| Ended { id: &id, parents: &parents, hash_range, reached: None };
    let both = [ChildShard::from(&left()), ChildShard::from(&right())];
    let all = Some(HashKeyRange { start: 0, end: 99 });
    assert!(announced(&ended(all), &both).is_some());
    assert!(announced(&ended(all), &both[..1]).is_none());
    assert!(announced(&ended(None), &both).is_some());
    assert!(announced(&ended(None), &[]).is_none());
}
