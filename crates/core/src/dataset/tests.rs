use std::collections::BTreeSet;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::Seed;

/// Samples that are their own indices, with classes of very different sizes.
struct Classes(Vec<usize>);

impl Classes {
    fn of_sizes(sizes: &[usize]) -> Self {
        // Interleaved, as a dataset's classes are.
        let mut classes: Vec<usize> = sizes.iter().enumerate().flat_map(|(class, &size)| vec![class; size]).collect();
        Seed(3).rng().shuffle(&mut classes);
        Self(classes)
    }
}

impl Dataset for Classes {
    type Item = usize;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize, _: &mut Rng) -> Result<usize> {
        Ok(index)
    }

    fn class(&self, index: usize) -> Result<Option<usize>> {
        Ok(self.0.get(index).copied())
    }
}

fn items<D: Dataset>(dataset: &D) -> Vec<D::Item> {
    (0..dataset.len()).map(|index| dataset.get(index, &mut Seed(0).rng()).unwrap()).collect()
}

fn class_counts<D: Dataset>(dataset: &D, num_classes: usize) -> Vec<usize> {
    let mut counts = vec![0; num_classes];
    (0..dataset.len()).for_each(|index| counts[dataset.class(index).unwrap().unwrap()] += 1);
    counts
}

/// Both together are all the samples, each once, each part in order.
fn assert_parts<D: Dataset>(first: &Subset<D>, second: &Subset<D>, len: usize) {
    let both: BTreeSet<usize> = first.indices().iter().chain(second.indices()).copied().collect();
    assert_eq!((both.len(), first.len() + second.len()), (len, len));
    assert!(first.indices().is_sorted() && second.indices().is_sorted());
}

fn error<T>(result: Result<T>) -> String {
    result.err().expect("an error").to_string()
}

#[test]
fn a_tensor_dataset_gives_views_and_classes() {
    let inputs = Tensor::arange(0f32, 24., &Device::Cpu).unwrap().reshape((4, 6)).unwrap();
    let targets = Tensor::new(&[2u32, 0, 1, 2], &Device::Cpu).unwrap();
    // Samples are the columns: not contiguous as given.
    let dataset = TensorDataset::new(inputs.narrow(1, 0, 4).unwrap().t().unwrap(), targets).unwrap();
    let sample = dataset.get(1, &mut Seed(0).rng()).unwrap();
    assert_eq!(sample.input.to_vec1::<f32>().unwrap(), [1., 7., 13., 19.]);
    assert_eq!(sample.target.to_scalar::<u32>().unwrap(), 0);
    assert_eq!((0..4).map(|i| dataset.class(i).unwrap().unwrap()).collect::<Vec<_>>(), [2, 0, 1, 2]);
    let batch = Sample::collate(items(&dataset)).unwrap();
    assert_eq!((batch.input.dims(), batch.target.dims()), (&[4, 4][..], &[4][..]));
}

#[test]
fn targets_that_are_no_classes_have_none() {
    let inputs = Tensor::zeros((3, 2), DType::F32, &Device::Cpu).unwrap();
    let values = TensorDataset::new(inputs.clone(), Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap()).unwrap();
    assert_eq!(values.class(0).unwrap(), None);
    let several = TensorDataset::new(inputs.clone(), Tensor::zeros((3, 1), DType::U32, &Device::Cpu).unwrap()).unwrap();
    assert_eq!(several.class(0).unwrap(), None);
    let message = error(values.split_stratified(0.5, Seed(1)));
    assert_eq!(message, "sample 0: expected a class, for a stratified split, got none");
    let negative = TensorDataset::new(inputs, Tensor::new(&[0i64, 5, -1], &Device::Cpu).unwrap()).unwrap();
    assert_eq!(negative.class(1).unwrap(), Some(5));
    assert_eq!(error(negative.class(2)), "class of sample 2: expected 0 or more, got -1");
}

