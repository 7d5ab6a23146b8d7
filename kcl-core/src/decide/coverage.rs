//! Do these hash key ranges cover that one, and if not, what is missing?

use crate::model::HashKeyRange;

/// The parts of `of` that no range in `by` covers, in order.
#[must_use]
pub fn gaps(of: HashKeyRange, by: impl IntoIterator<Item = HashKeyRange>) -> Vec<HashKeyRange> {
    let mut gaps = Vec::new();
    let mut start = of.start;
    for range in union(by) {
        if range.end < start {
            continue;
        }
        if range.start > of.end {
            break;
        }
        // A range that begins after `start` begins above 0.
        if let Some(end) = range.start.checked_sub(1).filter(|end| *end >= start) {
            gaps.push(HashKeyRange { start, end });
        }
        match range.end.checked_add(1).filter(|next| *next <= of.end) {
            Some(next) => start = next,
            None => return gaps,
        }
    }
    gaps.push(HashKeyRange { start, end: of.end });
    gaps
}

/// Whether the ranges in `by` together cover all of `of`. They may overlap and reach beyond it.
#[must_use]
pub fn covers(of: HashKeyRange, by: impl IntoIterator<Item = HashKeyRange>) -> bool {
    gaps(of, by).is_empty()
}

/// The same hash keys as disjoint ranges in order.
#[must_use]
pub fn union(ranges: impl IntoIterator<Item = HashKeyRange>) -> Vec<HashKeyRange> {
    let mut sorted: Vec<_> = ranges.into_iter().collect();
    sorted.sort_unstable();
    let mut union: Vec<HashKeyRange> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match union.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(1) => {
                last.end = last.end.max(range.end);
            }
            Some(_) | None => union.push(range),
        }
    }
    union
}

/// Whether a range shares a hash key with any of `union`, which is disjoint and in order.
#[must_use]
pub fn touches(range: HashKeyRange, union: &[HashKeyRange]) -> bool {
    let after = union.partition_point(|other| other.end < range.start);
    union.get(after).is_some_and(|other| other.overlaps(&range))
}
