//! `carnet trace FILE`: what is in a capture file, as a ladder a session, with what went wrong. `carnet trace --node URL`: the
//! same of a running node.
//!
//! The file is read as it comes, a part at a time; what is kept is what is shown.

mod node;

use carnet_capture::{Error, Network, Packet, Reader, Seen};
use carnet_trace::show::{self, Paper};
use carnet_trace::{Kind, Ladder, Limits, Session, Tracer, Weight};
use clap::{Args, ValueEnum};
use node::Nodes;
use std::io::{IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `carnet trace`.
#[derive(Args)]
pub struct TraceArgs {
    /// Capture file, pcap or pcapng; `-` for standard input. Several, of several hosts, are put together by time.
    #[arg(conflicts_with_all = ["node", "config"])]
    files: Vec<PathBuf>,
    #[command(flatten)]
    nodes: Nodes,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Only this session: its number in the list, or a Call-ID (or the beginning of one).
    #[arg(long, value_name = "ID|N")]
    call: Option<String>,
    /// List the sessions instead of drawing them.
    #[arg(long)]
    list: bool,
    /// Sessions without signalling too: connections that no description spoke of.
    #[arg(long)]
    all: bool,
    /// The text of each message under its arrow (text).
    #[arg(long)]
    messages: bool,
    /// Do not mask passwords' proofs, tokens and keys.
    #[arg(long, conflicts_with_all = ["node", "config"])]
    secrets: bool,
    /// Characters in a line; the terminal's width unless given (text).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(40..=1000))]
    width: Option<u16>,
    /// Exit code 1 if something failed in a session that is shown.
    #[arg(long)]
    check: bool,
}

/// Forms of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A ladder for a terminal.
    Text,
    /// One object; docs/trace.md has the members.
    Json,
    /// A picture.
    Svg,
    /// A page that needs nothing else.
    Html,
}

/// Octets that are read at once.
const PART: usize = 256 << 10;

/// Exit code 0 if the file was read, 1 if not to its end, or with `--check` if something failed, 2 if there is
/// nothing to read or nothing that was asked for.
pub fn run(args: &TraceArgs) -> ExitCode {
    if args.nodes.is_given() {
        return of_nodes(args);
    }
    if args.nodes.follow {
        eprintln!("carnet trace: a file is not followed; --node or -c names a node that is");
        return ExitCode::from(2);
    }
    if args.files.is_empty() {
        eprintln!(
            "carnet trace: name a capture file (`-` for standard input), or a running process: -c FILE or --node URL"
        );
        return ExitCode::from(2);
    }
    let mut trace = Trace::new(args.secrets);
    let mut files: Vec<Source> = Vec::new();
    let mut cut = false;
    // What came before a fault is good; a file that cannot be read at all is not.
    let mut complain = |name: &Path, fault: &Fault| {
        eprintln!("carnet trace: {}: {fault}", name.display());
        let partly = matches!(fault, Fault::File(Error::Cut { .. } | Error::Damaged { .. }));
        cut |= partly;
        partly
    };
    for name in &args.files {
        match Source::open(name).and_then(|mut file| file.step().map(|()| file)) {
            Ok(file) => files.push(file),
            Err(fault) if complain(name, &fault) => {}
            Err(_) => return ExitCode::from(2),
        }
    }
    // The files are one capture: whatever was captured first comes first.
    while let Some(file) = files.iter_mut().filter(|file| file.next.is_some()).min_by_key(|file| file.time())
    {
        if let Some(packet) = file.next.take() {
            trace.handle(&packet);
        }
        if let Err(fault) = file.step()
            && !complain(&file.name, &fault)
        {
            return ExitCode::from(2);
        }
    }
    shown(args, trace.finish(), cut)
}

/// The same of running nodes: exit code 2 if none answers, 1 if some do.
fn of_nodes(args: &TraceArgs) -> ExitCode {
    let outcome = match args.nodes.follow {
        true => args.nodes.follow(args.call.as_deref(), args.format, args.messages).map(|()| None),
        false => args.nodes.fetch().map(Some),
    };
    match outcome {
        Ok(Some(fetched)) => {
            let mut tracer = Tracer::new(Limits::default(), false);
            fetched.tellings.iter().for_each(|telling| tracer.listen(telling));
            let mut ladder = tracer.finish();
            ladder.remarks.extend(fetched.remarks);
            for why in &fetched.missing {
                eprintln!("carnet trace: {why}");
                ladder.remarks.push(format!("a node is missing, and what it saw: {why}"));
            }
            shown(args, ladder, !fetched.missing.is_empty())
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("carnet trace: {why}");
            ExitCode::from(2)
        }
    }
}

