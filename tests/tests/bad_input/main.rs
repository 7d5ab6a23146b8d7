//! Bad input to whole workers, on the real SDK and real endpoints: a clear error that names the thing
//! and the way out, and nothing lost.

#[cfg(test)]
mod access;
#[cfg(test)]
mod endpoint;
#[cfg(test)]
mod gate;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod process;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod stream;
#[cfg(test)]
mod table;
