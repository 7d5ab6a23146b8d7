//! Which holes in the leases are real, and which are only how one look was torn?

use crate::model::HashKeyRange;
use crate::shards::coverage::{covers, union};

/// Remembers the holes of the last look, and which were told.
///
/// A look reads shards and leases one after the other, and the plan that it comes to heals what it
/// can: so only what the next look sees again is a hole.
#[derive(Clone, Debug, Default)]
pub struct HoleWatch {
    last: Vec<HashKeyRange>,
    told: Vec<HashKeyRange>,
}

impl HoleWatch {
    /// Takes in the holes of one look. Returns those that the look before saw too, and that were not
    /// told yet.
    #[must_use]
    pub fn observe(&mut self, holes: &[HashKeyRange]) -> Vec<HashKeyRange> {
        let again = common(&self.last, holes);
        let is_new = |hole: &&HashKeyRange| !covers(**hole, self.told.iter().copied());
        let fresh = again.iter().filter(is_new).copied().collect();
        self.last = holes.to_vec();
        self.told = again;
        fresh
    }
}

/// The hash keys that lie in both.
fn common(one: &[HashKeyRange], other: &[HashKeyRange]) -> Vec<HashKeyRange> {
    let pairs = one.iter().flat_map(|one| other.iter().map(move |other| (one, other)));
    union(pairs.filter(|(one, other)| one.overlaps(other)).map(|(one, other)| HashKeyRange {
        start: one.start.max(other.start),
        end: one.end.min(other.end),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks as words: `0-4 8-9` are two holes, and what was told after each look.
    #[track_caller]
    fn check(looks: &[(&str, &str)]) {
        let mut watch = HoleWatch::default();
        for (look, told) in looks {
            assert_eq!(words(&watch.observe(&holes(look))), *told, "after {look:?} of {looks:?}");
        }
    }

    fn holes(text: &str) -> Vec<HashKeyRange> {
        let hole = |word: &str| word.split_once('-').map(|(a, b)| HashKeyRange::parse(a, b));
        text.split_whitespace().map(|word| hole(word).unwrap().unwrap()).collect()
    }

    fn words(holes: &[HashKeyRange]) -> String {
        let words = holes.iter().map(|hole| format!("{}-{}", hole.start, hole.end));
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_hole_is_told_when_it_is_seen_again() {
        check(&[("0-4", ""), ("0-4", "0-4")]);
        check(&[("0-4", ""), ("", ""), ("0-4", "")]);
        check(&[("0-4 8-9", ""), ("8-9", "8-9")]);
    }

    #[test]
    fn only_what_both_looks_saw_is_told() {
        check(&[("0-4", ""), ("3-9", "3-4")]);
        check(&[("0-4", ""), ("5-9", "")]);
    }

    #[test]
    fn a_hole_is_told_once_while_it_lasts_and_once_more_when_it_comes_back() {
        check(&[("0-4", ""), ("0-4", "0-4"), ("0-4", ""), ("", ""), ("0-4", ""), ("0-4", "0-4")]);
        check(&[("0-4", ""), ("0-4 8-9", "0-4"), ("0-4 8-9", "8-9")]);
    }
}
