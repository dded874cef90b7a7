//! Small pictures as data URIs: PNG with a palette or of three colours.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// How values become colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Palette {
    /// Black to white.
    Grey,
    /// Dark violet over green to yellow, of even steps for the eye, also where colours cannot be told apart.
    Viridis,
    /// Blue over white to red, for values around 0.
    Diverging,
}

/// Points between which a palette is linear.
const VIRIDIS: [[f64; 3]; 9] = [
    [68.0, 1.0, 84.0],
    [71.0, 44.0, 122.0],
    [59.0, 81.0, 139.0],
    [44.0, 113.0, 142.0],
    [33.0, 144.0, 141.0],
    [39.0, 173.0, 129.0],
    [92.0, 200.0, 99.0],
    [170.0, 220.0, 50.0],
    [253.0, 231.0, 37.0],
];
const DIVERGING: [[f64; 3]; 5] =
    [[5.0, 48.0, 97.0], [103.0, 169.0, 207.0], [247.0, 247.0, 247.0], [239.0, 138.0, 98.0], [103.0, 0.0, 31.0]];

impl Palette {
    /// The colour of `share`, from 0 to 1.
    pub(crate) fn colour(self, share: f64) -> [u8; 3] {
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        let between = |points: &[[f64; 3]]| {
            let place = share * (points.len() - 1) as f64;
            let low = (place as usize).min(points.len() - 2);
            let part = place - low as f64;
            std::array::from_fn(|c| (points[low][c] + (points[low + 1][c] - points[low][c]) * part).round() as u8)
        };
        match self {
            Self::Grey => [(share * 255.0).round() as u8; 3],
            Self::Viridis => between(&VIRIDIS),
            Self::Diverging => between(&DIVERGING),
        }
    }
}

/// Index of the colour that stands for a value that is not finite.
const NONE: u8 = 255;

/// A picture of `values`, row-major from `low` to `high`, as a data URI.
pub(crate) fn picture(values: &[f32], width: usize, low: f64, high: f64, palette: Palette) -> String {
    let scale = if high > low { 254.0 / (high - low) } else { 0.0 };
    let index = |&value: &f32| match f64::from(value) {
        value if value.is_finite() => ((value - low) * scale).round().clamp(0.0, 254.0) as u8,
        _ => NONE,
    };
    let pixels: Vec<u8> = values.iter().map(index).collect();
    let mut colours: Vec<u8> = (0..255).flat_map(|i| palette.colour(f64::from(i) / 254.0)).collect();
    colours.extend([128, 128, 128]);
    encode(&pixels, width, 3, Some(&colours))
}

/// A picture of three colours from 0 to 1, (3, height, width), as a data URI.
pub(crate) fn colour_picture(values: &[f32], width: usize, low: f32, high: f32) -> String {
    let scale = if high > low { 255.0 / (high - low) } else { 0.0 };
    let size = values.len() / 3;
    let level = |value: f32| ((value - low) * scale).round().clamp(0.0, 255.0) as u8;
    let pixels: Vec<u8> = (0..size).flat_map(|i| [0, 1, 2].map(|c| level(values[c * size + i]))).collect();
    encode(&pixels, width, 2, None)
}

fn encode(pixels: &[u8], width: usize, colour_type: u8, palette: Option<&[u8]>) -> String {
    let row = width * if colour_type == 2 { 3 } else { 1 };
    let height = pixels.len().checked_div(row).unwrap_or(0);
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = Vec::new();
    header.extend((width as u32).to_be_bytes());
    header.extend((height as u32).to_be_bytes());
    header.extend([8, colour_type, 0, 0, 0]);
    chunk(&mut png, b"IHDR", &header);
    if let Some(palette) = palette {
        chunk(&mut png, b"PLTE", palette);
    }
    let mut rows = Vec::with_capacity(pixels.len() + height);
    for row in pixels.chunks(row.max(1)) {
        rows.push(0);
        rows.extend(row);
    }
    chunk(&mut png, b"IDAT", &deflated(&rows));
    chunk(&mut png, b"IEND", &[]);
    format!("data:image/png;base64,{}", base64(&png))
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

fn chunk(png: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    png.extend((data.len() as u32).to_be_bytes());
    let start = png.len();
    png.extend(kind);
    png.extend(data);
    let mut crc = flate2::Crc::new();
    crc.update(&png[start..]);
    png.extend(crc.sum().to_be_bytes());
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for i in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let pairs = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        pairs.iter().for_each(|(plain, coded)| assert_eq!(base64(plain.as_bytes()), *coded));
    }

    #[test]
    fn pictures_have_a_size_and_their_colours() {
        let uri = picture(&[0.0, 1.0, 2.0, f32::NAN, 4.0, 5.0], 3, 0.0, 5.0, Palette::Viridis);
        assert!(uri.starts_with("data:image/png;base64,iVBORw0KGgo"), "{uri}");
        assert_eq!(Palette::Viridis.colour(0.0), [68, 1, 84]);
        assert_eq!(Palette::Viridis.colour(1.0), [253, 231, 37]);
        assert_eq!(Palette::Diverging.colour(0.5), [247, 247, 247]);
        assert_eq!(Palette::Grey.colour(f64::NAN), [0, 0, 0]);
        assert!(colour_picture(&[0.5; 12], 2, 0.0, 1.0).len() > 60);
    }
}
