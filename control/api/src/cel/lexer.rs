//! From text to tokens.

use std::sync::Arc;

use super::issue::Issue;

/// A word of the language.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Int(i64),
    /// Nine quintillion and some: fits only behind a minus.
    IntMin,
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    /// A name; keywords are among them.
    Ident(String),
    /// A name in back quotes, which may hold what a bare one may not.
    Quoted(String),
    /// An operator or a bracket.
    Mark(&'static str),
    End,
}

/// A token and where it begins, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) at: usize,
}

/// Longer marks before their beginnings.
const MARKS: [&str; 25] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}", "=",
];

/// All tokens of a text, with an [`Token::End`] behind.
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, Issue> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip();
        let at = lexer.at;
        let token = lexer.token()?;
        let is_end = token == Token::End;
        tokens.push(Placed { token, at });
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

// === impl Lexer ===

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Past white space and comments.
    fn skip(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn token(&mut self) -> Result<Token, Issue> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(Token::End) };
        if let Some(prefix) = string_prefix(rest) {
            return self.string(prefix);
        }
        let digit_follows = rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        if first.is_ascii_digit() || (first == '.' && digit_follows) {
            return self.number();
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let name = rest[..end].to_owned();
            self.at += end;
            return Ok(Token::Ident(name));
        }
        if first == '`' {
            let inner = &rest[1..];
            let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.' | '-' | '/' | ' '));
            return match end {
                Some(end) if end > 0 && inner[end..].starts_with('`') => {
                    let name = inner[..end].to_owned();
                    self.at += end + 2;
                    Ok(Token::Quoted(name))
                }
                _ => Err(self.unrecognized("`")),
            };
        }
        match MARKS.iter().find(|mark| rest.starts_with(**mark)) {
            Some(mark) if *mark != "=" => {
                self.at += mark.len();
                Ok(Token::Mark(mark))
            }
            _ => Err(self.unrecognized(&rest[..first.len_utf8()])),
        }
    }

    fn unrecognized(&self, what: &str) -> Issue {
        Issue::syntax(self.at, format!("token recognition error at: '{what}'"))
    }

    fn number(&mut self) -> Result<Token, Issue> {
        let rest = self.rest();
        let wrong = |what: &str| Issue::syntax(self.at, format!("invalid {what} literal"));
        let (token, length) = if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
            let digits = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
            let (number, after) = hex.split_at(digits);
            let value = u64::from_str_radix(number, 16);
            if after.starts_with(['u', 'U']) {
                (Token::Uint(value.map_err(|_| wrong("uint"))?), digits + 3)
            } else {
                (int(value.map_err(|_| wrong("int"))?).ok_or_else(|| wrong("int"))?, digits + 2)
            }
        } else {
            let digits = |from: usize| {
                rest[from..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |length| from + length)
            };
            let whole = digits(0);
            let mut end = whole;
            if rest[end..].starts_with('.') && digits(end + 1) > end + 1 {
                end = digits(end + 1);
            }
            if rest[end..].starts_with(['e', 'E']) {
                let sign = usize::from(rest[end + 1..].starts_with(['+', '-']));
                let after = digits(end + 1 + sign);
                if after > end + 1 + sign {
                    end = after;
                }
            }
            if end > whole {
                let value: f64 = rest[..end].parse().map_err(|_| wrong("double"))?;
                if value.is_infinite() {
                    return Err(wrong("double"));
                }
                (Token::Double(value), end)
            } else if rest[end..].starts_with(['u', 'U']) {
                (Token::Uint(rest[..end].parse().map_err(|_| wrong("uint"))?), end + 1)
            } else {
                let value = rest[..end].parse().map_err(|_| wrong("int"))?;
                (int(value).ok_or_else(|| wrong("int"))?, end)
            }
        };
        self.at += length;
        Ok(token)
    }

    fn string(&mut self, prefix: Prefix) -> Result<Token, Issue> {
        let start = self.at;
        let rest = &self.rest()[prefix.length..];
        let quote = &rest[..1];
        let triple = quote.repeat(3);
        let is_triple = rest.starts_with(&triple);
        let close = if is_triple { triple.as_str() } else { quote };
        let body = &rest[close.len()..];
        let unclosed = || {
            let told: String = self.rest().chars().take(20).collect();
            Issue::syntax(start, format!("token recognition error at: '{told}'"))
        };
        let mut end = 0;
        loop {
            let ahead = body.get(end..).unwrap_or_default();
            if ahead.starts_with(close) {
                break;
            }
            let next = ahead.chars().next().ok_or_else(unclosed)?;
            match next {
                '\n' | '\r' if !is_triple => return Err(unclosed()),
                '\\' if !prefix.is_raw => {
                    let escaped = ahead[1..].chars().next().ok_or_else(unclosed)?;
                    end += 1 + escaped.len_utf8();
                }
                next => end += next.len_utf8(),
            }
        }
        let content = &body[..end];
        let at = self.at + prefix.length + 2 * close.len() + end;
        let bytes = match (prefix.is_raw, prefix.is_bytes) {
            (true, _) => content.as_bytes().to_vec(),
            (false, is_bytes) => unescaped(content, is_bytes)
                .ok_or_else(|| Issue::syntax(start, "invalid escape sequence in a literal".into()))?,
        };
        let token = if prefix.is_bytes {
            Token::Bytes(bytes.into())
        } else {
            let text =
                String::from_utf8(bytes).map_err(|_| Issue::syntax(start, "a string literal is not UTF-8".into()))?;
            Token::String(text.into())
        };
        self.at = at;
        Ok(token)
    }
}

