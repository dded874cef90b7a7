//! A recurrent network learns spoken digits, or any words: a folder of WAV files of one word each.
//!
//! With `--data`, the names of the files say what is in them, `CLASS_SPEAKER_INDEX.wav`, as in the Free Spoken Digit Dataset
//! (github.com/Jakobovski/free-spoken-digit-dataset, its folder `recordings`); its official split holds out the indices 0
//! to 4. Or there is a folder per class; then a fifth of each class, always the same, is held out. Without `--data`, it makes
//! melodies of three notes for words, and says so.

mod common;

use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use common::{Defaults, RunArgs};
use glassbox::data::audio::*;
use glassbox::data::transform::{Compose, Transform};
use glassbox::dataset::{Fold, Padded, Sequence, VecDataset};
use glassbox::prelude::*;
use glassbox::train::Fitted;
use serde::Serialize;

/// Learns spoken words from a folder of WAV files with a bidirectional GRU, or says which word a recording is.
#[derive(Parser, Serialize)]
struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// Also trains without each speaker in turn, to test on that speaker: as many more runs as there are speakers
    #[arg(long)]
    speakers: bool,
    /// Says which word this WAV file is, by the model in the folder of the run, instead of training
    #[arg(long, value_name = "FILE")]
    listen: Option<PathBuf>,
}

/// Of all sounds, in Hz: that of telephones, and of the digits.
const SAMPLE_RATE: u32 = 8000;
/// What names of files say.
const NAME: &str = "{class}_{speaker}_{index}";
const BANDS: usize = 40;
/// Frames 10 ms apart that make one step of the network.
const FRAMES_PER_STEP: usize = 2;

fn main() -> ExitCode {
    common::run(example)
}

fn example() -> anyhow::Result<()> {
    let args: Args = common::parse(Defaults { out: "runs/rnn_speech", epochs: "30", batch_size: "32", lr: "0.003" });
    let run = &args.run;
    if let Some(file) = &args.listen {
        return listen(run, file);
    }
    let folder = match &run.data {
        Some(dir) => open(dir)?,
        None => {
            if !run.quiet {
                println!("No --data: synthetic melodies stand for words. They say nothing about speech.\n");
            }
            AudioFolder::by_name(melodies(run)?, NAME, SAMPLE_RATE)?
        }
    };
    let folder = folder.in_memory()?;
    let fitted = train(&args, &run.out, split(folder.clone())?, run.quiet)?;
    let score = |fitted: &Fitted<Step>, name| fitted.scores.value(name).unwrap_or(f64::NAN);
    let mut scores =
        vec![("accuracy", score(&fitted, "accuracy")), ("validation_loss", score(&fitted, "validation_loss"))];
    let mut seconds = fitted.seconds;
    if args.speakers {
        let mut accuracies = vec![];
        for (speaker, fold) in folder.leave_one_out("speaker")? {
            let fitted = train(&args, &run.out.join(format!("without-{speaker}")), fold, true)?;
            accuracies.push(score(&fitted, "accuracy"));
            seconds += fitted.seconds;
            if !run.quiet {
                println!("{speaker:>12}, never heard before: accuracy {:.4}", score(&fitted, "accuracy"));
            }
        }
        scores.push(("speakers_accuracy", accuracies.iter().sum::<f64>() / accuracies.len() as f64));
    }
    common::print_result(&scores, seconds);
    Ok(())
}

/// The recordings in a folder, named by their classes or in a folder for each.
fn open(dir: &Path) -> Result<AudioFolder> {
    let entries = std::fs::read_dir(dir).map_err(|e| Error::io(dir, e))?;
    let paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let has_sounds = paths.iter().any(|path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("wav")));
    let has_folders = paths.iter().any(|path| path.is_dir());
    if has_folders && !has_sounds {
        AudioFolder::open(dir, SAMPLE_RATE)
    } else {
        AudioFolder::by_name(dir, NAME, SAMPLE_RATE)
    }
}

