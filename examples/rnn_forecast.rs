//! Forecasts a time series with a recurrent network, beside two baselines, and draws the forecast with its interval.

mod common;
#[path = "common/plot.rs"]
mod plot;

use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use common::{Defaults, RunArgs};
use glassbox::data::Standardizer;
use glassbox::data::series::{Interval, SeriesCsv, SeriesSplit, SeriesWindows, TimeSeries};
use glassbox::prelude::*;
use glassbox::train::Fitted;
use serde::Serialize;

/// Learns to forecast a time series, and measures how well over every window of its last part.
///
/// Without --data the series is the carbon dioxide in the air of Mauna Loa, month by month (NOAA), which is part of this
/// project. With --data it is a CSV file with a header, one row a step: time stamps at regular intervals, then numbers. The
/// first 70 % of the steps are learned from, the next 10 % decide which weights are kept, the rest is forecast; files called
/// ETTh… and ETTm… are parted as their benchmark is, into 12, 4 and 4 months.
///
/// The folder of the run also gets forecast.svg, the last forecast of the test part, and forecast.csv, the forecast of what
/// comes after the end of the series.
#[derive(Parser, Serialize)]
struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// Steps to forecast: 24 where this is not given, 96 for --data
    #[arg(long)]
    horizon: Option<usize>,
    /// Steps to forecast from: where this is not given, up to 15 segments of half a horizon
    #[arg(long)]
    input_len: Option<usize>,
    /// Columns to forecast, for --data: where this is not given, all but the first, which is the time
    #[arg(long, value_delimiter = ',', requires = "data")]
    columns: Vec<String>,
    /// How the horizon comes from what was: segments (SegRNN) where this is not given
    #[arg(long)]
    decoding: Option<DecodingName>,
    /// Steps of a season, which the naive forecast repeats: where this is not given, a day of hours, a week of days, …
    #[arg(long)]
    period: Option<usize>,
    /// Steps of the training, validation and test part, such as 8640,2880,2880
    #[arg(long, value_delimiter = ',')]
    split: Vec<usize>,
    /// Size of the recurrent state: 128 where this is not given
    #[arg(long)]
    hidden_size: Option<usize>,
}

#[derive(Clone, Copy, clap::ValueEnum, Serialize)]
enum DecodingName {
    Segments,
    Direct,
    Recursive,
}

/// The interval holds 90 %; between its ends stands the median.
const LEVELS: [f64; 3] = [0.05, 0.5, 0.95];
/// An epoch takes a short series' windows several times, until it has so many.
const WINDOWS_PER_EPOCH: usize = 4096;

fn main() -> ExitCode {
    common::run(example)
}

fn example() -> anyhow::Result<()> {
    let args: Args = common::parse(Defaults { out: "runs/rnn_forecast", epochs: "5", batch_size: "64", lr: "0.002" });
    let (run, device) = (&args.run, device(&args.run.device)?);
    let task = Task::new(&args)?;
    if !run.quiet {
        println!("{task}\n");
    }

    let params = ParamStore::new(Seed(run.seed), &device);
    let model = Forecaster::new(task.config, params.root())?;
    let step = SupervisedStep::new(model, Quantile::new(&LEVELS)?, Adam::new(&params, run.lr)?)
        .schedule(Cosine::new())
        .average_weights(0.98)?;
    let fitted = task.fit(run, &args, step)?;

    let baseline = RunArgs { out: run.out.join("dlinear"), quiet: true, ..run.clone() };
    let linear_params = ParamStore::new(Seed(run.seed), &device);
    let linear =
        DLinear::new(task.config.input_len, task.config.horizon, task.config.num_channels, linear_params.root())?;
    let step = SupervisedStep::new(linear, Mse::default(), Adam::new(&linear_params, 0.005)?).schedule(Cosine::new());
    let linear = task.fit(&baseline, &args, step)?;

    // What was saved is what is measured: a fresh model reads the file.
    let reloaded = ParamStore::new(Seed(0), &device);
    let model = Forecaster::new(task.config, reloaded.root())?;
    reloaded.load(run.out.join("model.safetensors"))?;
    let naive = SeasonalNaive::new(task.period, task.config.horizon)?;
    let test = DataLoader::new(task.windows(task.split.test.clone())?, 256);
    let scores = walk_forward(&model, &test, &device)?;
    let dlinear = walk_forward(linear.step.model(), &test, &device)?;
    let naive = walk_forward(&naive, &test, &device)?;

    let write = |name: &str, text: String| {
        let path = run.out.join(name);
        std::fs::write(&path, text).map_err(|e| Error::io(&path, e))
    };
    write("forecast.svg", task.plot(&model, &device)?.svg())?;
    write("forecast.csv", task.future(&model, &device)?)?;
    let (coverage, width) = scores.interval.map_or((f64::NAN, f64::NAN), |i| (i.coverage, i.width));
    if !run.quiet {
        let row = |name: &str, s: &ForecastScores| println!("{name:<16} {:8.4} {:8.4}", s.mse, s.mae);
        println!("\nz-scores over every one of {} windows of the test part:", scores.num_windows);
        println!("{:<16} {:>8} {:>8}", "", "MSE", "MAE");
        row("forecaster", &scores);
        row("DLinear", &dlinear);
        row("seasonal naive", &naive);
        println!(
            "\nThe 90 % interval holds {:.1} % of the true values; its mean width is {width:.3}.",
            100.0 * coverage
        );
        println!("Drawn in {}.", run.out.join("forecast.svg").display());
    }
    common::print_result(
        &[
            ("mse", scores.mse),
            ("mae", scores.mae),
            ("dlinear_mse", dlinear.mse),
            ("dlinear_mae", dlinear.mae),
            ("naive_mse", naive.mse),
            ("naive_mae", naive.mae),
            ("interval_coverage", coverage),
            ("interval_width", width),
            ("num_windows", scores.num_windows as f64),
            ("dlinear_seconds", linear.seconds),
            ("validation_loss", fitted.scores.value("validation_loss").unwrap_or(f64::NAN)),
        ],
        fitted.seconds,
    );
    Ok(())
}