fn int(value: u64) -> Option<Token> {
    match i64::try_from(value) {
        Ok(value) => Some(Token::Int(value)),
        Err(_) if value == i64::MIN.unsigned_abs() => Some(Token::IntMin),
        Err(_) => None,
    }
}

/// The letters before an opening quote.
#[derive(Clone, Copy)]
struct Prefix {
    length: usize,
    is_raw: bool,
    is_bytes: bool,
}

fn string_prefix(rest: &str) -> Option<Prefix> {
    // No more than two letters: looking on would make reading quadratic.
    let length = rest.bytes().take(3).position(|byte| matches!(byte, b'"' | b'\''))?;
    let (is_raw, is_bytes) = match rest[..length].to_ascii_lowercase().as_str() {
        "" => (false, false),
        "r" => (true, false),
        "b" => (false, true),
        "rb" | "br" => (true, true),
        _ => return None,
    };
    Some(Prefix { length, is_raw, is_bytes })
}

/// What a literal says once its escapes are read; nothing if one of them is none.
fn unescaped(content: &str, is_bytes: bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(content.len());
    let mut rest = content;
    while let Some(next) = rest.chars().next() {
        rest = &rest[next.len_utf8()..];
        if next != '\\' {
            out.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = rest.chars().next()?;
        rest = &rest[escape.len_utf8()..];
        let mut number = |digits: usize, radix: u32| -> Option<u32> {
            let (number, after) = rest.split_at_checked(digits)?;
            rest = after;
            number.bytes().all(|digit| char::from(digit).is_digit(radix)).then_some(())?;
            u32::from_str_radix(number, radix).ok()
        };
        let code = match escape {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            '\\' | '?' | '"' | '\'' | '`' => escape as u32,
            'x' | 'X' => number(2, 16)?,
            'u' if !is_bytes => number(4, 16)?,
            'U' if !is_bytes => number(8, 16)?,
            '0'..='3' => (escape as u32 - '0' as u32) * 64 + number(2, 8)?,
            _ => return None,
        };
        if is_bytes && matches!(escape, 'x' | 'X' | '0'..='3') {
            out.push(u8::try_from(code).ok()?);
        } else {
            out.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Some(out)
}
