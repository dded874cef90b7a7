//! Images in memory, a byte per value.

use candle_core::{Device, Tensor};
use glassbox_core::{Dataset, Error, Result, Rng, Sample};

/// Images of one shape with their classes, held as bytes: a quarter of the memory that f32 takes.
///
/// # Shapes
/// A sample's input is (channels, height, width), f32 in [0, 1]; its target is a u32 scalar.
#[derive(Clone)]
pub struct ImageDataset {
    pixels: Vec<u8>,
    shape: (usize, usize, usize),
    white: u8,
    labels: Vec<u32>,
    class_names: Vec<String>,
}

impl std::fmt::Debug for ImageDataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { shape: (channels, height, width), labels, class_names, .. } = self;
        let (images, classes) = (labels.len(), class_names.len());
        write!(f, "ImageDataset({images} images of {channels}x{height}x{width}, {classes} classes)")
    }
}

impl ImageDataset {
    /// A dataset of `pixels`, laid out (count, channels, height, width), where 255 stands for 1.0.
    ///
    /// # Errors
    /// There is no image, the number of pixels is not count × channels × height × width, or a label has no name.
    pub fn new(
        pixels: Vec<u8>,
        shape: (usize, usize, usize),
        labels: Vec<u32>,
        class_names: Vec<String>,
    ) -> Result<Self> {
        if labels.is_empty() {
            return Err(Error::invalid("images", "at least one", "none"));
        }
        let (channels, height, width) = shape;
        let expected = [channels, height, width].iter().try_fold(labels.len(), |product, &n| product.checked_mul(n));
        if expected != Some(pixels.len()) || pixels.is_empty() {
            let expected = format!("{} images of {channels}x{height}x{width}", labels.len());
            return Err(Error::invalid("pixels", expected, pixels.len()));
        }
        if let Some(i) = labels.iter().position(|&label| label as usize >= class_names.len()) {
            let expected = format!("less than {} classes", class_names.len());
            return Err(Error::invalid(format!("label of image {i}"), expected, labels[i]));
        }
        Ok(Self { pixels, shape, white: u8::MAX, labels, class_names })
    }

    /// The same, where the byte `white` stands for 1.0 (16 for the embedded digits).
    ///
    /// # Errors
    /// `white` is 0.
    pub fn with_white(mut self, white: u8) -> Result<Self> {
        if white == 0 {
            return Err(Error::invalid("white", "at least 1", white));
        }
        self.white = white;
        Ok(self)
    }

    /// (channels, height, width).
    pub fn shape(&self) -> (usize, usize, usize) {
        self.shape
    }

    /// The class of each image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// What each class is called, in the order of the classes.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The bytes of one image, laid out (channels, height, width); none where the index is out of range.
    pub fn pixels(&self, index: usize) -> Option<&[u8]> {
        self.pixels.chunks_exact(self.pixels.len() / self.labels.len()).nth(index)
    }

    fn label(&self, index: usize) -> Result<u32> {
        self.labels.get(index).copied().ok_or_else(|| out_of_range(index, self.labels.len()))
    }
}

pub(crate) fn out_of_range(index: usize, len: usize) -> Error {
    Error::invalid("sample index", format!("less than {len}"), index)
}

impl Dataset for ImageDataset {
    type Item = Sample;

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn get(&self, index: usize, _rng: &mut Rng) -> Result<Sample> {
        let target = Tensor::new(self.label(index)?, &Device::Cpu)?;
        let pixels = self.pixels(index).ok_or_else(|| out_of_range(index, self.labels.len()))?;
        let white = f32::from(self.white);
        let values: Vec<f32> = pixels.iter().map(|&p| f32::from(p) / white).collect();
        Ok(Sample { input: Tensor::from_vec(values, self.shape, &Device::Cpu)?, target })
    }

    fn class(&self, index: usize) -> Result<Option<usize>> {
        Ok(Some(self.label(index)? as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use glassbox_core::Seed;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|i| i.to_string()).collect()
    }

    #[test]
    fn samples_are_scaled_and_shaped() {
        let data = ImageDataset::new(vec![0, 51, 255, 102], (1, 1, 2), vec![1, 0], names(2)).unwrap();
        let sample = data.get(1, &mut Seed(1).rng()).unwrap();
        assert_eq!(sample.input.dims(), [1, 1, 2]);
        assert_eq!(sample.input.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [1.0, 0.4]);
        assert_eq!(sample.target.to_scalar::<u32>().unwrap(), 0);
        assert_eq!((data.class(0).unwrap(), data.len()), (Some(1), 2));
        assert!(data.get(2, &mut Seed(1).rng()).unwrap_err().to_string().contains("less than 2, got 2"));
        let halved = data.with_white(51).unwrap().get(0, &mut Seed(1).rng()).unwrap();
        assert_eq!(halved.input.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [0.0, 1.0]);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let error = |pixels: Vec<u8>, shape, labels, classes| {
            ImageDataset::new(pixels, shape, labels, names(classes)).unwrap_err().to_string()
        };
        assert_eq!(error(vec![], (1, 1, 1), vec![], 1), "images: expected at least one, got none");
        assert_eq!(error(vec![1], (1, 1, 2), vec![0], 1), "pixels: expected 1 images of 1x1x2, got 1");
        assert_eq!(
            error(vec![1, 1], (1, 1, 1), vec![0, 3], 2),
            "label of image 1: expected less than 2 classes, got 3"
        );
        assert!(error(vec![], (1, 0, 2), vec![0], 1).contains("pixels"));
        assert!(error(vec![], (usize::MAX, usize::MAX, 2), vec![0], 1).contains("pixels"));
    }
}
