//! How a client tries a call again whose attempt took too long. A refusal is left to the worker.

use std::time::Duration;

use super::weather::{Answer, TIMEOUT};
use crate::time::Time;

/// The most attempts of a call.
///
/// Source: `kcl_dynamo::DynamoConfig`, as the next ones.
const ATTEMPTS_MAX: u32 = 3;

/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);

/// The pause before the second attempt, at most. It doubles before the third one.
const BACKOFF: Duration = Duration::from_millis(50);

/// A call, and its attempt that is on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tries {
    /// When the call was made.
    began: Time,
    attempt: u32,
    /// When this attempt began.
    attempt_began: Time,
    /// How long a request is on its way, and a reply.
    ways: [Duration; 2],
    /// Which part of a backoff it waits.
    jitter: f64,
}

/// What follows from the arrival of an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Next {
    /// The caller gets this answer then.
    Answer(Time, Answer),
    /// Another attempt arrives then.
    Again(Time, Tries),
}

impl Tries {
    /// A call that was made at `began`.
    pub(crate) const fn new(began: Time, ways: [Duration; 2], jitter: f64) -> Self {
        Self { began, attempt: 1, attempt_began: began, ways, jitter }
    }

    /// The attempt arrives, and is carried out at `done`, or refused.
    pub(crate) fn arrives(self, now: Time, done: Option<Time>) -> Next {
        let [request, reply] = self.ways;
        let end = self.began + TIMEOUT;
        let late = (self.attempt_began + ATTEMPT_TIMEOUT).min(end).max(now);
        match done {
            Some(done) if done + reply <= late => {
                return Next::Answer(done + reply, Answer::Result);
            }
            Some(_) => {}
            None => {
                // An earlier attempt may have been carried out.
                let is_first = self.attempt == 1;
                let answer = if is_first { Answer::Throttled } else { Answer::Unavailable };
                return Next::Answer((now + reply).min(late), answer);
            }
        }
        if self.attempt >= ATTEMPTS_MAX {
            return Next::Answer(late, Answer::Unavailable);
        }
        let backoff = BACKOFF * 2_u32.pow(self.attempt - 1);
        let again = late + backoff.mul_f64(self.jitter);
        if again + request >= end {
            return Next::Answer(end.max(now), Answer::Unavailable);
        }
        let next = Self { attempt: self.attempt + 1, attempt_began: again, ..self };
        Next::Again(again + request, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: Duration = Duration::from_millis(5);

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn again(next: Next) -> (Time, Tries) {
        match next {
            Next::Again(at, tries) => (at, tries),
            Next::Answer(at, answer) => panic!("answered {answer:?} at {at}"),
        }
    }

    #[test]
    fn quick_attempt_is_answered() {
        let tries = Tries::new(at(0), [WAY, WAY], 1.0);
        assert_eq!(tries.arrives(at(5), Some(at(20))), Next::Answer(at(25), Answer::Result));
    }

    #[test]
    fn throttled_call_is_left_to_the_worker() {
        let tries = Tries::new(at(0), [WAY, WAY], 1.0);
        assert_eq!(tries.arrives(at(5), None), Next::Answer(at(10), Answer::Throttled));
    }

    #[test]
    fn throttled_call_that_may_be_made_is_not_said_to_be_throttled() {
        let tries = Tries::new(at(0), [WAY, WAY], 1.0);
        let (second, tries) = again(tries.arrives(at(5), Some(at(1_200))));
        assert_eq!(second, at(1_055), "after 50 ms");
        assert_eq!(tries.arrives(second, None), Next::Answer(at(1_060), Answer::Unavailable));
    }

    #[test]
    fn attempt_of_more_than_a_second_is_abandoned() {
        let tries = Tries::new(at(0), [WAY, WAY], 0.0);
        let (second, tries) = again(tries.arrives(at(5), Some(at(1_200))));
        assert_eq!(second, at(1_005));
        let (third, tries) = again(tries.arrives(second, Some(at(2_300))));
        assert_eq!(third, at(2_005));
        let end = Next::Answer(at(2_500), Answer::Unavailable);
        assert_eq!(tries.arrives(third, Some(at(9_000))), end);
    }
}