/// What is forecast from what.
struct Task {
    /// As the file has it.
    series: TimeSeries,
    /// Standardised by the statistics of the training part.
    scaled: TimeSeries,
    scaler: Standardizer,
    split: SeriesSplit,
    config: ForecasterConfig,
    period: usize,
    /// What stands at the values' axis.
    unit: &'static str,
}

impl Task {
    fn new(args: &Args) -> anyhow::Result<Self> {
        let (series, unit) = match &args.run.data {
            None => (glassbox::data::series::mauna_loa_co2()?, "ppm"),
            Some(path) if args.columns.is_empty() => (SeriesCsv::open(path).read()?, "unit of the file"),
            Some(path) => {
                (SeriesCsv::open(path).values(args.columns.iter().map(String::as_str)).read()?, "unit of the file")
            }
        };
        let split = split(args, &series)?;
        let scaler = Standardizer::fit_series(&series, split.train.clone())?;
        let scaled = scaler.apply_to_series(series.clone())?;
        let config = config(args, &series, split.train.len());
        let period = args.period.unwrap_or_else(|| season(series.interval()).min(config.input_len));
        SeasonalNaive::new(period, 1)?;
        if period > config.input_len {
            anyhow::bail!("--period: expected at most {}, the input length, got {period}", config.input_len);
        }
        let task = Self { series, scaled, scaler, split, config, period, unit };
        // What does not fit is told before an epoch of training, not after.
        for part in [&task.split.train, &task.split.validation, &task.split.test] {
            task.windows(part.clone())?;
        }
        Ok(task)
    }

    fn windows(&self, part: Range<usize>) -> Result<SeriesWindows> {
        SeriesWindows::new(&self.scaled, part, self.config.input_len, self.config.horizon)
    }

    /// Trains on the training part, and keeps the weights that are best on the validation part.
    fn fit<M: Layer, L: Loss>(
        &self,
        run: &RunArgs,
        args: &Args,
        step: SupervisedStep<M, L>,
    ) -> anyhow::Result<Fitted<SupervisedStep<M, L>>> {
        let train = self.windows(self.split.train.clone())?;
        let count = train.len();
        let train = train.subset((0..count).cycle().take(count.max(WINDOWS_PER_EPOCH)).collect())?;
        let train = DataLoader::new(train, run.batch_size).shuffle(Seed(run.seed).child("order"));
        let validation = DataLoader::new(self.windows(self.split.validation.clone())?, 256);
        let trainer = run.trainer(args)?.with(RestoreBest::on("validation_loss"));
        common::finished(trainer.fit(step, train, validation)?)
    }

    /// The quantiles of the steps from `start`, each (horizon, num_channels), in the unit of the series.
    fn quantiles(&self, model: &Forecaster, start: usize, device: &Device) -> Result<Vec<Vec<Vec<f32>>>> {
        let from = start.saturating_sub(self.config.input_len);
        let window =
            self.scaled.to_tensor()?.narrow(0, from, self.config.input_len)?.unsqueeze(0)?.to_device(device)?;
        let forecast = model.forward(&window, &Pass::eval())?.squeeze(0)?.to_device(&Device::Cpu)?;
        let quantile = |i| Ok(self.scaler.restore(&forecast.narrow(2, i, 1)?.squeeze(2)?)?.to_vec2()?);
        (0..LEVELS.len()).map(quantile).collect()
    }

