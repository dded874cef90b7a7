use super::*;
use crate::text::Tokenizer as _;

const TEXT: &str = "The quick brown fox jumps over the lazy dog.\nThe dog sleeps, the fox runs; the quick dog jumps.\n\
                    Low, lower, lowest: new, newer, newest. Wide, wider, widest!\n";

const KINDS: [TokenizerKind; 4] =
    [TokenizerKind::ByteBpe, TokenizerKind::Bpe, TokenizerKind::WordPiece, TokenizerKind::Unigram];

fn training(kind: TokenizerKind) -> TokenizerTraining {
    let vocab_size = if kind == TokenizerKind::ByteBpe { 300 } else { 90 };
    TokenizerTraining { kind, vocab_size, min_frequency: 1, progress: false, ..Default::default() }
}

#[test]
fn each_kind_learns_from_files_saves_and_reads_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let files = [folder.path().join("a.txt"), folder.path().join("b.txt")];
    std::fs::write(&files[0], TEXT.repeat(3)).unwrap();
    std::fs::write(&files[1], TEXT).unwrap();
    for kind in KINDS {
        let tokenizer = training(kind).from_files(&files).unwrap();
        // Unigram drops what it has no use for.
        let sizes = match kind {
            TokenizerKind::ByteBpe => 280..=300,
            TokenizerKind::Unigram => 40..=90,
            _ => 60..=90,
        };
        assert!(sizes.contains(&tokenizer.vocab_size()), "{kind:?}: {}", tokenizer.vocab_size());
        let path = folder.path().join("tokenizer.json");
        tokenizer.save(&path).unwrap();
        let read = TokenizerFile::open(&path).unwrap();
        let ids = tokenizer.encode("the lazy fox jumps").unwrap();
        assert_eq!(read.encode("the lazy fox jumps").unwrap(), ids, "{kind:?}");
        assert_eq!(read.decode(&ids).unwrap(), "the lazy fox jumps", "{kind:?}");
        // Learned pieces: fewer tokens than characters.
        assert!(ids.len() < 18, "{kind:?}: {ids:?}");
    }
}

#[test]
fn special_tokens_come_first_and_stand_where_the_kind_has_them() {
    let bert = TokenizerTraining { special_tokens: vec!["[X]".into()], ..training(TokenizerKind::WordPiece) };
    let bert = bert.from_texts([TEXT]).unwrap();
    let ids = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[X]"].map(|token| bert.token_id(token));
    assert_eq!(ids, [0, 1, 2, 3, 4, 5].map(Some));
    let encoded = bert.encode("the dog [X]").unwrap();
    assert_eq!((encoded[0], encoded[encoded.len() - 2], encoded[encoded.len() - 1]), (2, 5, 3));
    let t5 = training(TokenizerKind::Unigram).from_texts([TEXT]).unwrap();
    assert_eq!(["<pad>", "</s>", "<unk>"].map(|token| t5.token_id(token)), [0, 1, 2].map(Some));
    assert_eq!(t5.encode("the dog").unwrap().last(), Some(&1));
    // What no text had: bytes are bytes, the others say so.
    assert!(training(TokenizerKind::Bpe).from_texts([TEXT]).unwrap().encode("ж").unwrap().contains(&1));
    let bytes = training(TokenizerKind::ByteBpe).from_texts([TEXT]).unwrap();
    assert_eq!(bytes.decode(&bytes.encode("ж  \n ß").unwrap()).unwrap(), "ж  \n ß");
}

#[test]
fn lower_case_is_one_word() {
    for kind in KINDS {
        let tokenizer = TokenizerTraining { lowercase: true, ..training(kind) }.from_texts([TEXT]).unwrap();
        assert_eq!(tokenizer.encode("THE Dog").unwrap(), tokenizer.encode("the dog").unwrap(), "{kind:?}");
    }
}

#[test]
fn the_same_text_gives_the_same_tokens() {
    for kind in [TokenizerKind::ByteBpe, TokenizerKind::Bpe] {
        let learn = || training(kind).from_texts(TEXT.lines()).unwrap().inner().to_string(false).unwrap();
        assert_eq!(learn(), learn(), "{kind:?}");
    }
}

#[test]
fn what_cannot_be_learned_from_is_an_error() {
    let error = |result: Result<TokenizerFile>| result.unwrap_err().to_string();
    for kind in KINDS {
        let base = training(kind);
        let message = error(TokenizerTraining { vocab_size: 3, ..base.clone() }.from_texts([TEXT]));
        assert!(message.starts_with("vocab_size: expected room for "), "{kind:?}: {message}");
        let message = error(TokenizerTraining { vocab_size: usize::MAX, ..base.clone() }.from_texts([TEXT]));
        assert!(message.starts_with("vocab_size"), "{kind:?}: {message}");
        let empty = "text to learn a tokenizer from: expected at least one word, got none";
        assert_eq!(error(base.from_texts([" ", "\n"])), empty, "{kind:?}");
        assert_eq!(error(base.from_texts::<&str>([])), empty, "{kind:?}");
    }
    // More characters than room.
    let message = error(TokenizerTraining { vocab_size: 12, ..training(TokenizerKind::Bpe) }.from_texts([TEXT]));
    assert!(message.contains("vocab_size: expected room for "), "{message}");
    let base = training(TokenizerKind::ByteBpe);
    assert_eq!(error(base.from_files::<&str>(&[])), "files to learn a tokenizer from: expected at least one, got none");
    assert!(error(base.from_files(&["no/such/file.txt"])).contains("no/such/file.txt"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latin1.txt");
    std::fs::write(&path, b"caf\xe9").unwrap();
    assert!(error(base.from_files(&[path])).ends_with("latin1.txt: not UTF-8 text at byte 3, counted from 0"));
    let twice = TokenizerTraining { special_tokens: vec!["<|endoftext|>".into()], ..base };
    assert_eq!(
        error(twice.from_texts([TEXT])),
        "special_tokens: expected distinct ones, none empty, got \"<|endoftext|>\""
    );
}
