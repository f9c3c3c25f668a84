//! What the disk in memory hands out: open files and locks.

use std::path::PathBuf;

use super::MemoryDisk;
use super::state::{State, Verdict, power_is_off};
use crate::DiskError;
use crate::disk::{Append, Lock, ReadAt, WriteAt};

/// An open file of the disk in memory; after a crash every use of it fails.
#[derive(Debug)]
pub(super) struct MemoryFile {
    pub(super) disk: MemoryDisk,
    pub(super) path: PathBuf,
    pub(super) number: usize,
    pub(super) life: u64,
}

impl MemoryFile {
    fn change(
        &self,
        action: &'static str,
        change: impl FnOnce(&mut State) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        self.disk.change(&self.path, action, |state| {
            if state.life != self.life {
                return Err(power_is_off(&self.path, action));
            }
            change(state)
        })
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.change("write", |state| {
            let end = offset.saturating_add(bytes.len() as u64);
            state.make_room(&self.path, self.number, end)?;
            state.file_at(self.number).write(offset, bytes);
            Ok(())
        })
    }

    fn sync_content(&self) -> Result<(), DiskError> {
        let mut state = self.disk.state();
        let verdict = state.begin(&self.path, "sync")?;
        if state.life != self.life || matches!(verdict, Verdict::Issued) {
            return Err(power_is_off(&self.path, "sync"));
        }
        state.file_at(self.number).sync();
        Ok(())
    }

    fn length(&self) -> u64 {
        self.disk.state().file_at(self.number).live.len() as u64
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let mut state = self.disk.readable(&self.path)?;
        if state.life != self.life {
            return Err(power_is_off(&self.path, "read"));
        }
        let content = &state.file_at(self.number).live;
        let part = usize::try_from(offset)
            .ok()
            .and_then(|start| content.get(start..start.checked_add(buffer.len())?))
            .ok_or_else(|| DiskError::TooShort {
                path: self.path.clone(),
                offset,
                wanted: buffer.len() as u64,
                found: content.len() as u64,
            })?;
        buffer.copy_from_slice(part);
        Ok(())
    }
}

impl ReadAt for MemoryFile {
    fn bytes(&self) -> u64 {
        self.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.read(offset, buffer)
    }
}

impl WriteAt for MemoryFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.write(offset, bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.read(offset, buffer)
    }

    fn set_bytes(&self, bytes: u64) -> Result<(), DiskError> {
        self.change("resize", |state| {
            state.make_room(&self.path, self.number, bytes)?;
            state.file_at(self.number).resize(bytes);
            Ok(())
        })
    }

    fn reserve(&self, bytes: u64) -> Result<(), DiskError> {
        self.change("reserve room for", |state| {
            state.make_room(&self.path, self.number, bytes)?;
            state.file_at(self.number).reserve(bytes);
            Ok(())
        })
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.sync_content()
    }
}

impl Append for MemoryFile {
    fn bytes(&self) -> u64 {
        self.length()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.write(self.length(), bytes)
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        self.sync_content()
    }
}

/// A lock on a folder of the disk in memory; a crash releases it.
#[derive(Debug)]
pub(super) struct MemoryLock {
    pub(super) disk: MemoryDisk,
    pub(super) number: usize,
    pub(super) life: u64,
}

impl Lock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life == self.life {
            state.locked.retain(|number| *number != self.number);
        }
    }
}