fn shown(args: &TraceArgs, mut ladder: Ladder, cut: bool) -> ExitCode {
    if !args.all && args.call.is_none() {
        let signalled =
            |session: &Session| session.kind != Kind::Connection || worst(session) == Some(Weight::Failure);
        let before = ladder.sessions.len();
        ladder.sessions.retain(signalled);
        let left = before - ladder.sessions.len();
        if left > 0 {
            ladder.remarks.push(format!(
                "{left} connections that no signalling speaks of are left out; --all shows them"
            ));
        }
    }
    if let Some(wanted) = &args.call {
        keep(&mut ladder.sessions, wanted);
        if ladder.sessions.is_empty() {
            eprintln!("carnet trace: there is no session {wanted}; --list shows what there is");
            return ExitCode::from(2);
        }
    }
    let failed = ladder.sessions.iter().any(|session| worst(session) == Some(Weight::Failure));
    let out = written(args, &ladder);
    let mut stdout = std::io::stdout().lock();
    // A reader that went away (`| head`) is no reason to complain.
    let _ = stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush());
    if cut || args.check && failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn worst(session: &Session) -> Option<Weight> {
    session.findings.iter().map(|finding| finding.weight).min()
}

/// Keeps the sessions asked for: by number, or else by Call-ID.
fn keep(sessions: &mut Vec<Session>, wanted: &str) {
    let number = wanted
        .parse::<usize>()
        .ok()
        .filter(|number| sessions.iter().any(|session| session.number == *number));
    sessions.retain(|session| match number {
        Some(number) => session.number == number,
        None => session.call_ids.iter().any(|id| id.starts_with(wanted)),
    });
}

fn written(args: &TraceArgs, ladder: &Ladder) -> String {
    let terminal = std::io::stdout().is_terminal();
    let paper = Paper {
        width: args.width.map_or_else(|| width(terminal), usize::from),
        colours: terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        whole: args.messages,
    };
    match args.format {
        Format::Text if args.list => show::list(ladder, paper),
        Format::Text => show::text(ladder, paper),
        Format::Json if args.list => listed(ladder),
        Format::Json => format!("{}\n", show::json(ladder)),
        Format::Svg => show::svg(ladder),
        Format::Html => show::html(ladder),
    }
}

/// The sessions without their entries, an object a line.
fn listed(ladder: &Ladder) -> String {
    let mut out = String::new();
    for session in &ladder.sessions {
        let mut object = show::session_json(session);
        if let Some(members) = object.as_object_mut() {
            members.insert("entries".into(), session.entries.len().into());
        }
        out.push_str(&format!("{object}\n"));
    }
    out
}

/// How wide a line may be.
fn width(terminal: bool) -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let size = || ratatui::crossterm::terminal::size().ok().filter(|_| terminal);
    columns.or_else(|| size().map(|(columns, _)| usize::from(columns))).unwrap_or(120).clamp(40, 1000)
}

/// A file that is being read, and its next packet.
struct Source {
    name: PathBuf,
    file: Box<dyn Read>,
    reader: Reader,
    part: Vec<u8>,
    next: Option<Packet>,
}

impl Source {
    fn open(name: &Path) -> Result<Self, Fault> {
        let file: Box<dyn Read> = if name.as_os_str() == "-" {
            Box::new(std::io::stdin())
        } else {
            Box::new(std::fs::File::open(name).map_err(Fault::Io)?)
        };
        Ok(Self { name: name.to_owned(), file, reader: Reader::new(), part: vec![0; PART], next: None })
    }

    fn time(&self) -> Duration {
        self.next.as_ref().map_or(Duration::MAX, |packet| packet.at)
    }

    /// Reads up to the next packet, if there is one.
    fn step(&mut self) -> Result<(), Fault> {
        loop {
            self.next = self.reader.next().map_err(Fault::File)?;
            if self.next.is_some() {
                return Ok(());
            }
            let count = match self.file.read(&mut self.part) {
                Ok(0) => return self.reader.finish().map_err(Fault::File),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::Io(error)),
            };
            self.reader.push(self.part.get(..count).unwrap_or_default());
        }
    }
}

/// Packets into a ladder.
struct Trace {
    network: Network,
    tracer: Tracer,
}

/// Why a file could not be read to its end.
enum Fault {
    Io(std::io::Error),
    File(Error),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::File(error) => error.fmt(f),
        }
    }
}

impl Trace {
    fn new(secrets: bool) -> Self {
        Self {
            network: Network::new(carnet_capture::Limits::default()),
            tracer: Tracer::new(Limits::default(), secrets),
        }
    }

    fn handle(&mut self, packet: &Packet) {
        self.network.handle_packet(packet);
        self.events();
    }

    fn events(&mut self) {
        while let Some(event) = self.network.poll_event() {
            self.tracer.handle(event);
        }
    }

    fn finish(mut self) -> Ladder {
        self.network.finish();
        self.events();
        let seen = self.network.seen();
        let mut ladder = self.tracer.finish();
        ladder.remarks.extend(remarks(&seen));
        ladder
    }
}

/// What the one who looks should know of the capture.
fn remarks(seen: &Seen) -> Vec<String> {
    let mut out = Vec::new();
    let mut say = |count: u64, what: &str| {
        if count > 0 {
            out.push(format!("{count} {what}"));
        }
    };
    if seen.not_ip == seen.packets {
        say(seen.not_ip, "packets, none of which is IP in a link layer that is read here");
    }
    say(seen.damaged, "packets were cut or damaged; capture with `-s 0`");
    say(seen.fragments_lost, "fragmented datagrams were never whole");
    say(seen.connections_dropped, "connections were put aside because there were too many at once");
    out
}
