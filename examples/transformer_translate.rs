//! A transformer learns to translate.

mod common;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Parser;
use common::{Defaults, RunArgs, translation};
use glassbox::data::text::{ParallelCorpus, TokenPairs, Tokenizer, TokenizerFile, TokenizerKind, TokenizerTraining};
use glassbox::metric::BleuTokenizer;
use glassbox::prelude::*;
use glassbox::train::{average_checkpoints, checkpoint};
use glassbox::transformer::generate::{GenerateConfig, Generated, generate_from};
use glassbox::transformer::{NormPlace, Seq2seqTransformer, Seq2seqTransformerConfig, TransformerConfig};
use serde::Serialize;

/// Learns to translate sentences, and measures how well by the BLEU of sentences it has not seen.
///
/// With --data it reads the line-aligned files train*.LANGUAGE, val*.LANGUAGE and test*.LANGUAGE of a folder, of several those
/// with .lc.norm.tok. in their names. Without, it makes up numbers and dates in English and German words. Both languages
/// share one byte-pair encoding, learned from the training text.
#[derive(Parser, Serialize)]
struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// The language to translate from: the ending of its files
    #[arg(long, default_value = "en")]
    source: String,
    /// The language to translate to
    #[arg(long, default_value = "de")]
    target: String,
    /// Tokens of the byte-pair encoding [default: 8000, 200 for the made-up sentences]
    #[arg(long)]
    vocab_size: Option<usize>,
    /// Features of a token between layers
    #[arg(long, default_value_t = 256)]
    d_model: usize,
    /// Heads of an attention layer
    #[arg(long, default_value_t = 4)]
    num_heads: usize,
    /// Features between the two layers for each token
    #[arg(long, default_value_t = 512)]
    feed_forward_size: usize,
    /// Layers of the encoder, and of the decoder
    #[arg(long, default_value_t = 3)]
    num_layers: usize,
    /// Probability of dropping an element, in [0, 1) [default: 0.3, 0.1 for the made-up sentences]
    #[arg(long)]
    dropout: Option<f64>,
    /// Tokens of a step, padding included, on the longer side
    #[arg(long, default_value_t = 4096)]
    max_tokens: usize,
    /// Steps in which the learning rate rises; then it falls with their inverse square root
    #[arg(long, default_value_t = 400)]
    warmup: u64,
    /// So many of the last epochs' weights are averaged, from 1 to the 3 that are kept
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
    average: u8,
    /// Hypotheses that the search follows
    #[arg(long, default_value_t = 5)]
    beam: usize,
    /// Exponent of the length's penalty: more makes translations longer
    #[arg(long, default_value_t = 1.0)]
    length_penalty: f64,
    /// Translates this sentence with the model in the folder of the run, and ends
    #[arg(long)]
    translate: Option<String>,
}

/// The ids of the encoding's special tokens, in their order.
const PAD: u32 = 0;
const BOS: u32 = 2;
const EOS: u32 = 3;

fn main() -> ExitCode {
    common::run(example)
}

fn example() -> anyhow::Result<()> {
    let defaults = Defaults { out: "runs/transformer_translate", epochs: "12", batch_size: "512", lr: "0.002" };
    let args: Args = common::parse(defaults);
    match &args.translate {
        Some(sentence) => show_translations(&args, sentence),
        None => train(&args),
    }
}

fn train(args: &Args) -> anyhow::Result<()> {
    let run = &args.run;
    let device = device(&run.device)?;
    let folder = run.data.clone().map_or_else(|| translation::made_up(&run.out.join("data"), true), Ok)?;
    let [train, validation, test] = translation::corpora(&folder, &args.source, &args.target)?;
    let vocab_size = args.vocab_size.unwrap_or(if run.data.is_some() { 8000 } else { 200 });
    let encoding =
        TokenizerTraining { kind: TokenizerKind::Bpe, vocab_size, progress: !run.quiet, ..Default::default() };
    let tokenizer = encoding.from_texts(train.source().iter().chain(train.target()))?;
    let trainer = run.trainer(&args)?;
    let translator = Translator::new(args.model(&tokenizer), tokenizer, run.seed, &device)?;
    translator.save(&run.out)?;

    let (train, validation) = (translator.pairs(&train)?, translator.pairs(&validation)?);
    let order = Seed(run.seed).child("order");
    let loader = |pairs: TokenPairs| {
        let lengths = pairs.num_tokens();
        DataLoader::new(pairs, run.batch_size).max_tokens(&lengths, args.max_tokens, order)
    };
    if !run.quiet {
        let sizes = (train.pairs().len(), translator.tokenizer.vocab_size(), translator.params().num_trainable());
        println!("{} pairs, {} tokens, {} parameters\n", sizes.0, sizes.1, sizes.2);
    }
    let optimizer = AdamW::new(translator.params(), run.lr)?.betas(0.9, 0.98).weight_decay(1e-4);
    let step = Seq2seqStep::new(translator.model, optimizer)
        .schedule(InverseSqrt::new(args.warmup))
        .transform(ClipNorm::new(1.0))
        .label_smoothing(0.1);
    let fitted = common::finished(trainer.fit(step, loader(train)?, loader(validation)?)?)?;

    // What was saved is what is measured: a fresh model reads the files.
    let translator = Translator::load(&run.out, &device)?;
    let checkpoints = checkpoint::list(&run.out.join("checkpoints"))?;
    let last = checkpoints.len().saturating_sub(args.average.into());
    average_checkpoints(&checkpoints[last..], &[("model", translator.params().clone())])?;
    translator.params().save(run.out.join("model.safetensors"))?;
    let translations = translator.best(test.source(), args)?;
    let languages = [args.source.as_str(), args.target.as_str()];
    let shown = if run.quiet { 0 } else { 5 };
    let (bleu, exact) = translation::score(&translations, &test, languages, Some((&run.out, shown)))?;
    let best = |name| fitted.scores.value(name).unwrap_or(f64::NAN);
    common::print_result(
        &[
            ("bleu", bleu),
            ("exact", exact),
            ("validation_loss", best("validation_loss")),
            ("perplexity", best("perplexity")),
        ],
        fitted.seconds,
    );
    Ok(())
}

