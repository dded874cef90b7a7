//! What the two programs that translate share: files of pairs, made-up pairs, and the score.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use glassbox::data::text::{EmptyLines, ParallelCorpus};
use glassbox::metric::{Bleu, BleuTokenizer};
use glassbox::prelude::*;

/// The pairs of a folder, to train on, to validate and to test.
pub fn corpora(folder: &Path, source: &str, target: &str) -> anyhow::Result<[ParallelCorpus; 3]> {
    let corpus = |part: &str, empty| -> anyhow::Result<ParallelCorpus> {
        let [source, target] = [source, target].map(|language| file(folder, part, language));
        Ok(ParallelCorpus::from_files(source?, target?, empty)?)
    };
    Ok([corpus("train", EmptyLines::Skip)?, corpus("val", EmptyLines::Skip)?, corpus("test", EmptyLines::Error)?])
}

/// The BLEU of the translations of a corpus and the percentage that is right to the word. With a folder, translations and
/// references are written there, and `shown` of them printed.
pub fn score(
    translations: &[String],
    test: &ParallelCorpus,
    languages: [&str; 2],
    out: Option<(&Path, usize)>,
) -> anyhow::Result<(f64, f64)> {
    let mut bleu = Bleu::new(BleuTokenizer::None);
    for (translation, reference) in translations.iter().zip(test.target()) {
        bleu.update(translation, &[reference.as_str()])?;
    }
    let right = translations.iter().zip(test.target()).filter(|(translation, reference)| translation == reference);
    let exact = 100.0 * right.count() as f64 / test.target().len() as f64;
    if let Some((folder, shown)) = out {
        let file = |name: &str| folder.join(format!("{name}.{}", languages[1]));
        fs::write(file("hypotheses"), translations.join("\n") + "\n")?;
        fs::write(file("references"), test.target().join("\n") + "\n")?;
        let lines = test.source().iter().zip(test.target()).zip(translations);
        for ((source, reference), translation) in lines.take(shown) {
            let [from, to] = languages;
            println!("\n{from:>10} {source}\n{to:>10} {reference}\n{:>10} {translation}", "here");
        }
    }
    Ok((bleu.compute()?.score, exact))
}

/// The file of a part in a language: of several the tokenised one, else the first by name.
fn file(folder: &Path, part: &str, language: &str) -> anyhow::Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut names = vec![];
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let plain = name.strip_suffix(".gz").unwrap_or(&name);
        if name.starts_with(part) && plain.strip_suffix(language).is_some_and(|rest| rest.ends_with('.')) {
            names.push(name);
        }
    }
    names.sort_by_key(|name| (!name.contains(".lc.norm.tok."), name.clone()));
    match names.first() {
        Some(name) => Ok(folder.join(name)),
        None => bail!("{}: no file {part}*.{language} or {part}*.{language}.gz", folder.display()),
    }
}

/// Writes numbers, and where `with_dates` dates, in German and English words into a folder, none of them twice.
pub fn made_up(folder: &Path, with_dates: bool) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let mut numbers = Seed(7).rng().permutation(1_000_000);
    // Short ones, too.
    numbers.truncate(3000);
    numbers.extend(0..1000);
    numbers.sort_unstable();
    numbers.dedup();
    let mut pairs: Vec<[String; 2]> = numbers.into_iter().map(|number| [german(number), english(number)]).collect();
    if with_dates {
        let days = Seed(9).rng().permutation(30 * 12 * 200);
        pairs.extend(days.into_iter().take(4000).map(|day| date(day % 30 + 1, day / 30 % 12, 1800 + day / 360)));
    }
    Seed(8).rng().shuffle(&mut pairs);
    let last = pairs.len();
    for (part, range) in [("train", 400..last), ("val", 0..200), ("test", 200..400)] {
        let pairs = pairs.get(range).unwrap_or_default();
        for (place, language) in ["de", "en"].into_iter().enumerate() {
            let lines: String = pairs.iter().map(|pair| format!("{}\n", pair[place])).collect();
            fs::write(folder.join(format!("{part}.{language}")), lines)?;
        }
    }
    Ok(folder.to_path_buf())
}

