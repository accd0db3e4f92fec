//! As much of a shell as one-liners need: words, variables, files, pipes. Nothing runs in the background.
//!
//! ```text
//! sh -c SCRIPT, or a line at a time from standard input
//! SCRIPT   pipes, joined by `;` (whatever came before), `&&` (only if it went well) or `||` (only if it did not)
//! pipe     commands joined by `|`; each runs to its end before the next one begins
//! command  PROGRAM [WORD]…, `cd FOLDER` or `exit [CODE]`, with `> FILE`, `>> FILE` or `< FILE` after it
//! word     as it stands, or in quotes; `$NAME`, `${NAME}` and `$?` stand for values, except in single quotes
//! ```

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::iter::Peekable;
use std::str::Chars;

use crate::{Code, FAILED, MISUSED, Streams, leave, run};

/// A piece of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Then,
    AndThen,
    OrElse,
    Pipe,
    Into,
    Onto,
    From,
}

/// What is asked for at a terminal.
const PROMPT: &str = "$ ";

/// Runs a script, or what is typed.
pub(crate) fn shell(args: &[&str], streams: &mut Streams<'_>) -> Code {
    match args {
        ["-c", script, ..] => script_of(script, 0, streams),
        [] | ["-i" | "-l" | "-"] => typed(streams),
        _ => {
            eprintln!("sh -c SCRIPT");
            MISUSED
        }
    }
}

/// A byte at a time: what comes after a line is for the programs that the line runs.
fn typed(streams: &mut Streams<'_>) -> Code {
    let prompts = io::stdin().is_terminal();
    let (mut code, mut line) = (0, Vec::new());
    loop {
        if prompts && line.is_empty() {
            let _ = write!(streams.output, "{PROMPT}").and_then(|()| streams.output.flush());
        }
        let mut byte = [0];
        match streams.input.read(&mut byte) {
            Ok(1) if byte[0] != b'\n' => {
                line.push(byte[0]);
                continue;
            }
            Ok(1) => {}
            _ if line.is_empty() => return code,
            _ => {}
        }
        code = script_of(&String::from_utf8_lossy(&std::mem::take(&mut line)), code, streams);
    }
}

fn script_of(script: &str, before: Code, streams: &mut Streams<'_>) -> Code {
    let (mut code, mut skips, mut pipe) = (before, false, Vec::new());
    let mut letters = script.chars().peekable();
    loop {
        let token = match token(&mut letters, code) {
            Ok(token) => token,
            Err(reason) => {
                eprintln!("sh: {reason}");
                return MISUSED;
            }
        };
        let over = token.is_none();
        match token.unwrap_or(Token::Then) {
            next @ (Token::Then | Token::AndThen | Token::OrElse) => {
                if !skips && !pipe.is_empty() {
                    code = piped(&pipe, code, streams);
                }
                skips = match next {
                    Token::AndThen => code != 0,
                    Token::OrElse => code == 0,
                    _ => false,
                };
                pipe.clear();
            }
            part => pipe.push(part),
        }
        if over {
            return code;
        }
    }
}

/// The next token; the values of variables are those of this moment.
fn token(letters: &mut Peekable<Chars<'_>>, code: Code) -> Result<Option<Token>, String> {
    while letters.next_if(|letter| matches!(letter, ' ' | '\t' | '\r')).is_some() {}
    let Some(&letter) = letters.peek() else { return Ok(None) };
    if !";\n&|<>".contains(letter) {
        return word(letters, code).map(|word| Some(Token::Word(word)));
    }
    letters.next();
    let twice = letters.next_if_eq(&letter).is_some();
    Ok(Some(match (letter, twice) {
        (';' | '\n', _) => Token::Then,
        ('&', true) => Token::AndThen,
        ('|', true) => Token::OrElse,
        ('|', false) => Token::Pipe,
        ('>', true) => Token::Onto,
        ('>', false) => Token::Into,
        ('<', false) => Token::From,
        _ => return Err(format!("{letter} has no place here: nothing runs in the background")),
    }))
}

