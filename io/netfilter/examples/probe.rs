//! Opens a table, adds a translation, waits.
use carnet_netfilter::*;
fn main() {
    let config = TableConfig { name: "probe".into(), size: 65536, log_group: 5 };
    let opened = Table::open(&config);
    let Ok(Opened { mut table, left }) = opened.map_err(|e| println!("{e}")) else { return };
    println!("left {left:?}");
    let key = Key { source: "10.1.0.1".parse().unwrap(), local: "10.1.0.2:2000".parse().unwrap() };
    let to = "10.2.0.1:9".parse().unwrap();
    let from = "10.2.0.2:3000".parse().unwrap();
    table.push(Change::Translate(Translation { key, from, to }));
    table.push(Change::Steer { local: "10.1.0.2:2001".parse().unwrap(), listener: 77 });
    println!("{:?}", table.commit());
    table.push(Change::Hold(key, true));
    table.push(Change::Police(key, Way::Forth, Some(Rate { octets_per_second: 10000, burst: 5000 })));
    table.push(Change::Mark(key, Way::Back, Some(46)));
    println!("{:?}", table.commit());
    std::thread::sleep(std::time::Duration::from_secs(
        std::env::args().nth(1).map_or(1, |s| s.parse().unwrap()),
    ));
}
