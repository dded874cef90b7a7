//! Learning a `tokenizer.json` from texts.

use std::path::Path;

use glassbox_core::{Error, Result};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::normalizers::{BertNormalizer, Lowercase, NFKC, NormalizerWrapper, Sequence};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::processors::bert::BertProcessing;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, PostProcessorWrapper, Tokenizer};

use super::file::guarded;
use super::{TokenizerFile, read_text};

/// How a tokenizer cuts text into tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenizerKind {
    /// Byte-pair encoding of bytes, as GPT-2's: starts from all 256 bytes, joins the most frequent neighbours, and so can
    /// write any text (Sennrich et al. 2015, arXiv 1508.07909; Radford et al. 2019). Special token: `<|endoftext|>`.
    #[default]
    ByteBpe,
    /// Byte-pair encoding of characters; a character that no training text has becomes `<unk>`. A space is part of the word
    /// after it, as in SentencePiece. Special tokens: `<pad>`, `<unk>`, `<s>`, `</s>`.
    Bpe,
    /// WordPiece as BERT's: whole words, else beginnings and `##` continuations, taken greedily from the left (Schuster and
    /// Nakajima 2012; Devlin et al. 2018, arXiv 1810.04805). Text is encoded as `[CLS] … [SEP]`. Special tokens: `[PAD]`,
    /// `[UNK]`, `[CLS]`, `[SEP]`, `[MASK]`.
    WordPiece,
    /// Unigram as SentencePiece's: the most probable cut under probabilities of the pieces, of which the least useful were
    /// dropped until few enough were left (Kudo 2018, arXiv 1804.10959). Characters are normalised by NFKC. Special tokens
    /// in T5's order: `<pad>`, `</s>`, `<unk>`.
    Unigram,
}

/// How to learn a tokenizer from texts.
///
/// ```
/// use glassbox_data::text::{Tokenizer, TokenizerKind, TokenizerTraining};
/// let training = TokenizerTraining { vocab_size: 270, min_frequency: 2, ..Default::default() };
/// let tokenizer = training.from_texts(["low lower lowest", "new newer newest"])?;
/// let ids = tokenizer.encode("slow news")?;
/// assert!(ids.len() < 9, "fewer tokens than bytes");
/// assert_eq!(tokenizer.decode(&ids)?, "slow news");
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TokenizerTraining {
    /// How it cuts. Default: bytes, as GPT-2.
    pub kind: TokenizerKind,
    /// Number of tokens at most, special ones and single characters included: 30,000 by default. A small text gives fewer.
    pub vocab_size: usize,
    /// How often two neighbours must come to be joined; unigram has no use for it. Default 2.
    pub min_frequency: u64,
    /// Special tokens beside those of the kind, which come first: their ids follow.
    pub special_tokens: Vec<String>,
    /// Whether upper case is made lower case first, and, by WordPiece, accents are removed. Default false.
    pub lowercase: bool,
    /// Whether to show how far it is, in terminals and with the feature `progress`. Default true.
    pub progress: bool,
}

impl Default for TokenizerTraining {
    fn default() -> Self {
        Self {
            kind: TokenizerKind::default(),
            vocab_size: 30_000,
            min_frequency: 2,
            special_tokens: vec![],
            lowercase: false,
            progress: true,
        }
    }
}

impl TokenizerTraining {
    /// Learns from UTF-8 files, which may be compressed with gzip. One is in memory at a
    /// time, and is taken line by line.
    ///
    /// With byte-pair encodings the same files give the same tokens. The library behind this gives WordPiece's continuations
    /// their ids in an order that changes from run to run, and so may choose between pieces that are equally frequent, and it
    /// adds up unigram's probabilities in parallel: keep the file.
    ///
    /// # Errors
    /// No files; one cannot be read or is not UTF-8; no text in them; a `vocab_size` that the special tokens and single
    /// characters exceed.
    pub fn from_files<P: AsRef<Path> + Sync>(&self, files: &[P]) -> Result<TokenizerFile> {
        if files.is_empty() {
            return Err(Error::invalid("files to learn a tokenizer from", "at least one", "none"));
        }
        let mut failed = None;
        let lines = files.iter().map(|path| path.as_ref().to_path_buf()).flat_map(|path| match read_text(path) {
            Ok(text) => text.split_inclusive('\n').map(|line| Ok(line.to_string())).collect(),
            Err(e) => vec![Err(e)],
        });
        let until_error = lines.map_while(|line| line.map_err(|e| failed = Some(e)).ok());
        let trained = self.learn(until_error);
        failed.map_or(trained, Err)
    }

    /// Learns from texts in memory.
    ///
    /// # Errors
    /// No text; a `vocab_size` that the special tokens and single characters exceed.
    pub fn from_texts<S: AsRef<str> + Send>(
        &self,
        texts: impl IntoIterator<Item = S, IntoIter: Send>,
    ) -> Result<TokenizerFile> {
        self.learn(texts.into_iter())
    }

    fn learn<S: AsRef<str> + Send>(&self, texts: impl Iterator<Item = S> + Send) -> Result<TokenizerFile> {
        let special = self.special()?;
        // What does not depend on the text is checked before the work, the rest after it.
        let fewest = special.len() + if self.kind == TokenizerKind::ByteBpe { 256 } else { 1 };
        self.expect_room(fewest)?;
        let mut any = false;
        let texts = texts.inspect(|text| any |= !text.as_ref().trim().is_empty());
        let (mut tokenizer, mut trainer) = self.empty(&special);
        let trained = guarded(PLACE, || {
            tokenizer.train(&mut trainer, texts)?;
            Ok(())
        });
        // The trainers fail of nothing in ways of their own, or give a tokenizer of nothing.
        if !any {
            return Err(Error::invalid("text to learn a tokenizer from", "at least one word", "none"));
        }
        trained?;
        self.expect_room(tokenizer.get_vocab_size(true))?;
        if let Some(processor) = self.processor(&tokenizer) {
            tokenizer.with_post_processor(Some(processor));
        }
        TokenizerFile::new(tokenizer, PLACE)
    }

