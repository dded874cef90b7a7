use std::time::Duration;

use candle_core::Tensor;
use glassbox_core::dataset::{DataLoader, Position};
use glassbox_core::{Dataset, Error, Seed};

use super::*;
use crate::Standardizer;

const HOUR: Interval = Interval::Fixed(Duration::from_secs(3600));

fn read(text: &str) -> Result<TimeSeries> {
    SeriesCsv::from_bytes(text).read()
}

fn error<T>(result: Result<T>) -> String {
    result.err().expect("an error").to_string()
}

/// A column of ones beside these stamps.
fn stamps(times: &[&str]) -> Result<TimeSeries> {
    read(&times.iter().fold("t,x\n".to_string(), |text, time| format!("{text}{time},1\n")))
}

/// Channels i and 100 + i at step i, hourly.
fn counting(steps: usize) -> TimeSeries {
    let values = (0..steps).flat_map(|i| [i as f64, 100.0 + i as f64]).collect();
    TimeSeries::new("2024-01-01 00:00:00", HOUR, vec!["a".into(), "b".into()], values).unwrap()
}

#[test]
fn columns_are_chosen_by_name() {
    let text = "x,when,\"y, z\"\n1, 2016-07-01 00:00:00 ,-2\n\n3,2016-07-01 01:00:00,4e1\n";
    let series = SeriesCsv::from_bytes(text).time("when").read().unwrap();
    assert_eq!((series.channels(), series.values()), (&["x".into(), "y, z".into()][..], &[1.0, -2.0, 3.0, 40.0][..]));
    assert_eq!((series.num_steps(), series.num_channels(), series.interval()), (2, 2, HOUR));
    assert_eq!((series.row(1), series.row(2)), (Some(&[3.0, 40.0][..]), None));
    let one = SeriesCsv::from_bytes(text).time(1).values(["y, z"]).read().unwrap();
    assert_eq!(one.values(), [-2.0, 40.0]);
    let error = |csv: SeriesCsv| error(csv.read());
    assert_eq!(
        error(SeriesCsv::from_bytes(text).time("date")),
        "CSV: no time column `date`; columns are x, when, y, z"
    );
    assert!(error(SeriesCsv::from_bytes(text).time("when").values(["v"])).contains("no value column `v`"));
    assert_eq!(error(SeriesCsv::from_bytes(text).time(1).values([0, 0])), "CSV: column `x` is chosen twice");
    assert_eq!(error(SeriesCsv::from_bytes(text).time(1).values([1])), "CSV: column `when` is chosen twice");
    assert_eq!(error(SeriesCsv::from_bytes("t\n2024-01\n")), "CSV: no column of values");
}

#[test]
fn intervals_are_found_and_go_on() {
    let cases = [
        (
            &["2024-02-28T23:30:00Z", "2024-02-28T23:45:00Z", "2024-02-29T00:00:00Z"][..],
            "15 minutes",
            "2024-02-29T00:15:00+00:00",
        ),
        (&["2024-03-31T01:00:00+01:00", "2024-03-31T03:00:00+02:00"], "1 hour", "2024-03-31T03:00:00+01:00"),
        (&["2016-07-01 00:00:00", "2016-07-01 01:00:00"], "1 hour", "2016-07-01 02:00:00"),
        (&["2024-02-28", "2024-02-29"], "1 day", "2024-03-01"),
        (&["2023-12-25", "2024-01-01", "2024-01-08"], "7 days", "2024-01-15"),
        (&["2021-02-01", "2021-03-01", "2021-03-29"], "28 days", "2021-04-26"),
        (&["2023-11", "2023-12", "2024-01"], "1 month", "2024-02"),
        (&["2023-12", "2024-03"], "3 months", "2024-06"),
        (&["2023-12-31", "2024-01-31", "2024-02-29"], "1 month", "2024-03-31"),
        (&["2024-02-29", "2024-03-31"], "1 month", "2024-04-30"),
        (&["2024-01-15", "2024-02-15", "2024-03-15"], "1 month", "2024-04-15"),
        (&["2020-01-01", "2021-01-01"], "12 months", "2022-01-01"),
        (&["2024-01-01 00:00:00.5", "2024-01-01 00:00:01"], "0.5 seconds", "2024-01-01 00:00:01.5"),
    ];
    for (times, interval, next) in cases {
        let series = stamps(times).unwrap();
        assert_eq!(series.interval().to_string(), interval, "{times:?}");
        // Yearly stamps on a first of January are written as months.
        let expected = if interval == "12 months" { "2022-01" } else { next };
        assert_eq!(series.time(times.len()).as_deref(), Some(expected), "{times:?}");
    }
    assert_eq!(stamps(&["2024-01", "2024-02"]).unwrap().time(usize::MAX), None);
    assert_eq!(stamps(&["2024-01-01", "2024-01-02"]).unwrap().time(1 << 40), None);
}

