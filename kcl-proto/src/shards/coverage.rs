//! Whether hash key ranges cover another one, and what they leave out.

use crate::model::HashKeyRange;

/// Returns the parts of `of` that no range in `by` covers, in order.
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

/// Returns the same hash keys as disjoint ranges in order.
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

/// Whether `range` shares a hash key with any of `union`, which must be disjoint and in order.
#[must_use]
pub fn touches(range: HashKeyRange, union: &[HashKeyRange]) -> bool {
    let after = union.partition_point(|other| other.end < range.start);
    union.get(after).is_some_and(|other| other.overlaps(&range))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Bounds = (u128, u128);

    fn ranges(bounds: &[Bounds]) -> Vec<HashKeyRange> {
        bounds.iter().map(|&(start, end)| HashKeyRange { start, end }).collect()
    }

    #[track_caller]
    fn check((start, end): Bounds, by: &[Bounds], expected: &[Bounds]) {
        let of = HashKeyRange { start, end };
        assert_eq!(gaps(of, ranges(by)), ranges(expected));
        assert_eq!(covers(of, ranges(by)), expected.is_empty());
    }

    const MAX: u128 = u128::MAX;

    #[test]
    fn uncovered_part_is_a_gap() {
        check((0, MAX), &[], &[(0, MAX)]);
        check((0, MAX), &[(0, MAX)], &[]);
        check((0, MAX), &[(5, 9)], &[(0, 4), (10, MAX)]);
        check((0, MAX), &[(0, 4), (6, MAX)], &[(5, 5)]);
        check((0, MAX), &[(0, 4), (5, MAX - 1)], &[(MAX, MAX)]);
    }

    #[test]
    fn order_and_overlap_do_not_matter() {
        check((0, 9), &[(5, 9), (0, 4)], &[]);
        check((0, 9), &[(0, 7), (2, 3), (6, 9)], &[]);
        check((0, 9), &[(0, 5), (1, 2)], &[(6, 9)]);
    }

    #[test]
    fn only_the_given_range_counts() {
        check((10, 19), &[(0, MAX)], &[]);
        check((10, 19), &[(0, 9), (20, 30)], &[(10, 19)]);
        check((10, 19), &[(0, 10), (19, 30)], &[(11, 18)]);
    }

    fn range() -> impl Strategy<Value = HashKeyRange> {
        (0_u128..40, 0_u128..12)
            .prop_map(|(start, length)| HashKeyRange { start, end: start + length })
    }

    proptest! {
        #[test]
        fn key_is_in_a_gap_exactly_if_no_range_has_it(
            of in range(),
            by in prop::collection::vec(range(), 0..8),
        ) {
            let found = gaps(of, by.clone());
            let union = union(by.clone());
            for key in 0..60 {
                let key = HashKeyRange { start: key, end: key };
                let is_covered = by.iter().any(|range| range.overlaps(&key));
                let in_gap = found.iter().filter(|gap| gap.overlaps(&key)).count();
                prop_assert_eq!(in_gap, usize::from(of.overlaps(&key) && !is_covered));
                prop_assert_eq!(touches(key, &union), is_covered);
            }
            prop_assert!(found.is_sorted());
            prop_assert_eq!(touches(of, &union), by.iter().any(|range| range.overlaps(&of)));
        }
    }
}
