//! What a fault does to the bytes of a subscription.

use axum::body::Bytes;

use crate::fan_out::strike::Fault;

/// The fault that the next bytes of a subscription meet.
#[derive(Debug, Default)]
pub(crate) enum Damage {
    /// Bytes pass.
    #[default]
    None,
    /// The connection is cut after this many bytes.
    CutAfter(usize),
    /// The next frame is halved, and the stream ends.
    Halve,
    /// The next frame has a wrong check sum.
    WrongChecksum,
    /// The next frame claims this length.
    Length(u32),
}

/// What follows the bytes that were let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The next frame.
    GoOn,
    /// The end of the stream.
    End,
    /// A broken connection.
    Cut,
}

impl Damage {
    /// Returns the damage of a fault; `None` if the fault does no damage to bytes.
    pub(crate) const fn of(fault: &Fault) -> Option<Self> {
        match fault {
            Fault::Cut(after) => Some(Self::CutAfter(*after)),
            Fault::HalfFrame => Some(Self::Halve),
            Fault::WrongChecksum => Some(Self::WrongChecksum),
            Fault::WrongLength(length) => Some(Self::Length(*length)),
            Fault::Silence
            | Fault::UnknownEvent
            | Fault::Exception(_)
            | Fault::End
            | Fault::Refuse(_)
            | Fault::NoAnswer
            | Fault::NoEvent => None,
        }
    }

    /// Damages a frame. Returns the bytes to send, and what follows them.
    pub(crate) fn strike(&mut self, mut frame: Bytes) -> (Bytes, Then) {
        match std::mem::take(self) {
            Self::None => (frame, Then::GoOn),
            Self::CutAfter(after) if after > frame.len() => {
                *self = Self::CutAfter(after - frame.len());
                (frame, Then::GoOn)
            }
            Self::CutAfter(after) => (frame.split_to(after), Then::Cut),
            Self::Halve => (frame.split_to(frame.len() / 2), Then::End),
            Self::WrongChecksum => {
                let mut frame = Vec::from(frame);
                if let Some(last) = frame.last_mut() {
                    *last ^= 1;
                }
                (frame.into(), Then::GoOn)
            }
            Self::Length(length) => {
                let mut frame = Vec::from(frame);
                for (byte, claimed) in frame.iter_mut().zip(length.to_be_bytes()) {
                    *byte = claimed;
                }
                (frame.into(), Then::GoOn)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Bytes {
        Bytes::from_static(b"0123456789")
    }

    #[test]
    fn bytes_are_cut_where_the_fault_says() {
        let mut damage = Damage::CutAfter(13);
        assert_eq!(damage.strike(frame()), (frame(), Then::GoOn));
        assert_eq!(damage.strike(frame()), (Bytes::from_static(b"012"), Then::Cut));
        // A cut at the end of a frame lets all of it through.
        let mut damage = Damage::CutAfter(10);
        assert_eq!(damage.strike(frame()), (frame(), Then::Cut));
    }

    #[test]
    fn frames_are_damaged_once() {
        let cases = [
            (Fault::HalfFrame, "01234", Then::End),
            (Fault::WrongChecksum, "012345678\u{38}", Then::GoOn),
            (Fault::WrongLength(0x4142_4344), "ABCD456789", Then::GoOn),
        ];
        for (fault, bytes, then) in cases {
            let mut damage = Damage::of(&fault).unwrap();
            assert_eq!(damage.strike(frame()), (Bytes::from(bytes), then), "{fault:?}");
            assert_eq!(damage.strike(frame()), (frame(), Then::GoOn));
        }
    }
}
