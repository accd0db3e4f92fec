//! One command and its answer.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use crate::resp::{self, Reply};

/// Somebody who asks a server.
pub struct Client {
    answers: BufReader<TcpStream>,
}

/// Says a command to a server, by name or address, and prints the answer.
pub fn say(server: &str, command: &[&str]) -> Result<(), Box<dyn Error>> {
    print(Client::connect(server)?.ask(command)?)
}

// === impl Client ===

impl Client {
    /// Reaches a server by name or address.
    pub fn connect(server: &str) -> Result<Self, Box<dyn Error>> {
        let socket = TcpStream::connect(server).map_err(|error| format!("{server}: {error}"))?;
        Ok(Self { answers: BufReader::new(socket) })
    }

    /// What the server says to a command.
    pub fn ask(&mut self, command: &[&str]) -> Result<Reply, Box<dyn Error>> {
        let mut words = Vec::new();
        resp::write_command(command, &mut words);
        self.answers.get_mut().write_all(&words)?;
        read(&mut self.answers)
    }
}

fn read(answer: &mut impl BufRead) -> Result<Reply, Box<dyn Error>> {
    let mut head = String::new();
    answer.read_line(&mut head)?;
    let head = head.trim_end();
    let (kind, rest) = head.split_at_checked(1).ok_or("the server said nothing")?;
    Ok(match kind {
        "+" => Reply::Text(rest.into()),
        ":" => Reply::Number(rest.parse()?),
        "-" => return Err(rest.into()),
        "$" if rest == "-1" => Reply::Bytes(None),
        "$" => {
            let mut bytes = vec![0; rest.parse::<usize>()? + 2];
            answer.read_exact(&mut bytes)?;
            bytes.truncate(bytes.len() - 2);
            Reply::Bytes(Some(bytes))
        }
        "*" => {
            let mut items = Vec::new();
            for _ in 0..rest.parse::<usize>()? {
                if let Reply::Bytes(Some(item)) = read(answer)? {
                    items.push(item);
                }
            }
            Reply::List(items)
        }
        _ => return Err(format!("what is {head}?").into()),
    })
}

fn print(answer: Reply) -> Result<(), Box<dyn Error>> {
    match answer {
        Reply::Ok => println!("OK"),
        Reply::Text(text) => println!("{text}"),
        Reply::Number(number) => println!("{number}"),
        Reply::Bytes(None) => println!("(nil)"),
        Reply::Bytes(Some(bytes)) => println!("{}", String::from_utf8_lossy(&bytes)),
        Reply::List(items) => items.iter().for_each(|item| println!("{}", String::from_utf8_lossy(item))),
        Reply::Error(error) => return Err(error.into()),
    }
    Ok(())
}
