//! A dead letter in a file on this machine: one line of JSON for each record.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::sync::Mutex;

use crate::BoxError;
use crate::backend::{DeadLetter, FailedRecord};

/// Appends each record to a file as one line of JSON, as [`FailedRecord::to_json`] writes it.
///
/// A record counts as stored once the file is synchronized with the disk. A line that a crash or a
/// full disk cut off stays in the file, and the next record begins on a line of its own. One
/// process at a time may write to a file.
#[derive(Debug)]
pub struct FileDeadLetter {
    path: PathBuf,
    // All shards of a worker share it, and lines must not mix.
    file: Mutex<Option<File>>,
}

impl FileDeadLetter {
    /// The file at this path. It is opened, and created if it is missing, with the first record.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), file: Mutex::new(None) }
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[async_trait]
impl DeadLetter for FileDeadLetter {
    async fn store(&self, failed: &FailedRecord) -> Result<(), BoxError> {
        let mut held = self.file.lock().await;
        // A call that is interrupted leaves no file here: the next one opens it and finds its end.
        let mut file = match held.take() {
            Some(file) => file,
            None => open(&self.path).await?,
        };
        let mut line = failed.to_json();
        line.push('\n');
        file.write_all(line.as_bytes()).await?;
        file.flush().await?;
        file.sync_data().await?;
        *held = Some(file);
        drop(held);
        Ok(())
    }
}

/// Opens a file at the beginning of a line.
async fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).await?;
    if file.seek(io::SeekFrom::End(0)).await? > 0 {
        file.seek(io::SeekFrom::End(-1)).await?;
        if file.read_u8().await? != b'\n' {
            file.write_all(b"\n").await?;
        }
    }
    file.sync_all().await?;
    Ok(file)
}
