//! Samples as pictures.

use candle_core::{DType, Device, Tensor};
use glassbox_core::{Error, Result, TensorExt};

/// Images side by side, `columns` in a row, with a margin of a pixel: a picture of bytes.
///
/// # Shapes
/// Images (count, channels, height, width), with one channel or three, of values from −1 (black) to 1 (white), to
/// (rows · (height + 1) − 1, columns · (width + 1) − 1, channels), u8.
///
/// # Errors
/// No images, no columns, another number of channels.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// let images = Tensor::ones((6, 1, 8, 8), DType::F32, &Device::Cpu)?;
/// assert_eq!(glassbox_gan::image_grid(&images, 3)?.dims(), [17, 26, 1]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub fn image_grid(images: &Tensor, columns: usize) -> Result<Tensor> {
    let (count, channels, height, width) = match *images.dims() {
        [count, channels @ (1 | 3), height, width] if count * height * width > 0 && columns > 0 => {
            (count, channels, height, width)
        }
        _ => {
            let expected = "images (count, 1 or 3 channels, height, width) in at least one column";
            return Err(Error::invalid("picture", expected, format!("{:?} in {columns} columns", images.dims())));
        }
    };
    let rows = count.div_ceil(columns);
    let (tall, wide) = (rows * (height + 1) - 1, columns * (width + 1) - 1);
    // Mid grey between the images.
    let mut bytes = vec![128u8; tall * wide * channels];
    let values = images.to_dtype(DType::F32)?.to_f64_vec()?;
    for (at, &value) in values.iter().enumerate() {
        let (x, y) = (at % width, at / width % height);
        let (channel, image) = (at / (width * height) % channels, at / (width * height * channels));
        let (row, column) = (image / columns * (height + 1) + y, image % columns * (width + 1) + x);
        bytes[(row * wide + column) * channels + channel] = ((value + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8;
    }
    Ok(Tensor::from_vec(bytes, (tall, wide, channels), &Device::Cpu)?)
}

/// Points of the plane as an image of how many lie in each pixel: from −1 where there are none towards 1, from
/// (−`reach`, −`reach`), bottom left, to (`reach`, `reach`).
///
/// # Shapes
/// (count, 2) to (1, 1, size, size).
///
/// # Errors
/// Points of another size; a picture of no size or a reach that is not above 0.
pub fn scatter(points: &Tensor, reach: f64, size: usize) -> Result<Tensor> {
    if points.rank() != 2 || points.dims()[1] != 2 || size == 0 || reach <= 0.0 || reach.is_nan() {
        let got = format!("points {:?}, size {size}, reach {reach}", points.dims());
        return Err(Error::invalid("picture of points", "(count, 2), a size and a reach above 0", got));
    }
    let mut counts = vec![0f32; size * size];
    for point in points.to_f64_vec()?.chunks_exact(2) {
        let place = |v: f64| ((v + reach) / (2.0 * reach) * size as f64).floor();
        let (x, y) = (place(point[0]), size as f64 - 1.0 - place(point[1]));
        if (0.0..size as f64).contains(&x) && (0.0..size as f64).contains(&y) {
            counts[y as usize * size + x as usize] += 1.0;
        }
    }
    let shade = |count: f32| 1.0 - 2.0 * (-0.7 * count).exp();
    Ok(Tensor::from_vec(counts.into_iter().map(shade).collect::<Vec<f32>>(), (1, 1, size, size), &Device::Cpu)?)
}

/// Writes a picture (height, width, 1 or 3 channels), u8, as a PNG file, each pixel as `scale` × `scale` of them.
///
/// # Errors
/// Another shape or type; the file cannot be written.
#[cfg(feature = "images")]
pub fn write_png(picture: &Tensor, scale: u32, path: impl AsRef<std::path::Path>) -> Result<()> {
    let path = path.as_ref();
    let ([height, width, channels @ (1 | 3)], DType::U8) = (picture.dims(), picture.dtype()) else {
        let got = format!("{:?} {:?}", picture.dims(), picture.dtype());
        return Err(Error::invalid("picture", "(height, width, 1 or 3 channels) of u8", got));
    };
    let (height, width, scale) = (*height as u32, *width as u32, scale.max(1));
    let bytes = picture.flatten_all()?.to_vec1::<u8>()?;
    let pixel = |x: u32, y: u32, channel: usize| {
        let at = ((y / scale) as usize * width as usize + (x / scale) as usize) * channels + channel;
        bytes.get(at).copied().unwrap_or_default()
    };
    let (wide, tall) = (width * scale, height * scale);
    let mut file = std::io::Cursor::new(vec![]);
    let written = if *channels == 1 {
        image::GrayImage::from_fn(wide, tall, |x, y| image::Luma([pixel(x, y, 0)]))
            .write_to(&mut file, image::ImageFormat::Png)
    } else {
        image::RgbImage::from_fn(wide, tall, |x, y| image::Rgb([0, 1, 2].map(|channel| pixel(x, y, channel))))
            .write_to(&mut file, image::ImageFormat::Png)
    };
    written.map_err(|e| Error::format(path.display(), format!("cannot be written as PNG: {e}")))?;
    glassbox_core::write_atomic(path, &file.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_lie_beside_each_other() {
        let images = Tensor::new(&[-1f32, 1.0, 0.0], &Device::Cpu).unwrap().reshape((3, 1, 1, 1)).unwrap();
        let grid = image_grid(&images, 2).unwrap();
        assert_eq!(grid.flatten_all().unwrap().to_vec1::<u8>().unwrap(), [0, 128, 255, 128, 128, 128, 128, 128, 128]);
        assert!(image_grid(&images, 0).is_err());
        let points = Tensor::new(&[[-0.9f32, -0.9], [5.0, 0.0]], &Device::Cpu).unwrap();
        let drawn = scatter(&points, 1.0, 2).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(drawn[2] > -0.1 && drawn[0] == -1.0 && drawn[1] == -1.0 && drawn[3] == -1.0, "{drawn:?}");
    }
}