#[test]
fn lengths_that_differ_are_an_error() {
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
    let message = error(TensorDataset::new(zeros(&[3, 2]), zeros(&[4])));
    let expected =
        "dataset: expected inputs and targets with the same first dimension, got inputs [3, 2] and targets [4]";
    assert_eq!(message, expected);
    assert!(TensorDataset::new(zeros(&[]), zeros(&[])).is_err());
    assert!(TensorDataset::new(zeros(&[0, 2]), zeros(&[0])).unwrap().is_empty());
}

#[test]
fn an_index_out_of_range_is_an_error_everywhere() {
    let numbers = || VecDataset(vec![10, 20, 30]);
    let tensors = Tensor::zeros(3, DType::U32, &Device::Cpu).unwrap();
    let tensors = TensorDataset::new(tensors.clone(), tensors).unwrap();
    let rng = &mut Seed(0).rng();
    let message = "sample index: expected below 3, the number of samples, got 3";
    assert_eq!(error(numbers().get(3, rng)), message);
    assert_eq!(error(tensors.get(3, rng)), message);
    assert_eq!(error(tensors.class(3)), message);
    assert_eq!(error(numbers().map(|n, _| Ok(n)).get(3, rng)), message);
    assert_eq!(error(numbers().subset(vec![0, 3])), message);
    let part = numbers().subset(vec![2, 2, 0]).unwrap();
    assert_eq!(items(&part), [30, 30, 10]);
    assert_eq!(error(part.get(3, rng)), message);
    assert_eq!(error(part.class(usize::MAX)), message.replace("got 3", &format!("got {}", usize::MAX)));
    let both = numbers().concat(numbers());
    assert_eq!(error(both.get(6, rng)), "sample index: expected below 6, the number of samples, got 6");
    assert!(both.class(6).is_err());
}

#[test]
fn a_map_changes_samples_with_the_samples_own_numbers() {
    let dataset = VecDataset(vec![1.0, 2.0]).map(|n, rng| Ok(n + rng.uniform())).map(|n, _| Ok(10.0 * n));
    let get = |index, seed| dataset.get(index, &mut Seed(seed).rng()).unwrap();
    assert_eq!(get(1, 5), 10.0 * (2.0 + Seed(5).rng().uniform()));
    assert_ne!(get(1, 5), get(1, 6));
    let failing = VecDataset(vec![1]).map(|n: i32, _| -> Result<i32> { Err(Error::invalid("sample", "even", n)) });
    assert_eq!(error(failing.get(0, &mut Seed(0).rng())), "sample: expected even, got 1");
}

#[test]
fn a_concatenation_is_one_after_the_other() {
    let both = VecDataset(vec![1, 2]).concat(VecDataset(vec![])).concat(VecDataset(vec![3]).map(|n, _| Ok(n + 1)));
    assert_eq!(items(&both), [1, 2, 4]);
}

#[test]
fn classes_pass_through_every_wrapper() {
    let dataset = Arc::new(Classes(vec![4, 5, 6]));
    let part = Arc::clone(&dataset).map(|n, _| Ok(n)).subset(vec![2, 0]).unwrap();
    let both = part.clone().concat(part).map(|n, _| Ok(n.to_string()));
    let classes: Vec<_> = (0..both.len()).map(|index| both.class(index).unwrap().unwrap()).collect();
    assert_eq!(classes, [6, 4, 6, 4]);
    assert_eq!(items(&both), ["2", "0", "2", "0"]);
}

#[test]
fn a_split_is_random_and_its_sizes_are_the_nearest() {
    for (len, fraction, expected) in [(10, 0.8, 8), (7, 0.5, 4), (3, 0.4, 1), (1000, 0.333, 333)] {
        let (first, second) = VecDataset((0..len).collect()).split(fraction, Seed(1)).unwrap();
        assert_eq!(first.len(), expected, "{fraction} of {len}");
        assert_parts(&first, &second, len);
    }
    let indices = |seed| Classes(vec![0; 100]).split(0.5, Seed(seed)).unwrap().0.indices().to_vec();
    assert_eq!(indices(1), indices(1));
    assert_ne!(indices(1), indices(2));
    assert_ne!(indices(1), (0..50).collect::<Vec<_>>());
}

