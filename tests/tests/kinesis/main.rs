//! Record sources: their contract and their errors.

#[cfg(test)]
mod cbor;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod endpoint;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod listing;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod odd_services;
#[cfg(test)]
mod one_connection;
#[cfg(test)]
mod signature;
#[cfg(test)]
mod slow_line;
#[cfg(test)]
mod wire;
