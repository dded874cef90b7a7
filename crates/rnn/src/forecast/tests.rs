use candle_core::{DType, Device, Tensor, Var};
use glassbox_core::dataset::{DataLoader, TensorDataset};
use glassbox_core::loss::{Loss, Quantile};
use glassbox_core::optim::Adam;
use glassbox_core::testkit::{check_layer, values};
use glassbox_core::train::callbacks::Checkpoints;
use glassbox_core::{Layer, ParamStore, Pass, RunDir, Seed, SupervisedStep, TensorExt, Trainer};

use super::*;

fn params() -> ParamStore {
    ParamStore::with_dtype(Seed(1), DType::F64, &Device::Cpu)
}

fn error<T>(result: Result<T>) -> String {
    result.err().expect("an error").to_string()
}

/// Of every decoding, small.
fn config(decoding: Decoding) -> ForecasterConfig {
    let (num_channels, input_len, horizon, hidden_size) = (2, 6, 5, 4);
    ForecasterConfig { num_channels, input_len, horizon, decoding, hidden_size, dropout: 0.3, ..Default::default() }
}

const DECODINGS: [Decoding; 3] = [Decoding::Direct, Decoding::Recursive, Decoding::Segments { segment_len: 3 }];

/// The windows of a series x_t = f(t), (count, input_len, 1), with what follows each, (count, horizon, 1).
fn windows(count: usize, input_len: usize, horizon: usize, f: impl Fn(usize) -> f64) -> (Tensor, Tensor) {
    let cut = |first: usize, len: usize| {
        let data: Vec<f64> = (0..count).flat_map(|start| (start + first..start + first + len).map(&f)).collect();
        Tensor::from_vec(data, (count, len, 1), &Device::Cpu).unwrap()
    };
    (cut(0, input_len), cut(input_len, horizon))
}

#[test]
fn every_decoding_keeps_the_contract_of_layers() {
    for decoding in DECODINGS {
        check_layer(|vb| Forecaster::new(config(decoding), vb), &[3, 6, 2]);
        let with = ForecasterConfig { norm: WindowNorm::RevIn, num_quantiles: Some(3), ..config(decoding) };
        check_layer(|vb| Forecaster::new(with, vb), &[3, 6, 2]);
    }
    let raw = ForecasterConfig { norm: WindowNorm::None, ..config(Decoding::Direct) };
    check_layer(|vb| Forecaster::new(raw, vb), &[3, 6, 2]);
    check_layer(|vb| DLinear::new(6, 3, 2, vb), &[3, 6, 2]);
}

#[test]
fn shapes_of_every_decoding() {
    let xs = values((3, 6, 2), 1).unwrap();
    for decoding in DECODINGS {
        for num_quantiles in [None, Some(1), Some(3)] {
            // 1 is less than a segment, 6 a multiple, 7 neither.
            for horizon in [1, 6, 7] {
                let config = ForecasterConfig { num_quantiles, horizon, ..config(decoding) };
                let ys = Forecaster::new(config, params().root()).unwrap().forward(&xs, &Pass::eval()).unwrap();
                let expected = [3, horizon, 2].into_iter().chain(num_quantiles).collect::<Vec<_>>();
                assert_eq!(ys.dims(), expected, "{decoding:?}");
            }
        }
    }
}

#[test]
fn recursive_decoding_feeds_its_forecasts_back() {
    let (short, long) = (config(Decoding::Recursive), ForecasterConfig { horizon: 9, ..config(Decoding::Recursive) });
    let store = params();
    let (short, long) = (Forecaster::new(short, store.root()).unwrap(), Forecaster::new(long, store.root()).unwrap());
    let xs = values((3, 6, 2), 1).unwrap();
    let (a, b) = (short.forward(&xs, &Pass::eval()).unwrap(), long.forward(&xs, &Pass::eval()).unwrap());
    assert_eq!(a.to_f64_vec().unwrap(), b.narrow(1, 0, 5).unwrap().to_f64_vec().unwrap());
}

