//! `$(NAME)` in commands, arguments and values.

/// The text with `$(NAME)` replaced by what `lookup` knows; what it does not know stays as it is, and `$$` is one `$`.
pub(super) fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&rest[at..rest.len() - tail.len()]),
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let lookup = |name: &str| (name == "A").then(|| "1".to_owned());
        assert_eq!(expand(text, &lookup), expected);
    }

    #[test]
    fn references_are_replaced_as_kubernetes_does() {
        check("x-$(A)-y", "x-1-y");
        check("$(B) $(A)", "$(B) 1");
        check("$$(A)", "$(A)");
        check("$A $", "$A $");
        check("$(A", "$(A");
    }
}