/// The recordings to train on and those to test on, with some of each class in both.
fn split(folder: AudioFolder) -> anyhow::Result<Fold<AudioFolder>> {
    let names = folder.class_names().to_vec();
    let has_indices = folder.recordings().iter().all(|recording| recording.field("index").is_some());
    let (train, test) = if has_indices {
        let (test, train) = folder.split_where(|recording| Ok(recording.number("index")? < 5))?;
        (train, test)
    } else {
        folder.split_stratified(0.8, Seed(7))?
    };
    for (part, what) in [(&train, "to train on"), (&test, "to test on")] {
        let mut counts = vec![0; names.len()];
        for index in 0..part.len() {
            part.class(index)?.into_iter().for_each(|class| counts[class] += 1);
        }
        if let Some(class) = counts.iter().position(|&count| count == 0) {
            bail!("class `{}`: expected at least one recording {what}, got none", names[class]);
        }
    }
    Ok((train, test))
}

type Step = SupervisedStep<SequenceClassifier, CrossEntropy, (Padded, Tensor)>;

/// Trains in the folder `out`, where `classes.json` then stands beside the model.
fn train(args: &Args, out: &Path, fold: Fold<AudioFolder>, quiet: bool) -> anyhow::Result<Fitted<Step>> {
    let (train, test) = fold;
    let run = RunArgs { out: out.to_path_buf(), quiet, ..args.run.clone() };
    let class_names = train.dataset().class_names().to_vec();
    let params = ParamStore::new(Seed(run.seed), &device(&run.device)?);
    let model = model(class_names.len(), &params)?;
    if !quiet {
        println!("{} recordings to train on, {} to test on\n", train.len(), test.len());
        println!("{}\n", summary(&model, &params, &[1, 25, BANDS * FRAMES_PER_STEP])?);
    }
    let step = SupervisedStep::new(
        model,
        CrossEntropy::default().label_smoothing(0.1),
        AdamW::new(&params, run.lr)?.weight_decay(0.05),
    )
    .schedule(OneCycle::new(run.lr))
    .transform(ClipNorm::new(1.0))
    .metric(Accuracy::default());

    // Test recordings are heard once; those to train on a little differently in each epoch.
    let (plain, changed) = (ears(false)?, ears(true)?);
    let mut rng = Seed(0).rng();
    let heard =
        (0..test.len()).map(|index| hear(test.get(index, &mut rng)?, &plain, &mut rng)).collect::<Result<_>>()?;
    let train = train.map(move |sample, rng| hear(sample, &changed, rng));

    let trainer = run.trainer(args)?;
    let names = serde_json::to_vec(&class_names)?;
    glassbox::write_atomic(&run.out.join("classes.json"), &names)?;
    let loader = DataLoader::new(train, run.batch_size).shuffle(Seed(run.seed).child("order")).workers(1);
    common::finished(trainer.fit(step, loader, DataLoader::new(VecDataset(heard), 100))?)
}

fn model(num_classes: usize, params: &ParamStore) -> Result<SequenceClassifier> {
    let gru = GruConfig { num_layers: 2, bidirectional: true, dropout: 0.2, ..Default::default() };
    let config = SequenceEncoderConfig { hidden_size: 128, recurrent: RecurrentConfig::Gru(gru), dropout: 0.2 };
    let input = SequenceInput::Features(BANDS * FRAMES_PER_STEP);
    SequenceClassifier::new(input, num_classes, SequencePooling::Attention(64), config, params.root())
}

/// From a sound to what the network is given; in training a little changed at random.
fn ears(training: bool) -> Result<Compose> {
    let mut ears = Compose::new();
    if training {
        let shift = TimeShift { max_shift: SAMPLE_RATE as usize / 20 };
        ears = ears.then(Speed::new()?).then(shift).then(AddNoise::snr(20.0, 50.0)?);
    }
    let mel = MelConfig { n_mels: BANDS, ..MelConfig::speech(SAMPLE_RATE) };
    ears = ears.then(LogMel::new(mel, LogScale::default())?).then(NormalizeRecording);
    if training {
        ears = ears.then(SpecAugment {
            num_frequency_masks: 1,
            max_frequency_width: 6,
            num_time_masks: 1,
            max_time_part: 0.15,
            fill: MaskFill::Value(0.0),
            ..Default::default()
        });
    }
    Ok(ears.then(Stack))
}

fn hear(sample: Sample, ears: &Compose, rng: &mut Rng) -> Result<(Sequence, u32)> {
    Ok((Sequence(ears.apply(&sample.input, rng)?), sample.target.to_scalar()?))
}

/// Plays a sound at 90 to 110 % of its speed, and of its pitch (Ko et al. 2015, "Audio augmentation for speech recognition").
struct Speed(Vec<Resampler>);