#[test]
fn segments_forecast_each_channel_from_itself_alone() {
    let model = Forecaster::new(config(Decoding::Segments { segment_len: 3 }), params().root()).unwrap();
    let xs = values((1, 6, 2), 1).unwrap();
    let other = Tensor::cat(&[&xs.narrow(2, 0, 1).unwrap(), &values((1, 6, 1), 9).unwrap()], 2).unwrap();
    let first = |xs: &Tensor| {
        let ys = model.forward(xs, &Pass::eval()).unwrap();
        (ys.narrow(2, 0, 1).unwrap().to_f64_vec().unwrap(), ys.narrow(2, 1, 1).unwrap().to_f64_vec().unwrap())
    };
    let ((a, b), (c, d)) = (first(&xs), first(&other));
    assert_eq!(a, c);
    assert_ne!(b, d);
}

#[test]
fn a_level_taken_out_comes_back_in_the_forecast() {
    let xs = values((3, 6, 2), 1).unwrap();
    let shifted = (&xs + 1000.0).unwrap();
    for norm in [WindowNorm::LastValue, WindowNorm::RevIn] {
        for decoding in DECODINGS {
            let model = Forecaster::new(ForecasterConfig { norm, ..config(decoding) }, params().root()).unwrap();
            let plain = model.forward(&xs, &Pass::eval()).unwrap().to_f64_vec().unwrap();
            let moved = model.forward(&shifted, &Pass::eval()).unwrap().to_f64_vec().unwrap();
            for (plain, moved) in plain.iter().zip(moved) {
                // The spacing of f64 at 1000 is 1e-13, which the network may enlarge.
                assert!((plain + 1000.0 - moved).abs() < 1e-9, "{norm:?} {decoding:?}: {plain} {moved}");
            }
        }
    }
}

#[test]
fn revin_standardises_each_window_and_takes_it_back() {
    let store = params();
    let revin = RevIn::new(2, store.root()).unwrap();
    let xs = ((values((3, 50, 2), 1).unwrap() * 7.0).unwrap() + 40.0).unwrap();
    let (normed, _) = revin.normalize(&xs, &Pass::eval()).unwrap();
    let mean = normed.mean(1).unwrap().to_f64_vec().unwrap();
    let square = normed.sqr().unwrap().mean(1).unwrap().to_f64_vec().unwrap();
    assert!(mean.iter().all(|m| m.abs() < 1e-12), "{mean:?}");
    // eps takes 1e-5 / variance, and the variance is above 1.
    assert!(square.iter().all(|s| (s - 1.0).abs() < 1e-5), "{square:?}");

    for (name, by) in [("weight", 0.7), ("bias", -2.0)] {
        store.get(name).unwrap().set(&Tensor::full(by, 2, &Device::Cpu).unwrap()).unwrap();
    }
    let (normed, level) = revin.normalize(&xs, &Pass::eval()).unwrap();
    let back = revin.restore(&normed, &level, &Pass::eval()).unwrap();
    let quantiles = revin.restore(&normed.unsqueeze(3).unwrap(), &level, &Pass::eval()).unwrap();
    assert_eq!(back.to_f64_vec().unwrap(), quantiles.to_f64_vec().unwrap());
    for (back, x) in back.to_f64_vec().unwrap().iter().zip(xs.to_f64_vec().unwrap()) {
        // eps² beside the weight of 0.7 is 1.4e-10 of what stands in units of the deviation, about 4.
        assert!((back - x).abs() < 1e-8, "{back} {x}");
    }
    // A window that stands still is no division by 0.
    let (still, _) =
        revin.normalize(&Tensor::ones((1, 4, 2), DType::F64, &Device::Cpu).unwrap(), &Pass::eval()).unwrap();
    assert_eq!(still.to_f64_vec().unwrap(), [-2.0; 8]);
}

