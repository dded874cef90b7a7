//! Text from any model that Hugging Face publishes and Glassbox knows, as it is written.
//!
//! The folder holds `config.json`, `model.safetensors` (or its shards) and `tokenizer.json`.

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Parser;
use glassbox::data::text::{Tokenizer, TokenizerFile, read_text};
use glassbox::prelude::*;
use glassbox::transformer::generate::{GenerateConfig, Pieces, Tokens, generate, generate_from, stream, stream_from};
use glassbox::transformer::hub::{Gpt2, Llama, Marian, Pretrained, T5, expect_vocab};
use glassbox::transformer::{CausalLm, EncoderDecoder};

/// Writes on from a prompt, or for one as its source, with the model in a folder as Hugging Face lays it out.
///
/// GPT-2, Llama, Mistral and Qwen models go on from the prompt; T5 and Marian models read it and write their answer.
#[derive(Parser)]
struct Args {
    /// The folder with config.json, model.safetensors and tokenizer.json
    #[arg(long)]
    model: PathBuf,
    /// What to go on from, or to answer
    #[arg(long)]
    prompt: String,
    /// New tokens at most
    #[arg(long, default_value_t = 128)]
    max_new_tokens: usize,
    /// Below 1 likely tokens become likelier, above 1 unlikely ones; 0 always takes the likeliest
    #[arg(long, default_value_t = 0.0)]
    temperature: f64,
    /// Draws from so many of the likeliest tokens [default: all]
    #[arg(long)]
    top_k: Option<usize>,
    /// Draws from the likeliest tokens that together have this probability [default: all]
    #[arg(long)]
    top_p: Option<f64>,
    /// Draws no token that is less likely than this share of the likeliest
    #[arg(long, default_value_t = 0.0)]
    min_p: f64,
    /// Above 1, tokens that were there become less likely
    #[arg(long, default_value_t = 1.0)]
    repetition_penalty: f64,
    /// No run of so many tokens comes twice; 0 for any
    #[arg(long, default_value_t = 0)]
    no_repeat_ngram_size: usize,
    /// Ends after this text
    #[arg(long)]
    stop: Vec<String>,
    /// Texts that a search follows; above 1 they come at the end, with their scores
    #[arg(long, default_value_t = 1)]
    num_beams: usize,
    /// Exponent of the length's penalty of a search: more makes texts longer
    #[arg(long, default_value_t = 1.0)]
    length_penalty: f64,
    /// Where random numbers start: the same seed writes the same
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// cpu, cuda, cuda:N, metal or auto
    #[arg(long, default_value = "cpu")]
    device: String,
    /// No line with the speed
    #[arg(long)]
    quiet: bool,
}

/// What a folder holds.
enum Model {
    Alone(Box<dyn CausalLm>),
    OfSource(Box<dyn EncoderDecoder>),
}

fn main() -> ExitCode {
    common::run(example)
}

fn example() -> anyhow::Result<()> {
    let args = Args::parse();
    let model = open(&args.model, &device(&args.device)?)?;
    let tokenizer = TokenizerFile::open(args.model.join("tokenizer.json"))?;
    expect_vocab(tokenizer.vocab_size(), model.vocab_size())?;
    let prompt = tokenizer.encode(&args.prompt)?;
    let config = config(&args, &tokenizer)?;

    let started = Instant::now();
    let written = if args.num_beams > 1 {
        search(&model, &prompt, &config, &tokenizer)?
    } else {
        write(&model, &args.prompt, &prompt, &config, &tokenizer)?
    };
    let seconds = started.elapsed().as_secs_f64();
    if !args.quiet {
        eprintln!("{written} tokens in {seconds:.2} s, {:.1} a second", written as f64 / seconds);
    }
    Ok(())
}

fn open(folder: &Path, device: &Device) -> anyhow::Result<Model> {
    let path = folder.join("config.json");
    let config: serde_json::Value =
        serde_json::from_str(&read_text(&path)?).with_context(|| path.display().to_string())?;
    Ok(match config.get("model_type").and_then(|kind| kind.as_str()) {
        Some("gpt2") => Model::Alone(Box::new(Gpt2::from_dir(folder, device)?)),
        Some("llama" | "mistral" | "qwen2" | "qwen3") => Model::Alone(Box::new(Llama::from_dir(folder, device)?)),
        Some("t5") => Model::OfSource(Box::new(T5::from_dir(folder, device)?)),
        Some("marian") => Model::OfSource(Box::new(Marian::from_dir(folder, device)?)),
        other => bail!(
            "{}: model_type {}, where gpt2, llama, mistral, qwen2, qwen3, t5 or marian is needed",
            path.display(),
            other.unwrap_or("none")
        ),
    })
}

impl Model {
    fn vocab_size(&self) -> usize {
        match self {
            Self::Alone(model) => model.vocab_size(),
            Self::OfSource(model) => model.vocab_size(),
        }
    }

    fn stream(&self, prompt: &[u32], config: &GenerateConfig) -> Result<Tokens<'_>> {
        match self {
            Self::Alone(model) => stream(model.as_ref(), prompt, config),
            Self::OfSource(model) => stream_from(model.as_ref(), prompt, config),
        }
    }
}

fn config(args: &Args, tokenizer: &TokenizerFile) -> Result<GenerateConfig> {
    let Args { temperature, top_k, top_p, min_p, repetition_penalty, no_repeat_ngram_size, .. } = *args;
    let Args { max_new_tokens, num_beams, length_penalty, .. } = *args;
    Ok(GenerateConfig {
        max_new_tokens,
        sampling: Sampling { temperature, top_k, top_p, seed: Seed(args.seed) },
        min_p,
        repetition_penalty,
        no_repeat_ngram_size,
        stop_sequences: args.stop.iter().map(|stop| tokenizer.encode(stop)).collect::<Result<_>>()?,
        num_beams,
        length_penalty,
        ..Default::default()
    })
}

/// Writes each piece as it comes: the number of tokens.
fn write(
    model: &Model,
    text: &str,
    prompt: &[u32],
    config: &GenerateConfig,
    tokenizer: &TokenizerFile,
) -> anyhow::Result<usize> {
    let mut stdout = std::io::stdout().lock();
    if let Model::Alone(_) = model {
        write!(stdout, "{text}")?;
        stdout.flush()?;
    }
    let mut count = 0;
    let tokens = model.stream(prompt, config)?.inspect(|_| count += 1);
    for piece in Pieces::new(tokens, |ids| tokenizer.decode(ids)) {
        write!(stdout, "{}", piece?)?;
        stdout.flush()?;
    }
    writeln!(stdout)?;
    Ok(count)
}

/// Writes what a search found, the best first, with scores: the number of tokens of the best.
fn search(model: &Model, prompt: &[u32], config: &GenerateConfig, tokenizer: &TokenizerFile) -> anyhow::Result<usize> {
    let texts = match model {
        Model::Alone(model) => generate(model.as_ref(), &[prompt], config)?,
        Model::OfSource(model) => generate_from(model.as_ref(), &[prompt], config)?,
    };
    let texts = texts.into_iter().next().unwrap_or_default();
    for text in &texts {
        println!("{:8.3}  {}", text.score, tokenizer.decode(&text.tokens)?);
    }
    Ok(texts.first().map_or(0, |best| best.tokens.len()))
}
