//! A recurrent encoder and decoder with attention learn to translate.

mod common;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Parser;
use common::{Defaults, RunArgs, translation};
use glassbox::Collate;
use glassbox::data::text::{ParallelCorpus, Tokenizer, WordVocab};
use glassbox::dataset::Sequence;
use glassbox::metric::BleuTokenizer;
use glassbox::prelude::*;
use serde::Serialize;

/// Learns to translate sentences, and measures how well by the BLEU of sentences it has not seen.
///
/// With --data it reads the line-aligned files train*.LANGUAGE, val*.LANGUAGE and test*.LANGUAGE of a folder, of several those
/// with .lc.norm.tok. in their names: words and punctuation between spaces, as Multi30k has them. Without, it makes up numbers
/// in German and English words, in which the digits stand in another order.
#[derive(Parser, Serialize)]
struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// The language to translate from: the ending of its files
    #[arg(long, default_value = "de")]
    source: String,
    /// The language to translate to
    #[arg(long, default_value = "en")]
    target: String,
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

fn main() -> ExitCode {
    common::run(example)
}

fn example() -> anyhow::Result<()> {
    let args: Args = common::parse(Defaults { out: "runs/rnn_translate", epochs: "10", batch_size: "64", lr: "0.002" });
    match &args.translate {
        Some(sentence) => show_translations(&args, sentence),
        None => train(&args),
    }
}

fn train(args: &Args) -> anyhow::Result<()> {
    let run = &args.run;
    let device = device(&run.device)?;
    let folder = run.data.clone().map_or_else(|| translation::made_up(&run.out.join("data"), false), Ok)?;
    let [train, validation, test] = translation::corpora(&folder, &args.source, &args.target)?;

    let vocab = |lines: &[String]| WordVocab::build(lines, 2);
    let (source, target) = (vocab(train.source())?, vocab(train.target())?);
    let sizes = Seq2seqConfig::new(source.vocab_size(), target.vocab_size());
    let config = match run.data {
        Some(_) => Seq2seqConfig { dropout: 0.4, ..sizes },
        None => Seq2seqConfig { embedding_dim: 64, hidden_size: 128, dropout: 0.1, ..sizes },
    };
    let trainer = run.trainer(&args)?;
    let translator = Translator::new(config, source, target, run.seed, &device)?;
    translator.save(&run.out)?;
    if !run.quiet {
        let sizes = (train.source().len(), config.source_vocab_size, config.target_vocab_size);
        println!("{} pairs, {} words of {}, {} of {}", sizes.0, sizes.1, args.source, sizes.2, args.target);
        println!("{} parameters\n", translator.params.num_trainable());
    }

    let pairs = |corpus: &ParallelCorpus| corpus.encode(&translator.source, &translator.target);
    let (train, validation) = (pairs(&train)?, pairs(&validation)?);
    let order = Seed(run.seed).child("order");
    let loader = |pairs: data::text::TokenPairs, batch_size| {
        let lengths = pairs.lengths();
        DataLoader::new(pairs, batch_size).bucket_by_length(&lengths, order)
    };
    let step = Seq2seqStep::new(translator.model, AdamW::new(&translator.params, run.lr)?)
        .schedule(OneCycle::new(run.lr))
        .transform(ClipNorm::new(1.0))
        .label_smoothing(0.1);
    let trainer = trainer.with(RestoreBest::on("validation_loss"));
    let fitted = trainer.fit(step, loader(train, run.batch_size)?, loader(validation, 64)?)?;
    let fitted = common::finished(fitted)?;

    // What was saved is what is measured: a fresh model reads the file.
    let translator = Translator::load(&run.out, &device)?;
    let search = translator.search(args);
    let languages = [args.source.as_str(), args.target.as_str()];
    let greedy = translator.best(&test, &SearchConfig { beam_size: 1, ..search.clone() })?;
    let (greedy, _) = translation::score(&greedy, &test, languages, None)?;
    let shown = if run.quiet { 0 } else { 5 };
    let (score, _) = translation::score(&translator.best(&test, &search)?, &test, languages, Some((&run.out, shown)))?;
    let best = |name| fitted.scores.value(name).unwrap_or(f64::NAN);
    common::print_result(
        &[
            ("bleu", score),
            ("bleu_greedy", greedy),
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
    let translations = translator.translate(&[line], &translator.search(args))?;
    for hypothesis in translations.into_iter().flatten() {
        println!("{:8.3}  {}", hypothesis.score, translator.target.decode(&hypothesis.tokens)?);
    }
    Ok(())
}

/// A model with its vocabularies.
struct Translator {
    model: Seq2seq,
    params: ParamStore,
    source: WordVocab,
    target: WordVocab,
}

impl Translator {
    fn new(config: Seq2seqConfig, source: WordVocab, target: WordVocab, seed: u64, device: &Device) -> Result<Self> {
        let params = ParamStore::new(Seed(seed), device);
        Ok(Self { model: Seq2seq::new(config, params.root())?, params, source, target })
    }

    /// All but the parameters, which the trainer saves.
    fn save(&self, folder: &Path) -> anyhow::Result<()> {
        fs::write(folder.join("seq2seq.json"), serde_json::to_string_pretty(self.model.config())?)?;
        self.source.save(folder.join("vocab.source.json"))?;
        Ok(self.target.save(folder.join("vocab.target.json"))?)
    }

    fn load(folder: &Path, device: &Device) -> anyhow::Result<Self> {
        let path = folder.join("seq2seq.json");
        let json = fs::read_to_string(&path).with_context(|| format!("no trained model: {}", path.display()))?;
        let config = serde_json::from_str(&json).with_context(|| path.display().to_string())?;
        let vocab = |name: &str| WordVocab::load(folder.join(name));
        let translator = Self::new(config, vocab("vocab.source.json")?, vocab("vocab.target.json")?, 0, device)?;
        translator.params.load(folder.join("model.safetensors"))?;
        Ok(translator)
    }

    fn search(&self, args: &Args) -> SearchConfig {
        let Args { beam: beam_size, length_penalty, .. } = *args;
        SearchConfig { beam_size, length_penalty, suppress: vec![WordVocab::UNK], ..Default::default() }
    }

    /// The hypotheses of each line, the best first.
    fn translate(&self, lines: &[String], search: &SearchConfig) -> Result<Vec<Vec<Hypothesis>>> {
        let encode = |line: &String| Ok([self.source.encode(line)?, vec![WordVocab::EOS]].concat());
        let ids = lines.iter().map(encode).collect::<Result<Vec<_>>>()?;
        // Batches of like lengths are done at the same time.
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|&line| ids[line].len());
        let mut translations = vec![vec![]; ids.len()];
        for batch in order.chunks(50) {
            let sequences = batch.iter().map(|&line| Sequence::from_ids(&ids[line])).collect::<Result<_>>()?;
            let sources = Sequence::to_device(Sequence::collate(sequences)?, self.params.device())?;
            for (&line, hypotheses) in batch.iter().zip(self.model.beam_search(&sources, search)?) {
                translations[line] = hypotheses;
            }
        }
        Ok(translations)
    }

    /// The likeliest translation of each line of a corpus.
    fn best(&self, test: &ParallelCorpus, search: &SearchConfig) -> Result<Vec<String>> {
        let best = |hypotheses: Vec<Hypothesis>| {
            let best = hypotheses.into_iter().next();
            best.map_or(Ok(String::new()), |best| self.target.decode(&best.tokens))
        };
        self.translate(test.source(), search)?.into_iter().map(best).collect()
    }
}
