//! Stories of whole fleets in virtual time, under every oracle.

#[cfg(test)]
mod aggregated;
#[cfg(test)]
mod at_risk;
#[cfg(test)]
mod background;
#[cfg(test)]
mod crashing;
#[cfg(test)]
mod delivery;
#[cfg(test)]
mod failing;
#[cfg(test)]
mod losing;
#[cfg(test)]
mod measuring;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod per_key;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod shards;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod starting;
#[cfg(test)]
mod streamed;
#[cfg(test)]
mod two_phase;
