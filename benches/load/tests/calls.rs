//! Whole calls, directly, with somebody in the media path who changes what passes, and towards nobody.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod meddler;

use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Output};

use meddler::{Fault, between};
use serde_json::Value;

fn program(words: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_carnet-load")).args(words.split_whitespace()).output().unwrap()
}

/// Calls, with what was said of them.
fn calls(words: &str) -> (Option<i32>, Value) {
    let output = program(&format!("calls {words} --json"));
    let text = String::from_utf8(output.stdout).unwrap();
    let line = serde_json::from_str(text.lines().last().unwrap_or_default());
    (
        output.status.code(),
        line.unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr))),
    )
}

/// Two addresses that nobody has: ends at loopback of their own, so that tests do not meet.
fn ends(number: u8) -> (String, String) {
    (format!("127.86.{number}.1:5060"), format!("127.86.{number}.2:5060"))
}

#[test]
fn calls_pass_and_both_ends_agree() {
    let (caller, callee) = ends(1);
    for media in ["plain", "sealed"] {
        for setup in ["active", "passive", "actpass"] {
            let words =
                format!("{callee} --caller {caller} --callee {callee} --calls 30 --messages 5 --size 5000");
            let (code, line) = calls(&format!("{words} --media {media} --setup {setup} --reports"));
            assert_eq!(code, Some(0), "{media}, {setup}: {line}");
            for end in ["caller", "callee"] {
                let told = &line[end];
                assert_eq!(
                    (&told["begun"], &told["ended"], &told["failed"]),
                    (&30.into(), &30.into(), &0.into())
                );
                assert_eq!((&told["sent"], &told["answered"]), (&150.into(), &150.into()), "{end}: {line}");
                assert_eq!(told["octets_received"], 750_000, "{end}: {line}");
                assert_eq!(told["message_us"]["count"], 150, "{end}: {line}");
            }
            for times in ["set_up_us", "media_us", "end_us"] {
                assert_eq!(line["caller"][times]["count"], 30, "{times}: {line}");
            }
            // Each octet that one end wrote is one that the other read.
            assert_eq!(line["caller"]["written"], line["callee"]["read"]);
            assert!(line["caller"]["written"].as_u64() > Some(750_000), "heads are written too");
        }
    }
    let at_a_rate = "--rate 100 --calls 50 --hold 0.2";
    let (code, line) = calls(&format!("{callee} --caller {caller} --callee {callee} {at_a_rate}"));
    assert_eq!((code, &line["caller"]["set_up_us"]["from"]), (Some(0), &"intended".into()), "{line}");
    assert_eq!(line["caller"]["ended"], 50, "{line}");
    let seconds = line["seconds"].as_f64().unwrap();
    assert!(seconds > 0.69, "the last of 50 calls is due after 0.49 s and stands for 0.2: {seconds}");
}

#[test]
fn calls_pass_over_ipv6() {
    let (caller, callee) = ("[::1]:5862", "[::1]:5861");
    let (code, line) =
        calls(&format!("{callee} --caller {caller} --callee {callee} --calls 5 --media sealed"));
    assert_eq!((code, &line["caller"]["ended"]), (Some(0), &5.into()), "{line}");
}

#[test]
fn one_port_serves_all_calls() {
    let (caller, callee) = ends(2);
    let (code, line) =
        calls(&format!("{callee} --caller {caller} --callee {callee} --calls 40 --door 20001"));
    assert_eq!((code, &line["callee"]["ended"]), (Some(0), &40.into()), "{line}");
}

