//! One command and its answer.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use crate::resp;

/// Says a command to a server, by name or address, and prints the answer.
pub fn say(server: &str, command: &[&str]) -> Result<(), Box<dyn Error>> {
    let mut socket = TcpStream::connect(server).map_err(|error| format!("{server}: {error}"))?;
    let mut words = Vec::new();
    resp::write_command(command, &mut words);
    socket.write_all(&words)?;
    print(&mut BufReader::new(socket))
}

fn print(answer: &mut impl BufRead) -> Result<(), Box<dyn Error>> {
    let mut head = String::new();
    answer.read_line(&mut head)?;
    let head = head.trim_end();
    let (kind, rest) = head.split_at_checked(1).ok_or("the server said nothing")?;
    match kind {
        "+" | ":" => println!("{rest}"),
        "-" => return Err(rest.into()),
        "$" if rest == "-1" => println!("(nil)"),
        "$" => {
            let mut bytes = vec![0; rest.parse::<usize>()? + 2];
            answer.read_exact(&mut bytes)?;
            println!("{}", String::from_utf8_lossy(&bytes[..bytes.len() - 2]));
        }
        "*" => {
            for _ in 0..rest.parse::<usize>()? {
                print(answer)?;
            }
        }
        _ => return Err(format!("what is {head}?").into()),
    }
    Ok(())
}