const MONTHS: [[&str; 2]; 12] = [
    ["januar", "january"],
    ["februar", "february"],
    ["märz", "march"],
    ["april", "april"],
    ["mai", "may"],
    ["juni", "june"],
    ["juli", "july"],
    ["august", "august"],
    ["september", "september"],
    ["oktober", "october"],
    ["november", "november"],
    ["dezember", "december"],
];

/// The third of May 1984 is "am dritten mai neunzehn hundert vier und achtzig" and "on may third nineteen hundred eighty
/// four".
fn date(day: usize, month: usize, year: usize) -> [String; 2] {
    let (century, rest) = (year / 100, year % 100);
    let year = |words: fn(usize) -> String, hundred: &str| match rest {
        0 => format!("{} {hundred}", words(century)),
        rest => format!("{} {hundred} {}", words(century), words(rest)),
    };
    let [german_month, english_month] = MONTHS[month];
    [
        format!("am {} {german_month} {}", german_day(day), year(german, "hundert")),
        format!("on {english_month} {} {}", english_day(day), year(english, "hundred")),
    ]
}

fn german_day(day: usize) -> String {
    match day {
        1 => "ersten".into(),
        3 => "dritten".into(),
        7 => "siebten".into(),
        0..20 => format!("{}ten", german(day)),
        _ => format!("{}sten", german(day)),
    }
}

fn english_day(day: usize) -> String {
    match day {
        1 => "first".into(),
        2 => "second".into(),
        3 => "third".into(),
        5 => "fifth".into(),
        8 => "eighth".into(),
        9 => "ninth".into(),
        12 => "twelfth".into(),
        20 | 30 => format!("{}ieth", english(day).trim_end_matches('y')),
        0..20 => format!("{}th", english(day)),
        _ => format!("twenty {}", english_day(day - 20)),
    }
}

const GERMAN: [&str; 20] = [
    "null",
    "eins",
    "zwei",
    "drei",
    "vier",
    "fünf",
    "sechs",
    "sieben",
    "acht",
    "neun",
    "zehn",
    "elf",
    "zwölf",
    "dreizehn",
    "vierzehn",
    "fünfzehn",
    "sechzehn",
    "siebzehn",
    "achtzehn",
    "neunzehn",
];
const GERMAN_TENS: [&str; 8] = ["zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig"];
const ENGLISH: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const ENGLISH_TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// 342,019 is "drei hundert zwei und vierzig tausend neunzehn", its parts as words of their own.
fn german(number: usize) -> String {
    let parts = |before: usize, unit: &str| format!("{} {unit}", german(before).replace("eins", "ein"));
    match number {
        0..20 => GERMAN[number].into(),
        20..100 if number.is_multiple_of(10) => GERMAN_TENS[number / 10 - 2].into(),
        20..100 => parts(number % 10, &format!("und {}", GERMAN_TENS[number / 10 - 2])),
        _ => joined(number, "hundert", "tausend", parts, german),
    }
}

/// 342,019 is "three hundred forty two thousand nineteen".
fn english(number: usize) -> String {
    let parts = |before: usize, unit: &str| format!("{} {unit}", english(before));
    match number {
        0..20 => ENGLISH[number].into(),
        20..100 if number.is_multiple_of(10) => ENGLISH_TENS[number / 10 - 2].into(),
        20..100 => format!("{} {}", ENGLISH_TENS[number / 10 - 2], ENGLISH[number % 10]),
        _ => joined(number, "hundred", "thousand", parts, english),
    }
}

/// Hundreds or thousands, and what is left of them.
fn joined(
    number: usize,
    hundred: &str,
    thousand: &str,
    parts: impl Fn(usize, &str) -> String,
    rest: fn(usize) -> String,
) -> String {
    let (size, unit) = if number < 1000 { (100, hundred) } else { (1000, thousand) };
    let (before, left) = (parts(number / size, unit), number % size);
    if left == 0 { before } else { format!("{before} {}", rest(left)) }
}
