//! A search that visits every reachable state once, depth first.

use std::fmt::{self, Debug, Display};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::violation::Violation;

/// The fingerprints of the states that were visited.
#[expect(clippy::disallowed_types, reason = "its order is never observed")]
type Seen = std::collections::HashSet<u64, BuildHasherDefault<Fingerprint>>;

/// A world that can continue in several ways.
pub(super) trait Model: Clone + Hash + Display {
    /// One thing that can happen.
    type Step: Copy + Debug + PartialEq;

    /// Returns the possible steps.
    fn steps(&self) -> Vec<Self::Step>;

    /// Carries out `step`. Fails if a rule is broken.
    fn go(&mut self, step: Self::Step) -> Result<(), Violation>;

    /// Returns the part of the state that [`check`](Self::check) depends on.
    fn essence(&self) -> impl Hash;

    /// Checks a state. Called once per [essence](Self::essence).
    fn check(&self) -> Result<(), Violation>;
}

/// The size of an exploration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Visited {
    /// Number of different states.
    pub(super) states: usize,
    /// Number of steps that were tried.
    pub(super) steps: usize,
    /// Length of the longest path to a state.
    pub(super) depth: usize,
}

/// A path to a violation, shortened by leaving out steps.
pub(super) struct Trace<M: Model> {
    start: M,
    pub(super) steps: Vec<M::Step>,
    pub(super) violation: Violation,
}

/// Visits all states that are reachable from `start`.
pub(super) fn explore<M: Model>(start: &M) -> Result<Visited, Trace<M>> {
    let mut seen = Seen::default();
    let mut checked = Seen::default();
    let mut visited = Visited { states: 0, steps: 0, depth: 0 };
    let mut stack = vec![(start.clone(), start.steps())];
    let mut path: Vec<M::Step> = Vec::new();
    while let Some((state, steps)) = stack.last_mut() {
        let Some(step) = steps.pop() else {
            stack.pop();
            path.pop();
            continue;
        };
        let mut next = state.clone();
        visited.steps += 1;
        path.push(step);
        if let Err(violation) = next.go(step) {
            return Err(shortened(start, &path, violation));
        }
        if !seen.insert(fingerprint(&next)) {
            path.pop();
            continue;
        }
        visited.states += 1;
        visited.depth = visited.depth.max(path.len());
        if checked.insert(fingerprint(&next.essence()))
            && let Err(violation) = next.check()
        {
            return Err(shortened(start, &path, violation));
        }
        let steps = next.steps();
        stack.push((next, steps));
    }
    Ok(visited)
}

/// Explores `part` or, if the environment has `variable`, `all`. Prints the number of states and
/// steps.
#[track_caller]
pub(super) fn explore_scope<S, M: Model>(
    variable: &str,
    (part, all): (S, S),
    begin: impl FnOnce(S) -> (&'static str, M),
) {
    #[expect(clippy::disallowed_methods, reason = "selects the size of a test")]
    let is_exhaustive = std::env::var(variable).is_ok();
    let (name, start) = begin(if is_exhaustive { all } else { part });
    match explore(&start) {
        Ok(Visited { states, steps, depth }) => {
            println!("{name:28} {states:>9} states {steps:>10} steps, {depth} deep");
        }
        Err(trace) => panic!("{name}: {trace:?}"),
    }
}

/// Carries out steps that are possible and break no rule.
#[track_caller]
pub(super) fn walk<M: Model>(world: &mut M, steps: impl IntoIterator<Item = M::Step>) {
    for step in steps {
        assert!(world.steps().contains(&step), "{step:?}");
        world.go(step).expect("it breaks no rule");
    }
}

/// A hash of 64 bits, several times as fast as the standard one on states of this size.
#[derive(Default)]
struct Fingerprint(u64);

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, i: u8) {
        self.write_u64(i.into());
    }

    fn write_u64(&mut self, i: u64) {
        let mixed = self.0 ^ i ^ 0x9e37_79b9_7f4a_7c15;
        let (low, high) = mixed.carrying_mul(0xa076_1d64_78bd_642f, 0);
        self.0 = low ^ high;
    }

    fn write_usize(&mut self, i: usize) {
        self.write_u64(i as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn fingerprint(state: &impl Hash) -> u64 {
    let mut hasher = Fingerprint::default();
    state.hash(&mut hasher);
    hasher.finish()
}

/// Leaves out steps that are not needed to break the same rule.
fn shortened<M: Model>(start: &M, steps: &[M::Step], violation: Violation) -> Trace<M> {
    let mut trace = Trace { start: start.clone(), steps: steps.to_vec(), violation };
    for width in [4, 2, 1, 1] {
        let mut at = 0;
        while at + width <= trace.steps.len() {
            let mut fewer = trace.steps.clone();
            fewer.drain(at..at + width);
            match replay(start, &fewer) {
                Some((violation, length)) if violation.oracle == trace.violation.oracle => {
                    fewer.truncate(length);
                    trace.steps = fewer;
                    trace.violation = violation;
                }
                Some(_) | None => at += 1,
            }
        }
    }
    trace
}

/// Replays `steps`. Returns the first broken rule and the number of steps that led to it.
fn replay<M: Model>(start: &M, steps: &[M::Step]) -> Option<(Violation, usize)> {
    let mut state = start.clone();
    for (index, step) in steps.iter().enumerate() {
        let wanted = format!("{step:?}");
        let step = state.steps().into_iter().find(|it| format!("{it:?}") == wanted)?;
        if let Err(violation) = state.go(step).and_then(|()| state.check()) {
            return Some((violation, index + 1));
        }
    }
    None
}

impl<M: Model> Debug for Trace<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { oracle, what } = &self.violation;
        writeln!(f, "{oracle}: {what}, after {} steps", self.steps.len())?;
        let mut state = self.start.clone();
        writeln!(f, "{:32} {state}", "")?;
        for step in &self.steps {
            let broken = state.go(*step).is_err();
            writeln!(f, "{:32} {state}{}", format!("{step:?}"), if broken { " !" } else { "" })?;
        }
        Ok(())
    }
}