    /// The last forecast of the test part, of the last channel.
    fn plot(&self, model: &Forecaster, device: &Device) -> Result<plot::Plot> {
        let horizon = self.config.horizon;
        let start = self.split.test.end - horizon;
        let history = start - self.config.input_len.min(2 * horizon)..start;
        let channel = self.series.num_channels() - 1;
        let measured = |steps: Range<usize>| -> Vec<f64> {
            steps.filter_map(|step| self.series.row(step)?.get(channel).copied()).collect()
        };
        let forecast = self.quantiles(model, start, device)?;
        let column = |quantile: usize| -> Vec<f64> {
            let rows = forecast.get(quantile).into_iter().flatten();
            rows.filter_map(|row| row.get(channel).copied().map(f64::from)).collect()
        };
        let name = self.series.channels().get(channel).cloned().unwrap_or_default();
        Ok(plot::Plot {
            title: format!("{name}: {horizon} steps, forecast from the {} before", self.config.input_len),
            values: format!("{name} ({})", self.unit),
            interval: self.series.interval().to_string(),
            times: (history.start..start + horizon).map(|step| self.series.time(step).unwrap_or_default()).collect(),
            history: measured(history),
            truth: measured(start..start + horizon),
            low: column(0),
            forecast: column(1),
            high: column(2),
            band: "90 % interval".to_string(),
        })
    }

    /// The forecast of what comes after the series, as CSV.
    fn future(&self, model: &Forecaster, device: &Device) -> Result<String> {
        let end = self.series.num_steps();
        let forecast = self.quantiles(model, end, device)?;
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let mut header = vec!["time".to_string()];
        for name in self.series.channels() {
            header.extend(LEVELS.iter().map(|level| quoted(&format!("{name} {level}"))));
        }
        let mut csv = header.join(",") + "\n";
        for step in 0..self.config.horizon {
            csv += &self.series.time(end + step).unwrap_or_default();
            for channel in 0..self.config.num_channels {
                let value = |quantile: &Vec<Vec<f32>>| quantile.get(step)?.get(channel).copied();
                forecast.iter().filter_map(value).for_each(|value| csv += &format!(",{value}"));
            }
            csv.push('\n');
        }
        Ok(csv)
    }
}

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (series, split, config) = (&self.series, &self.split, &self.config);
        let last = series.time(series.num_steps().saturating_sub(1)).unwrap_or_default();
        writeln!(
            f,
            "{} steps of {} from {} to {last}: {}",
            series.num_steps(),
            series.interval(),
            series.time(0).unwrap_or_default(),
            series.channels().join(", ")
        )?;
        let (train, validation, test) = (split.train.len(), split.validation.len(), split.test.len());
        writeln!(f, "learned from {train}, validated on {validation}, tested on {test}")?;
        write!(f, "{} steps forecast from {}; a season is {} steps", config.horizon, config.input_len, self.period)
    }
}

fn split(args: &Args, series: &TimeSeries) -> anyhow::Result<SeriesSplit> {
    match args.split[..] {
        [train, validation, test] => Ok(series.split_counts(train, validation, test)?),
        [] => match args.run.data.as_deref().and_then(steps_a_month) {
            Some(month) if series.num_steps() >= 20 * month => {
                Ok(series.split_counts(12 * month, 4 * month, 4 * month)?)
            }
            _ => Ok(series.split_fractions(0.7, 0.1)?),
        },
        _ => anyhow::bail!("--split: expected three numbers of steps, got {}", args.split.len()),
    }
}

/// The steps in 30 days of a file that is called as those of the benchmark ETT (Zhou et al. 2021).
fn steps_a_month(path: &Path) -> Option<usize> {
    let name = path.file_name()?.to_str()?;
    match name.get(..4)? {
        "ETTh" => Some(30 * 24),
        "ETTm" => Some(30 * 24 * 4),
        _ => None,
    }
}

fn config(args: &Args, series: &TimeSeries, train: usize) -> ForecasterConfig {
    let horizon = args.horizon.unwrap_or(if args.run.data.is_some() { 96 } else { 24 });
    let half = horizon.div_ceil(2).clamp(1, train.max(1));
    let segments = (train / 4 / half).clamp(1, 15);
    let input_len = args.input_len.unwrap_or(segments * half);
    // The longest segment of at most half a horizon that the input is made of.
    let segment_len = (1..=half).rev().find(|len| input_len.is_multiple_of(*len)).unwrap_or(1);
    let decoding = match args.decoding {
        None | Some(DecodingName::Segments) => Decoding::Segments { segment_len },
        Some(DecodingName::Direct) => Decoding::Direct,
        Some(DecodingName::Recursive) => Decoding::Recursive,
    };
    ForecasterConfig {
        num_channels: series.num_channels(),
        input_len,
        horizon,
        decoding,
        hidden_size: args.hidden_size.unwrap_or(128),
        dropout: 0.3,
        num_quantiles: Some(LEVELS.len()),
        ..Default::default()
    }
}

/// The steps after which a series with this interval is likely to repeat: a day, a week of days, a year of weeks or months.
fn season(interval: Interval) -> usize {
    const DAY: u128 = Duration::from_secs(86400).as_nanos();
    match interval {
        Interval::Months(months) => (12 / months.clamp(1, 12)) as usize,
        Interval::Fixed(time) => match time.as_nanos() {
            step if step < DAY => usize::try_from(DAY / step.max(1)).unwrap_or(1),
            step if step < 7 * DAY => 7,
            step if step < 28 * DAY => 52,
            _ => 12,
        },
    }
}
