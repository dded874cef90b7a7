//! A transformer that can copy words learns to summarise: names that it has never seen survive.

mod common;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Parser;
use common::{Defaults, RunArgs};
use glassbox::data::text::{TokenPairs, Tokenizer, WordVocab, read_text};
use glassbox::metric::{BleuTokenizer, Rouge, RougeScores};
use glassbox::prelude::*;
use glassbox::transformer::generate::{GenerateConfig, generate_from};
use glassbox::transformer::{PointerConfig, PointerSeq2Seq, copied_ids};
use serde::{Deserialize, Serialize};

/// Learns to summarise texts, and measures by the ROUGE of texts that it has not seen, beside that of their first sentences.
///
/// --data is a file of JSON lines, each with a document and its summary. Without, reports of contests are made up, with
/// names that come nowhere else.
#[derive(Parser, Serialize)]
struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// Words that are read of a document; the rest is cut off
    #[arg(long, default_value_t = 400)]
    max_document: usize,
    /// Words that are learned and written of a summary; the rest is cut off
    #[arg(long, default_value_t = 100)]
    max_summary: usize,
    /// How often a word comes in the training texts that is in the vocabulary; others can be copied
    #[arg(long, default_value_t = 5)]
    min_frequency: usize,
    /// Numbers that describe a word
    #[arg(long, default_value_t = 128)]
    hidden_size: usize,
    /// Blocks of the encoder, and of the decoder
    #[arg(long, default_value_t = 2)]
    num_layers: usize,
    /// Texts that the search follows
    #[arg(long, default_value_t = 4)]
    num_beams: usize,
    /// First sentences of a document that the summary is compared with
    #[arg(long, default_value_t = 1)]
    lead: usize,
    /// Summarises this text with the model in the folder of the run, and ends
    #[arg(long)]
    summarize: Option<String>,
}

/// A line of the data.
#[derive(Clone, Deserialize)]
struct Pair {
    document: String,
    summary: String,
}

fn main() -> ExitCode {
    common::run(example)
}

fn example() -> anyhow::Result<()> {
    let args: Args =
        common::parse(Defaults { out: "runs/transformer_summarize", epochs: "8", batch_size: "32", lr: "0.001" });
    match &args.summarize {
        Some(document) => {
            let summarizer = Summarizer::load(&args.run.out, &device(&args.run.device)?)?;
            let document = words(document);
            ensure!(!document.is_empty(), "the text to summarise is empty");
            summarizer.summaries(&[document], &args)?.iter().for_each(|summary| println!("{summary}"));
            Ok(())
        }
        None => train(&args),
    }
}