fn show_translations(args: &Args, sentence: &str) -> anyhow::Result<()> {
    let translator = Translator::load(&args.run.out, &device(&args.run.device)?)?;
    let line = BleuTokenizer::V13a.tokenize(&sentence.to_lowercase());
    ensure!(!line.is_empty(), "the sentence to translate is empty");
    for hypothesis in translator.translate(&[line], args)?.into_iter().flatten() {
        println!("{:8.3}  {}", hypothesis.score, translator.tokenizer.decode(&hypothesis.tokens)?);
    }
    Ok(())
}

impl Args {
    fn model(&self, tokenizer: &TokenizerFile) -> Seq2seqTransformerConfig {
        let dropout = self.dropout.unwrap_or(if self.run.data.is_some() { 0.3 } else { 0.1 });
        let layer = TransformerConfig {
            d_model: self.d_model,
            num_heads: self.num_heads,
            feed_forward_size: Some(self.feed_forward_size),
            norm_place: NormPlace::Pre,
            dropout,
            ..Default::default()
        };
        let sizes = Seq2seqTransformerConfig::new(tokenizer.vocab_size(), tokenizer.vocab_size());
        let (encoder_layers, decoder_layers) = (self.num_layers, self.num_layers);
        let ids = Seq2seqTransformerConfig { pad: PAD, bos: BOS, eos: EOS, ..sizes };
        Seq2seqTransformerConfig { encoder_layers, decoder_layers, share_embeddings: true, layer, ..ids }
    }
}

/// A model with its encoding.
struct Translator {
    model: Seq2seqTransformer,
    tokenizer: TokenizerFile,
}

impl Translator {
    fn new(config: Seq2seqTransformerConfig, tokenizer: TokenizerFile, seed: u64, device: &Device) -> Result<Self> {
        let params = ParamStore::new(Seed(seed), device);
        Ok(Self { model: Seq2seqTransformer::new(config, params.root())?, tokenizer })
    }

    fn params(&self) -> &ParamStore {
        self.model.params()
    }

    /// All but the parameters, which the trainer saves.
    fn save(&self, folder: &Path) -> anyhow::Result<()> {
        fs::write(folder.join("seq2seq.json"), serde_json::to_string_pretty(self.model.config())?)?;
        Ok(self.tokenizer.save(folder.join("tokenizer.json"))?)
    }

    fn load(folder: &Path, device: &Device) -> anyhow::Result<Self> {
        let path = folder.join("seq2seq.json");
        let json = fs::read_to_string(&path).with_context(|| format!("no trained model: {}", path.display()))?;
        let config = serde_json::from_str(&json).with_context(|| path.display().to_string())?;
        let translator = Self::new(config, TokenizerFile::open(folder.join("tokenizer.json"))?, 0, device)?;
        translator.params().load(folder.join("model.safetensors"))?;
        Ok(translator)
    }

    fn source(&self, line: &str) -> Result<Vec<u32>> {
        Ok([self.tokenizer.encode(line)?, vec![EOS]].concat())
    }

    fn pairs(&self, corpus: &ParallelCorpus) -> Result<TokenPairs> {
        let pair = |(source, target): (&String, &String)| {
            Ok((self.source(source)?, [vec![BOS], self.tokenizer.encode(target)?, vec![EOS]].concat()))
        };
        TokenPairs::new(corpus.source().iter().zip(corpus.target()).map(pair).collect::<Result<_>>()?)
    }

    /// The hypotheses of each line, the best first.
    fn translate(&self, lines: &[String], args: &Args) -> Result<Vec<Vec<Generated>>> {
        let ids = lines.iter().map(|line| self.source(line)).collect::<Result<Vec<_>>>()?;
        let longest = ids.iter().map(Vec::len).max().unwrap_or(0);
        let config = GenerateConfig {
            max_new_tokens: 2 * longest + 10,
            num_beams: args.beam,
            length_penalty: args.length_penalty,
            ..Default::default()
        };
        // Batches of like lengths are done at the same time.
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|&line| ids[line].len());
        let mut translations = vec![vec![]; ids.len()];
        for batch in order.chunks(50) {
            let sources: Vec<&[u32]> = batch.iter().map(|&line| &ids[line][..]).collect();
            for (&line, hypotheses) in batch.iter().zip(generate_from(&self.model, &sources, &config)?) {
                translations[line] = hypotheses;
            }
        }
        Ok(translations)
    }

    /// The likeliest translation of each line.
    fn best(&self, lines: &[String], args: &Args) -> Result<Vec<String>> {
        let best = |hypotheses: Vec<Generated>| {
            let best = hypotheses.into_iter().next();
            best.map_or(Ok(String::new()), |best| self.tokenizer.decode(&best.tokens))
        };
        self.translate(lines, args)?.into_iter().map(best).collect()
    }
}
