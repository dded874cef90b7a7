//! A small GPT learns to write like any text; then it writes.
//!
//! Without `--data` the text is this project's own documentation. The last tenth, always the same, is held out to measure
//! on. `--generate "prompt"` goes on from a prompt with the model that an earlier run saved in `--out`.

mod common;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use common::{Defaults, RunArgs};
use glassbox::data::text::{CharVocab, TokenWindows, Tokenizer, read_text, split_by_position};
use glassbox::prelude::*;
use glassbox::train::Run;
use glassbox::transformer::generate::{GenerateConfig, stream};
use glassbox::transformer::{Gpt, GptConfig, Positions, TransformerConfig};
use serde::{Deserialize, Serialize};

/// Learns to write like a text, character by character, with a GPT; `--generate` then writes with what was learned.
#[derive(Parser, Serialize)]
struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// What the defaults of the other flags are
    #[arg(long, default_value = "small")]
    preset: Preset,
    /// Number of layers [default: the preset's]
    #[arg(long)]
    num_layers: Option<usize>,
    /// Heads of an attention layer [default: the preset's]
    #[arg(long)]
    num_heads: Option<usize>,
    /// Features of a character between layers [default: the preset's]
    #[arg(long)]
    d_model: Option<usize>,
    /// Characters that the model sees [default: the preset's]
    #[arg(long)]
    seq_len: Option<usize>,
    /// Probability of dropping an element, in [0, 1) [default: the preset's]
    #[arg(long)]
    dropout: Option<f64>,
    /// Trains nothing: goes on from this prompt with the model in the folder of the run
    #[arg(long, value_name = "PROMPT")]
    generate: Option<String>,
    /// Number of characters to generate
    #[arg(long, default_value_t = 1000)]
    length: usize,
    /// Below 1 likely characters become likelier, above 1 unlikely ones; 0 always takes the likeliest
    #[arg(long, default_value_t = 0.8)]
    temperature: f64,
    /// Draws from so many of the likeliest characters [default: all]
    #[arg(long)]
    top_k: Option<usize>,
    /// Draws from the likeliest characters that together have this probability [default: all]
    #[arg(long)]
    top_p: Option<f64>,
}

/// The two settings that nanoGPT (Karpathy 2022) has for Shakespeare's plays by characters.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
enum Preset {
    /// Minutes: 4 layers of 4 heads, 128 features, 64 characters, 2,000 steps of 12 windows
    Small,
    /// Hours: 6 layers of 6 heads, 384 features, 256 characters, rotary positions, 5,000 steps of 64 windows
    Baby,
}

/// Steps between two validations, which an epoch is here: windows are drawn from all of the text.
const EPOCH: usize = 250;
const WARMUP: u64 = 100;

impl Preset {
    /// The one on the command line, before it is parsed: the defaults of the other flags depend on it.
    fn named() -> Self {
        let args: Vec<String> = std::env::args().collect();
        let is_baby = args.iter().any(|arg| arg == "--preset=baby")
            || args.windows(2).any(|pair| pair[0] == "--preset" && pair[1] == "baby");
        if is_baby { Self::Baby } else { Self::Small }
    }

    fn defaults(self) -> Defaults {
        let [epochs, batch_size] = if self == Self::Baby { ["20", "64"] } else { ["8", "12"] };
        Defaults { out: "runs/transformer_text", epochs, batch_size, lr: "0.001" }
    }
}

impl Args {
    fn model(&self, vocab_size: usize) -> GptConfig {
        let (layers, heads, width, length, dropout, positions) = match self.preset {
            Preset::Small => (4, 4, 128, 64, 0.0, Positions::Learned),
            Preset::Baby => (6, 6, 384, 256, 0.2, Positions::Rotary),
        };
        let dropout = self.dropout.unwrap_or(dropout);
        let layer = TransformerConfig {
            d_model: self.d_model.unwrap_or(width),
            num_heads: self.num_heads.unwrap_or(heads),
            bias: false,
            dropout,
            attention_dropout: dropout,
            ..Default::default()
        };
        GptConfig {
            vocab_size,
            num_layers: self.num_layers.unwrap_or(layers),
            positions,
            max_positions: self.seq_len.unwrap_or(length),
            layer,
            ..Default::default()
        }
    }

    fn sampling(&self) -> Sampling {
        let Self { temperature, top_k, top_p, .. } = *self;
        Sampling { temperature, top_k, top_p, seed: Seed(self.run.seed).child("sampling") }
    }
}

/// What a run leaves in config.json.
#[derive(Serialize)]
struct Config<'a> {
    #[serde(flatten)]
    args: &'a Args,
    model: GptConfig,
}

/// What is read of it again.
#[derive(Deserialize)]
struct Saved {
    model: GptConfig,
}

const DOCUMENTATION: [&str; 6] = [
    include_str!("../README.md"),
    include_str!("../CONTRIBUTING.md"),
    include_str!("../docs/architecture.md"),
    include_str!("../docs/adding-a-layer.md"),
    include_str!("../crates/data/README.md"),
    include_str!("../crates/rnn/README.md"),
];

fn main() -> ExitCode {
    common::run(example)
}

fn example() -> anyhow::Result<()> {
    let args: Args = common::parse(Preset::named().defaults());
    match &args.generate {
        Some(prompt) => go_on(&args, prompt),
        None => train(&args),
    }
}