fn train(args: &Args) -> anyhow::Result<()> {
    let run = &args.run;
    let device = device(&run.device)?;
    let pairs = match &run.data {
        Some(path) => read_pairs(path)?,
        None => reports(4000),
    };
    let [train, validation, test] = split(pairs)?;

    let lines = train.iter().flat_map(|pair| [words(&pair.document), words(&pair.summary)]);
    let vocab = WordVocab::build(lines, args.min_frequency)?;
    let config = PointerConfig {
        vocab_size: vocab.vocab_size(),
        unknown_token_id: WordVocab::UNK,
        start_token_id: WordVocab::BOS,
        eos_token_id: WordVocab::EOS,
        hidden_size: args.hidden_size,
        intermediate_size: 4 * args.hidden_size,
        num_encoder_layers: args.num_layers,
        num_decoder_layers: args.num_layers,
        max_positions: args.max_document.max(args.max_summary + 1),
        ..Default::default()
    };
    let trainer = run.trainer(&args)?;
    let summarizer = Summarizer::new(config, vocab, run.seed, &device)?;
    summarizer.save(&run.out)?;
    let (train, cut) = summarizer.encode(&train, args)?;
    let (validation, _) = summarizer.encode(&validation, args)?;
    if !run.quiet {
        let sizes = (train.pairs().len(), summarizer.vocab.vocab_size(), summarizer.params.num_trainable());
        println!("{} texts, a vocabulary of {} words, {} weights", sizes.0, sizes.1, sizes.2);
        println!(
            "cut: {} documents after {} words, {} summaries after {}",
            cut.0, args.max_document, cut.1, args.max_summary
        );
    }

    let order = Seed(run.seed).child("order");
    let loader = |pairs: TokenPairs| {
        let lengths = pairs.lengths();
        DataLoader::new(pairs, run.batch_size).bucket_by_length(&lengths, order)
    };
    // Padding is no word to learn.
    let loss = CrossEntropy::default().ignore_index(WordVocab::PAD.into());
    let step = SupervisedStep::new(summarizer.model, loss, AdamW::new(&summarizer.params, run.lr)?)
        .schedule(OneCycle::new(run.lr))
        .transform(ClipNorm::new(1.0));
    let trainer = trainer.with(RestoreBest::on("validation_loss"));
    let fitted = common::finished(trainer.fit(step, loader(train)?, loader(validation)?)?)?;

    // What was saved is what is measured: a fresh model reads the file.
    let summarizer = Summarizer::load(&run.out, &device)?;
    let (scores, lead) = summarizer.measure(&test, args)?;
    common::print_result(
        &[
            ("rouge_1", scores.rouge_1.f_measure),
            ("rouge_2", scores.rouge_2.f_measure),
            ("rouge_l", scores.rouge_l.f_measure),
            ("lead_rouge_1", lead.rouge_1.f_measure),
            ("lead_rouge_2", lead.rouge_2.f_measure),
            ("lead_rouge_l", lead.rouge_l.f_measure),
            ("validation_loss", fitted.scores.value("validation_loss").unwrap_or(f64::NAN)),
        ],
        fitted.seconds,
    );
    Ok(())
}

/// A model with its vocabulary.
struct Summarizer {
    model: PointerSeq2Seq,
    params: ParamStore,
    vocab: WordVocab,
}

impl Summarizer {
    fn new(config: PointerConfig, vocab: WordVocab, seed: u64, device: &Device) -> Result<Self> {
        let params = ParamStore::new(Seed(seed), device);
        Ok(Self { model: PointerSeq2Seq::new(config, params.root())?, params, vocab })
    }

    /// All but the parameters, which the trainer saves.
    fn save(&self, folder: &Path) -> anyhow::Result<()> {
        fs::write(folder.join("pointer.json"), serde_json::to_string_pretty(self.model.config())?)?;
        Ok(self.vocab.save(folder.join("vocabulary.json"))?)
    }

    fn load(folder: &Path, device: &Device) -> anyhow::Result<Self> {
        let path = folder.join("pointer.json");
        let json = fs::read_to_string(&path).with_context(|| format!("no trained model: {}", path.display()))?;
        let config = serde_json::from_str(&json).with_context(|| path.display().to_string())?;
        let summarizer = Self::new(config, WordVocab::load(folder.join("vocabulary.json"))?, 0, device)?;
        summarizer.params.load(folder.join("model.safetensors"))?;
        Ok(summarizer)
    }

    /// The id of a word of the vocabulary.
    fn known(&self, word: &str) -> Option<u32> {
        let ids = self.vocab.encode(word).ok()?;
        ids.first().copied().filter(|&id| id != WordVocab::UNK)
    }