#[test]
fn dlinear_is_its_formula() {
    let (store, input_len) = (params(), 30);
    let model = DLinear::new(input_len, 4, 2, store.root()).unwrap();
    let xs = values((3, input_len, 2), 1).unwrap();
    // Written out: pad, average, part, two maps.
    let padded: Vec<Tensor> =
        (0..input_len + 24).map(|i: usize| xs.narrow(1, i.saturating_sub(12).min(input_len - 1), 1).unwrap()).collect();
    let padded = Tensor::cat(&padded, 1).unwrap();
    let trend: Vec<Tensor> =
        (0..input_len).map(|i| padded.narrow(1, i, 25).unwrap().mean_keepdim(1).unwrap()).collect();
    let trend = Tensor::cat(&trend, 1).unwrap();
    let map = |xs: &Tensor, name: &str| {
        let read = |part: &str| store.get(&format!("{name}.{part}")).unwrap().value();
        let ys = xs.transpose(1, 2).unwrap().broadcast_matmul(&read("weight").t().unwrap()).unwrap();
        ys.broadcast_add(&read("bias")).unwrap().transpose(1, 2).unwrap()
    };
    let expected = map(&(&xs - &trend).unwrap(), "linear_seasonal") + map(&trend, "linear_trend");
    let expected = expected.unwrap().to_f64_vec().unwrap();
    let got = model.forward(&xs, &Pass::eval()).unwrap().to_f64_vec().unwrap();
    // Sums of 60 numbers below 1 in another order.
    assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-13), "{got:?} {expected:?}");
}

#[test]
fn dlinear_goes_on_with_a_straight_line() {
    let (store, input_len, horizon) = (params(), 40, 6);
    let model = DLinear::new(input_len, horizon, 1, store.root()).unwrap();
    // Inside the window the moving average of a line is the line, and the season 0: from the trends T of steps 20 and 21
    // the line goes on as T_20 + (step − 20) (T_21 − T_20), whatever the season's weights are there.
    let mut trend = vec![0f64; horizon * input_len];
    let mut seasonal = vec![0f64; horizon * input_len];
    for h in 0..horizon {
        let ahead = (input_len + h - 20) as f64;
        trend[h * input_len + 20] = 1.0 - ahead;
        trend[h * input_len + 21] = ahead;
        seasonal[h * input_len + 15..h * input_len + 25].fill(3.5);
    }
    for (name, data) in [("linear_trend", trend), ("linear_seasonal", seasonal)] {
        let weight = Tensor::from_vec(data, (horizon, input_len), &Device::Cpu).unwrap();
        store.get(&format!("{name}.weight")).unwrap().set(&weight).unwrap();
        let bias = Tensor::zeros(horizon, DType::F64, &Device::Cpu).unwrap();
        store.get(&format!("{name}.bias")).unwrap().set(&bias).unwrap();
    }
    let (xs, targets) = windows(5, input_len, horizon, |t| 3.0 - 0.25 * t as f64);
    let scores = score(&model, &xs, &targets);
    // Rounding of numbers up to 300, squared.
    assert!(scores.mse < 1e-22, "{scores}");
}

fn score(model: &dyn Layer, xs: &Tensor, targets: &Tensor) -> ForecastScores {
    let loader = DataLoader::new(TensorDataset::new(xs.clone(), targets.clone()).unwrap(), 2);
    walk_forward(model, &loader, &Device::Cpu).unwrap()
}

