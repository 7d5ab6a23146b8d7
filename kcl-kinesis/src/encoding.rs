//! How replies with records are encoded: [`Encoding`], and the way back from CBOR to JSON.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// How replies of `GetRecords` are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Encoding {
    /// CBOR, as Java clients do: replies are a quarter shorter, and records are parts of them.
    ///
    /// A server that replies in JSON is understood. If the first reply in CBOR cannot be read, or
    /// the server does not understand the first request, the source reads in JSON from then on, and
    /// the read fails once with
    /// [`SourceError::EncodingRefused`](kcl_core::backend::SourceError::EncodingRefused).
    #[default]
    Cbor,
    /// JSON.
    Json,
}

/// The encoding that a source asks for, shared by its readers.
#[derive(Debug)]
pub(crate) struct EncodingInUse(Mutex<State>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// CBOR, and no reply has shown that the service speaks it.
    OnTrial,
    Cbor,
    Json,
}

/// What a reply that is not understood, or that says so of its request, means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The service has understood CBOR before: this call failed.
    OfTheCall,
    /// The service does not speak CBOR, and this is the first sign of it.
    OfTheEncoding,
    /// The service does not speak CBOR, which is known: the call is to be made in JSON.
    Known,
}

impl EncodingInUse {
    pub(crate) const fn new(encoding: Encoding) -> Self {
        Self(Mutex::new(match encoding {
            Encoding::Cbor => State::OnTrial,
            Encoding::Json => State::Json,
        }))
    }

    /// Whether the next call asks for CBOR.
    pub(crate) fn is_cbor(&self) -> bool {
        *self.state() != State::Json
    }

    /// Whether replies are known to come in CBOR.
    pub(crate) fn is_proven(&self) -> bool {
        *self.state() == State::Cbor
    }

    /// Records a reply in CBOR that was read.
    pub(crate) fn understood(&self) {
        let mut state = self.state();
        if *state == State::OnTrial {
            *state = State::Cbor;
        }
    }

    /// Records a call in CBOR whose request or reply was not understood.
    pub(crate) fn refused(&self) -> Refusal {
        let mut state = self.state();
        match *state {
            State::OnTrial => {
                *state = State::Json;
                Refusal::OfTheEncoding
            }
            State::Cbor => Refusal::OfTheCall,
            State::Json => Refusal::Known,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_refusal_changes_to_json_once() {
        let encoding = EncodingInUse::new(Encoding::Cbor);
        assert!(encoding.is_cbor() && !encoding.is_proven());
        assert_eq!(encoding.refused(), Refusal::OfTheEncoding);
        assert!(!encoding.is_cbor());
        encoding.understood();
        assert!(!encoding.is_cbor() && !encoding.is_proven());
        assert_eq!(encoding.refused(), Refusal::Known);
    }

    #[test]
    fn refusal_after_a_reply_changes_nothing() {
        let encoding = EncodingInUse::new(Encoding::Cbor);
        encoding.understood();
        assert_eq!(encoding.refused(), Refusal::OfTheCall);
        assert!(encoding.is_cbor() && encoding.is_proven());
        assert!(!EncodingInUse::new(Encoding::Json).is_cbor());
    }
}
