//! Images read and resized as Pillow 13.0.0 does, which torchvision's `ImageFolder` uses. Expected values: printed by
//! tools/fixtures/data_images.py.

use glassbox_core::Result;
use glassbox_data::{ColorMode, decode_image};

/// Values of 0 to 255, laid out (channels, height, width).
fn decode(name: &str, color: ColorMode, size: (usize, usize)) -> Result<Vec<f32>> {
    let path = format!("{}/tests/images/{name}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(path).expect("a file of this repository");
    Ok((decode_image(&bytes, color, size, name)? * 255.0)?.flatten_all()?.to_vec1()?)
}

/// The greatest difference from `expected`, which is laid out (height, width, channels) as Pillow's bytes are.
fn worst(got: &[f32], expected: &[f32], channels: usize) -> f32 {
    let area = expected.len() / channels;
    let expected = (0..got.len()).map(|i| expected[i % area * channels + i / area]);
    got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn palette_png() -> Result<()> {
    let expected = [
        30, 47, 87, 91, 141, 90, 124, 215, 106, 169, 65, 111, 91, 141, 90, 124, 215, 106, 169, 65, 111, 124, 215, 106,
        30, 47, 87, 91, 141, 90, 124, 215, 106, 169, 65, 111, 91, 141, 90, 169, 65, 111, 169, 65, 111,
    ];
    let got = decode("palette.png", ColorMode::Rgb, (3, 5))?;
    // To and from [0, 1] in f32.
    assert!(worst(&got, &expected.map(|v| v as f32), 3) < 1e-4, "{got:?}");
    Ok(())
}

#[test]
fn progressive_jpeg() -> Result<()> {
    let row = [
        4, 50, 223, 12, 50, 219, 25, 50, 212, 36, 51, 206, 48, 49, 199, 59, 50, 195, 71, 50, 189, 83, 50, 183, 96, 50,
        175, 107, 49, 169, 119, 50, 166, 130, 51, 160, 143, 50, 154, 155, 51, 148, 168, 51, 142, 175, 53, 140,
    ];
    let got = decode("progressive.jpg", ColorMode::Rgb, (16, 16))?;
    let got: Vec<f32> = got.chunks(256).flat_map(|plane| plane[80..96].to_vec()).collect();
    // Decoders round differently and smooth the colours, stored at half the size, in their own ways.
    assert!(worst(&got, &row.map(|v| v as f32), 3) <= 4.0, "{got:?}");
    Ok(())
}

#[test]
fn resized_both_ways() -> Result<()> {
    let small = [129, 161, 161, 129, 161, 140, 139, 132, 162, 90, 132, 81];
    let got = decode("noise.png", ColorMode::Grey, (3, 4))?;
    // One step: rounding between the two passes.
    assert!(worst(&got, &small.map(|v| v as f32), 1) <= 1.001, "{got:?}");
    let large = [
        8, 70, 140, 183, 113, 142, 187, 205, 109, 112, 132, 144, 96, 187, 228, 195, 138, 198, 213, 155, 73, 107, 150,
        174, 153, 152, 161, 169, 121, 120, 121, 123, 173, 137, 130, 161, 192, 170, 128, 81, 79, 125, 154, 152, 125, 57,
        60, 130, 184, 173, 155, 121, 27, 85, 137, 152, 161, 108, 72, 64,
    ];
    let got = decode("noise.png", ColorMode::Grey, (5, 12))?;
    assert!(worst(&got, &large.map(|v| v as f32), 1) <= 1.001, "{got:?}");
    Ok(())
}

#[test]
fn sixteen_bits_and_four_inks() -> Result<()> {
    // 0x8040 of 0xffff, in eight bits.
    assert!(decode("grey16.png", ColorMode::Grey, (4, 4))?.iter().all(|v| (v - 128.0).abs() < 1e-3));
    assert_eq!(decode("cmyk.jpg", ColorMode::Rgb, (16, 16))?.len(), 3 * 256);
    Ok(())
}
