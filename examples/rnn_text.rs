//! A character-level LSTM learns to write like any text; then it writes.
//!
//! Without `--data` the text is this project's own documentation. The last tenth, always the same, is held out to measure
//! on. `--generate "prompt"` goes on from a prompt with the model that an earlier run saved in `--out`.

mod common;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use common::{Defaults, RunArgs};
use glassbox::data::text::{CharVocab, StreamBatches, Tokenizer, read_text, split_by_position};
use glassbox::prelude::*;
use glassbox::train::Run;
use serde::{Deserialize, Serialize};

/// Learns to write like a text, character by character, with an LSTM; `--generate` then writes with what was learned.
#[derive(Parser, Serialize)]
struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// Size of the LSTM's layers
    #[arg(long, default_value_t = 512)]
    hidden_size: usize,
    /// Number of the LSTM's layers
    #[arg(long, default_value_t = 2)]
    num_layers: usize,
    /// Size of the characters' vectors
    #[arg(long, default_value_t = 128)]
    embedding_dim: usize,
    /// Probability of dropping an element between the layers, in [0, 1)
    #[arg(long, default_value_t = 0.3)]
    dropout: f64,
    /// Characters through which a gradient flows back; the state goes further
    #[arg(long, default_value_t = 64)]
    seq_len: usize,
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

/// What a run leaves in config.json.
#[derive(Serialize)]
struct Config<'a> {
    #[serde(flatten)]
    args: &'a Args,
    model: LanguageModelConfig,
}

/// What is read of it again.
#[derive(Deserialize)]
struct Saved {
    model: LanguageModelConfig,
}

const DOCUMENTATION: [&str; 11] = [
    include_str!("../README.md"),
    include_str!("../CONTRIBUTING.md"),
    include_str!("../CHANGELOG.md"),
    include_str!("../docs/architecture.md"),
    include_str!("../docs/adding-a-layer.md"),
    include_str!("../docs/candle.md"),
    include_str!("../crates/cnn/README.md"),
    include_str!("../crates/data/README.md"),
    include_str!("../crates/rnn/README.md"),
    include_str!("../crates/glassbox/README.md"),
    include_str!("../docs/performance.md"),
];

/// Parts of the held-out text that are read side by side: each starts from nothing read.
const VALIDATION_ROWS: usize = 16;

fn main() -> ExitCode {
    common::run(example)
}

fn example() -> anyhow::Result<()> {
    let args: Args = common::parse(Defaults { out: "runs/rnn_text", epochs: "8", batch_size: "32", lr: "0.003" });
    match &args.generate {
        Some(prompt) => generate(&args, prompt),
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
    let validation_rows = VALIDATION_ROWS.min(validation.len() - 1);
    let train = StreamBatches::new(train, run.batch_size, args.seq_len)?.into_loader();
    let validation = StreamBatches::new(validation, validation_rows, 256)?.into_loader();

    let config = LanguageModelConfig {
        vocab_size: vocab.vocab_size(),
        embedding_dim: args.embedding_dim,
        hidden_size: args.hidden_size,
        num_layers: args.num_layers,
        dropout: args.dropout,
        ..Default::default()
    };
    let params = ParamStore::new(Seed(run.seed), &device);
    let model = LanguageModel::new(config, params.root())?;
    let mut trainer = run.trainer(&Config { args, model: config })?;
    vocab.save(run.out.join("vocabulary.json"))?;
    if !run.quiet {
        println!(
            "{} characters, {} of them distinct; {} weights",
            tokens.len(),
            vocab.vocab_size(),
            params.num_params()
        );
        // The same weights: what it writes is what is being trained.
        let model = LanguageModel::new(config, params.root())?;
        let start = vocab.encode("\n").unwrap_or_else(|_| tokens[..1].to_vec());
        trainer = trainer.with(EpochSample { model, vocab, start, sampling: sampling(args) });
    }
    let step = LanguageModelStep::new(model, AdamW::new(&params, run.lr)?)
        .transform(ClipNorm::new(1.0))
        .schedule(OneCycle::new(run.lr));
    let fitted = common::finished(trainer.fit(step, train, validation)?)?;
    let score = |name| (name, fitted.scores.value(name).unwrap_or(f64::NAN));
    common::print_result(&["validation_loss", "perplexity", "bits_per_character"].map(score), fitted.seconds);
    Ok(())
}

fn sampling(args: &Args) -> Sampling {
    let Args { temperature, top_k, top_p, .. } = *args;
    Sampling { temperature, top_k, top_p, seed: Seed(args.run.seed).child("sampling") }
}

/// Shows what the model writes after each epoch.
struct EpochSample {
    model: LanguageModel,
    vocab: CharVocab,
    start: Vec<u32>,
    sampling: Sampling,
}

impl Callback for EpochSample {
    fn name(&self) -> &'static str {
        "epoch_sample"
    }

    fn epoch_end(&mut self, run: &mut Run, _: f64) -> Result<()> {
        let tokens = self.model.generate(&self.start, &self.sampling)?.take(300).collect::<Result<Vec<_>>>()?;
        println!("\n--- after epoch {}\n{}\n---", run.progress.epoch, self.vocab.decode(&tokens)?.trim());
        Ok(())
    }
}

/// Writes on from `prompt`, each character as it comes.
fn generate(args: &Args, prompt: &str) -> anyhow::Result<()> {
    let out = &args.run.out;
    let config = saved_config(&out.join("config.json"))?;
    let vocab = CharVocab::load(out.join("vocabulary.json"))?;
    let params = ParamStore::new(Seed(0), &device(&args.run.device)?);
    let model = LanguageModel::new(config, params.root())?;
    params.load(out.join("model.safetensors"))?;

    let tokens = model.generate(&vocab.encode(prompt)?, &sampling(args))?;
    let mut stdout = std::io::stdout().lock();
    write!(stdout, "{prompt}")?;
    for token in tokens.take(args.length) {
        write!(stdout, "{}", vocab.decode(&[token?])?)?;
        stdout.flush()?;
    }
    Ok(writeln!(stdout)?)
}

fn saved_config(path: &Path) -> anyhow::Result<LanguageModelConfig> {
    let text = read_text(path).map_err(|e| anyhow::anyhow!("{e}; --generate needs the model of an earlier run"))?;
    let saved: Saved = serde_json::from_str(&text).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
    Ok(saved.model)
}
