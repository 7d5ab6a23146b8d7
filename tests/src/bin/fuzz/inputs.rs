//! Random inputs: valid ones, and mutations of them.

use kcl_core::kpl::{Aggregator, open};
use kcl_core::model::{
    Bulletin, FencingToken, KeptProgress, LeaseCounter, LeaseKey, Position, SessionProgress,
    Timestamp, WorkerId,
};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// The maximum length of an input.
const BYTES_MAX: usize = 600;

/// The number of inputs kept for further mutation.
const POOL: usize = 256;

/// Bytes that have a meaning in one of the formats.
const MEANINGFUL: [u8; 20] = *b"\x00\x01\x02\x08\x0A\x0B\x0C\x10\x12\x1A\x22\x7F\x80\xFF09-+,/";

/// Generates inputs.
pub(crate) struct Inputs {
    chance: Xoshiro256PlusPlus,
    good: Vec<Vec<u8>>,
    pool: Vec<Vec<u8>>,
}

impl Inputs {
    pub(crate) fn new(target: &str, seed: u64) -> Self {
        let good = match target {
            "kpl_frame" => messages(),
            "row" => rows(),
            "session_progress" => progress(),
            "bulletin_moves" => moves(),
            "cbor_page" => pages(),
            _ => texts(),
        };
        Self { chance: Xoshiro256PlusPlus::seed_from_u64(seed), pool: good.clone(), good }
    }

    /// Returns a mutated input, which may be mutated again later.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let is_good = self.below(2) == 0;
        let place = self.below(if is_good { self.good.len() } else { self.pool.len() });
        let from = if is_good { &self.good } else { &self.pool };
        let mut input = from.get(place).cloned().unwrap_or_default();
        for _ in 0..self.below(6) {
            self.change(&mut input);
        }
        input.truncate(BYTES_MAX);
        if self.below(8) == 0 {
            let place = self.below(POOL);
            match self.pool.get_mut(place) {
                Some(kept) => kept.clone_from(&input),
                None => self.pool.push(input.clone()),
            }
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let byte = self.byte();
        match self.below(7) {
            0 => input.insert(at, byte),
            1 => input.truncate(at),
            2 => {
                let until = at + self.below(input.len() + 1 - at);
                input.drain(at..until);
            }
            3 => {
                let part = self.piece();
                input.splice(at..at, part);
            }
            4 => {
                let flipped = byte & (1 << self.below(8));
                input.iter_mut().skip(at).take(1).for_each(|it| *it ^= flipped);
            }
            _ => input.iter_mut().skip(at).take(1).for_each(|it| *it = byte),
        }
    }

    /// Returns a part of another input.
    fn piece(&mut self) -> Vec<u8> {
        let place = self.below(self.good.len());
        let from = self.good.get(place).cloned().unwrap_or_default();
        let skipped = self.below(from.len() + 1);
        let taken = self.below(40);
        from.into_iter().skip(skipped).take(taken).collect()
    }

    fn byte(&mut self) -> u8 {
        let [byte, ..] = self.chance.next_u32().to_le_bytes();
        let place = self.below(MEANINGFUL.len() * 2);
        MEANINGFUL.get(place).copied().unwrap_or(byte)
    }

    fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { self.chance.random_range(0..end) }
    }
}

/// Returns messages of aggregates. The target puts them into frames.
fn messages() -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new(), b"\x1A\x04\x08\x00\x1A\x00\x0A\x01a\x12\x017".to_vec()];
    for count in [1_usize, 2, 5, 20] {
        let mut aggregator = Aggregator::new(usize::MAX);
        for number in 0..count {
            let hash_key = (number % 2 == 0).then_some(u128::MAX - number as u128);
            let key = ["", "key", "größe", "🍵"].get(number % 4).copied().unwrap_or_default();
            drop(aggregator.add(key, hash_key, &vec![b'x'; number * 3]));
        }
        let frame = aggregator.finish().map(|it| it.data).unwrap_or_default();
        all.extend(open(&frame).ok().flatten().map(|message| message.to_vec()));
        all.push(frame.to_vec());
    }
    all
}

/// Returns rows as the target reads them: a name's index, a type, a length, a value.
fn rows() -> Vec<Vec<u8>> {
    let attribute = |name: u8, kind: u8, value: &str| {
        let length = u8::try_from(value.len()).unwrap_or(u8::MAX);
        [&[name, kind, length], value.as_bytes()].concat()
    };
    let lease = [
        attribute(0, 0, "shardId-000000000001"),
        attribute(1, 0, "LEASE"),
        attribute(2, 0, "worker:1"),
        attribute(4, 2, "12"),
        attribute(5, 2, "0"),
        attribute(6, 0, "49590338271490256608559692540925702759324208523137515618"),
        attribute(7, 2, "3"),
        attribute(11, 5, "shardId-000000000000"),
        attribute(13, 0, "0"),
        attribute(14, 0, "340282366920938463463374607431768211455"),
    ];
    let ours = [
        attribute(8, 0, "4959"),
        attribute(9, 2, "1"),
        attribute(10, 4, "state"),
        attribute(15, 2, "1700000000000"),
        attribute(16, 2, "10000"),
        attribute(17, 2, "1700000000000"),
        attribute(18, 0, "12/worker:1/7"),
        attribute(28, 2, "12"),
    ];
    let worker = [
        attribute(0, 0, "worker:1"),
        attribute(1, 0, "WORKER_METRIC_STATS"),
        attribute(19, 2, "1700000000"),
        attribute(20, 7, ""),
        attribute(21, 7, ""),
        attribute(22, 2, "5"),
    ];
    let stream = [
        attribute(0, 0, "orders"),
        attribute(1, 0, "STREAM"),
        attribute(24, 0, "arn:aws:kinesis:us-east-1:000000000000:stream/orders"),
        attribute(25, 2, "1700000000000"),
        attribute(26, 0, "AT_TIMESTAMP"),
        attribute(15, 2, "1700000000000"),
    ];
    let leader = [attribute(0, 0, "Leader"), attribute(1, 0, "LEADER"), attribute(27, 0, "120000")];
    let kinds = ["CLIENT_VERSION_MIGRATION", "TABLE_MIGRATION"];
    let others =
        kinds.map(|kind| [attribute(0, 0, "Migration3.0"), attribute(1, 0, kind)].concat());
    let leases = [lease.concat(), [lease.concat(), ours.concat()].concat()];
    let all = leases.into_iter().chain([worker.concat(), stream.concat(), leader.concat()]);
    all.chain(others).collect()
}

