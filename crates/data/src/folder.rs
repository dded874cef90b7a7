//! Images in a folder per class.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use glassbox_core::{Dataset, Error, Result, Rng, Sample};
use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat, ImageReader, Limits};

use crate::images::out_of_range;
use crate::source::{list, open, read_at_most};

/// Larger sides are refused before any pixel is decoded.
const MAX_SIDE: u32 = 16_384;
/// What one image may take when decoded, in bytes.
const MAX_DECODED: u64 = 512 << 20;
const EXTENSIONS: [&str; 3] = ["png", "jpg", "jpeg"];

/// How many values a pixel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColorMode {
    /// One: `0.299 red + 0.587 green + 0.114 blue` (ITU-R 601), as Pillow's mode `L`.
    Grey,
    /// Three: red, green, blue.
    Rgb,
}

impl ColorMode {
    /// Number of channels.
    pub fn channels(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
        }
    }
}

/// A folder with a folder of PNG or JPEG images per class, read from disk one at a time.
///
/// The folders' names in sorted order are the classes 0, 1, …. Files whose name does not end in `.png`, `.jpg` or
/// `.jpeg`, folders inside a class's folder and names that start with a dot are passed over. Every image is resized to
/// one size with a triangle filter that widens when it shrinks (torchvision's `Resize` with antialiasing, to rounding).
/// Transparency is dropped.
///
/// # Shapes
/// A sample's input is (channels, height, width), f32 in [0, 1]; its target is a u32 scalar.
///
/// ```no_run
/// use glassbox_data::{ColorMode, ImageFolder};
/// let pets = ImageFolder::open("pets", ColorMode::Rgb, (64, 64))?;
/// println!("{:?}", pets.class_names());
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ImageFolder {
    files: Vec<(PathBuf, u32)>,
    class_names: Vec<String>,
    color: ColorMode,
    size: (usize, usize),
}

impl ImageFolder {
    /// Lists the folder at `dir`; `size` is (height, width) of the samples.
    ///
    /// # Errors
    /// The folder cannot be read or holds no folder; a class has no image; the size is 0 or above 16,384.
    pub fn open(dir: impl AsRef<Path>, color: ColorMode, size: (usize, usize)) -> Result<Self> {
        let dir = dir.as_ref();
        check_size(size)?;
        let classes: Vec<PathBuf> = list(dir)?.into_iter().filter(|path| path.is_dir()).collect();
        if classes.is_empty() {
            return Err(Error::format(dir.display(), "no folders, expected one per class"));
        }
        let (mut files, mut class_names) = (Vec::new(), Vec::new());
        for (class, folder) in (0..).zip(classes) {
            let images: Vec<PathBuf> = list(&folder)?.into_iter().filter(|path| is_image(path)).collect();
            if images.is_empty() {
                return Err(Error::format(folder.display(), "no PNG or JPEG images in this class's folder"));
            }
            files.extend(images.into_iter().map(|path| (path, class)));
            class_names.push(folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
        Ok(Self { files, class_names, color, size })
    }

    /// What each class is called, in the order of the classes.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The file of a sample; none where the index is out of range.
    pub fn path(&self, index: usize) -> Option<&Path> {
        self.files.get(index).map(|(path, _)| path.as_path())
    }

    fn file(&self, index: usize) -> Result<&(PathBuf, u32)> {
        self.files.get(index).ok_or_else(|| out_of_range(index, self.files.len()))
    }
}

impl Dataset for ImageFolder {
    type Item = Sample;

    fn len(&self) -> usize {
        self.files.len()
    }

    fn get(&self, index: usize, _rng: &mut Rng) -> Result<Sample> {
        let (path, class) = self.file(index)?;
        let place = path.display().to_string();
        let bytes = read_at_most(&mut open(path)?, MAX_DECODED, &place)?;
        let input = decode_image(&bytes, self.color, self.size, &place)?;
        Ok(Sample { input, target: Tensor::new(*class, &Device::Cpu)? })
    }

    fn class(&self, index: usize) -> Result<Option<usize>> {
        Ok(Some(self.file(index)?.1 as usize))
    }
}

/// A PNG or JPEG file's `bytes` as a tensor of (channels, height, width), f32 in [0, 1], resized to `size` =
/// (height, width); `place` is its name in errors.
///
/// # Errors
/// The image is neither PNG nor JPEG, is damaged or cut off, declares more pixels than its bytes can hold, has a side
/// above 16,384 pixels or takes more than 512 MiB when decoded; the size is 0 or above 16,384.
pub fn decode_image(bytes: &[u8], color: ColorMode, size: (usize, usize), place: &str) -> Result<Tensor> {
    check_size(size)?;
    // How many bytes of pixels a byte of the file can hold at most. PNG: 1,032 of deflate, times 32 from a bit to four
    // colours. JPEG: a block of 64 values takes a bit, and a chroma block stands for up to 16.
    let (format, expansion) = match image::guess_format(bytes) {
        Ok(format @ ImageFormat::Png) => (format, 33_024),
        Ok(format @ ImageFormat::Jpeg) => (format, 2_048),
        _ => return Err(Error::format(place, "neither a PNG nor a JPEG image")),
    };
    // The JPEG decoder paints what is missing of a file that was cut off.
    if format == ImageFormat::Jpeg && last(bytes, 0xd9) < last(bytes, 0xda) {
        return Err(Error::format(place, "cannot be decoded: the file ends inside the image"));
    }
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE), Some(MAX_SIDE));
    limits.max_alloc = Some((bytes.len() as u64).saturating_mul(expansion).min(MAX_DECODED));
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let image = reader.decode().map_err(|e| Error::format(place, format!("cannot be decoded: {e}")))?;
    to_tensor(image, color, size)
}

/// Where a JPEG marker occurs last: `d9` ends an image, `da` starts a scan. None sorts before all.
fn last(bytes: &[u8], marker: u8) -> Option<usize> {
    bytes.windows(2).rposition(|pair| *pair == [0xff, marker])
}

fn to_tensor(image: DynamicImage, color: ColorMode, (height, width): (usize, usize)) -> Result<Tensor> {
    let mut image = DynamicImage::ImageRgb8(image.into_rgb8());
    if (image.height(), image.width()) != (height as u32, width as u32) {
        image = image.resize_exact(width as u32, height as u32, FilterType::Triangle);
    }
    let bytes = image.into_rgb8().into_raw();
    let pixels = bytes.as_chunks::<3>().0;
    let plane = |value: &dyn Fn(&[u8; 3]) -> u8| pixels.iter().map(|p| f32::from(value(p)) / 255.0).collect::<Vec<_>>();
    let values = match color {
        ColorMode::Rgb => [plane(&|p| p[0]), plane(&|p| p[1]), plane(&|p| p[2])].concat(),
        ColorMode::Grey => plane(&luma),
    };
    Ok(Tensor::from_vec(values, (color.channels(), height, width), &Device::Cpu)?)
}

/// The weights in 65,536ths, rounded to nearest.
fn luma(&[red, green, blue]: &[u8; 3]) -> u8 {
    ((u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471 + 0x8000) >> 16) as u8
}

fn check_size(size: (usize, usize)) -> Result<()> {
    let range = 1..=MAX_SIDE as usize;
    if range.contains(&size.0) && range.contains(&size.1) {
        return Ok(());
    }
    Err(Error::invalid("image size (height, width)", format!("sides of 1 to {MAX_SIDE}"), format!("{size:?}")))
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    EXTENSIONS.iter().any(|known| extension == *known) && path.is_file()
}

#[cfg(test)]
mod tests;
