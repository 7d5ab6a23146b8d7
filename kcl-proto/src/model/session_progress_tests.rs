//! The bytes of a session's progress: round trips, pinned bytes, refusals and sizes.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;

const SAMPLE: &str = "49590338271490256608559692538361571095921575989136588898";

fn keys() -> impl Strategy<Value = LeaseKey> {
    prop_oneof![
        (0_u64..1_000_000_000_000).prop_map(|number| key_of(number).unwrap()),
        (0_u64..300).prop_map(|number| key_of(number).unwrap()),
        ".{0,9}".prop_map(LeaseKey::from),
        "shardId-[0-9]{0,14}".prop_map(LeaseKey::from),
    ]
}

fn sequences() -> impl Strategy<Value = SequenceNumber> {
    let bits = 0_u64..1 << 36;
    prop_oneof![
        "[0-9]{1,129}".prop_map(|digits| digits.parse().unwrap()),
        (bits.clone(), any::<u64>(), bits, any::<u32>()).prop_map(
            |(created, index, time, shard)| {
                PackedSequence { created, index, time, shard }.unpack().unwrap()
            }
        ),
    ]
}

fn entries() -> impl Strategy<Value = KeptProgress> {
    let positions = (sequences(), prop_oneof![Just(0), any::<u64>()])
        .prop_map(|(sequence, sub_sequence)| Position { sequence, sub_sequence });
    let times = prop_oneof![0..=i64::MAX, (0..i64::MAX / 1_000).prop_map(|it| it * 1_000)];
    (any::<u64>(), option::of(positions), option::of(times)).prop_map(|(token, position, time)| {
        KeptProgress {
            token: LeaseCounter(token).into(),
            position,
            caught_up_at: time.map(Timestamp::from_epoch_millis),
        }
    })
}

/// Equal positions may print differently.
fn texts(progress: &SessionProgress) -> Vec<String> {
    progress.0.iter().map(|entry| format!("{entry:?}")).collect()
}

proptest! {
    #[test]
    fn progress_round_trips(progress in btree_map(keys(), entries(), 0..20)) {
        let progress = SessionProgress(progress);
        let decoded = SessionProgress::decode(&progress.encode());
        prop_assert_eq!(decoded.as_ref().map(texts), Ok(texts(&progress)));
        prop_assert_eq!(decoded, Ok(progress));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        let bytes = [&[VERSION], &bytes[..]].concat();
        if let Ok(progress) = SessionProgress::decode(&bytes) {
            prop_assert!(progress.0.len() <= bytes.len());
            prop_assert_eq!(SessionProgress::decode(&progress.encode()), Ok(progress));
        }
    }

    #[test]
    fn cut_bytes_lose_whole_entries_or_are_refused(
        progress in btree_map(keys(), entries(), 1..9),
        at in any::<prop::sample::Index>(),
    ) {
        let bytes = SessionProgress(progress.clone()).encode();
        if let Ok(SessionProgress(found)) = SessionProgress::decode(&bytes[..at.index(bytes.len())])
        {
            prop_assert!(found.len() < progress.len());
            prop_assert!(found.iter().all(|(key, entry)| progress.get(key) == Some(entry)));
        }
    }
}

fn entry(token: u64, sequence: &str) -> KeptProgress {
    let position = Some(Position::of(sequence.parse().unwrap()));
    KeptProgress { token: LeaseCounter(token).into(), position, caught_up_at: None }
}

/// Later versions must read the bytes of this one: these bytes never change.
#[test]
fn own_bytes_are_pinned() {
    let at = |millis| Some(Timestamp::from_epoch_millis(millis));
    let progress = SessionProgress(BTreeMap::from([
        (
            "shardId-000000000006".into(),
            KeptProgress { caught_up_at: at(1_545_084_655_000), ..entry(300, SAMPLE) },
        ),
        (
            "shardId-000000000200".into(),
            KeptProgress {
                token: LeaseCounter(5).into(),
                position: Some(Position { sequence: SAMPLE.parse().unwrap(), sub_sequence: 9 }),
                caught_up_at: None,
            },
        ),
        ("shardId-7".into(), entry(1, "0018")),
        (
            "tenant".into(),
            KeptProgress {
                token: LeaseCounter(2).into(),
                position: None,
                caught_up_at: at(1_545_084_656_001),
            },
        ),
    ]));
    let expected = [
        [1].as_slice(),
        &[0xc2, 0xcb, 0xd3, 0xdf, 0x05], // created
        &[0xf1, 0xbd, 0xe0, 0xe0, 0x05], // time: a second later, rounded up
        &[0b0010_1011, 6, 0xac, 0x02, 0, 0x97, 0x94, 0x92, 0xbb, 0x06, 7, 2],
        &[0b0110_0111, 0xc8, 0x01, 5, 0, 0x97, 0x94, 0x92, 0xbb, 0x06, 7, 6, 9],
        &[0b0000_0001, 9],
        b"shardId-7",
        &[1, 1, 2, 18],
        &[0b0001_1000, 6],
        b"tenant",
        &[2, 0xe7, 0x07],
    ]
    .concat();
    assert_eq!(progress.encode(), expected);
    assert_eq!(SessionProgress::decode(&expected), Ok(progress));
}

