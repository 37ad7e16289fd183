//! A wire that can be cut and is read: connections to one address go on to another, until they do not.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The wire.
pub struct Relay {
    listen: SocketAddr,
    ended: Arc<AtomicBool>,
    cut: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
    passed: Arc<Mutex<Vec<u8>>>,
}

/// What becomes of what passes towards the target.
pub type Rewrite = fn(&[u8]) -> Vec<u8>;

impl Relay {
    /// Carries connections from `listen` to `target`, what goes there as `rewrite` has it.
    pub fn open(listen: SocketAddr, target: SocketAddr, rewrite: Rewrite) -> Self {
        let listener = TcpListener::bind(listen).expect("a free address");
        let relay = Self {
            listen,
            ended: Arc::default(),
            cut: Arc::default(),
            connections: Arc::default(),
            passed: Arc::default(),
        };
        let (ended, cut, connections) = (relay.ended.clone(), relay.cut.clone(), relay.connections.clone());
        let passed = relay.passed.clone();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                if cut.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(far) = TcpStream::connect(target) else { continue };
                let ends = [near.try_clone(), far.try_clone()].map(|end| end.expect("a descriptor"));
                connections.lock().expect("no panic").extend(ends);
                carry(
                    near.try_clone().expect("a descriptor"),
                    far.try_clone().expect("a descriptor"),
                    (&cut, &passed),
                    rewrite,
                );
                carry(far, near, (&cut, &passed), |octets| octets.to_vec());
            }
        });
        relay
    }

    /// What has passed so far, of both directions.
    pub fn passed(&self) -> Vec<u8> {
        self.passed.lock().expect("no panic").clone()
    }

    /// From now on nothing passes, and nobody is told: what is sent is swallowed.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    /// From now on new connections pass; those that lost something are closed.
    pub fn heal(&self) {
        for connection in self.connections.lock().expect("no panic").drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        self.cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.listen);
        self.heal();
    }
}

fn carry(
    mut from: TcpStream,
    mut to: TcpStream,
    (cut, passed): (&Arc<AtomicBool>, &Arc<Mutex<Vec<u8>>>),
    rewrite: Rewrite,
) {
    let (cut, passed) = (cut.clone(), passed.clone());
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match from.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(_) if cut.load(Ordering::SeqCst) => thread::sleep(Duration::from_millis(1)),
                Ok(n) => {
                    let octets = rewrite(&buffer[..n]);
                    passed.lock().expect("no panic").extend(&octets);
                    if to.write_all(&octets).is_err() {
                        break;
                    }
                }
            }
        }
        if !cut.load(Ordering::SeqCst) {
            let _ = to.shutdown(Shutdown::Write);
        }
    });
}
