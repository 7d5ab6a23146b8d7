//! The numbers of one worker's writes, each used once.

/// How many numbers one lane has.
const LANE: u64 = 1 << 32;

/// The numbers for the writes of one part of a worker, such as the holder of one lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WriteNumbers {
    next: u64,
}

impl WriteNumbers {
    /// Creates the numbers of lane `lane`. No two parts of a worker may use the same lane.
    #[must_use]
    pub const fn of_lane(lane: u32) -> Self {
        Self { next: lane as u64 * LANE }
    }

    /// Returns the next number.
    pub const fn draw(&mut self) -> u64 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_disjoint() {
        let (mut first, mut second) = (WriteNumbers::of_lane(1), WriteNumbers::of_lane(2));
        assert_eq!((first.draw(), first.draw()), (LANE, LANE + 1));
        assert_eq!(second.draw(), 2 * LANE);
        assert!(WriteNumbers::of_lane(u32::MAX).draw() > second.draw());
    }
}
