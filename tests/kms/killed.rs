//! SIGKILL at any moment: what was acknowledged is there.

use crate::http::Http;
use crate::service::{REQUEST, STRANGERS, Service, json_lines, request};
use carnet_net::OsRandom;
use carnet_wire::Random;
use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

fn random_below(limit: Duration) -> Duration {
    limit.mul_f64(f64::from(OsRandom.u32()) / f64::from(u32::MAX))
}

/// Names of users as `user list` has them.
fn users(service: &Service) -> BTreeSet<String> {
    let output = service.admin(&["user", "list", "--json"]);
    assert!(output.status.success(), "{output:?}");
    json_lines(&output).iter().map(|u| u["name"].as_str().unwrap().to_owned()).collect()
}

/// `carnet kms user add` killed at any moment of its life, or done; whether it showed a key.
fn add(service: &Service, name: &str, life: Duration) -> bool {
    let mut child = service
        .admin_command(&["user", "add", name])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(life);
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let key = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    key.len() == 64
}

#[test]
fn users_added_by_a_command_that_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::new(directory.path(), &directory.path().join("data"), "");
    let began = Instant::now();
    assert!(service.admin(&["user", "add", "sip:first@x.example"]).status.success());
    let whole = began.elapsed();
    let mut acknowledged = BTreeSet::from(["sip:first@x.example".to_owned()]);
    let mut cut = 0;
    for n in 0..40 {
        let name = format!("sip:u{n}@x.example");
        if add(&service, &name, random_below(whole.mul_f64(1.5))) {
            acknowledged.insert(name);
        } else {
            cut += 1;
        }
        let there = users(&service);
        assert!(acknowledged.is_subset(&there), "lost: {:?}", acknowledged.difference(&there));
    }
    assert!(cut > 0 && acknowledged.len() > 1, "{cut} were cut, {} were not", acknowledged.len());
}

#[test]
fn users_added_to_a_service_that_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut service = Service::new(directory.path(), &directory.path().join("data"), "");
    let mut acknowledged = BTreeSet::new();
    let mut number = 0;
    for _ in 0..6 {
        service.start();
        let life = Duration::from_millis(100) + random_below(Duration::from_millis(700));
        let end = Instant::now() + life;
        std::thread::scope(|scope| {
            let (service, number, acknowledged) = (&service, &mut number, &mut acknowledged);
            let adding = scope.spawn(move || {
                // Past the end too: one is under way when the service dies.
                while Instant::now() < end + Duration::from_millis(50) {
                    *number += 1;
                    let name = format!("sip:s{number}@x.example");
                    if service.admin(&["user", "add", &name]).status.success() {
                        acknowledged.insert(name);
                    }
                }
            });
            std::thread::sleep(life);
            service.signal_kill();
            adding.join().unwrap();
        });
        service.kill();
        let there = users(&service);
        assert!(acknowledged.is_subset(&there), "lost: {:?}", acknowledged.difference(&there));
    }
    assert!(!acknowledged.is_empty());
}

#[test]
fn tickets_issued_under_load_by_a_service_that_is_killed() {
    const CALLERS: usize = 8;
    let directory = tempfile::tempdir().unwrap();
    let mut service = Service::new(directory.path(), &directory.path().join("data"), STRANGERS);
    let mut granted = BTreeSet::new();
    let number = AtomicU64::new(0);
    for _ in 0..5 {
        service.start();
        let of_this_round = std::thread::scope(|scope| {
            let (address, number) = (service.address, &number);
            let callers: Vec<_> = (0..CALLERS)
                .map(|_| {
                    scope.spawn(move || {
                        let mut mine = Vec::new();
                        let Ok(mut http) = Http::connect(address) else { return mine };
                        loop {
                            let n = number.fetch_add(1, Ordering::Relaxed);
                            let callee = format!("sip:t{n}@x.example");
                            let (pending, octets) = request(&callee);
                            let Ok(answer) = http.post(REQUEST, &octets) else { return mine };
                            assert_eq!(answer.status, 200);
                            assert!(pending.response(&answer.body, SystemTime::now()).is_ok());
                            mine.push(callee);
                        }
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(300) + random_below(Duration::from_millis(700)));
            service.signal_kill();
            callers.into_iter().flat_map(|c| c.join().unwrap()).collect::<Vec<_>>()
        });
        service.kill();
        granted.extend(of_this_round);
        let recorded = service.issued_for();
        assert!(
            granted.is_subset(&recorded),
            "lost: {:?}",
            granted.difference(&recorded).collect::<Vec<_>>()
        );
    }
    assert!(granted.len() > 50, "only {} tickets", granted.len());
}
