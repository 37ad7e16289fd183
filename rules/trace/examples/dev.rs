use std::io::Read;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let mut n = carnet_capture::Network::new(Default::default());
    let mut t = carnet_trace::Tracer::new(Default::default(), false);
    for p in &a[3..] {
        let mut r = carnet_capture::Reader::new();
        let mut f = std::fs::File::open(p).unwrap();
        let mut b = vec![0; 65536];
        loop {
            let c = f.read(&mut b).unwrap();
            if c == 0 {
                if let Err(e) = r.finish() {
                    eprintln!("{e}");
                }
                break;
            }
            r.push(&b[..c]);
            while let Some(p) = r.next().unwrap() {
                n.handle_packet(&p);
                while let Some(e) = n.poll_event() {
                    t.handle(e);
                }
            }
        }
    }
    n.finish();
    while let Some(e) = n.poll_event() {
        t.handle(e);
    }
    let mut l = t.finish();
    let paper = carnet_trace::show::Paper {
        width: a[2].parse().unwrap(),
        colours: false,
        whole: std::env::var_os("WHOLE").is_some(),
    };
    if let Ok(c) = std::env::var("CALL") {
        l.sessions.retain(|s| s.number.to_string() == c);
    }
    match a[1].as_str() {
        "list" => print!("{}", carnet_trace::show::list(&l, paper)),
        "json" => println!("{}", carnet_trace::show::json(&l)),
        "svg" => println!("{}", carnet_trace::show::svg(&l)),
        "html" => println!("{}", carnet_trace::show::html(&l)),
        _ => print!("{}", carnet_trace::show::text(&l, paper)),
    }
}
