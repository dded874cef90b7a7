//! WAV: a RIFF file with a chunk that says how the samples are written, and one that holds them.
//!
//! Reference: IBM & Microsoft, "Multimedia Programming Interface and Data Specifications 1.0" (1991); Microsoft,
//! "Multiple Channel Audio Data and WAVE Files" (2001) for the extensible header.

use std::path::Path;

use glassbox_core::{Error, Result, write_atomic};

use super::Waveform;
use crate::source::{open, read_at_most};

/// What a WAV file can hold at most, and its header.
const MAX_FILE: u64 = (u32::MAX as u64) + 4096;
/// The chunk length that a program writes which does not know it yet: up to the file's end.
const UNKNOWN_LENGTH: u32 = u32::MAX;
/// What follows the codec in an extensible header's identifier.
const CODEC_TAIL: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];

/// How a sample is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleFormat {
    /// An unsigned byte, 128 for silence.
    Pcm8,
    /// A signed integer of 16 bits.
    Pcm16,
    /// A signed integer of 24 bits.
    Pcm24,
    /// A signed integer of 32 bits.
    Pcm32,
    /// A float of 32 bits, full scale at 1.
    Float32,
    /// A float of 64 bits, full scale at 1.
    Float64,
}

impl SampleFormat {
    /// Bytes of a sample.
    pub fn size(self) -> usize {
        match self {
            Self::Pcm8 => 1,
            Self::Pcm16 => 2,
            Self::Pcm24 => 3,
            Self::Pcm32 | Self::Float32 => 4,
            Self::Float64 => 8,
        }
    }

    fn codec(self) -> u16 {
        if matches!(self, Self::Float32 | Self::Float64) { 3 } else { 1 }
    }

    fn of(codec: u16, bits: u16) -> Option<Self> {
        match (codec, bits) {
            (1, 8) => Some(Self::Pcm8),
            (1, 16) => Some(Self::Pcm16),
            (1, 24) => Some(Self::Pcm24),
            (1, 32) => Some(Self::Pcm32),
            (3, 32) => Some(Self::Float32),
            (3, 64) => Some(Self::Float64),
            _ => None,
        }
    }

    /// The value of a sample's bytes, which are [`size`](Self::size) many.
    fn decode(self, bytes: &[u8]) -> f32 {
        match (self, bytes) {
            (Self::Pcm8, &[a]) => (f32::from(a) - 128.0) / 128.0,
            (Self::Pcm16, &[a, b]) => f32::from(i16::from_le_bytes([a, b])) / 32_768.0,
            // As the upper bits of 32, which keeps the sign.
            (Self::Pcm24, &[a, b, c]) => i32::from_le_bytes([0, a, b, c]) as f32 / 2_147_483_648.0,
            (Self::Pcm32, &[a, b, c, d]) => i32::from_le_bytes([a, b, c, d]) as f32 / 2_147_483_648.0,
            (Self::Float32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            (Self::Float64, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32,
            _ => 0.0,
        }
    }

    /// Appends `value`; integers are rounded, and what is beyond full scale is cut off.
    fn encode(self, value: f32, bytes: &mut Vec<u8>) {
        let whole = |scale: f64| (f64::from(value) * scale).round().clamp(-scale, scale - 1.0) as i32;
        match self {
            Self::Pcm8 => bytes.push((whole(128.0) + 128) as u8),
            Self::Pcm16 => bytes.extend((whole(32_768.0) as i16).to_le_bytes()),
            Self::Pcm24 => bytes.extend(&whole(8_388_608.0).to_le_bytes()[..3]),
            Self::Pcm32 => bytes.extend(whole(2_147_483_648.0).to_le_bytes()),
            Self::Float32 => bytes.extend(value.to_le_bytes()),
            Self::Float64 => bytes.extend(f64::from(value).to_le_bytes()),
        }
    }
}

/// Reads a WAV file: PCM of 8, 16, 24 or 32 bits, or floats of 32 or 64, with any number of channels.
///
/// Integers are divided by their full scale, to [−1, 1], as `torchaudio.load` does.
///
/// ```
/// use glassbox_data::audio::{SampleFormat, Waveform, read_wav, write_wav};
/// let path = std::env::temp_dir().join("glassbox-doc.wav");
/// let sound = Waveform::new(vec![vec![0.0, 0.5, -1.0]], 8000)?;
/// write_wav(&path, &sound, SampleFormat::Pcm16)?;
/// assert_eq!(read_wav(&path)?, sound);
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), glassbox_core::Error>(())
/// ```
///
/// # Errors
/// The file cannot be read, is not WAV or is cut off; its codec, its bits, its rate or its number of channels is not
/// among those; it holds no sample or one that is not finite. The message names the file.
pub fn read_wav(path: impl AsRef<Path>) -> Result<Waveform> {
    let path = path.as_ref();
    let place = path.display().to_string();
    parse_wav(&read_at_most(&mut open(path)?, MAX_FILE, &place)?, &place)
}

/// As [`read_wav`], of a file's `bytes`; `place` is its name in errors. Memory grows with the bytes that are there, never
/// with a length that is only declared.
///
/// # Errors
/// As [`read_wav`].
pub fn parse_wav(bytes: &[u8], place: &str) -> Result<Waveform> {
    let wrong = |problem: String| Error::format(place, problem);
    let mut format = None;
    let mut chunks = Chunks::of(bytes).map_err(wrong)?;
    loop {
        let Some(Chunk { name, declared, content }) = chunks.next().map_err(wrong)? else {
            return Err(wrong("no `data` chunk, expected one with the samples".to_string()));
        };
        match &name {
            b"fmt " => format = Some(Format::of(content).map_err(wrong)?),
            b"data" => {
                let format = format.ok_or_else(|| wrong("`data` chunk before the `fmt ` chunk".to_string()))?;
                let channels = format.samples(content, declared).map_err(wrong)?;
                return Waveform::new(channels, format.sample_rate).map_err(|e| Error::format(place, e.to_string()));
            }
            _ => {}
        }
    }
}

struct Chunk<'a> {
    name: [u8; 4],
    /// The length that the file gives; none where it says that it is not known.
    declared: Option<usize>,
    /// What is there of it.
    content: &'a [u8],
}

struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Chunks<'a> {
    fn of(bytes: &'a [u8]) -> std::result::Result<Self, String> {
        match bytes.split_at_checked(12) {
            Some(([b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E'], rest)) => Ok(Self { rest }),
            Some((start, _)) => {
                let got = format!("{} and {}", start[..4].escape_ascii(), start[8..].escape_ascii());
                Err(format!("not a WAV file: expected RIFF and WAVE, got {got}"))
            }
            None => Err(format!("not a WAV file: expected a header of 12 bytes, got {}", bytes.len())),
        }
    }

    /// The next chunk; none at the end of the file. Only the samples may be shorter than declared.
    fn next(&mut self) -> std::result::Result<Option<Chunk<'a>>, String> {
        let Some((&[a, b, c, d, e, f, g, h], rest)) = self.rest.split_first_chunk::<8>() else {
            return Ok(None);
        };
        let (name, length) = ([a, b, c, d], u32::from_le_bytes([e, f, g, h]));
        let content = rest.get(..length as usize).unwrap_or(rest);
        if name != *b"data" && content.len() < length as usize {
            let of = format!("byte {} of {length}", content.len());
            return Err(format!("file ends at {of} of its `{}` chunk", name.escape_ascii()));
        }
        // Chunks start at even places.
        self.rest = rest.get(content.len() + content.len() % 2..).unwrap_or_default();
        let declared = (name != *b"data" || length != UNKNOWN_LENGTH).then_some(length as usize);
        Ok(Some(Chunk { name, declared, content }))
    }
}

struct Format {
    sample: SampleFormat,
    channels: usize,
    sample_rate: u32,
}

impl Format {
    fn of(content: &[u8]) -> std::result::Result<Self, String> {
        let Some((&[c0, c1, n0, n1, r0, r1, r2, r3, _, _, _, _, a0, a1, b0, b1], more)) =
            content.split_first_chunk::<16>()
        else {
            return Err(format!("`fmt ` chunk: expected at least 16 bytes, got {}", content.len()));
        };
        let codec = actual_codec(u16::from_le_bytes([c0, c1]), more)?;
        let bits = u16::from_le_bytes([b0, b1]);
        let sample = SampleFormat::of(codec, bits).ok_or_else(|| {
            let expected = "expected PCM of 8, 16, 24 or 32 bits or float of 32 or 64";
            format!("unsupported codec: {expected}, got {} of {bits} bits", codec_name(codec))
        })?;
        let channels = usize::from(u16::from_le_bytes([n0, n1]));
        let (frame, expected) = (usize::from(u16::from_le_bytes([a0, a1])), channels * sample.size());
        if channels == 0 || frame != expected {
            let want = format!("expected {expected} bytes for {channels} channels of {bits} bits");
            return Err(format!("block size: {want}, got {frame}"));
        }
        Ok(Self { sample, channels, sample_rate: u32::from_le_bytes([r0, r1, r2, r3]) })
    }

    /// The samples of each channel.
    fn samples(&self, content: &[u8], declared: Option<usize>) -> std::result::Result<Vec<Vec<f32>>, String> {
        let frame = self.channels * self.sample.size();
        match declared {
            Some(declared) if content.len() < declared => {
                return Err(format!("file ends at sample {} of {}", content.len() / frame, declared / frame));
            }
            Some(declared) if declared % frame != 0 => {
                return Err(format!("`data` chunk: expected whole blocks of {frame} bytes, got {declared} bytes"));
            }
            _ => {}
        }
        let channel = |i: usize| {
            let at = i * self.sample.size();
            content.chunks_exact(frame).map(|f| self.sample.decode(&f[at..at + self.sample.size()])).collect()
        };
        if content.len() < frame {
            return Err("expected at least one sample, got none".to_string());
        }
        Ok((0..self.channels).map(channel).collect())
    }
}

/// The codec; an extensible header has it among its `more` bytes.
fn actual_codec(codec: u16, more: &[u8]) -> std::result::Result<u16, String> {
    const EXTENSIBLE: u16 = 0xfffe;
    match more.get(8..24) {
        _ if codec != EXTENSIBLE => Ok(codec),
        Some([a, b, tail @ ..]) if *tail == CODEC_TAIL => Ok(u16::from_le_bytes([*a, *b])),
        Some(other) => Err(format!("unsupported codec: expected PCM or float, got {}", other.escape_ascii())),
        None => Err(format!("`fmt ` chunk: expected 40 bytes of an extensible header, got {}", more.len() + 16)),
    }
}

fn codec_name(codec: u16) -> String {
    let name = match codec {
        0x0001 => "PCM",
        0x0003 => "float",
        0x0002 => "Microsoft ADPCM",
        0x0006 => "A-law",
        0x0007 => "mu-law",
        0x0011 => "IMA ADPCM",
        0x0031 => "GSM 6.10",
        0x0055 => "MP3",
        _ => return format!("codec {codec:04x}"),
    };
    name.to_string()
}

/// Writes a WAV file, whole or not at all.
///
/// # Errors
/// As [`encode_wav`]; the file cannot be written.
pub fn write_wav(path: impl AsRef<Path>, sound: &Waveform, format: SampleFormat) -> Result<()> {
    write_atomic(path.as_ref(), &encode_wav(sound, format)?)
}

/// The bytes of a WAV file of `sound`. Integers are rounded, and what is beyond full scale is cut off.
///
/// # Errors
/// A sample of all channels takes more than 65,535 bytes, or all take more than 4 GiB.
pub fn encode_wav(sound: &Waveform, format: SampleFormat) -> Result<Vec<u8>> {
    let (channels, frame) = (sound.channels().len(), sound.channels().len() * format.size());
    let too_large = || {
        let got = format!("{channels} channels of {} samples", sound.num_samples());
        Error::invalid("WAV file", "at most 4 GiB, in blocks of at most 65,535 bytes", got)
    };
    let (Ok(num_channels), Ok(block)) = (u16::try_from(channels), u16::try_from(frame)) else {
        return Err(too_large());
    };
    let length = sound.num_samples().checked_mul(frame).and_then(|length| u32::try_from(length).ok());
    let length = length.filter(|&n| n < UNKNOWN_LENGTH - 64).ok_or_else(too_large)?;
    let byte_rate = u64::from(sound.sample_rate()) * frame as u64;
    let mut bytes = Vec::with_capacity(length as usize + 46);
    bytes.extend(b"RIFF");
    bytes.extend((36 + length + length % 2).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0");
    bytes.extend(format.codec().to_le_bytes());
    bytes.extend(num_channels.to_le_bytes());
    bytes.extend(sound.sample_rate().to_le_bytes());
    bytes.extend(u32::try_from(byte_rate).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(block.to_le_bytes());
    bytes.extend((8 * format.size() as u16).to_le_bytes());
    bytes.extend(b"data");
    bytes.extend(length.to_le_bytes());
    for i in 0..sound.num_samples() {
        sound.channels().iter().for_each(|channel| format.encode(channel[i], &mut bytes));
    }
    if length % 2 == 1 {
        bytes.push(0);
    }
    Ok(bytes)
}
