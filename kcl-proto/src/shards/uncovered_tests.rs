//! Which holes are reported, and when.

use super::*;

type Ranges = &'static [(u128, u128)];

/// Checks which holes are reported after each look, given as pairs of what it saw and what is
/// reported.
#[track_caller]
fn check(looks: &[(Ranges, Ranges)]) {
    let ranges = |bounds: Ranges| -> Vec<_> {
        bounds.iter().map(|&(start, end)| HashKeyRange { start, end }).collect()
    };
    let mut watch = HoleWatch::default();
    for (seen, reported) in looks {
        assert_eq!(watch.observe(&ranges(seen)), ranges(reported), "after {seen:?} of {looks:?}");
    }
}

#[test]
fn hole_is_reported_when_it_is_seen_again() {
    check(&[(&[(0, 4)], &[]), (&[(0, 4)], &[(0, 4)])]);
    check(&[(&[(0, 4)], &[]), (&[], &[]), (&[(0, 4)], &[])]);
    check(&[(&[(0, 4), (8, 9)], &[]), (&[(8, 9)], &[(8, 9)])]);
}

#[test]
fn only_keys_that_both_looks_saw_are_reported() {
    check(&[(&[(0, 4)], &[]), (&[(3, 9)], &[(3, 4)])]);
    check(&[(&[(0, 4)], &[]), (&[(5, 9)], &[])]);
}

#[test]
fn hole_is_reported_once_until_it_returns() {
    check(&[
        (&[(0, 4)], &[]),
        (&[(0, 4)], &[(0, 4)]),
        (&[(0, 4)], &[]),
        (&[], &[]),
        (&[(0, 4)], &[]),
        (&[(0, 4)], &[(0, 4)]),
    ]);
    check(&[(&[(0, 4)], &[]), (&[(0, 4), (8, 9)], &[(0, 4)]), (&[(0, 4), (8, 9)], &[(8, 9)])]);
}