#[test]
fn seasonal_naive_is_exact_on_what_repeats() {
    let (xs, targets) = windows(9, 10, 11, |t| [3.0, -1.0, 4.0, 1.0][t % 4]);
    let exact = score(&SeasonalNaive::new(4, 11).unwrap(), &xs, &targets);
    assert_eq!((exact.mse, exact.mae, exact.num_windows, exact.interval), (0.0, 0.0, 9, None));
    // With a trend of 1 a step it lags by 4 · (1 + ⌊h / 4⌋).
    let (xs, targets) = windows(9, 10, 6, |t| t as f64);
    let lagging = score(&SeasonalNaive::new(4, 6).unwrap(), &xs, &targets);
    assert_eq!(lagging.mae_by_step, [4.0, 4.0, 4.0, 4.0, 8.0, 8.0]);
    assert_eq!((lagging.mae, lagging.mse), (32.0 / 6.0, (4.0 * 16.0 + 2.0 * 64.0) / 6.0));
    assert!(error(SeasonalNaive::new(0, 3)).contains("period") && error(SeasonalNaive::new(3, 0)).contains("horizon"));
    let short = SeasonalNaive::new(11, 3).unwrap().forward(&xs, &Pass::eval());
    assert!(error(short).contains("11 steps or more, the period"));
}

/// Gives 1, 2 and 4 as quantiles, for one step of one channel.
struct Quantiles;

impl Layer for Quantiles {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        Ok(Tensor::new(&[1f64, 2.0, 4.0], &Device::Cpu)?.broadcast_as((xs.dim(0)?, 1, 1, 3))?)
    }
}

#[test]
fn intervals_are_scored_by_hand() {
    let targets = Tensor::new(&[[[0f64]], [[1.0]], [[3.0]], [[4.0]], [[6.0]]], &Device::Cpu).unwrap();
    let scores = score(&Quantiles, &targets, &targets);
    assert_eq!(scores.interval, Some(IntervalScores { coverage: 0.6, width: 3.0 }));
    assert_eq!((scores.mse, scores.mae), ((4.0 + 1.0 + 1.0 + 4.0 + 16.0) / 5.0, 10.0 / 5.0));
    let two = Tensor::zeros((5, 2, 1), DType::F64, &Device::Cpu).unwrap();
    let loader = DataLoader::new(TensorDataset::new(targets, two).unwrap(), 2);
    assert!(error(walk_forward(&Quantiles, &loader, &Device::Cpu)).contains("shape [2, 2, 1]"));
}

#[test]
fn sizes_that_cannot_be() {
    let new = |config: ForecasterConfig| error(Forecaster::new(config, params().root().pp("model")));
    let base = config(Decoding::Segments { segment_len: 3 });
    for broken in [
        ForecasterConfig { num_channels: 0, ..base },
        ForecasterConfig { input_len: 0, ..base },
        ForecasterConfig { horizon: 0, ..base },
        ForecasterConfig { hidden_size: 0, ..base },
    ] {
        assert!(new(broken).contains("at least 1"), "{}", new(broken));
    }
    assert!(new(ForecasterConfig { hidden_size: 3, ..base }).contains("even"));
    assert!(new(ForecasterConfig { num_quantiles: Some(2), ..base }).contains("odd"));
    assert!(new(ForecasterConfig { horizon: usize::MAX, ..base }).contains("below 2^32"));
    assert!(new(ForecasterConfig { dropout: 1.0, ..base }).starts_with("at `model`"));
    assert!(new(ForecasterConfig { input_len: 7, ..base }).contains("input_len: expected a multiple of segment_len 3"));
    assert!(new(config(Decoding::Segments { segment_len: 0 })).contains("segment_len"));
    assert!(new(ForecasterConfig { horizon: 1025, ..config(Decoding::Recursive) }).contains("at most 1024"));
    assert!(error(DLinear::new(0, 1, 1, params().root())).contains("input_len"));
    assert!(error(DLinear::new(20_000, 1, 1, params().root())).contains("at most 16384"));
    let windows = Tensor::zeros((2, 7, 2), DType::F64, &Device::Cpu).unwrap();
    let model = Forecaster::new(base, params().root().pp("model")).unwrap();
    let got = error(model.forward(&windows, &Pass::eval()));
    assert_eq!(got, "at `model`: input: expected (batch, 6, 2): (batch, input_len, num_channels), got [2, 7, 2]");
}