#[test]
fn broken_time_stamps_name_the_row_and_both_stamps() {
    assert_eq!(
        error(stamps(&["2016-07-01 00:00:00", "2016-07-01 01:00:00", "2016-07-01 03:00:00"])),
        "CSV:4: irregular: `2016-07-01 03:00:00` comes after `2016-07-01 01:00:00` of line 3, expected 1 hour later"
    );
    assert_eq!(
        error(stamps(&["2016-07-02", "2016-07-01"])),
        "CSV:3: out of order: `2016-07-01` comes after `2016-07-02` of line 2"
    );
    assert_eq!(
        error(stamps(&["2016-07", "2016-08", "2016-08"])),
        "CSV:4: `2016-08` is the same time as `2016-08` of line 3"
    );
    assert!(error(stamps(&["2023-11", "2023-12", "2024-02"])).ends_with("expected 1 month later"));
    assert!(error(stamps(&["2024-01-30", "2024-02-29", "2024-03-31"])).contains("irregular"));
    // The same moment, written in two zones.
    assert!(error(stamps(&["2024-01-01T00:00:00Z", "2024-01-01T01:00:00+01:00"])).contains("is the same time as"));
    assert!(error(stamps(&["2024-01-01T00:00:00Z", "2024-01-01 01:00:00"])).contains("one has an offset from UTC"));
    for bad in [
        "",
        "yesterday",
        "2024-13",
        "2024-02-30",
        "01/02/2024",
        "2024-01-01 25:00:00",
        "2024-1é",
        "2024-01-01T00:00[Europe/Paris]",
    ] {
        let message = error(stamps(&["2024-01-01", bad]));
        assert!(message.starts_with("CSV:3: expected a time such as 2024-01-31 15:00:00"), "{bad}: {message}");
    }
    assert_eq!(error(stamps(&["2024-01"])), "CSV: expected at least two rows, which tell the interval, got 1");
    assert_eq!(error(read("")), "CSV: no rows");
    assert_eq!(error(read("t,x\n2024-01,1\n2024-02\n")), "CSV:3: row of 1 values, expected 2");
}

#[test]
fn missing_values_are_errors_or_filled() {
    let text = "t,x,y\n2024-01,1,NA\n2024-02,,5\n2024-03,?,nan\n2024-04,4,7\n2024-05,x,8\n";
    assert_eq!(error(read(text)), "CSV:2: column `y`: missing value `NA`");
    let good = text.replace("x,8", ",8");
    let fill = |fill, columns: &[&str]| SeriesCsv::from_bytes(good.as_str()).values(columns.to_vec()).fill(fill).read();
    assert_eq!(fill(FillMissing::Previous, &["x"]).unwrap().values(), [1.0, 1.0, 1.0, 4.0, 4.0]);
    assert_eq!(fill(FillMissing::Constant(0.5), &["y"]).unwrap().values(), [0.5, 5.0, 0.5, 7.0, 8.0]);
    let nothing = "missing value with nothing to fill it from";
    assert_eq!(error(fill(FillMissing::Previous, &["x", "y"])), format!("CSV:2: column `y`: {nothing}"));
    assert_eq!(error(fill(FillMissing::Linear, &["x"])), format!("CSV:6: column `x`: {nothing}"));
    assert_eq!(error(fill(FillMissing::Linear, &["y"])), format!("CSV:2: column `y`: {nothing}"));
    let middle = good.replace("NA", "3").replace(",,8", ",10,8");
    let filled = SeriesCsv::from_bytes(middle).fill(FillMissing::Linear).read().unwrap();
    assert_eq!(filled.values(), [1.0, 3.0, 2.0, 5.0, 3.0, 6.0, 4.0, 7.0, 10.0, 8.0]);
    assert!(error(fill(FillMissing::Constant(f64::NAN), &["x"])).contains("a finite number"));
    assert!(
        error(SeriesCsv::from_bytes(text).fill(FillMissing::Previous).values(["x"]).read())
            .starts_with("CSV:6: column `x`: expected a finite number, got `x`")
    );
    assert!(error(read("t,x\n2024-01,inf\n")).contains("expected a finite number"));
}