fn train(args: &Args) -> anyhow::Result<()> {
    let run = &args.run;
    let device = device(&run.device)?;
    let text = run.data.as_ref().map_or_else(|| Ok(DOCUMENTATION.join("\n")), read_text)?;
    let vocab = CharVocab::from_text(&text)?;
    let tokens = vocab.encode(&text)?;
    let (train, validation) = split_by_position(&tokens, 0.9)?;
    let config = args.model(vocab.vocab_size());
    let seq_len = config.max_positions;
    let windows = TokenWindows::new(train, seq_len)?.random(EPOCH * run.batch_size)?;
    let train = DataLoader::new(windows, run.batch_size).seed(Seed(run.seed).child("windows"));
    let validation = DataLoader::new(TokenWindows::new(validation, seq_len)?, 64);

    let params = ParamStore::new(Seed(run.seed), &device);
    let model = Gpt::new(config.clone(), params.root())?;
    let mut trainer = run.trainer(&Config { args, model: config.clone() })?;
    vocab.save(run.out.join("vocabulary.json"))?;
    if !run.quiet {
        let sizes = (tokens.len(), vocab.vocab_size(), params.num_params());
        println!("{} characters, {} of them distinct; {} weights", sizes.0, sizes.1, sizes.2);
        // The same weights: what it writes is what is being trained.
        let model = Gpt::new(config, params.root())?;
        let start = vocab.encode("\n").unwrap_or_else(|_| tokens[..1].to_vec());
        trainer = trainer.with(EpochSample { model, vocab, start, sampling: args.sampling() });
    }
    let optimizer = AdamW::new(&params, run.lr)?.betas(0.9, 0.99).weight_decay(0.1);
    let optimizer = optimizer.group("*norm.weight", Group { weight_decay: Some(0.0), ..Group::default() });
    let step = SupervisedStep::new(model, CrossEntropy::default(), optimizer)
        .transform(ClipNorm::new(1.0))
        .schedule(Warmup::new(WARMUP, Cosine::new().eta_min(0.1 * run.lr)));
    let fitted = common::finished(trainer.fit(step, train, validation)?)?;
    let loss = fitted.scores.value("validation_loss").unwrap_or(f64::NAN);
    common::print_result(
        &[("validation_loss", loss), ("perplexity", loss.exp()), ("bits_per_character", loss / std::f64::consts::LN_2)],
        fitted.seconds,
    );
    Ok(())
}

/// Shows what the model writes after each epoch.
struct EpochSample {
    model: Gpt,
    vocab: CharVocab,
    start: Vec<u32>,
    sampling: Sampling,
}

impl Callback for EpochSample {
    fn name(&self) -> &'static str {
        "epoch_sample"
    }

    fn epoch_end(&mut self, run: &mut Run, _: f64) -> Result<()> {
        let mut tokens = vec![];
        write_on(&self.model, &self.start, 300, &self.sampling, |token| {
            tokens.push(token);
            Ok(())
        })?;
        println!("\n--- after epoch {}\n{}\n---", run.progress.epoch, self.vocab.decode(&tokens)?.trim());
        Ok(())
    }
}

/// Gives `take` so many tokens after `start`. Where the model's context is full it reads the last half of it again.
fn write_on(
    model: &Gpt,
    start: &[u32],
    length: usize,
    sampling: &Sampling,
    mut take: impl FnMut(u32) -> Result<()>,
) -> Result<()> {
    let context = model.config().max_positions;
    let (mut tokens, mut written) = (start.to_vec(), 0);
    while written < length {
        let read = tokens[tokens.len().saturating_sub((context / 2).max(1))..].to_vec();
        let sampling = Sampling { seed: sampling.seed.child(&format!("from {written}")), ..*sampling };
        let max_new_tokens = (length - written).min(context.saturating_sub(read.len()).max(1));
        let config = GenerateConfig { max_new_tokens, sampling, ..Default::default() };
        for token in stream(model, &read, &config)? {
            let token = token?;
            tokens.push(token);
            written += 1;
            take(token)?;
        }
    }
    Ok(())
}

/// Writes on from `prompt`, each character as it comes.
fn go_on(args: &Args, prompt: &str) -> anyhow::Result<()> {
    let out = &args.run.out;
    let config = saved_config(&out.join("config.json"))?;
    let vocab = CharVocab::load(out.join("vocabulary.json"))?;
    let params = ParamStore::new(Seed(0), &device(&args.run.device)?);
    let model = Gpt::new(config, params.root())?;
    params.load(out.join("model.safetensors"))?;

    let mut stdout = std::io::stdout().lock();
    write!(stdout, "{prompt}")?;
    write_on(&model, &vocab.encode(prompt)?, args.length, &args.sampling(), |token| {
        let text = vocab.decode(&[token])?;
        write!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(|e| Error::io("standard output", e))
    })?;
    Ok(writeln!(stdout)?)
}

fn saved_config(path: &Path) -> anyhow::Result<GptConfig> {
    let text = read_text(path).map_err(|e| anyhow::anyhow!("{e}; --generate needs the model of an earlier run"))?;
    let saved: Saved = serde_json::from_str(&text).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
    Ok(saved.model)
}
