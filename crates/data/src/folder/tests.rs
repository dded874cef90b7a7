use super::*;
use glassbox_core::Seed;
use image::{Luma, Rgb, RgbImage};

fn encoded(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn colors() -> DynamicImage {
    DynamicImage::ImageRgb8(RgbImage::from_fn(2, 1, |x, _| Rgb(if x == 0 { [255, 0, 51] } else { [0, 102, 255] })))
}

fn decode(bytes: &[u8], color: ColorMode, size: (usize, usize)) -> Result<Tensor> {
    decode_image(bytes, color, size, "x.png")
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn png_is_decoded_exactly() {
    let png = encoded(colors(), ImageFormat::Png);
    let rgb = decode(&png, ColorMode::Rgb, (1, 2)).unwrap();
    assert_eq!((rgb.dims(), values(&rgb)), (&[3, 1, 2][..], vec![1.0, 0.0, 0.0, 0.4, 0.2, 1.0]));
    // Pillow 13.0.0: Image.new("RGB", (1, 1), (255, 0, 51)).convert("L") is 82, of (0, 102, 255) is 89.
    let grey = decode(&png, ColorMode::Grey, (1, 2)).unwrap();
    assert_eq!((grey.dims(), values(&grey)), (&[1, 1, 2][..], vec![82.0 / 255.0, 89.0 / 255.0]));
}

#[test]
fn grey_and_transparent_files_in_either_mode() {
    let grey = DynamicImage::ImageLuma8(image::GrayImage::from_pixel(1, 1, Luma([51])));
    let png = encoded(grey, ImageFormat::Png);
    assert_eq!(values(&decode(&png, ColorMode::Rgb, (1, 1)).unwrap()), [0.2; 3]);
    assert_eq!(values(&decode(&png, ColorMode::Grey, (1, 1)).unwrap()), [0.2]);
    let clear = encoded(colors().into_rgba8().into(), ImageFormat::Png);
    assert_eq!(decode(&clear, ColorMode::Rgb, (1, 2)).unwrap().dims(), [3, 1, 2]);
}

#[test]
fn jpeg_and_resize() {
    let flat = DynamicImage::ImageRgb8(RgbImage::from_pixel(20, 10, Rgb([102, 102, 102])));
    let jpeg = decode(&encoded(flat, ImageFormat::Jpeg), ColorMode::Rgb, (3, 5)).unwrap();
    assert_eq!(jpeg.dims(), [3, 3, 5]);
    // JPEG is lossy: within one step of 8 bits.
    assert!(values(&jpeg).iter().all(|v| (v - 0.4).abs() <= 1.01 / 255.0));
    // Two pixels to one: their mean.
    let one = decode(&encoded(colors(), ImageFormat::Png), ColorMode::Rgb, (1, 1)).unwrap();
    let means = [127.5, 51.0, 153.0];
    assert!(values(&one).iter().zip(means).all(|(v, m)| (v * 255.0 - m).abs() <= 0.51), "{one}");
}

#[test]
fn bad_images_are_errors() {
    let png = encoded(colors(), ImageFormat::Png);
    let error = |bytes: &[u8], size| decode(bytes, ColorMode::Rgb, size).unwrap_err().to_string();
    assert!(error(&png[..png.len() / 2], (1, 2)).starts_with("x.png: cannot be decoded"));
    assert_eq!(error(b"GIF89a trailing", (1, 2)), "x.png: neither a PNG nor a JPEG image");
    assert!(error(&png, (0, 2)).contains("sides of 1 to 16384"));
    assert!(error(&png, (1, 16_385)).contains("sides of 1 to 16384"));
    let flat = DynamicImage::ImageRgb8(RgbImage::from_fn(40, 40, |x, y| Rgb([x as u8 * 6, y as u8 * 5, 77])));
    let jpeg = encoded(flat, ImageFormat::Jpeg);
    assert!(error(&jpeg[..jpeg.len() * 3 / 4], (4, 4)).ends_with("the file ends inside the image"));
    // A header that claims 65,535 by 65,535 pixels.
    let mut huge = png.clone();
    huge[16..24].copy_from_slice(&[0, 0, 255, 255, 0, 0, 255, 255]);
    let crc = crc32(&huge[12..29]);
    huge[29..33].copy_from_slice(&crc.to_be_bytes());
    assert!(error(&huge, (1, 2)).to_lowercase().contains("limit"), "{}", error(&huge, (1, 2)));
}

/// PNG's checksum (reflected polynomial EDB88320).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &b| {
        (0..8).fold(crc ^ u32::from(b), |c, _| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 })
    })
}

#[test]
fn a_folder_per_class() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    assert!(ImageFolder::open(dir.path(), ColorMode::Rgb, (1, 2)).unwrap_err().to_string().contains("no folders"));
    for class in ["dog", "cat", ".cache"] {
        std::fs::create_dir(at(class)).unwrap();
    }
    let png = encoded(colors(), ImageFormat::Png);
    for name in ["dog/2.PNG", "dog/1.jpg", "dog/notes.txt", "readme.png"] {
        std::fs::write(at(name), &png).unwrap();
    }
    let empty = ImageFolder::open(dir.path(), ColorMode::Rgb, (1, 2)).unwrap_err().to_string();
    assert!(empty.contains("cat: no PNG or JPEG images"), "{empty}");
    std::fs::write(at("cat/a.jpeg"), b"not an image").unwrap();
    let data = ImageFolder::open(dir.path(), ColorMode::Rgb, (1, 2)).unwrap();
    assert_eq!((data.len(), data.class_names()), (3, &["cat".to_string(), "dog".to_string()][..]));
    assert!(data.path(1).unwrap().ends_with("dog/1.jpg") && data.path(3).is_none());
    let sample = data.get(2, &mut Seed(1).rng()).unwrap();
    assert_eq!((sample.input.dims(), sample.target.to_scalar::<u32>().unwrap()), (&[3, 1, 2][..], 1));
    assert_eq!(data.class(0).unwrap(), Some(0));
    let undecodable = data.get(0, &mut Seed(1).rng()).unwrap_err().to_string();
    assert!(undecodable.contains("a.jpeg: neither"), "{undecodable}");
}
