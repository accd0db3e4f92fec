//! As much of a shell as the one-liners in manifests need: no programs, no variables, only words and files.
//!
//! ```text
//! sh -c SCRIPT
//! SCRIPT   commands, joined by `;` (whatever came before) or `&&` (only if it went well)
//! command  echo [WORD]…  |  cat [FILE]…  |  sleep SECONDS  |  true  |  false,  each with `> FILE` or `>> FILE` after it
//! ```
//! Words in single or double quotes are one word. A program that is asked for and is not one of these is not found: 127.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs, thread};

/// What a shell says of a command that it does not know, and of a script that it cannot read.
const NOT_FOUND: u8 = 127;
const MISUSED: u8 = 2;

/// A piece of a script.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Then,
    AndThen,
    Into,
    Onto,
}

fn main() -> ExitCode {
    // The manifest's `command` names the shell as it likes: `sh`, `/bin/sh`, `/bin/bash`.
    let words: Vec<String> = env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["-c", script, ..] => ExitCode::from(run(script)),
        _ => {
            eprintln!("sh -c SCRIPT");
            ExitCode::from(MISUSED)
        }
    }
}

fn run(script: &str) -> u8 {
    let tokens = match tokens(script) {
        Ok(tokens) => tokens,
        Err(reason) => {
            eprintln!("sh: {reason}");
            return MISUSED;
        }
    };
    let (mut code, mut skips, mut command) = (0, false, Vec::new());
    for token in tokens.into_iter().chain([Token::Then]) {
        match token {
            Token::Then | Token::AndThen => {
                if !skips && !command.is_empty() {
                    code = execute(&command);
                }
                skips = token == Token::AndThen && code != 0;
                command.clear();
            }
            part => command.push(part),
        }
    }
    code
}

fn tokens(script: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut letters = script.chars().peekable();
    while let Some(&letter) = letters.peek() {
        match letter {
            ' ' | '\t' => drop(letters.next()),
            ';' | '\n' => {
                letters.next();
                tokens.push(Token::Then);
            }
            '&' => {
                letters.next();
                if letters.next() != Some('&') {
                    return Err("nothing runs in the background here".into());
                }
                tokens.push(Token::AndThen);
            }
            '>' => {
                letters.next();
                let onto = letters.next_if_eq(&'>').is_some();
                tokens.push(if onto { Token::Onto } else { Token::Into });
            }
            _ => {
                let mut word = String::new();
                while let Some(letter) = letters.next_if(|letter| !" \t\n;&>".contains(*letter)) {
                    match letter {
                        '"' | '\'' => loop {
                            match letters.next() {
                                Some(end) if end == letter => break,
                                Some(inner) => word.push(inner),
                                None => return Err(format!("a {letter} has no other")),
                            }
                        },
                        letter => word.push(letter),
                    }
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Ok(tokens)
}

fn execute(command: &[Token]) -> u8 {
    let (mut words, mut out): (Vec<&str>, Box<dyn Write>) = (Vec::new(), Box::new(io::stdout()));
    let mut parts = command.iter();
    while let Some(part) = parts.next() {
        match (part, parts.as_slice().first()) {
            (Token::Word(word), _) => words.push(word),
            (redirect, Some(Token::Word(file))) => {
                parts.next();
                match open(file, *redirect == Token::Onto) {
                    Ok(opened) => out = Box::new(opened),
                    Err(error) => return fail(file, &error),
                }
            }
            _ => {
                eprintln!("sh: into which file?");
                return MISUSED;
            }
        }
    }
    let Some((name, args)) = words.split_first() else { return 0 };
    let done = match *name {
        "echo" => writeln!(out, "{}", args.join(" ")),
        "cat" => args.iter().try_for_each(|file| out.write_all(&fs::read(file)?)),
        "sleep" => {
            let seconds = args.first().and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
            thread::sleep(Duration::from_secs(seconds));
            Ok(())
        }
        "true" => Ok(()),
        "false" => return 1,
        name => {
            eprintln!("sh: {name}: not found");
            return NOT_FOUND;
        }
    };
    match done.and_then(|()| out.flush()) {
        Ok(()) => 0,
        Err(error) => fail(name, &error),
    }
}

fn open(file: &str, onto: bool) -> io::Result<File> {
    OpenOptions::new().create(true).write(true).append(onto).truncate(!onto).open(file)
}

fn fail(what: &str, error: &io::Error) -> u8 {
    eprintln!("sh: {what}: {error}");
    1
}
