//! Stories of one held lease: inputs and the exact effects that they must have.