#[test]
fn series_in_memory_are_checked() {
    let new =
        |start, interval, values: Vec<f64>| TimeSeries::new(start, interval, vec!["x".into(), "y".into()], values);
    assert!(error(new("soon", HOUR, vec![1.0; 2])).starts_with("start of the series: expected a time"));
    assert!(error(new("2024-01", Interval::Months(0), vec![1.0; 2])).ends_with("more than no time, got 0 months"));
    assert!(new("2024-01", Interval::Fixed(Duration::ZERO), vec![1.0; 2]).is_err());
    assert!(error(new("2024-01", HOUR, vec![1.0; 3])).ends_with("got 3 values for 2 channels"));
    assert!(new("2024-01", HOUR, vec![]).is_err());
    assert_eq!(
        error(new("2024-01", HOUR, vec![1.0, 2.0, 3.0, f64::NAN])),
        "channel `y` of step 1: expected a finite number, got NaN"
    );
    let huge = new("2024-01", HOUR, vec![1.0, 1e300]).unwrap();
    assert!(error(huge.to_tensor()).starts_with("channel `y` of step 0: expected a finite 32-bit number"));
    let forever = TimeSeries::new("2024-01", Interval::Fixed(Duration::MAX), vec!["x".into()], vec![1.0]).unwrap();
    assert_eq!((forever.time(0).is_some(), forever.time(1), forever.time(usize::MAX)), (true, None, None));
}

#[test]
fn splits_are_chronological() {
    let series = counting(20);
    let split = series.split_counts(12, 4, 3).unwrap();
    assert_eq!(split, SeriesSplit { train: 0..12, validation: 12..16, test: 16..19 });
    assert_eq!(
        series.split_fractions(0.7, 0.1).unwrap(),
        SeriesSplit { train: 0..14, validation: 14..16, test: 16..20 }
    );
    assert_eq!(error(series.split_counts(12, 4, 5)), "split of the series: expected at most 20 steps, got 12 + 4 + 5");
    assert!(series.split_counts(usize::MAX, 1, 1).is_err() && series.split_counts(12, 0, 5).is_err());
    for (train, validation) in [(0.0, 0.5), (0.5, 0.5), (f64::NAN, 0.1), (0.5, f64::INFINITY), (-0.5, 0.2)] {
        assert!(error(series.split_fractions(train, validation)).starts_with("fractions"), "{train} {validation}");
    }
    assert!(error(series.split_fractions(0.9, 0.01)).contains("at least one step in each part"));
}

#[test]
fn the_scaler_learns_from_the_training_part_and_restores() {
    let series = counting(20);
    let scaler = Standardizer::fit_series(&series, 2..7).unwrap();
    // 2, 3, 4, 5, 6: a mean of 4 and a population variance of 2.
    assert_eq!((scaler.means(), scaler.stds()), (&[4.0, 104.0][..], &[2f64.sqrt(), 2f64.sqrt()][..]));
    let scaled = scaler.apply_to_series(series.clone()).unwrap();
    assert_eq!(scaled.row(6).unwrap(), [2.0 / 2f64.sqrt(); 2]);
    assert_eq!(scaled.time(6), series.time(6));
    let restored = scaler.restore(&scaled.to_tensor().unwrap().reshape((2, 10, 2)).unwrap()).unwrap();
    let difference = (restored.reshape((20, 2)).unwrap() - series.to_tensor().unwrap()).unwrap().abs().unwrap();
    // Two roundings of numbers up to 120 in f32, whose spacing there is 8e-6.
    assert!(difference.max_all().unwrap().to_scalar::<f32>().unwrap() < 3e-5);
    assert!(
        error(scaler.restore(&Tensor::zeros((3, 1), candle_core::DType::F32, &Device::Cpu).unwrap()))
            .contains("last dimension 2")
    );
    assert!(error(Standardizer::fit_series(&series, 0..21)).ends_with("got 0..21"));
    assert!(Standardizer::fit_series(&series, 3..3).is_err());
    let other = TimeSeries::new("2024-01", HOUR, vec!["c".into()], vec![1.0]).unwrap();
    assert_eq!(error(scaler.apply_to_series(other)), "channels: expected those that were fitted: a, b, got c");
}

