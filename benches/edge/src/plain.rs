//! The core: gives an octet back, takes bulk, or sends it, as the first octet of a connection says.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::Result;

/// Argument: the address.
pub fn run(arguments: &[&str]) -> Result<()> {
    let [address] = arguments else { return Err("plain: ADDRESS".into()) };
    let listener = TcpListener::bind(address)?;
    println!("ready");
    loop {
        let (stream, _) = listener.accept()?;
        thread::Builder::new().stack_size(512 * 1024).spawn(move || serve(stream))?;
    }
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut first = [0; 1];
    stream.read_exact(&mut first)?;
    let mut buffer = vec![0; 256 * 1024];
    match &first {
        b"u" => {
            let mut taken = 0u64;
            loop {
                match stream.read(&mut buffer)? {
                    0 => break,
                    octets => taken += octets as u64,
                }
            }
            stream.write_all(&taken.to_be_bytes())
        }
        // Until the terminal has had enough and is gone.
        b"d" => loop {
            stream.write_all(&buffer)?;
        },
        _ => {
            stream.write_all(&first)?;
            stream.read(&mut buffer).map(|_| ())
        }
    }
}
