//! A transformer learns to tell texts apart: a BERT of yours is fine-tuned, or a small one learns from nothing.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Parser;
use common::{Defaults, RunArgs};
use glassbox::data::text::{Tokenizer, TokenizerFile, WordVocab};
use glassbox::dataset::{Padded, Sequence, VecDataset};
use glassbox::prelude::*;
use glassbox::train::Supervised;
use glassbox::transformer::hub::{Bert, BertConfig, BertTask, Pretrained, expect_vocab};
use glassbox::transformer::padding_mask;
use serde::Serialize;

/// Learns which class a text has from a CSV file with the columns text and label, and measures on a tenth of it.
///
/// With --model it fine-tunes the BERT, RoBERTa or DistilBERT in a folder as Hugging Face lays it out. Without, a small
/// encoder learns from nothing; without --data, from short reviews that are made up, whose words alone do not tell.
#[derive(Parser, Serialize)]
struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// The folder of a model to fine-tune, with its tokenizer.json
    #[arg(long)]
    model: Option<PathBuf>,
    /// The column of the texts
    #[arg(long, default_value = "text")]
    text: String,
    /// The column of the classes
    #[arg(long, default_value = "label")]
    label: String,
    /// Tokens that are read of a text; the rest is cut off
    #[arg(long, default_value_t = 128)]
    max_length: usize,
}

fn main() -> ExitCode {
    common::run(example)
}

fn example() -> anyhow::Result<()> {
    let args: Args =
        common::parse(Defaults { out: "runs/transformer_classify", epochs: "4", batch_size: "32", lr: "0.0005" });
    let run = &args.run;
    let device = device(&run.device)?;
    let samples = match &run.data {
        Some(path) => read_csv(path, &args)?,
        None => reviews(4000),
    };
    let (samples, validation) = split(samples)?;
    let labels: BTreeSet<&str> = samples.iter().map(|(_, label)| label.as_str()).collect();
    let labels: Vec<&str> = labels.into_iter().collect();
    ensure!(labels.len() > 1, "one class alone: {labels:?}");

    let Reader { model, tokenizer } = Reader::new(&args, &samples, &labels, &device)?;
    let encode = |samples: &[(String, String)]| dataset(samples, &labels, tokenizer.as_ref(), args.max_length);
    let ((train, cut), (validation, _)) = (encode(&samples)?, encode(&validation)?);
    if !run.quiet {
        println!("{} texts of {} classes, {} weights", train.len(), labels.len(), model.params().num_trainable());
        println!("{cut} texts are longer than {} tokens and were cut", args.max_length);
    }
    let params = model.params().clone();
    let step = SupervisedStep::new(Classifier(model), CrossEntropy::default(), AdamW::new(&params, run.lr)?)
        .schedule(OneCycle::new(run.lr))
        .transform(ClipNorm::new(1.0))
        .metric(Accuracy::default());
    let lengths: Vec<usize> = train.iter().map(|(ids, _)| ids.0.elem_count()).collect();
    let order = Seed(run.seed).child("order");
    let train = DataLoader::new(VecDataset(train), run.batch_size).bucket_by_length(&lengths, order)?;
    let fitted = run.trainer(&args)?.fit(step, train, DataLoader::new(VecDataset(validation), 64))?;
    let fitted = common::finished(fitted)?;
    common::print_accuracy(&fitted);
    Ok(())
}

/// A model with what makes its ids.
struct Reader {
    model: Bert,
    tokenizer: Box<dyn Tokenizer>,
}

impl Reader {
    fn new(args: &Args, samples: &[(String, String)], labels: &[&str], device: &Device) -> anyhow::Result<Self> {
        let seed = Seed(args.run.seed);
        let id2label = (0..).zip(labels.iter().map(|label| label.to_string())).collect();
        if let Some(folder) = &args.model {
            let change = |config: &mut BertConfig| {
                config.task = BertTask::Classification;
                config.id2label = id2label;
            };
            let model = Bert::from_dir_with_new_head(folder, change, seed, device)?;
            let tokenizer = TokenizerFile::open(folder.join("tokenizer.json"))?;
            expect_vocab(tokenizer.vocab_size(), model.config().vocab_size)?;
            return Ok(Self { model, tokenizer: Box::new(tokenizer) });
        }
        let vocab = WordVocab::build(samples.iter().map(|(text, _)| words(text)), 2)?;
        let config = BertConfig {
            task: BertTask::Classification,
            vocab_size: vocab.vocab_size(),
            hidden_size: 64,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            intermediate_size: 128,
            max_position_embeddings: args.max_length,
            id2label,
            ..Default::default()
        };
        std::fs::create_dir_all(&args.run.out)?;
        vocab.save(args.run.out.join("vocabulary.json"))?;
        let params = ParamStore::new(seed, device);
        Ok(Self { model: Bert::new(config, params.root())?, tokenizer: Box::new(Words(vocab)) })
    }
}