#[test]
fn every_window_of_a_part_is_there_and_looks_back() {
    let series = counting(20);
    let get = |windows: &SeriesWindows, index| {
        let sample = windows.get(index, &mut Seed(0).rng()).unwrap();
        let channel = |t: Tensor| t.narrow(1, 0, 1).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(sample.input.dims()[1], 2);
        (channel(sample.input), channel(sample.target))
    };
    let train = SeriesWindows::new(&series, 0..12, 4, 3).unwrap();
    // The first target starts at 4, the last at 9.
    assert_eq!((train.len(), get(&train, 0)), (6, (vec![0., 1., 2., 3.], vec![4., 5., 6.])));
    assert_eq!(get(&train, 5).1, [9., 10., 11.]);
    let test = SeriesWindows::new(&series, 12..16, 4, 3).unwrap();
    assert_eq!((test.len(), get(&test, 0)), (2, (vec![8., 9., 10., 11.], vec![12., 13., 14.])));
    assert_eq!((get(&test, 1).1, test.target_start(1), test.target_start(2)), (vec![13., 14., 15.], Some(13), None));
    assert!(error(test.get(2, &mut Seed(0).rng())).ends_with("got 2"));
    let whole = SeriesWindows::new(&series, 0..20, 19, 1).unwrap();
    assert_eq!((whole.len(), get(&whole, 0).1), (1, vec![19.]));
    let loader = DataLoader::new(train, 4);
    let batch = loader.batches(Position::default(), &Device::Cpu).unwrap().next().unwrap().unwrap();
    assert_eq!((batch.input.dims(), batch.target.dims()), (&[4, 4, 2][..], &[4, 3, 2][..]));
}

#[test]
fn windows_that_do_not_fit_are_errors() {
    let series = counting(20);
    let new = |part, input, horizon| error(SeriesWindows::new(&series, part, input, horizon));
    assert_eq!(new(12..16, 4, 5), "horizon: expected at most 4, the steps of the part, got 5");
    assert_eq!(
        new(0..12, 10, 3),
        "input_len + horizon: expected at most 12, the steps up to the part's end, got 10 + 3"
    );
    assert!(new(0..12, usize::MAX, 3).starts_with("input_len + horizon"));
    assert!(new(0..12, 0, 3).contains("at least 1") && new(0..12, 3, 0).contains("at least 1"));
    assert!(new(10..21, 3, 3).starts_with("part of the series") && new(5..5, 3, 3).starts_with("part"));
}

#[test]
fn etth1s_convention_has_as_many_windows_as_its_benchmark() {
    let hours = 17_420;
    let series = TimeSeries::new("2016-07-01 00:00:00", HOUR, vec!["OT".into()], vec![0.0; hours]).unwrap();
    let split = series.split_counts(8640, 2880, 2880).unwrap();
    let len = |part: std::ops::Range<usize>| SeriesWindows::new(&series, part, 336, 96).unwrap().len();
    // As Informer's data loader: the training part's length - 336 - 96 + 1, the others' - 96 + 1.
    assert_eq!((len(split.train), len(split.validation), len(split.test)), (8209, 2785, 2785));
    assert_eq!(series.time(hours - 1).as_deref(), Some("2018-06-26 19:00:00"));
}

#[test]
fn the_embedded_series_is_noaas() {
    // Expected values: printed by tools/embed_series.py.
    let series = mauna_loa_co2().unwrap();
    let hundredths: Vec<u64> = series.values().iter().map(|v| (v * 100.0).round() as u64).collect();
    assert_eq!((hundredths.len(), hundredths.iter().sum::<u64>()), (620, 23_118_607));
    assert_eq!(hundredths.iter().zip(1..).map(|(v, i)| i * v).sum::<u64>(), 7_487_559_257);
    assert_eq!(
        (&series.values()[..3], &series.values()[617..]),
        (&[333.19, 332.2, 331.07][..], &[424.87, 426.46, 427.49][..])
    );
    assert_eq!((series.time(0).as_deref(), series.time(620).as_deref()), (Some("1974-05"), Some("2026-01")));
}

#[test]
fn files_are_opened_and_errors_carry_their_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("series.csv");
    assert!(matches!(SeriesCsv::open(&path).read(), Err(Error::Io { .. })));
    std::fs::write(&path, "t,x\n2024-01,1\n2024-02,2\n").unwrap();
    assert_eq!(SeriesCsv::open(&path).read().unwrap().values(), [1.0, 2.0]);
    std::fs::write(&path, b"t,x\n2024-01,1\n2024-02,\xff\n").unwrap();
    assert!(error(SeriesCsv::open(&path).read()).ends_with("series.csv:3: not UTF-8 text"));
}