/// Trains on a noisy wave for `epochs` in `folder`, and gives the bits of the parameters.
fn train(config: ForecasterConfig, epochs: u64, resume: bool, folder: &std::path::Path) -> (Forecaster, Vec<u64>) {
    let store = params();
    let config = ForecasterConfig { num_channels: 1, num_quantiles: Some(3), ..config };
    let model = Forecaster::new(config, store.root()).unwrap();
    let (xs, targets) = windows(40, 6, 5, |t| (t as f64 * std::f64::consts::FRAC_PI_3).sin() + 0.1 * (t % 7) as f64);
    let step = SupervisedStep::new(model, Quantile::new(&[0.1, 0.5, 0.9]).unwrap(), Adam::new(&store, 0.01).unwrap());
    let loader = DataLoader::new(TensorDataset::new(xs, targets).unwrap(), 16).shuffle(Seed(3));
    let trainer = Trainer::new(RunDir::new(folder).unwrap()).epochs(epochs).resume(resume);
    let fitted = trainer.with(Checkpoints::every_epoch()).fit(step, loader, None).unwrap();
    drop(fitted);
    let bits = store.all().iter().flat_map(|p| p.value().to_f64_vec().unwrap()).map(f64::to_bits).collect();
    (Forecaster::new(config, store.root()).unwrap(), bits)
}

#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    for decoding in DECODINGS {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let (_, whole) = train(config(decoding), 4, false, folders[0].path());
        train(config(decoding), 2, false, folders[1].path());
        let (_, resumed) = train(config(decoding), 4, true, folders[1].path());
        assert_eq!(whole, resumed, "{decoding:?}");
    }
}

#[test]
fn it_learns_a_wave_with_an_interval_around_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = ForecasterConfig { hidden_size: 16, dropout: 0.0, ..config(Decoding::Segments { segment_len: 3 }) };
    let (model, _) = train(config, 60, false, folder.path());
    let (xs, targets) = windows(40, 6, 5, |t| (t as f64 * std::f64::consts::FRAC_PI_3).sin() + 0.1 * (t % 7) as f64);
    let learned = score(&model, &xs, &targets);
    // The wave's own variance is 0.5.
    let naive = score(&SeasonalNaive::new(1, 5).unwrap(), &xs, &targets);
    assert!(learned.mse < 0.2 && learned.mse < naive.mse / 4.0, "{learned}, naive {naive}");
    assert!(learned.interval.unwrap().coverage > 0.5, "{learned}");
}

#[test]
fn a_network_that_says_nothing_forecasts_the_last_value() {
    let store = params();
    let config = ForecasterConfig { num_channels: 1, ..config(Decoding::Direct) };
    let model = Forecaster::new(config, store.root()).unwrap();
    for name in ["head.weight", "head.bias"] {
        let param = store.get(name).unwrap();
        param.set(&param.value().zeros_like().unwrap()).unwrap();
    }
    let xs = Var::from_tensor(&values((1, 6, 1), 1).unwrap()).unwrap();
    let ys = model.forward(&xs, &Pass::eval()).unwrap();
    let last = xs.to_f64_vec().unwrap()[5];
    assert_eq!(ys.to_f64_vec().unwrap(), [last; 5]);
    let grads = ys.sum_all().unwrap().backward().unwrap();
    assert_eq!(grads.get(&xs).unwrap().to_f64_vec().unwrap(), [0.0, 0.0, 0.0, 0.0, 0.0, 5.0]);
}

#[test]
fn quantile_loss_takes_a_forecasters_outputs() {
    let config = ForecasterConfig { num_quantiles: Some(3), ..config(Decoding::Direct) };
    let model = Forecaster::new(config, params().root()).unwrap();
    let ys = model.forward(&values((3, 6, 2), 1).unwrap(), &Pass::eval()).unwrap();
    let loss = Quantile::new(&[0.1, 0.5, 0.9]).unwrap().forward(&ys, &values((3, 5, 2), 2).unwrap()).unwrap();
    assert!(loss.to_f64().unwrap() > 0.0);
}