impl Speed {
    fn new() -> Result<Self> {
        let percent = [90, 95, 100, 105, 110];
        Ok(Self(
            percent
                .map(|percent| Resampler::new(SAMPLE_RATE / 100 * percent, SAMPLE_RATE))
                .into_iter()
                .collect::<Result<_>>()?,
        ))
    }
}

impl Transform for Speed {
    fn apply(&self, sound: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        let samples = self.0[rng.below(self.0.len())].apply(&sound.flatten_all()?.to_vec1::<f32>()?);
        Waveform::new(vec![samples], SAMPLE_RATE)?.tensor()
    }
}

/// Frames one after another as one step, which halves the work: (frames, bands) to (frames / 2, 2 · bands), rounded up.
struct Stack;

impl Transform for Stack {
    fn apply(&self, features: &Tensor, _: &mut Rng) -> Result<Tensor> {
        let (frames, bands) = features.dims2()?;
        let steps = frames.div_ceil(FRAMES_PER_STEP);
        let padded = features.pad_with_zeros(0, 0, steps * FRAMES_PER_STEP - frames)?;
        Ok(padded.reshape((steps, FRAMES_PER_STEP * bands))?)
    }
}

/// Prints which word a recording is, and how sure the saved model is of it.
fn listen(run: &RunArgs, file: &Path) -> anyhow::Result<()> {
    let path = run.out.join("classes.json");
    let text = std::fs::read(&path)
        .with_context(|| format!("{}: train first, in this folder: no classes.json", run.out.display()))?;
    let class_names: Vec<String> =
        serde_json::from_slice(&text).with_context(|| format!("{}: expected names of classes", path.display()))?;
    let params = ParamStore::new(Seed(0), &device(&run.device)?);
    let model = model(class_names.len(), &params)?;
    params.load(run.out.join("model.safetensors"))?;

    let sound = read_wav(file)?.mono().resampled(SAMPLE_RATE)?.tensor()?;
    let steps = ears(false)?.apply(&sound, &mut Seed(0).rng())?.unsqueeze(0)?.to_device(params.device())?;
    let probabilities = model.forward(&steps, &Pass::eval())?.softmax(1)?.squeeze(0)?.to_vec1::<f32>()?;
    let width = class_names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let mut order: Vec<(&String, f32)> = class_names.iter().zip(probabilities).collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (name, probability) in order {
        println!(
            "{name:>width$}  {:5.1} %  {}",
            probability * 100.0,
            "█".repeat((probability * 40.0).round() as usize)
        );
    }
    Ok(())
}

/// The three notes that stand for each word, in fifths above the voice's own.
const NOTES: [[i32; 3]; 10] =
    [[0, 0, 0], [0, 1, 2], [2, 1, 0], [0, 2, 0], [2, 0, 2], [0, 0, 2], [2, 2, 0], [0, 2, 2], [2, 0, 0], [0, 1, 0]];

/// Writes melodies as a folder of recordings: ten words of three voices, 16 times each. Always the same ones.
fn melodies(run: &RunArgs) -> Result<PathBuf> {
    let folder = run.out.join("melodies");
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    let mut rng = Seed(3).rng();
    for (word, notes) in NOTES.iter().enumerate() {
        for (voice, pitch) in [("low", 220.0), ("middle", 330.0), ("high", 495.0)] {
            for index in 0..16 {
                let sound = Waveform::new(vec![melody(notes, pitch, &mut rng)], SAMPLE_RATE)?;
                write_wav(folder.join(format!("{word}_{voice}_{index}.wav")), &sound, SampleFormat::Pcm16)?;
            }
        }
    }
    Ok(folder)
}

/// Three notes, a little out of tune and of time, in noise.
fn melody(notes: &[i32; 3], pitch: f64, rng: &mut Rng) -> Vec<f32> {
    let length = (f64::from(SAMPLE_RATE) * (0.3 + 0.3 * rng.uniform())) as usize;
    let (volume, pitch) = (0.05 + 0.2 * rng.uniform(), pitch * (1.0 + 0.03 * rng.normal()));
    let mut phase = 0.0f64;
    let sample = |t: usize| {
        phase += std::f64::consts::TAU * pitch * 1.5f64.powi(notes[3 * t / length]) / f64::from(SAMPLE_RATE);
        let tone = phase.sin() + 0.5 * (2.0 * phase).sin() + 0.3 * (3.0 * phase).sin();
        (volume * (tone + 0.1 * rng.normal())) as f32
    };
    (0..length).map(sample).collect()
}
