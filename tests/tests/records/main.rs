//! Records that fail, on the embedded stack through the real SDK.

#[cfg(test)]
mod crashing;
#[cfg(test)]
mod failing;
#[cfg(test)]
mod stage;