#[test]
fn a_stratified_split_divides_every_class_within_one_sample() {
    let sizes = [500, 63, 7, 1, 0, 29];
    let len: usize = sizes.iter().sum();
    for fraction in [0.8, 0.5, 0.1, 1.0 / 3.0] {
        let (first, second) = Classes::of_sizes(&sizes).split_stratified(fraction, Seed(7)).unwrap();
        assert_parts(&first, &second, len);
        assert_eq!(first.len(), (len as f64 * fraction).round() as usize, "{fraction}");
        for (count, size) in class_counts(&first, sizes.len()).into_iter().zip(sizes) {
            assert!((count as f64 - size as f64 * fraction).abs() < 1.0, "{fraction} of {size} gave {count}");
        }
    }
    let indices = |seed| Classes::of_sizes(&sizes).split_stratified(0.8, Seed(seed)).unwrap().0.indices().to_vec();
    assert_eq!(indices(1), indices(1));
    assert_ne!(indices(1), indices(2));
}

#[test]
fn the_largest_remainders_are_rounded_up() {
    // Shares 1.5, 2.1, 0.9 of a total of 4.5, which rounds to 5: 0.9 gets the first, 1.5 the second.
    let (first, _) = Classes::of_sizes(&[5, 7, 3]).split_stratified(0.3, Seed(1)).unwrap();
    assert_eq!(class_counts(&first, 3), [2, 2, 1]);
}

#[test]
fn splits_that_cannot_be_are_errors() {
    let numbers = |len| VecDataset((0..len).collect::<Vec<u32>>());
    for fraction in [0.0, 1.0, -0.5, f64::NAN] {
        assert!(error(numbers(10).split(fraction, Seed(1))).contains("between 0 and 1"), "{fraction}");
    }
    assert_eq!(error(numbers(1).split(0.8, Seed(1))), "split: expected at least one sample in each part, got 1 and 0");
    assert!(error(numbers(0).split(0.8, Seed(1))).ends_with("got 0 and 0"));
    assert!(error(numbers(10).split_stratified(0.8, Seed(1))).contains("a class"));
    assert!(error(numbers(10).k_folds(1, Seed(1))).contains("2 to 10"));
    assert!(error(numbers(10).k_folds(11, Seed(1))).ends_with("got 11"));
    assert!(error(numbers(10).k_folds_stratified(5, Seed(1))).contains("a class"));
    assert!(error(numbers(0).k_folds(2, Seed(1))).contains("number of samples"));
}

#[test]
fn every_sample_is_tested_in_exactly_one_fold() {
    for (len, k) in [(10, 10), (569, 10), (7, 2)] {
        let folds = Classes(vec![0; len]).k_folds(k, Seed(2)).unwrap();
        assert_eq!(folds.len(), k);
        let mut tested = vec![0; len];
        for (train, test) in &folds {
            assert_parts(train, test, len);
            assert!(test.len() == len / k || test.len() == len.div_ceil(k));
            test.indices().iter().for_each(|&index| tested[index] += 1);
        }
        assert_eq!(tested, vec![1; len]);
    }
}

#[test]
fn stratified_folds_share_every_class_within_one_sample() {
    let (sizes, k) = ([357, 212, 4], 10);
    let folds = || Classes::of_sizes(&sizes).k_folds_stratified(k, Seed(2)).unwrap();
    let len: usize = sizes.iter().sum();
    for (train, test) in folds() {
        assert_parts(&train, &test, len);
        assert!(test.len() == len / k || test.len() == len.div_ceil(k));
        for (count, size) in class_counts(&test, sizes.len()).into_iter().zip(sizes) {
            assert!(count == size / k || count == size.div_ceil(k), "{count} of {size}");
        }
    }
    let tests = |folds: Vec<Fold<Classes>>| folds.iter().map(|(_, test)| test.indices().to_vec()).collect::<Vec<_>>();
    assert_eq!(tests(folds()), tests(folds()));
}

