//! Aggregated records, compared with other implementations.

#[cfg(test)]
mod differential;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod service;
