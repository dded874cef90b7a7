//! Text out of tokens, as they come.

use glassbox_core::Result;

/// The text of tokens, piece by piece as they come: all pieces one after another are the text of all tokens.
///
/// A character may be of several tokens, and a tokenizer may write a token in another way after the one before it: a piece
/// is what the text has grown by, held back while it ends within a character.
///
/// ```
/// use glassbox_transformer::generate::Pieces;
/// // Tokens that are bytes: the second and third make one character.
/// let decode = |ids: &[u32]| {
///     let bytes: Vec<u8> = ids.iter().map(|&id| id as u8).collect();
///     Ok(String::from_utf8_lossy(&bytes).into_owned())
/// };
/// let pieces = Pieces::new([0x61, 0xc3, 0xa4, 0x62].map(Ok), decode);
/// assert_eq!(pieces.collect::<Result<Vec<_>, _>>()?, ["a", "", "ä", "b"]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub struct Pieces<I, F> {
    tokens: I,
    decode: F,
    /// Tokens whose text is not all given, after some that were, since a token's text may depend on the one before.
    window: Vec<u32>,
    /// Of these, how many were given as text.
    given: usize,
    ended: bool,
}

impl<I: Iterator<Item = Result<u32>>, F: FnMut(&[u32]) -> Result<String>> Pieces<I, F> {
    /// The text that `decode` makes of `tokens`.
    pub fn new(tokens: impl IntoIterator<IntoIter = I>, decode: F) -> Self {
        Self { tokens: tokens.into_iter(), decode, window: vec![], given: 0, ended: false }
    }

    /// What the text grows by with `token`, or at the end.
    fn grow(&mut self, token: Option<u32>) -> Result<String> {
        self.window.extend(token);
        let text = (self.decode)(&self.window)?;
        if token.is_some() && text.ends_with('\u{fffd}') {
            return Ok(String::new());
        }
        let before = (self.decode)(&self.window[..self.given])?;
        // The window moves on by what was given.
        self.window.drain(..self.given);
        self.given = self.window.len();
        Ok(text.strip_prefix(before.as_str()).map_or_else(|| text.clone(), String::from))
    }
}

impl<I: Iterator<Item = Result<u32>>, F: FnMut(&[u32]) -> Result<String>> Iterator for Pieces<I, F> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.tokens.next() {
            Some(token) => Some(token.and_then(|token| self.grow(Some(token)))),
            None => {
                self.ended = true;
                // What a text that breaks off within a character ends with.
                let held_back = self.window.len() > self.given;
                held_back.then(|| self.grow(None))
            }
        }
    }
}