/// Passes SIP on, and leads the caller's media through somebody with a fault.
fn proxy(at: &str, callee: &str, fault: Fault, up: bool, after: usize) {
    let (socket, callee) = (UdpSocket::bind(at).unwrap(), callee.parse::<SocketAddr>().unwrap());
    std::thread::spawn(move || {
        let (mut caller, mut buffer) = (callee, vec![0; 65_536]);
        let mut fault = fault;
        while let Ok((octets, from)) = socket.recv_from(&mut buffer) {
            let mut text = String::from_utf8(buffer[..octets].to_vec()).unwrap();
            if from == callee {
                if let Some((before, rest)) = text.split_once("m=message ") {
                    let (port, after_port) = rest.split_once(' ').unwrap();
                    let media = SocketAddr::new(callee.ip(), port.parse().unwrap());
                    let other = between(media, std::mem::replace(&mut fault, Fault::Nothing), up, after);
                    let before = before
                        .replace(&format!("c=IN IP4 {}", callee.ip()), &format!("c=IN IP4 {}", other.ip()));
                    text = format!("{before}m=message {} {after_port}", other.port());
                    let (head, body) = text.split_once("\r\n\r\n").unwrap();
                    let head: Vec<&str> =
                        head.lines().filter(|line| !line.starts_with("Content-Length")).collect();
                    text = format!("{}\r\n\r\n{body}", head.join("\r\n"));
                }
                socket.send_to(text.as_bytes(), caller).unwrap();
            } else {
                caller = from;
                socket.send_to(text.as_bytes(), callee).unwrap();
            }
        }
    });
}

#[test]
fn whatever_is_changed_on_the_way_fails_a_call() {
    let faults = [Fault::Nothing, Fault::Flip, Fault::Lose, Fault::Twice, Fault::Swap, Fault::Cut];
    std::thread::scope(|scope| {
        for (number, (fault, up)) in
            faults.into_iter().flat_map(|fault| [(fault, true), (fault, false)]).enumerate()
        {
            scope.spawn(move || meddled(number as u8 + 11, fault, up));
        }
    });
}

fn meddled(number: u8, fault: Fault, up: bool) {
    let (caller, callee) = ends(number);
    let hop = format!("127.86.{number}.3:5060");
    proxy(&hop, &callee, fault, up, 20_000);
    // Who is innocent may take long on a busy machine.
    let innocent = matches!(fault, Fault::Nothing);
    let patience = if innocent { 30 } else { 5 };
    let words =
        format!("{hop} --caller {caller} --callee {callee} --calls 3 --at-once 1 --patience {patience}");
    let (code, line) = calls(&format!("{words} --size 10000 --chunk 10000"));
    let (ended, failed) = (&line["caller"]["ended"], &line["caller"]["failed"]);
    if innocent {
        assert_eq!((code, ended, failed), (Some(0), &3.into(), &0.into()), "{line}");
        return;
    }
    assert_eq!(code, Some(1), "{fault:?}, up {up}: {line}");
    let there = line["callee"]["failed"].as_u64().unwrap();
    assert!(failed.as_u64().unwrap() + there >= 1, "{fault:?}, up {up}: {line}");
    let causes = format!("{}{}", line["caller"]["causes"], line["callee"]["causes"]);
    if matches!(fault, Fault::Flip | Fault::Swap) {
        assert!(causes.contains("other octets") || causes.contains("400"), "{fault:?}: {causes}");
    }
}

#[test]
fn nobody_there_and_nonsense_are_failures() {
    let (caller, callee) = ends(3);
    let nobody = "127.86.3.9:5060";
    let (code, line) = calls(&format!("{nobody} --caller {caller} --callee {callee} --calls 3 --patience 1"));
    assert_eq!((code, &line["caller"]["failed"]), (Some(1), &3.into()), "{line}");
    assert_eq!(line["caller"]["causes"]["INVITE: no answer in time"], 3, "{line}");
    assert!(line["odd"].as_array().unwrap().iter().any(|it| it.as_str().unwrap().contains("3, 0")), "{line}");
    for nonsense in
        ["--media sealed --door 20001", "--setup holdconn", "--size 0", "--media odd", "--only nobody"]
    {
        let output =
            program(&format!("calls {callee} --caller {caller} --callee {callee} --calls 2 {nonsense}"));
        assert_eq!(output.status.code(), Some(2), "{nonsense}");
    }
}

#[test]
fn it_explains_itself() {
    for kind in ["calls", "network"] {
        let output = program(&format!("{kind} --help"));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.starts_with(&format!("carnet-load {kind} ")), "{text}");
        assert_eq!(program(kind).status.code(), Some(2));
        assert_eq!(program(&format!("{kind} 127.0.0.1:1 --nonsense")).status.code(), Some(2));
    }
}
