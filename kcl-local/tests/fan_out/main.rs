//! Enhanced fan-out over the SDK: the service's rules, and faults on demand.

#[cfg(test)]
mod cbor;
#[cfg(test)]
mod consumers;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod rules;
