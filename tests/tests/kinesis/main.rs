//! Record sources: their contract and their errors.

#[cfg(test)]
mod contract;
#[cfg(test)]
mod endpoint;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod wire;
