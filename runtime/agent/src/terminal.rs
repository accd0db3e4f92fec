//! A terminal's line discipline: what is typed becomes lines for the program and an echo for who types. Pure.
//!
//! Programs for wasm know terminals from other files, and nothing more of them; who sits at one has a keyboard that sends bare keys.
//! Between the two a kernel edits lines, and here there is none. Only that: no modes are to be set, and a size is told once, in the
//! environment of a command that begins at a terminal: programs have no way to ask for it, or to hear that it has changed.

use serde::Deserialize;

/// What a line may be, as Linux has it.
const LINE_BYTES_MAX: usize = 4_096;

const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const ERASE_LINE: u8 = 0x15;
const ERASE_WORD: u8 = 0x17;
const QUIT: u8 = 0x1c;
const DELETE: u8 = 0x7f;
const BELL: u8 = 0x07;
/// One step back, over what is there, and back again.
const RUB_OUT: &[u8] = b"\x08 \x08";

/// A line that is being typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terminal {
    line: Vec<u8>,
}

/// What came of some keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Typed {
    /// Whole lines, for the program.
    pub(crate) lines: Vec<u8>,
    /// What whoever types sees of it.
    pub(crate) echo: Vec<u8>,
    /// What the keys ask for besides.
    pub(crate) wish: Option<Wish>,
}

/// What keys can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The program is to end: Ctrl-C.
    Interrupt,
    /// There is no more to read: Ctrl-D on an empty line.
    End,
}

/// How large a terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Size {
    width: u16,
    height: u16,
}

// === impl Size ===

impl Size {
    /// Reads what clients say of theirs. A terminal without any size is one that does not know it.
    pub(crate) fn read(said: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(said).ok().filter(|size| size.width > 0 && size.height > 0)
    }

    /// The environment as programs at a terminal of this size have it; what it says of that itself stays.
    pub(crate) fn into_environment(self, environment: &mut Vec<(String, String)>) {
        for (name, value) in [("COLUMNS", self.width), ("LINES", self.height)] {
            if environment.iter().all(|(known, _)| known != name) {
                environment.push((name.into(), value.to_string()));
            }
        }
    }
}

// === impl Terminal ===

impl Terminal {
    /// Takes keys, up to the first that asks for something.
    pub(crate) fn typed(&mut self, keys: &[u8]) -> Typed {
        let mut typed = Typed::default();
        for key in keys {
            typed.wish = self.key(*key, &mut typed);
            if typed.wish.is_some() {
                break;
            }
        }
        typed
    }

    fn key(&mut self, key: u8, typed: &mut Typed) -> Option<Wish> {
        match key {
            b'\r' | b'\n' => {
                typed.echo.extend_from_slice(b"\r\n");
                typed.lines.append(&mut self.line);
                typed.lines.push(b'\n');
            }
            INTERRUPT | QUIT => {
                self.line.clear();
                typed.echo.extend_from_slice(&[b'^', key + b'@', b'\r', b'\n']);
                return Some(Wish::Interrupt);
            }
            END if self.line.is_empty() => return Some(Wish::End),
            END => typed.lines.append(&mut self.line),
            BACKSPACE | DELETE => self.erase(&mut typed.echo),
            ERASE_LINE => {
                while !self.line.is_empty() {
                    self.erase(&mut typed.echo);
                }
            }
            ERASE_WORD => {
                while self.line.last() == Some(&b' ') {
                    self.erase(&mut typed.echo);
                }
                while self.line.last().is_some_and(|last| *last != b' ') {
                    self.erase(&mut typed.echo);
                }
            }
            _ if self.line.len() >= LINE_BYTES_MAX => typed.echo.push(BELL),
            // Control keys are two letters wide when they are seen.
            0..0x20 if key != b'\t' => {
                self.line.push(key);
                typed.echo.extend_from_slice(&[b'^', key + b'@']);
            }
            key => {
                self.line.push(key);
                typed.echo.push(key);
            }
        }
        None
    }

