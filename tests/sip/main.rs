//! A border and its gateway as a process, between two neighbours that share nothing with them (`wire.py`): how
//! others write their messages, cut their streams, fill their datagrams, and what crosses what.
//!
//! Needs neither root nor a network: everybody has an address of its own on the loopback.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Killed when the test ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_neighbours_put_on_the_wire() {
    // Tests that run at once have their own addresses.
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let at = |host: u8| format!("127.{}.{low}.{host}", 64 + high % 64);
    let (left, right) = ([at(1), at(2), at(3)], [at(129), at(130), at(131)]);
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "[admin]\nsocket = \"admin.sock\"\n\
         [border.edge]\nrole = \"ibcf\"\ndomain = \"edge.example\"\ncontrol = {{ gateways = [\"gate\"] }}\n\
         [border.edge.network.left]\nlisten = [\"udp:{0}:5060\", \"tcp:{0}:5060\"]\npeers = [\"{2}/25\"]\n\
         [border.edge.network.right]\nlisten = [\"udp:{1}:5060\", \"tcp:{1}:5060\"]\npeers = [\"{3}/25\"]\n\
         [[border.edge.route]]\ndomain = \"left.example\"\nnetwork = \"left\"\nnext-hop = \"sip:{4}\"\n\
         [[border.edge.route]]\ndomain = \"*\"\nnetwork = \"right\"\nnext-hop = \"sip:{5}\"\n\
         [gateway.gate]\nrole = \"trgw\"\ncontrollers = [\"local:edge\"]\n\
         realm.left = {{ v4 = \"{6}\", ports = \"30000-30999\" }}\n\
         realm.right = {{ v4 = \"{7}\", ports = \"30000-30999\" }}\n",
        left[0],
        right[0],
        at(0),
        at(128),
        left[1],
        right[1],
        left[2],
        right[2]
    );
    std::fs::write(directory.path().join("carnet.toml"), text).unwrap();
    let mut carnet = Command::new(env!("CARGO_BIN_EXE_carnet"));
    let log = directory.path().join("log");
    carnet.current_dir(&directory).args(["run", "-c", "carnet.toml"]).stdout(Stdio::piped());
    carnet.stderr(std::fs::File::create(&log).unwrap());
    let mut carnet = Running(carnet.spawn().unwrap());
    let mut said = BufReader::new(carnet.0.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("ready")), "it ends before it is ready");
    std::thread::spawn(move || said.for_each(drop));

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/sip/wire.py");
    let mut neighbours = Command::new("python3");
    neighbours.arg(script).args([&left[0], &left[1], &right[0], &right[1]]);
    neighbours.arg(directory.path().join("admin.sock")).stderr(Stdio::piped());
    let mut neighbours = Running(neighbours.spawn().unwrap());
    let mut wrong = String::new();
    neighbours.0.stderr.take().unwrap().read_to_string(&mut wrong).unwrap();
    let well = neighbours.0.wait().unwrap().success();
    assert!(well, "{}\n{wrong}", std::fs::read_to_string(log).unwrap());
}