    /// The ids of a document, and its words that the vocabulary lacks.
    fn read<'a>(&self, document: &'a str, args: &Args) -> (Vec<u32>, Vec<&'a str>) {
        let PointerConfig { vocab_size, num_copied, .. } = *self.model.config();
        let words = document.split_whitespace().take(args.max_document);
        copied_ids(words, |word| self.known(word), vocab_size, num_copied, WordVocab::UNK)
    }

    /// The ids of documents and summaries, and how many of each were cut.
    fn encode(&self, pairs: &[Pair], args: &Args) -> anyhow::Result<(TokenPairs, (usize, usize))> {
        let (mut cut, mut all) = ((0, 0), vec![]);
        for Pair { document, summary } in pairs {
            let (document, summary) = (words(document), words(summary));
            cut.0 += usize::from(document.split_whitespace().count() > args.max_document);
            cut.1 += usize::from(summary.split_whitespace().count() > args.max_summary);
            let (source, copied) = self.read(&document, args);
            let copied_id = |word: &str| {
                let place = copied.iter().position(|other| *other == word)?;
                Some((self.vocab.vocab_size() + place) as u32)
            };
            let id = |word| self.known(word).or_else(|| copied_id(word)).unwrap_or(WordVocab::UNK);
            let summary = summary.split_whitespace().take(args.max_summary).map(id);
            all.push((source, [WordVocab::BOS].into_iter().chain(summary).chain([WordVocab::EOS]).collect()));
        }
        Ok((TokenPairs::new(all)?, cut))
    }

    /// The summaries of documents whose words stand between spaces.
    fn summaries(&self, documents: &[String], args: &Args) -> Result<Vec<String>> {
        let config = GenerateConfig {
            max_new_tokens: args.max_summary,
            num_beams: args.num_beams,
            // No summary says the same three words twice.
            no_repeat_ngram_size: 3,
            suppress_tokens: vec![WordVocab::PAD, WordVocab::UNK, WordVocab::BOS],
            ..Default::default()
        };
        let mut summaries = vec![];
        for batch in documents.chunks(16) {
            let read: Vec<_> = batch.iter().map(|document| self.read(document, args)).collect();
            let sources: Vec<&[u32]> = read.iter().map(|(ids, _)| ids.as_slice()).collect();
            for (texts, (_, copied)) in generate_from(&self.model, &sources, &config)?.iter().zip(&read) {
                let tokens = texts.first().map_or(&[][..], |best| &best.tokens);
                summaries.push(self.decode(tokens, copied));
            }
        }
        Ok(summaries)
    }

    fn decode(&self, tokens: &[u32], copied: &[&str]) -> String {
        let words = self.vocab.words();
        let word = |&id: &u32| match (words.get(id as usize), (id as usize).checked_sub(words.len())) {
            (Some(word), _) => word.as_str(),
            (None, Some(place)) => copied.get(place).copied().unwrap_or_default(),
            (None, None) => "",
        };
        tokens.iter().map(word).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// The ROUGE of the summaries, which are written beside the references, and that of the first sentences.
    fn measure(&self, test: &[Pair], args: &Args) -> anyhow::Result<(RougeScores, RougeScores)> {
        let documents: Vec<String> = test.iter().map(|pair| words(&pair.document)).collect();
        let summaries = self.summaries(&documents, args)?;
        let (mut rouge, mut lead) = (Rouge::default(), Rouge::default());
        for (summary, pair) in summaries.iter().zip(test) {
            rouge.update(summary, &[&pair.summary])?;
            lead.update(&first_sentences(&pair.document, args.lead), &[&pair.summary])?;
        }
        let lines = |texts: Vec<&str>| texts.iter().map(|text| text.replace('\n', " ") + "\n").collect::<String>();
        fs::write(args.run.out.join("summaries.txt"), lines(summaries.iter().map(String::as_str).collect()))?;
        fs::write(args.run.out.join("references.txt"), lines(test.iter().map(|pair| pair.summary.as_str()).collect()))?;
        for (summary, pair) in summaries.iter().zip(test).take(if args.run.quiet { 0 } else { 3 }) {
            println!("\n document {}\nreference {}\n     here {summary}", pair.document, pair.summary);
        }
        Ok((rouge.compute()?, lead.compute()?))
    }
}

/// Words and punctuation between spaces, as they are written.
fn words(text: &str) -> String {
    BleuTokenizer::V13a.tokenize(text)
}

