//! Aggregated records, as others write and read them.

#[cfg(test)]
mod differential;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod service;
