//! Event files that TensorBoard reads: records of protocol buffers, written by hand since there are four kinds of message.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use glassbox_core::train::{Scores, StepReport};
use glassbox_core::{Error, Result};

use crate::record::Vitals;
use crate::record::stats::Histogram;

/// An event file in the folder of a run: losses, scores, and vital signs with histograms.
///
/// A record is its length (u64, little endian), the masked CRC-32C of the length, the event, and the masked CRC-32C of the
/// event. TensorBoard cares for the newest value of a step, so that a resumed run writes a file of its own.
pub struct EventFile {
    path: PathBuf,
    file: BufWriter<File>,
}

impl EventFile {
    /// A new event file in `folder`, for what follows `step`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(folder: &Path, step: u64) -> Result<Self> {
        let name = format!("events.out.tfevents.{}.glassbox.{step}", now() as u64);
        let path = folder.join(name);
        let file = BufWriter::new(File::create(&path).map_err(|e| Error::io(&path, e))?);
        let mut events = Self { path, file };
        events.write(0, |event| event.bytes(3, b"brain.Event:2"))?;
        Ok(events)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a step's loss and whatever else it reports.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn step(&mut self, step: u64, report: &StepReport) -> Result<()> {
        let mut summary = Message::default();
        summary.scalar("loss", report.loss);
        report.values.iter().for_each(|(name, value)| summary.scalar(name, *value));
        self.summary(step, &summary)
    }

    /// Writes the scores of a validation.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn scores(&mut self, step: u64, scores: &Scores) -> Result<()> {
        let mut summary = Message::default();
        scores.0.iter().for_each(|score| summary.scalar(&format!("validation/{}", score.name), score.value));
        self.summary(step, &summary)
    }

    /// Writes the vital signs of a step.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn vitals(&mut self, vitals: &Vitals) -> Result<()> {
        let mut summary = Message::default();
        for param in &vitals.params {
            summary.scalar(&format!("weight_norm/{}", param.name), param.weight_norm);
            summary.scalar(&format!("gradient_norm/{}", param.name), param.gradient_norm);
            if let Some(ratio) = param.update_ratio {
                summary.scalar(&format!("update_ratio/{}", param.name), ratio);
            }
        }
        for layer in &vitals.layers {
            summary.histogram(&format!("activation/{}", layer.path), &layer.histogram, layer.mean, layer.std);
            for (name, share) in [("dead", layer.dead), ("saturated", layer.saturated)] {
                if let Some(share) = share {
                    summary.scalar(&format!("{name}/{}", layer.path), share);
                }
            }
        }
        self.summary(vitals.step, &summary)?;
        self.flush()
    }

    /// Hands everything written so far to the system.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|e| Error::io(&self.path, e))
    }

    fn summary(&mut self, step: u64, summary: &Message) -> Result<()> {
        self.write(step, |event| event.bytes(5, &summary.0))
    }

    fn write(&mut self, step: u64, what: impl FnOnce(&mut Message)) -> Result<()> {
        let mut event = Message::default();
        event.double(1, now());
        event.int(2, step);
        what(&mut event);
        let length = (event.0.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(event.0.len() + 16);
        record.extend(length);
        record.extend(masked(&length).to_le_bytes());
        record.extend(&event.0);
        record.extend(masked(&event.0).to_le_bytes());
        self.file.write_all(&record).map_err(|e| Error::io(&self.path, e))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// The checksum as TFRecord has it, rotated and moved, since the checksum of a text with its own checksum would be weak.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A protocol buffer as it is written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn int(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn doubles(&mut self, field: u64, values: &[f64]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.bytes(field, &bytes);
    }

    /// A value of a summary: tag 1, simple_value 2.
    fn scalar(&mut self, tag: &str, value: f64) {
        let mut entry = Self::default();
        entry.bytes(1, tag.as_bytes());
        entry.varint(2 << 3 | 5);
        entry.0.extend((value as f32).to_le_bytes());
        self.bytes(1, &entry.0);
    }

    /// A value of a summary: tag 1, histo 5.
    fn histogram(&mut self, tag: &str, histogram: &Histogram, mean: f64, std: f64) {
        let bins = histogram.counts.len();
        if bins == 0 {
            return;
        }
        let total: f64 = histogram.counts.iter().map(|&c| f64::from(c)).sum();
        let width = (histogram.high - histogram.low) / bins as f64;
        let limits: Vec<f64> = (1..=bins).map(|i| histogram.low + width * i as f64).collect();
        let counts: Vec<f64> = histogram.counts.iter().map(|&c| f64::from(c)).collect();
        let squares = (std * std + mean * mean) * total;
        let mut histo = Self::default();
        let numbers = [histogram.low, histogram.high, total, mean * total, squares];
        (1..).zip(numbers).for_each(|(field, value)| histo.double(field, value));
        histo.doubles(6, &limits);
        histo.doubles(7, &counts);
        let mut entry = Self::default();
        entry.bytes(1, tag.as_bytes());
        entry.bytes(5, &histo.0);
        self.bytes(1, &entry.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // The check value of CRC-32C, and TensorFlow's mask of it by its formula.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        // Its lowest 15 bits before its highest 17: 0x2507_c60d.
        assert_eq!(masked(b"123456789"), 0x2507_c60d_u32.wrapping_add(0xa282_ead8));
    }

    #[test]
    fn messages_are_protocol_buffers() {
        // The example of the protocol buffers' documentation: field 1 = 150.
        let mut message = Message::default();
        message.int(1, 150);
        assert_eq!(message.0, [0x08, 0x96, 0x01]);
        let mut message = Message::default();
        message.bytes(2, b"testing");
        assert_eq!(message.0, [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]);
    }
}
