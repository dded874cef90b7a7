//! Batches from a dataset, in a seeded order, on worker threads.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::{BudgetSampler, Collate, Dataset, Sampler};
use crate::{Error, Result, Seed};

/// Where in the stream of batches a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The epoch, counted from 0.
    pub epoch: u64,
    /// The next batch of the epoch, counted from 0.
    pub batch: usize,
}

/// Batches of a dataset. The order and the bytes are the same whatever the number of workers, and any position can be
/// gone to directly: they depend on the seed, the epoch and the place in the epoch alone.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::dataset::{DataLoader, Position, TensorDataset};
/// use glassbox_core::Seed;
/// let inputs = Tensor::arange(0f32, 10., &Device::Cpu)?.reshape((10, 1))?;
/// let targets = Tensor::arange(0u32, 10, &Device::Cpu)?;
/// let loader = DataLoader::new(TensorDataset::new(inputs, targets)?, 4).shuffle(Seed(1));
/// let sizes: Vec<usize> = loader.batches(Position::default(), &Device::Cpu)?
///     .map(|batch| Ok(batch?.input.dim(0)?)).collect::<glassbox_core::Result<_>>()?;
/// assert_eq!(sizes, [4, 4, 2]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub struct DataLoader<B> {
    source: Arc<dyn Source<B>>,
    to_device: fn(B, &Device) -> Result<B>,
    batch_size: usize,
    drop_last: bool,
    sampler: Sampler,
    seed: Seed,
    workers: usize,
}

/// Batches that each worker may have ready before it waits.
const PREFETCH: usize = 2;

impl<B: Send + 'static> DataLoader<B> {
    /// Batches of `batch_size` samples in the dataset's order, the last one shorter, loaded by the calling thread.
    pub fn new<D>(dataset: D, batch_size: usize) -> Self
    where
        D: Dataset + 'static,
        D::Item: Collate<Batch = B>,
    {
        Self {
            source: Arc::new(dataset),
            to_device: D::Item::to_device,
            batch_size,
            drop_last: false,
            sampler: Sampler::Sequential,
            seed: Seed(0),
            workers: 0,
        }
    }

    /// A new order each epoch. `seed` is also what augmentation draws from.
    pub fn shuffle(self, seed: Seed) -> Self {
        Self { sampler: Sampler::Shuffled(seed), seed, ..self }
    }

    /// The order that `sampler` gives.
    pub fn sampler(self, sampler: Sampler) -> Self {
        Self { sampler, ..self }
    }

    /// Batches of samples of similar length, anew each epoch; see [`Sampler::bucketed`]. `seed` is also what augmentation
    /// draws from.
    ///
    /// # Errors
    /// A batch size of 0.
    pub fn bucket_by_length<K: Ord>(self, lengths: &[K], seed: Seed) -> Result<Self> {
        Ok(Self { sampler: Sampler::bucketed(lengths, self.batch_size, seed)?, seed, ..self })
    }

    /// Batches of samples of similar length, of at most `max_tokens` tokens with their padding, and of at most the loader's
    /// batch size in samples: each step then costs about the same (fairseq's `--max-tokens`). `lengths` has one for each
    /// sample; of pairs, that of the longer side. The batches are the same in every epoch, their order is not. `seed` is
    /// also what augmentation draws from.
    ///
    /// # Errors
    /// A sample longer than `max_tokens`; a batch size of 0.
    pub fn max_tokens(self, lengths: &[usize], max_tokens: usize, seed: Seed) -> Result<Self> {
        let sampler = BudgetSampler::new(lengths, max_tokens, self.batch_size, seed)?;
        Ok(Self { sampler: Sampler::Budgeted(sampler), seed, ..self })
    }

    /// The seed that augmentation draws from.
    pub fn seed(self, seed: Seed) -> Self {
        Self { seed, ..self }
    }

    /// Leaves out the last batch where it is shorter than the others.
    pub fn drop_last(self) -> Self {
        Self { drop_last: true, ..self }
    }

    /// Loads on so many threads, ahead of time; 0 loads on the calling thread.
    pub fn workers(self, workers: usize) -> Self {
        Self { workers, ..self }
    }

    /// Number of batches in an epoch.
    ///
    /// # Errors
    /// A batch size of 0; no samples, or too few for one batch; a sampler that does not fit the dataset.
    pub fn num_batches(&self) -> Result<usize> {
        match self.cut(0)?.len() {
            0 => {
                let got = format!("{} samples", self.source.len());
                Err(Error::invalid("dataset", "enough samples for one batch", got))
            }
            batches => Ok(batches),
        }
    }

    /// The rest of the epoch at `position`, on `device`.
    ///
    /// # Errors
    /// As [`num_batches`](Self::num_batches); those of the dataset come from the iterator.
    pub fn batches(&self, position: Position, device: &Device) -> Result<Batches<B>> {
        let seed = self.seed.child("sample").index(position.epoch);
        let mut first = 0;
        let job = |indices: Vec<usize>| {
            let job = Job { first, seed, indices };
            first += job.indices.len() as u64;
            job
        };
        let jobs = self.cut(position.epoch)?.into_iter().map(job).skip(position.batch).collect();
        Ok(Batches::start(Arc::clone(&self.source), jobs, self.workers, self.to_device, device.clone()))
    }

    /// The samples of each batch of an epoch.
    fn cut(&self, epoch: u64) -> Result<Vec<Vec<usize>>> {
        if self.batch_size == 0 {
            return Err(Error::invalid("batch size", "at least 1", 0));
        }
        if self.source.len() == 0 {
            return Err(Error::invalid("dataset", "at least one sample", "none"));
        }
        let order = match &self.sampler {
            Sampler::Budgeted(sampler) => return sampler.batches(self.source.len(), epoch),
            Sampler::Bucketed(sampler) if sampler.batch_size != self.batch_size => {
                let expected = format!("{}, the loader's", self.batch_size);
                return Err(Error::invalid("batch size of the bucket sampler", expected, sampler.batch_size));
            }
            sampler => sampler.order(self.source.len(), epoch)?,
        };
        let is_kept = |batch: &&[usize]| !self.drop_last || batch.len() == self.batch_size;
        Ok(order.chunks(self.batch_size).filter(is_kept).map(<[usize]>::to_vec).collect())
    }
}

