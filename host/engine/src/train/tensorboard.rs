//! TensorBoard event files: scalars as protobuf messages in TFRecord frames.
//!
//! The format is three messages (`Event`, `Summary`, `Summary.Value`) of tensorflow's
//! `event.proto` and `summary.proto`; a protobuf library would be larger than what it writes here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::run::seconds_since_1970;

/// An event file that is being written.
pub struct EventFile {
    file: File,
    path: PathBuf,
}

impl EventFile {
    /// Starts a file; TensorBoard drops what earlier files say of steps after `step`.
    pub fn create(folder: &Path, step: usize) -> Result<Self> {
        let name = |attempt| format!("events.out.tfevents.{}.hssl.{attempt}", seconds_since_1970());
        let mut attempt = 0;
        let (file, path) = loop {
            let path = folder.join(name(attempt));
            match File::create_new(&path) {
                Ok(file) => break (file, path),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => attempt += 1,
                Err(error) => return Err(Error::file(path, "cannot be made", error)),
            }
        };
        let mut events = Self { file, path };
        let mut version = event(0);
        bytes(&mut version, 3, b"brain.Event:2");
        events.frame(&version)?;
        if step > 0 {
            // SessionLog { status: START }: steps from here on replace those of earlier files.
            let mut start = event(step + 1);
            bytes(&mut start, 7, &[0x08, 0x01]);
            events.frame(&start)?;
        }
        Ok(events)
    }

    /// Writes scalars of a step.
    pub fn scalars(&mut self, step: usize, values: &BTreeMap<String, f64>) -> Result<()> {
        let mut summary = Vec::new();
        for (name, value) in values {
            let mut entry = Vec::new();
            bytes(&mut entry, 1, name.as_bytes());
            // Field 2, 32-bit: simple_value.
            entry.push(2 << 3 | 5);
            entry.extend((*value as f32).to_le_bytes());
            bytes(&mut summary, 1, &entry);
        }
        let mut message = event(step);
        bytes(&mut message, 5, &summary);
        self.frame(&message)
    }

    /// A TFRecord: length, its checksum, data, its checksum.
    fn frame(&mut self, data: &[u8]) -> Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let mut frame = length.to_vec();
        frame.extend(masked_crc(&length).to_le_bytes());
        frame.extend(data);
        frame.extend(masked_crc(data).to_le_bytes());
        let written = self.file.write_all(&frame).and_then(|()| self.file.flush());
        written.map_err(|e| Error::file(&self.path, "cannot be written", e))
    }
}

/// An `Event` with wall time (field 1) and step (field 2).
fn event(step: usize) -> Vec<u8> {
    let mut message = vec![1 << 3 | 1];
    message.extend((seconds_since_1970() as f64).to_le_bytes());
    message.push(2 << 3);
    varint(&mut message, step as u64);
    message
}

fn bytes(message: &mut Vec<u8>, field: u8, data: &[u8]) {
    message.push(field << 3 | 2);
    varint(message, data.len() as u64);
    message.extend(data);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_carry_masked_checksums() {
        // The check value of CRC-32C, then TFRecord's mask.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(masked_crc(b""), 0xa282_ead8);
    }

    #[test]
    fn two_files_in_one_second_do_not_clash() {
        let folder = tempfile::tempdir().unwrap();
        EventFile::create(folder.path(), 0).unwrap();
        let mut second = EventFile::create(folder.path(), 5).unwrap();
        second.scalars(6, &BTreeMap::from([("loss".into(), 1.0)])).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