fn word(letters: &mut Peekable<Chars<'_>>, code: Code) -> Result<String, String> {
    let mut word = String::new();
    while let Some(letter) = letters.next_if(|letter| !" \t\r\n;&|<>".contains(*letter)) {
        match letter {
            '\\' => word.extend(letters.next()),
            '\'' => loop {
                match letters.next().ok_or("a ' has no other")? {
                    '\'' => break,
                    inner => word.push(inner),
                }
            },
            '"' => loop {
                match letters.next().ok_or("a \" has no other")? {
                    '"' => break,
                    '\\' if matches!(letters.peek(), Some('"' | '\\' | '$')) => word.extend(letters.next()),
                    '$' => word.push_str(&value(letters, code)),
                    inner => word.push(inner),
                }
            },
            '$' => word.push_str(&value(letters, code)),
            letter => word.push(letter),
        }
    }
    Ok(word)
}

fn value(letters: &mut Peekable<Chars<'_>>, code: Code) -> String {
    if letters.next_if_eq(&'?').is_some() {
        return code.to_string();
    }
    let braced = letters.next_if_eq(&'{').is_some();
    let mut name = String::new();
    while let Some(letter) = letters.next_if(|letter| letter.is_ascii_alphanumeric() || *letter == '_') {
        name.push(letter);
    }
    if braced {
        letters.next_if_eq(&'}');
    }
    if name.is_empty() { "$".to_owned() } else { env::var(name).unwrap_or_default() }
}

/// What one command prints is kept until the next one reads it.
fn piped(tokens: &[Token], before: Code, streams: &mut Streams<'_>) -> Code {
    let commands: Vec<&[Token]> = tokens.split(|token| *token == Token::Pipe).collect();
    let Some((last, firsts)) = commands.split_last() else { return before };
    let mut between: Option<Vec<u8>> = None;
    for command in firsts {
        let (given, mut kept) = (between.take(), Vec::new());
        match given {
            None => execute(command, before, &mut Streams { input: streams.input, output: &mut kept }),
            Some(given) => execute(command, before, &mut Streams { input: &mut &given[..], output: &mut kept }),
        };
        between = Some(kept);
    }
    match between {
        None => execute(last, before, streams),
        Some(given) => execute(last, before, &mut Streams { input: &mut &given[..], output: streams.output }),
    }
}

fn execute(command: &[Token], before: Code, streams: &mut Streams<'_>) -> Code {
    let (mut words, mut input, mut output): (Vec<&str>, Option<File>, Option<File>) = (Vec::new(), None, None);
    let mut parts = command.iter();
    while let Some(part) = parts.next() {
        let opened = match (part, parts.as_slice().first()) {
            (Token::Word(word), _) => {
                words.push(word);
                continue;
            }
            (redirect, Some(Token::Word(file))) => {
                parts.next();
                let opened = match redirect {
                    Token::From => File::open(file).map(|opened| input = Some(opened)),
                    redirect => {
                        let onto = *redirect == Token::Onto;
                        let file = OpenOptions::new().create(true).write(true).append(onto).truncate(!onto).open(file);
                        file.map(|opened| output = Some(opened))
                    }
                };
                opened.map_err(|error| format!("{file}: {error}"))
            }
            _ => Err("into which file?".to_owned()),
        };
        if let Err(reason) = opened {
            eprintln!("sh: {reason}");
            return FAILED;
        }
    }
    let Some((name, args)) = words.split_first() else { return 0 };
    match (*name, args) {
        ("exit", args) => {
            let _ = streams.output.flush();
            let code = args.first().map_or(Some(before), |code| code.parse().ok()).unwrap_or(MISUSED);
            leave(code);
            code
        }
        ("cd", args) => match env::set_current_dir(args.first().copied().unwrap_or("/")) {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("sh: cd: {error}");
                FAILED
            }
        },
        (name, args) => {
            let input: &mut dyn Read = match &mut input {
                Some(file) => file,
                None => streams.input,
            };
            let output: &mut dyn Write = match &mut output {
                Some(file) => file,
                None => streams.output,
            };
            run(name, args, &mut Streams { input, output })
        }
    }
}
