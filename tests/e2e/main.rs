//! Carnet's processes on hosts of their own, joined by networks that are watched.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod access;
mod administered;
mod clients;
mod control;
mod demo;
mod devices;
mod families;
mod faults;
mod lab;
mod load;
mod meddler;
mod metrics;
mod network;
mod parallel;
mod protection;
mod recovery;
mod registrar;
mod sealed;
mod stopping;
mod strangers;
mod tampering;
mod trace;

use lab::Lab;

/// The lab itself: two hosts on a network hear each other, by IPv4 and IPv6.
#[test]
fn a_lab_carries_octets() {
    let Some(mut lab) = Lab::new() else { return };
    lab.network("lan");
    for (host, n) in [("one", 1), ("two", 2)] {
        lab.join(host, "lan", &format!("192.0.2.{n}/24"));
        lab.join(host, "lan", &format!("2001:db8::{n}/64"));
    }
    for address in ["192.0.2.2", "2001:db8::2"] {
        let mut listen = lab.command("two", "python3");
        listen.args(["-c", &format!("import socket; s=socket.create_server(('{address}',7),family=socket.AF_INET6 if ':' in '{address}' else socket.AF_INET); print('up',flush=True); c,_=s.accept(); print(c.recv(9).decode(),flush=True)")]);
        lab.start("two", listen);
        lab.wait_for("two", "out", "up", std::time::Duration::from_secs(5));
        let mut connect = lab.command("one", "python3");
        connect.args([
            "-c",
            &format!("import socket; socket.create_connection(('{address}',7)).sendall(b'hello')"),
        ]);
        assert!(connect.status().unwrap().success());
        lab.wait_for("two", "out", "hello", std::time::Duration::from_secs(5));
    }
}