/// Words in lower case between `<bos>`, whose vector the class is read from, and `<eos>`.
struct Words(WordVocab);

impl Tokenizer for Words {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.0.encode_with_ends(&words(text))
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        self.0.decode(ids)
    }

    fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }
}

/// Words and punctuation between spaces.
fn words(text: &str) -> String {
    glassbox::metric::BleuTokenizer::V13a.tokenize(&text.to_lowercase())
}

struct Classifier(Bert);

impl Supervised<(Padded, Tensor)> for Classifier {
    fn answer(&self, (texts, classes): &(Padded, Tensor), pass: &Pass) -> Result<(Tensor, Tensor)> {
        Ok((self.0.forward(&texts.values, None, Some(&padding_mask(texts)?), pass)?, classes.clone()))
    }
}

/// The texts' ids and classes, and how many were cut.
fn dataset(
    samples: &[(String, String)],
    labels: &[&str],
    tokenizer: &dyn Tokenizer,
    max_length: usize,
) -> anyhow::Result<(Vec<(Sequence, u32)>, usize)> {
    let mut cut = 0;
    let mut encoded = vec![];
    for (text, label) in samples {
        let mut ids = tokenizer.encode(text)?;
        cut += usize::from(ids.len() > max_length);
        ids.truncate(max_length);
        let class = labels.iter().position(|known| known == label);
        let class = class.with_context(|| format!("the class {label:?} is only among the texts that are held out"))?;
        encoded.push((Sequence::from_ids(&ids)?, class as u32));
    }
    Ok((encoded, cut))
}

/// A text and its label.
type Labelled = (String, String);

/// All but a tenth, and that tenth, always the same.
fn split(mut samples: Vec<Labelled>) -> anyhow::Result<(Vec<Labelled>, Vec<Labelled>)> {
    ensure!(samples.len() >= 10, "{} texts, where at least 10 are needed", samples.len());
    Seed(7).rng().shuffle(&mut samples);
    let validation = samples.split_off(samples.len() - samples.len() / 10);
    Ok((samples, validation))
}

/// The texts and labels of a CSV file. To a table a text is a category, of which each has its own.
fn read_csv(path: &Path, args: &Args) -> Result<Vec<Labelled>> {
    let (text, label) = (args.text.as_str(), args.label.as_str());
    let table = data::Csv::open(path).class_target(label).features([text]).categorical([text]).read()?;
    let texts = table.columns().first().and_then(|column| column.categories()).unwrap_or_default();
    let data::Target::Classes { labels: classes, names } = table.target() else { return Ok(vec![]) };
    let sample = |(row, &class): (usize, &u32)| {
        let text = texts.get(*table.row(row)?.first()? as usize)?;
        Some((text.clone(), names.get(class as usize)?.clone()))
    };
    Ok(classes.iter().enumerate().filter_map(sample).collect())
}

/// Made-up reviews: praise and blame of two things, one of which counts, and may be negated.
fn reviews(count: usize) -> Vec<Labelled> {
    const GOOD: [&str; 6] = ["great", "lovely", "clever", "moving", "fine", "funny"];
    const BAD: [&str; 6] = ["dull", "awful", "weak", "silly", "poor", "slow"];
    const THINGS: [&str; 6] = ["plot", "music", "acting", "ending", "camera", "dialogue"];
    const VERDICTS: [&str; 4] =
        ["in the end the film was", "all in all the film is", "yet the film is", "still , the film was"];
    let mut rng = Seed(11).rng();
    let mut pick = move |words: &[&'static str]| words[rng.below(words.len())];
    let mut review = || {
        let (thing, verdict) = (pick(&THINGS), pick(&VERDICTS));
        let words = [[GOOD, BAD].concat(), [GOOD, BAD].concat()];
        let [about_thing, about_film] = words.map(|words| pick(&words));
        let (first, negation) = (pick(&["", "not "]), pick(&["", "not ", "never "]));
        let is_good = GOOD.contains(&about_film) == negation.is_empty();
        let text = format!("The {thing} was {first}{about_thing} , {verdict} {negation}{about_film} .");
        (text, if is_good { "positive" } else { "negative" }.to_string())
    };
    (0..count).map(|_| review()).collect()
}