    /// Takes back the last letter, however many bytes it has.
    fn erase(&mut self, echo: &mut Vec<u8>) {
        while let Some(byte) = self.line.pop() {
            if byte & 0xc0 == 0x80 {
                continue;
            }
            let is_control = byte < 0x20 && byte != b'\t';
            echo.extend_from_slice(&RUB_OUT.repeat(if is_control { 2 } else { 1 }));
            return;
        }
    }
}

/// What a program writes, as a terminal wants it: each line ends with a return to the left as well.
pub(crate) fn shown(written: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(written.len() + 16);
    for byte in written {
        if *byte == b'\n' {
            shown.push(b'\r');
        }
        shown.push(*byte);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &str, lines: &str, echo: &str, wish: Option<Wish>) {
        let typed = Terminal::default().typed(keys.as_bytes());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(
            (text(&typed.lines).as_str(), text(&typed.echo).as_str(), typed.wish),
            (lines, echo, wish),
            "{keys:?}"
        );
    }

    #[test]
    fn a_line_is_given_when_it_is_whole() {
        check("ls\r", "ls\n", "ls\r\n", None);
        check("ls\npw", "ls\n", "ls\r\npw", None);
        check("a\u{4}", "a", "a", None);
        let mut terminal = Terminal::default();
        assert_eq!(terminal.typed(b"l").lines, b"");
        assert_eq!(terminal.typed(b"s\r").lines, b"ls\n");
    }

    #[test]
    fn keys_edit_the_line() {
        check("lx\u{7f}s\r", "ls\n", "lx\u{8} \u{8}s\r\n", None);
        check("é\u{8}\r", "\n", "é\u{8} \u{8}\r\n", None);
        check("ab\u{15}c\r", "c\n", "ab\u{8} \u{8}\u{8} \u{8}c\r\n", None);
        check("a bc \u{17}\r", "a \n", "a bc \u{8} \u{8}\u{8} \u{8}\u{8} \u{8}\r\n", None);
        check("\u{7f}\u{1}\u{7f}", "", "^A\u{8} \u{8}\u{8} \u{8}", None);
    }

    #[test]
    fn keys_ask_for_an_end() {
        check("cat\u{3}more", "", "cat^C\r\n", Some(Wish::Interrupt));
        check("cat\r\u{4}", "cat\n", "cat\r\n", Some(Wish::End));
    }

    #[test]
    fn a_line_has_an_end_even_if_nobody_gives_it_one() {
        let mut terminal = Terminal::default();
        terminal.typed(&[b'x'; LINE_BYTES_MAX]);
        assert_eq!(terminal.typed(b"yy").echo, [BELL; 2]);
        assert_eq!(terminal.typed(b"\r").lines.len(), LINE_BYTES_MAX + 1);
    }

    #[test]
    fn a_size_is_part_of_the_environment() {
        let check = |said: &str, known: &[&str], expect: &[&str]| {
            let pair = |text: &&str| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
            let mut environment: Vec<_> = known.iter().filter_map(pair).collect();
            if let Some(size) = Size::read(said.as_bytes()) {
                size.into_environment(&mut environment);
            }
            let told: Vec<String> = environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(told, expect, "{said}");
        };
        check(r#"{"Width":100,"Height":40}"#, &["A=b"], &["A=b", "COLUMNS=100", "LINES=40"]);
        check(r#"{"Width":100,"Height":40}"#, &["COLUMNS=7"], &["COLUMNS=7", "LINES=40"]);
        check(r#"{"Width":0,"Height":0}"#, &["A=b"], &["A=b"]);
        check("large", &[], &[]);
    }

    #[test]
    fn what_is_written_begins_at_the_left() {
        assert_eq!(shown(b"a\nb\n"), b"a\r\nb\r\n");
    }
}
