//! Bad input to whole workers, on the real SDK and real endpoints. Workers report an error that
//! names the cause and the remedy, and lose no record.

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