/// Returns the progress of sessions with entries of every form.
fn progress() -> Vec<Vec<u8>> {
    let numbers = [
        "49590338271490256608559692538361571095921575989136588898",
        "49590338271490256608559692540925702759324208523137515618",
        "0018",
        "7",
    ];
    let keys = ["shardId-000000000006", "shardId-000000000200", "shardId-7", "tenant"];
    let times = [None, Some(1_545_084_655_000), Some(1_545_084_656_001)];
    let entries = keys.into_iter().zip(numbers).enumerate().map(|(place, (key, number))| {
        let position = number.parse().ok().map(|sequence| Position {
            sequence,
            sub_sequence: if place % 2 == 0 { 0 } else { 300 },
        });
        let caught_up_at = times.get(place % 3).copied().flatten();
        let entry = KeptProgress {
            token: FencingToken::from(LeaseCounter(place as u64 * 100)),
            position: position.filter(|_| place < 3),
            caught_up_at: caught_up_at.map(Timestamp::from_epoch_millis),
        };
        (LeaseKey::from(key), entry)
    });
    let entries: Vec<_> = entries.collect();
    let some = |count| SessionProgress(entries.iter().take(count).cloned().collect()).encode();
    (0..=entries.len()).map(some).collect()
}

/// Returns the moves of bulletins with keys of every form.
fn moves() -> Vec<Vec<u8>> {
    let keys = ["shardId-000000000006", "shardId-000000000200", "shardId-7", "tenant"];
    let workers = ["host-a:00000000000000ff", "b"];
    let moves = keys.into_iter().zip(workers.into_iter().cycle());
    let moves: Vec<_> = moves.map(|(key, to)| (LeaseKey::from(key), WorkerId::from(to))).collect();
    let some = |count| Bulletin::encode_moves(&moves.iter().take(count).cloned().collect());
    (0..=moves.len()).map(some).collect()
}

/// Returns replies with records in CBOR: of the embedded Kinesis, and as Java clients write maps.
fn pages() -> Vec<Vec<u8>> {
    let pages: [&[u8]; 3] = [
        b"\xa3\x72MillisBehindLatest\x19\x05\xdc\x67Records\x82\xa4\x6cPartitionKey\x63key\x64Data\x43tea\
          \x78\x1bApproximateArrivalTimestamp\xc1\x1b\x00\x00\x01\xa0\x13\xac\xcc\x38\x6eSequenceNumber\x66495903\
          \xa2\x64Data\x40\x6eSequenceNumber\x617\x71NextShardIterator\x63AAE",
        b"\xbf\x67Records\x9f\xbf\x6eSequenceNumber\x66495903\x64Data\x43tea\x6cPartitionKey\x63key\
          \x6eEncryptionType\x81\xf6\xff\xff\x71NextShardIterator\xf6\x6bChildShards\x9f\xff\xff",
        b"\xa2\x6bChildShards\x81\xa3\x67ShardId\x65child\x6cParentShards\x81\x61p\x6cHashKeyRange\xa2\
          \x6fStartingHashKey\x610\x6dEndingHashKey\x619\x72MillisBehindLatest\xfb\x3f\xf8\x00\x00\x00\x00\x00\x00",
    ];
    pages.into_iter().map(<[u8]>::to_vec).collect()
}

fn texts() -> Vec<Vec<u8>> {
    let texts = [
        "",
        "0",
        "7",
        "TRIM_HORIZON",
        "LATEST",
        "AT_TIMESTAMP",
        "SHARD_END",
        "49590338271490256608559692540925702759324208523137515618",
        "0,340282366920938463463374607431768211455",
        "170141183460469231731687303715884105728,340282366920938463463374607431768211455",
        "12/worker:1/7",
        "18446744073709551615/a/b/18446744073709551615",
    ];
    let nines = "9".repeat(129);
    texts.into_iter().chain([nines.as_str()]).map(|text| text.as_bytes().to_vec()).collect()
}

/// Returns `bytes` in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the bytes of hexadecimal `text`. Skips invalid ones.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    text.as_bytes().chunks(2).filter_map(byte).collect()
}
