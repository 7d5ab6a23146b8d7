//! Record sources keep their contract, and fail as they should.

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