/// A dataset and how its samples make a batch, whatever their type.
trait Source<B>: Send + Sync {
    fn len(&self) -> usize;
    fn load(&self, job: &Job) -> Result<B>;
}

impl<B, D> Source<B> for D
where
    D: Dataset,
    D::Item: Collate<Batch = B>,
{
    fn len(&self) -> usize {
        Dataset::len(self)
    }

    fn load(&self, job: &Job) -> Result<B> {
        let sample = |(place, &index): (u64, &usize)| self.get(index, &mut job.seed.index(place).rng());
        D::Item::collate((job.first..).zip(&job.indices).map(sample).collect::<Result<_>>()?)
    }
}

/// One batch to load: which samples, the place of the first in the epoch, and the epoch's seed for augmentation.
#[derive(Clone)]
struct Job {
    indices: Vec<usize>,
    first: u64,
    seed: Seed,
}

/// The batches of an epoch, in order.
pub struct Batches<B> {
    loading: Loading<B>,
    to_device: fn(B, &Device) -> Result<B>,
    device: Device,
}

enum Loading<B> {
    Here {
        source: Arc<dyn Source<B>>,
        jobs: std::vec::IntoIter<Job>,
    },
    /// Worker `w` of `n` loads batches w, w + n, …, so that taking turns gives them in order.
    Threads {
        receivers: Vec<Receiver<Result<B>>>,
        threads: Vec<JoinHandle<()>>,
        next: usize,
        left: usize,
    },
}

impl<B: Send + 'static> Batches<B> {
    fn start(
        source: Arc<dyn Source<B>>,
        jobs: Vec<Job>,
        workers: usize,
        to_device: fn(B, &Device) -> Result<B>,
        device: Device,
    ) -> Self {
        let loading = if workers == 0 {
            Loading::Here { source, jobs: jobs.into_iter() }
        } else {
            let mut receivers = vec![];
            let mut threads = vec![];
            for worker in 0..workers {
                let (sender, receiver) = sync_channel(PREFETCH);
                let jobs: Vec<Job> = jobs.iter().skip(worker).step_by(workers).cloned().collect();
                let source = Arc::clone(&source);
                receivers.push(receiver);
                threads.push(std::thread::spawn(move || work(&*source, &jobs, &sender)));
            }
            Loading::Threads { receivers, threads, next: 0, left: jobs.len() }
        };
        Self { loading, to_device, device }
    }
}

fn work<B>(source: &dyn Source<B>, jobs: &[Job], sender: &SyncSender<Result<B>>) {
    for job in jobs {
        // The receiver is gone when nobody wants the rest.
        if sender.send(source.load(job)).is_err() {
            return;
        }
    }
}

impl<B> Iterator for Batches<B> {
    type Item = Result<B>;

    fn next(&mut self) -> Option<Result<B>> {
        let batch = match &mut self.loading {
            Loading::Here { source, jobs } => source.load(&jobs.next()?),
            Loading::Threads { left: 0, .. } => return None,
            Loading::Threads { receivers, next, left, .. } => {
                let received = receivers[*next % receivers.len()].recv();
                *next += 1;
                *left -= 1;
                received.unwrap_or_else(|_| Err(Error::invalid("loader thread", "a batch", "a panic in the dataset")))
            }
        };
        Some(batch.and_then(|b| (self.to_device)(b, &self.device)))
    }
}

impl<B> Drop for Batches<B> {
    fn drop(&mut self) {
        if let Loading::Threads { receivers, threads, .. } = &mut self.loading {
            receivers.clear();
            // A thread that panicked was reported as a missing batch.
            threads.drain(..).for_each(|thread| drop(thread.join()));
        }
    }
}
