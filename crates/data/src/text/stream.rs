//! Batches that go on where the one before ended.

use candle_core::{Device, Tensor};
use glassbox_core::dataset::{DataLoader, StreamBatch};
use glassbox_core::{Dataset, Error, Result, Rng};

use crate::images::out_of_range;

/// A stream of tokens as batches for truncated backpropagation through time: the stream is cut into `batch_size` equal
/// parts, and row b of each batch goes on where row b of the batch before ended, so that a recurrent network's state can
/// be carried over. Of n tokens, at most `batch_size` at the end are left out; the last batch of an epoch may be shorter
/// in time.
///
/// A sample is a whole batch already, to be taken in order and one by one, as [`into_loader`](Self::into_loader) does.
///
/// ```
/// use glassbox_data::text::StreamBatches;
/// use glassbox_core::dataset::Position;
/// let loader = StreamBatches::new(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 2, 3)?.into_loader();
/// let mut batches = loader.batches(Position::default(), &candle_core::Device::Cpu)?;
/// let first = batches.next().expect("two batches")?;
/// assert_eq!(first.input.to_vec2::<u32>()?, [[0, 1, 2], [4, 5, 6]]);
/// assert_eq!(first.target.to_vec2::<u32>()?, [[1, 2, 3], [5, 6, 7]]);
/// let second = batches.next().expect("two batches")?;
/// assert_eq!((second.input.to_vec2::<u32>()?, second.step), (vec![vec![3], vec![7]], 1));
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StreamBatches {
    /// (batch_size, row_len)
    inputs: Tensor,
    /// (batch_size, row_len)
    targets: Tensor,
    row_len: usize,
    seq_len: usize,
}

impl StreamBatches {
    /// Cuts `tokens` into `batch_size` parts, to be read `seq_len` tokens at a time.
    ///
    /// # Errors
    /// A `batch_size` or `seq_len` of 0; fewer than `batch_size + 1` tokens.
    pub fn new(tokens: &[u32], batch_size: usize, seq_len: usize) -> Result<Self> {
        if batch_size == 0 || seq_len == 0 {
            let got = format!("{batch_size} and {seq_len}");
            return Err(Error::invalid("batch_size and seq_len of a stream", "at least 1", got));
        }
        let row_len = tokens.len().saturating_sub(1) / batch_size;
        if row_len == 0 {
            let expected = format!("more tokens than batch_size {batch_size}");
            return Err(Error::invalid("text", expected, format!("{} tokens", tokens.len())));
        }
        let tokens = Tensor::new(tokens, &Device::Cpu)?;
        let rows = |start| tokens.narrow(0, start, batch_size * row_len)?.reshape((batch_size, row_len));
        Ok(Self { inputs: rows(0)?, targets: rows(1)?, row_len, seq_len })
    }

    /// The loader that takes the batches in order.
    pub fn into_loader(self) -> DataLoader<StreamBatch> {
        DataLoader::new(self, 1)
    }
}

impl Dataset for StreamBatches {
    type Item = StreamBatch;

    fn len(&self) -> usize {
        self.row_len.div_ceil(self.seq_len)
    }

    fn get(&self, index: usize, _: &mut Rng) -> Result<StreamBatch> {
        if index >= self.len() {
            return Err(out_of_range(index, self.len()));
        }
        let start = index * self.seq_len;
        let steps = self.seq_len.min(self.row_len - start);
        let part = |rows: &Tensor| rows.narrow(1, start, steps)?.contiguous();
        Ok(StreamBatch { input: part(&self.inputs)?, target: part(&self.targets)?, step: index })
    }
}