#[test]
fn a_shuffled_order_is_a_permutation_of_its_epochs_own() {
    let sampler = Sampler::Shuffled(Seed(4));
    let orders: BTreeSet<Vec<usize>> = (0..20).map(|epoch| sampler.order(50, epoch).unwrap()).collect();
    assert_eq!(orders.len(), 20);
    for mut order in orders {
        order.sort_unstable();
        assert_eq!(order, Sampler::Sequential.order(50, 0).unwrap());
    }
    assert_eq!(sampler.order(50, 7).unwrap(), Sampler::Shuffled(Seed(4)).order(50, 7).unwrap());
    assert_ne!(sampler.order(50, 7).unwrap(), Sampler::Shuffled(Seed(5)).order(50, 7).unwrap());
    assert!(sampler.order(0, 0).unwrap().is_empty());
    assert_eq!(sampler.num_samples(50), 50);
}

/// Fails unless `count` of `n` draws is within five standard deviations of probability `p`: a right sampler fails that
/// once in 1.7 million, and the seed is fixed.
fn assert_frequency(count: usize, n: usize, p: f64) {
    let deviation = (n as f64 * p * (1.0 - p)).sqrt();
    assert!((count as f64 - n as f64 * p).abs() <= 5.0 * deviation, "{count} of {n} at probability {p}");
}

#[test]
fn weighted_samples_come_as_often_as_their_weights_say() {
    let weights = [0.0, 1.0, 2.0, 0.0, 5.0, 0.0];
    let n = 40_000;
    let sampler = Sampler::weighted(&weights, n, Seed(6)).unwrap();
    let order = sampler.order(6, 0).unwrap();
    assert_eq!((order.len(), sampler.num_samples(6)), (n, n));
    for (index, weight) in weights.iter().enumerate() {
        assert_frequency(order.iter().filter(|&&drawn| drawn == index).count(), n, weight / 8.0);
    }
    assert_eq!(order, sampler.order(6, 0).unwrap());
    assert_ne!(order, sampler.order(6, 1).unwrap());
}

#[test]
fn balanced_weights_draw_all_classes_equally_often() {
    let dataset = Classes::of_sizes(&[900, 90, 10]);
    let n = 30_000;
    let sampler = Sampler::weighted(&class_balanced_weights(&dataset).unwrap(), n, Seed(1)).unwrap();
    let drawn = dataset.subset(sampler.order(1000, 0).unwrap()).unwrap();
    class_counts(&drawn, 3).into_iter().for_each(|count| assert_frequency(count, n, 1.0 / 3.0));
    let message = error(class_balanced_weights(&VecDataset(vec![1])));
    assert_eq!(message, "sample 0: expected a class, for weights that balance classes, got none");
}

#[test]
fn weights_that_make_no_distribution_are_errors() {
    let weighted = |weights: &[f64], n| error(Sampler::weighted(weights, n, Seed(1)));
    assert_eq!(weighted(&[1.0, -1.0], 2), "weight of sample 1: expected a finite number, 0 or more, got -1");
    assert!(weighted(&[f64::NAN], 2).starts_with("weight of sample 0"));
    assert!(weighted(&[f64::INFINITY], 2).starts_with("weight of sample 0"));
    assert!(weighted(&[f64::MAX, f64::MAX], 2).ends_with("got inf"));
    assert_eq!(weighted(&[0.0, 0.0], 2), "sum of the samples' weights: expected a finite number above 0, got 0");
    assert!(weighted(&[], 2).ends_with("got 0"));
    assert!(weighted(&[1.0], 0).starts_with("num_samples"));
    let message = error(Sampler::weighted(&[1.0, 1.0], 2, Seed(1)).unwrap().order(3, 0));
    assert_eq!(message, "number of weights: expected 3, one for each sample, got 2");
    assert!(error(Sampler::weighted(&[1.0], usize::MAX, Seed(1)).unwrap().order(1, 0)).contains("memory"));
}
