//! What Go's decoder says of text that is no JSON: the words that clients of Kubernetes know.
//!
//! It does not read JSON: it walks over text until the first byte that cannot be there, and says what was expected instead.

/// The deepest nesting that Go's decoder goes into; this walk needs no more either.
const DEPTH_MAX: usize = 10_000;

/// What is wrong with `text`; nothing, if it is JSON.
pub fn complaint(text: &[u8]) -> Option<String> {
    let mut walk = Walk { text, at: 0 };
    walk.document().err().map(|wrong| match wrong {
        Wrong::End => "unexpected end of JSON input".into(),
        Wrong::Byte(byte, context) => format!("invalid character {} {context}", quoted(byte)),
        Wrong::Deep => "exceeded max depth".into(),
    })
}

enum Wrong {
    End,
    Byte(u8, String),
    Deep,
}

struct Walk<'a> {
    text: &'a [u8],
    at: usize,
}

/// A byte between quotes, as Go prints the character of that number.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".into(),
        b'\n' => r"'\n'".into(),
        b'\r' => r"'\r'".into(),
        b'\t' => r"'\t'".into(),
        b'\\' => r"'\\'".into(),
        0..0x20 | 0x7f => format!(r"'\x{byte:02x}'"),
        0x80..0xa1 | 0xad => format!(r"'\u{byte:04x}'"),
        byte => format!("'{}'", char::from(byte)),
    }
}

// === impl Walk ===

impl Walk<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn spaces(&mut self) {
        while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn wrong(&self, context: &str) -> Wrong {
        self.peek().map_or(Wrong::End, |byte| Wrong::Byte(byte, context.into()))
    }

    fn document(&mut self) -> Result<(), Wrong> {
        // Whether each open bracket is that of an object.
        let mut open: Vec<bool> = Vec::new();
        loop {
            if self.value(&mut open)? {
                continue;
            }
            // A value has ended: what may follow depends on what it is in.
            loop {
                self.spaces();
                match open.last() {
                    None if self.at == self.text.len() => return Ok(()),
                    None => return Err(self.wrong("after top-level value")),
                    Some(is_object) => match (self.peek(), is_object) {
                        (Some(b','), true) => {
                            self.at += 1;
                            self.spaces();
                            self.key("looking for beginning of object key string")?;
                            break;
                        }
                        (Some(b','), false) => {
                            self.at += 1;
                            break;
                        }
                        (Some(b'}'), true) | (Some(b']'), false) => {
                            self.at += 1;
                            open.pop();
                        }
                        (_, true) => return Err(self.wrong("after object key:value pair")),
                        (_, false) => return Err(self.wrong("after array element")),
                    },
                }
            }
        }
    }

    /// Walks over a scalar, or into a list or an object that is not empty: then another value follows.
    fn value(&mut self, open: &mut Vec<bool>) -> Result<bool, Wrong> {
        self.spaces();
        match self.peek() {
            Some(b'{') => {
                self.at += 1;
                self.spaces();
                if self.peek() == Some(b'}') {
                    self.at += 1;
                    return Ok(false);
                }
                self.key("looking for beginning of object key string")?;
                open.push(true);
            }
            Some(b'[') => {
                self.at += 1;
                self.spaces();
                if self.peek() == Some(b']') {
                    self.at += 1;
                    return Ok(false);
                }
                open.push(false);
            }
            Some(b'"') => return self.string().map(|()| false),
            Some(b't') => return self.literal("true").map(|()| false),
            Some(b'f') => return self.literal("false").map(|()| false),
            Some(b'n') => return self.literal("null").map(|()| false),
            Some(b'-' | b'0'..=b'9') => return self.number().map(|()| false),
            _ => return Err(self.wrong("looking for beginning of value")),
        }
        if open.len() > DEPTH_MAX { Err(Wrong::Deep) } else { Ok(true) }
    }

    fn key(&mut self, context: &str) -> Result<(), Wrong> {
        if self.peek() != Some(b'"') {
            return Err(self.wrong(context));
        }
        self.string()?;
        self.spaces();
        if self.peek() != Some(b':') {
            return Err(self.wrong("after object key"));
        }
        self.at += 1;
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<(), Wrong> {
        for expected in word.bytes() {
            if self.peek() != Some(expected) {
                let context = format!("in literal {word} (expecting {})", quoted(expected));
                return Err(self.wrong(&context));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), Wrong> {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => self.at += 1,
                        Some(b'u') => {
                            self.at += 1;
                            for _ in 0..4 {
                                if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                                    return Err(self.wrong("in \\u hexadecimal character escape"));
                                }
                                self.at += 1;
                            }
                        }
                        _ => return Err(self.wrong("in string escape code")),
                    }
                }
                Some(byte) if byte >= 0x20 => self.at += 1,
                _ => return Err(self.wrong("in string literal")),
            }
        }
    }

    fn digits(&mut self, context: &str) -> Result<(), Wrong> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.wrong(context));
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Wrong> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        assert_eq!(complaint(text.as_bytes()).as_deref(), Some(expect), "{text:?}");
    }

    #[test]
    fn what_is_wrong_is_told_in_gos_words() {
        check("", "unexpected end of JSON input");
        check("{\"a\"", "unexpected end of JSON input");
        check("x", "invalid character 'x' looking for beginning of value");
        check("{a}", "invalid character 'a' looking for beginning of object key string");
        check("{\"a\" 1}", "invalid character '1' after object key");
        check("{\"a\": 1 2}", "invalid character '2' after object key:value pair");
        check("{\"a\": 1,}", "invalid character '}' looking for beginning of object key string");
        check("[1 2]", "invalid character '2' after array element");
        check("[1,]", "invalid character ']' looking for beginning of value");
        check("{} x", "invalid character 'x' after top-level value");
        check("nope", "invalid character 'o' in literal null (expecting 'u')");
        check("\"a\nb\"", r"invalid character '\n' in string literal");
        check(r#""\x""#, "invalid character 'x' in string escape code");
        check(r#""\u12g4""#, "invalid character 'g' in \\u hexadecimal character escape");
        check("-x", "invalid character 'x' in numeric literal");
        check("1.x", "invalid character 'x' after decimal point in numeric literal");
        check("1ex", "invalid character 'x' in exponent of numeric literal");
        check("{'a': 1}", r"invalid character '\'' looking for beginning of object key string");
    }

    #[test]
    fn json_is_no_cause_for_complaint() {
        for text in ["{}", " [] ", "[1, -2.5e+3, \"\\u00e9\", true, null, {\"a\": [{}]}]", "0"] {
            assert_eq!(complaint(text.as_bytes()), None, "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(text).is_ok());
        }
        assert_eq!(complaint("[".repeat(DEPTH_MAX + 2).as_bytes()).as_deref(), Some("exceeded max depth"));
    }
}