/// The first `count` sentences: up to a full stop, a question or exclamation mark before white space or the end.
fn first_sentences(text: &str, count: usize) -> String {
    let mut ends = text.char_indices().filter(|&(place, c)| {
        let next = text[place + c.len_utf8()..].chars().next();
        matches!(c, '.' | '!' | '?') && next.is_none_or(char::is_whitespace)
    });
    match count.checked_sub(1).and_then(|last| ends.nth(last)) {
        Some((place, _)) => text[..=place].to_string(),
        None => text.to_string(),
    }
}

fn read_pairs(path: &Path) -> anyhow::Result<Vec<Pair>> {
    let mut pairs = vec![];
    for (number, line) in (1..).zip(read_text(path)?.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let pair: Pair = serde_json::from_str(line).with_context(|| format!("{}:{number}", path.display()))?;
        let is_empty = words(&pair.document).is_empty() || words(&pair.summary).is_empty();
        ensure!(!is_empty, "{}:{number}: an empty document or summary", path.display());
        pairs.push(pair);
    }
    Ok(pairs)
}

/// What is trained on, and a tenth each to validate and to test on, always the same.
fn split(mut pairs: Vec<Pair>) -> anyhow::Result<[Vec<Pair>; 3]> {
    ensure!(pairs.len() >= 20, "{} texts, where at least 20 are needed", pairs.len());
    Seed(7).rng().shuffle(&mut pairs);
    let tenth = pairs.len() / 10;
    let test = pairs.split_off(pairs.len() - tenth);
    let validation = pairs.split_off(pairs.len() - tenth);
    Ok([pairs, validation, test])
}

/// Made-up reports of contests: who won is the news, wherever it stands.
fn reports(count: usize) -> Vec<Pair> {
    const JOBS: [&str; 8] = ["baker", "teacher", "nurse", "farmer", "painter", "student", "pilot", "tailor"];
    const CITIES: [&str; 8] = ["Lisbon", "Oslo", "Vienna", "Porto", "Dublin", "Riga", "Turin", "Ghent"];
    const CONTESTS: [&str; 6] =
        ["chess cup", "song contest", "river race", "poetry prize", "cooking final", "garden show"];
    const FILLERS: [&str; 6] = [
        "It rained for most of the day.",
        "Many people had come to watch.",
        "The town hall was full.",
        "The band played until midnight.",
        "Tickets had been sold out for weeks.",
        "The next one is planned for autumn.",
    ];
    const PLACES: [&str; 3] = ["came second", "came third", "left early"];
    const SYLLABLES: [&str; 16] =
        ["ba", "do", "fe", "gi", "ka", "lo", "mi", "na", "po", "ra", "si", "ta", "ve", "wu", "xo", "zi"];
    let mut rng = Seed(11).rng();
    let mut report = || {
        let mut pick = |words: &[&'static str]| words[rng.below(words.len())];
        let mut name = || {
            let mut name = |end: &str| {
                let word = [pick(&SYLLABLES), pick(&SYLLABLES), pick(&SYLLABLES)].concat();
                word[..1].to_uppercase() + &word[1..] + end
            };
            format!("{} {}", name(""), name("n"))
        };
        let (winner, other) = (name(), name());
        let (city, contest) = (pick(&CITIES), pick(&CONTESTS));
        let mut sentences = [
            format!("{winner}, a {} from {city}, won the {contest}.", pick(&JOBS)),
            format!("{other}, a {} from {}, {}.", pick(&JOBS), pick(&CITIES), pick(&PLACES)),
            pick(&FILLERS).to_string(),
            pick(&FILLERS).to_string(),
        ];
        rng.shuffle(&mut sentences);
        Pair { document: sentences.join(" "), summary: format!("{winner} of {city} wins the {contest}.") }
    };
    (0..count).map(|_| report()).collect()
}