    fn expect_room(&self, tokens: usize) -> Result<()> {
        if self.vocab_size >= tokens && u32::try_from(self.vocab_size).is_ok() {
            return Ok(());
        }
        let expected = format!("room for {tokens} tokens: the special ones and single characters");
        Err(Error::invalid("vocab_size", expected, self.vocab_size))
    }

    /// The special tokens, those of the kind first.
    fn special(&self) -> Result<Vec<String>> {
        let own: &[&str] = match self.kind {
            TokenizerKind::ByteBpe => &["<|endoftext|>"],
            TokenizerKind::Bpe => &["<pad>", "<unk>", "<s>", "</s>"],
            TokenizerKind::WordPiece => &["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
            TokenizerKind::Unigram => &["<pad>", "</s>", "<unk>"],
        };
        let mut all: Vec<String> = own.iter().map(ToString::to_string).collect();
        for token in &self.special_tokens {
            if token.is_empty() || all.contains(token) {
                return Err(Error::invalid("special_tokens", "distinct ones, none empty", format!("{token:?}")));
            }
            all.push(token.clone());
        }
        Ok(all)
    }

    /// A tokenizer without tokens, and what learns them.
    fn empty(&self, special: &[String]) -> (Tokenizer, TrainerWrapper) {
        let added: Vec<AddedToken> = special.iter().map(|token| AddedToken::from(token.as_str(), true)).collect();
        match self.kind {
            TokenizerKind::ByteBpe => {
                let mut tokenizer = Tokenizer::new(BPE::default());
                tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
                tokenizer.with_post_processor(Some(ByteLevel::new(false, false, true)));
                tokenizer.with_decoder(Some(ByteLevel::default()));
                let alphabet = ByteLevel::alphabet().into_iter().collect();
                (self.normalized(tokenizer, vec![]), self.bpe(added).initial_alphabet(alphabet).build().into())
            }
            TokenizerKind::Bpe => {
                let mut model = BPE::default();
                model.unk_token = Some("<unk>".to_string());
                (self.normalized(spaces_in_words(model), vec![]), self.bpe(added).build().into())
            }
            TokenizerKind::WordPiece => {
                let mut tokenizer = Tokenizer::new(WordPiece::default());
                let mut normalizer = BertNormalizer::default();
                normalizer.lowercase = self.lowercase;
                // Without an error: it has no tokens yet that would have to be normalised.
                let _ = tokenizer.with_normalizer(Some(normalizer));
                tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
                tokenizer.with_decoder(Some(tokenizers::decoders::wordpiece::WordPiece::default()));
                let trainer = WordPieceTrainer::builder().vocab_size(self.vocab_size).show_progress(self.progress);
                (tokenizer, trainer.min_frequency(self.min_frequency).special_tokens(added).build().into())
            }
            TokenizerKind::Unigram => {
                let mut trainer = UnigramTrainer::default();
                trainer.vocab_size = self.vocab_size as u32;
                trainer.show_progress = self.progress;
                trainer.special_tokens = added;
                trainer.unk_token = Some("<unk>".to_string());
                (self.normalized(spaces_in_words(Unigram::default()), vec![NFKC.into()]), trainer.into())
            }
        }
    }

    fn bpe(&self, special: Vec<AddedToken>) -> tokenizers::models::bpe::BpeTrainerBuilder {
        let trainer = BpeTrainer::builder().vocab_size(self.vocab_size).min_frequency(self.min_frequency);
        trainer.show_progress(self.progress).special_tokens(special)
    }

    fn normalized(&self, mut tokenizer: Tokenizer, mut steps: Vec<NormalizerWrapper>) -> Tokenizer {
        if self.lowercase {
            steps.push(Lowercase.into());
        }
        if !steps.is_empty() {
            // Without an error: it has no tokens yet that would have to be normalised.
            let _ = tokenizer.with_normalizer(Some(Sequence::new(steps)));
        }
        tokenizer
    }

    /// What adds special tokens around a text; bytes and BPE add none.
    fn processor(&self, tokenizer: &Tokenizer) -> Option<PostProcessorWrapper> {
        let token = |name: &str| Some((name.to_string(), tokenizer.token_to_id(name)?));
        match self.kind {
            TokenizerKind::ByteBpe | TokenizerKind::Bpe => None,
            TokenizerKind::WordPiece => Some(BertProcessing::new(token("[SEP]")?, token("[CLS]")?).into()),
            TokenizerKind::Unigram => {
                let template = TemplateProcessing::builder()
                    .try_single("$A </s>")
                    .and_then(|t| t.try_pair("$A </s> $B </s>"))
                    .ok()?
                    .special_tokens(vec![token("</s>")?])
                    .build();
                Some(template.ok()?.into())
            }
        }
    }
}

/// Names a tokenizer that is in no file yet.
const PLACE: &str = "the tokenizer";

/// Words with the space before them, shown as `▁`.
fn spaces_in_words(model: impl Into<ModelWrapper>) -> Tokenizer {
    let mut tokenizer = Tokenizer::new(model);
    let spaces = Metaspace::new('▁', PrependScheme::Always, true);
    tokenizer.with_pre_tokenizer(Some(spaces.clone()));
    tokenizer.with_decoder(Some(spaces));
    tokenizer
}

#[cfg(test)]
mod tests;
