//! Names by pattern: `*` stands for any text, the empty one included.

/// Whether `name` matches `pattern`, as in [`ParamStore::freeze`](crate::ParamStore::freeze).
///
/// ```
/// use glassbox_core::pattern::matches;
/// assert!(matches("encoder.*.weight", "encoder.0.attn.weight") && !matches("encoder.*", "decoder.0"));
/// ```
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_any_text() {
        let yes = [
            ("*", ""),
            ("*", "a.b"),
            ("a.*", "a.b.c"),
            ("*.bias", "x.bias"),
            ("a*b*c", "a1b2b3c"),
            ("a", "a"),
            ("a**b", "ab"),
        ];
        let no = [("a", "ab"), ("a.*", "b.a."), ("*.bias", "bias"), ("a*b", "ba"), ("", "a"), ("ab*ba", "aba")];
        yes.iter().for_each(|(p, n)| assert!(matches(p, n), "{p} {n}"));
        no.iter().for_each(|(p, n)| assert!(!matches(p, n), "{p} {n}"));
    }
}