#[test]
fn nothing_has_no_bytes() {
    assert_eq!(SessionProgress::EMPTY.encode(), []);
    assert_eq!(SessionProgress::decode(&[]), Ok(SessionProgress::EMPTY));
}

#[test]
fn refused_bytes_say_why() {
    use DecodeProgressError::{Duplicate, Invalid, Truncated, Version};
    for (bytes, expected) in [
        (&[2][..], Version(2)),
        (&[1, 0], Truncated),
        (&[1, 0, 0, 0x80, 0], Invalid("flag")),
        (&[1, 0, 0, 0, 200, 1, b'a'], Truncated),
        (&[1, 0, 0, 0, 1, 0xff, 0], Invalid("key")),
        (&[1, 0, 0, 0x20, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0], Invalid("shard")),
        (&[1, 0, 0, 0x23, 1, 1, 0, 0, 1], Invalid("age")),
        (&[1, 0, 0, 0x28, 1, 1, 1], Invalid("age")),
        (&[1, 0, 0, 0x03, 1, b'a', 1, 0, 0, 0], Invalid("shard")),
        (&[1, 0, 0, 0x21, 1, 1, 57, 0], Truncated),
        (&[1, 0, 0, 0x21, 1, 1, 1, 129, 7], Invalid("position")),
        (&[1, 0, 0, 0x20, 1, 1, 0x20, 1, 2], Duplicate),
    ] {
        assert_eq!(SessionProgress::decode(bytes), Err(expected), "{bytes:?}");
    }
    assert_eq!(Invalid("age").to_string(), "progress has an invalid age");
}

/// The bytes that ten of the entries of `count` leases take, and those of the largest.
fn sizes(count: u64, shards: u64) -> (usize, usize) {
    let size_of = |progress: &SessionProgress| progress.encode().len();
    let mut all = BTreeMap::new();
    let mut random = 1_u64;
    let mut below = |end: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % end
    };
    for _ in 0..count {
        let shard = below(shards);
        let packed = PackedSequence {
            created: 1_760_000_000 + below(2) * below(40_000_000),
            index: (1 << 30) + below(1 << 31) * 16,
            time: 1_800_000_000 - below(2) * below(300),
            shard: u32::try_from(shard).unwrap(),
        };
        let entry = KeptProgress {
            token: LeaseCounter(below(1 << 16)).into(),
            position: Some(Position::of(packed.unpack().unwrap())),
            caught_up_at: Some(Timestamp::from_epoch_seconds(
                1_800_000_000 - i64::try_from(below(9)).unwrap(),
            )),
        };
        all.insert(key_of(shard).unwrap(), entry);
    }
    let header = 1 + 5 + 5;
    let largest = all.iter().map(|(key, entry)| {
        let alone = BTreeMap::from([(key.clone(), *entry)]);
        let oldest = PackedSequence { created: 1_760_000_000, index: 0, time: 0, shard: 0 };
        let base = Position::of(oldest.unpack().unwrap());
        let base = KeptProgress { position: Some(base), ..*entry };
        let both = [(key_of(0).unwrap(), base)].into_iter().chain(alone);
        let both = SessionProgress(both.collect());
        let rest = SessionProgress(BTreeMap::from([(key_of(0).unwrap(), base)]));
        size_of(&both) - size_of(&rest)
    });
    let largest = largest.max().unwrap();
    let total = size_of(&SessionProgress(all.clone())) - header;
    (10 * total / all.len(), largest)
}

#[test]
fn entry_of_a_known_layout_takes_about_sixteen_bytes() {
    let (ten, largest) = sizes(10_000, 10_000);
    println!("{ten} bytes for ten leases, {largest} for one at most");
    assert!(ten < 170, "{ten}");
    assert!(largest <= 20, "{largest}");
}
