//! `carnet demo`: two operators, four gateways, a key management service and two subscribers in
//! one process, with proof that nothing on the way could read what passed.

mod conference;
mod network;
mod proof;
mod watch;

use crate::kms;
use crate::roles;
use crate::ue::config::KmsAccount;
use crate::ue::interop::Interop;
use crate::ue::{Ue, UeConfig, UeEvent, UeHandle};
use carnet_mikey::{Identity, Psk, Received, key_mgmt};
use carnet_net::OsRandom;
use carnet_tls::{Credential, SubjectName};
use carnet_wire::{Random, SeededRandom, hex};
use clap::{Args, Subcommand};
use network::Addresses;
use proof::{Evidence, Transfer};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;
use watch::Watch;
use zeroize::Zeroizing;

/// Longest time for anything but the file.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest time for the file.
const FILE_PATIENCE: Duration = Duration::from_secs(600);

const ALICE: &str = "sip:alice@a.example";
const BOB: &str = "sip:bob@b.example";
/// An operator's own account with the key management service, for the check that it cannot open
/// what it forwards.
const OPERATOR: &str = "sip:interconnect@a.example";

const FROM_ALICE: &str = "The seal on this truck is Carnet's; every border may count it, none may open it.";
const FROM_BOB: &str = "Arrived unopened. Send the cargo.";

/// Arguments of `carnet demo`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DemoArgs {
    /// Print the evidence as JSON.
    #[arg(long)]
    json: bool,
    /// Leave the network running and say how to join in.
    #[arg(long)]
    hold: bool,
    /// Size of the file that is sent, in MiB.
    #[arg(long, default_value_t = 64, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=4096))]
    file_size: u64,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// A conference of twenty members from three operators, sealed on every leg.
    Conference(conference::ConferenceDemoArgs),
}

/// Exit code 0 only if every check held.
pub fn run(args: &DemoArgs) -> ExitCode {
    if let Some(What::Conference(args)) = &args.what {
        return conference::run(args);
    }
    carnet_ops::log::start("error", carnet_ops::log::Format::Text);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("carnet demo: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        // Leaving early still removes the directory, which holds keys.
        let mut shown = tokio::select! {
            shown = demonstrate(args) => shown?,
            () = told_to_stop() => return Err("stopped".to_owned()),
        };
        if args.hold {
            let drained = shown.roles.clone();
            tokio::select! {
                () = hold(shown.directory.path(), shown.console, &mut shown.bob, args.json) => {}
                _ = drained.drained() => {}
            }
        }
        Ok(shown.end().await)
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            if args.json {
                say(&serde_json::json!({"sealed": false, "error": message}).to_string());
            }
            eprintln!("carnet demo: {message}");
            ExitCode::FAILURE
        }
    }
}

/// A client with what it reports.
struct Subscriber {
    name: &'static str,
    handle: UeHandle,
    events: mpsc::Receiver<UeEvent>,
}

/// The network after the demonstration, still running.
struct Shown {
    sealed: bool,
    alice: Subscriber,
    bob: Subscriber,
    running: roles::Running,
    /// Somebody may end it from the console.
    roles: Arc<roles::Watch>,
    console: SocketAddr,
    directory: Directory,
    _claim: std::net::TcpListener,
}

impl Shown {
    /// Ends it in order; whether every check held.
    async fn end(self) -> bool {
        self.alice.handle.stop().await;
        self.bob.handle.stop().await;
        self.running.stop(Duration::from_secs(2)).await;
        self.sealed
    }
}

/// A line on standard output. A reader that went away is no failure of the proof.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

async fn demonstrate(args: &DemoArgs) -> Result<Shown, String> {
    let say = |text: &str| {
        if !args.json {
            say(text);
        }
    };
    let began = Instant::now();
    let directory = Directory::new()?;
    let (addresses, claim) = Addresses::free()?;
    let people = prepare(directory.path(), addresses)?;
    let text = addresses.configuration();
    std::fs::write(directory.path().join("network.toml"), &text).map_err(|e| e.to_string())?;
    let config =
        carnet_ops::config::parse("network.toml", text, directory.path()).map_err(|e| format!("{e:?}"))?;
    provision(&config, &people)?;

    let watch = Watch::new(addresses);
    let roles = roles::Watch::new(&config)?;
    let running =
        roles::start(&config, roles.clone(), Some(watch.observer())).await.map_err(|e| e.to_string())?;
    wait_until("all gateways to register", || watch.gateways_up() == network::GATEWAYS.len()).await?;
    let mut alice = subscribe("alice", &people, addresses, directory.path()).await?;
    let mut bob = subscribe("bob", &people, addresses, directory.path()).await?;
    let mut evidence = Evidence { started: began.elapsed(), ..Evidence::default() };
    say(&format!("KMS, 4 borders, 4 gateways, 2 subscribers: up in {:.2} s", evidence.started.as_secs_f64()));
    say("alice ── border A ── interconnect A ── interconnect B ── border B ── bob");

    messages(&mut alice, &mut bob, &mut evidence, &say).await?;
    wait_until("the gateways to let go of the first call", || watch.all_released()).await?;
    transfer(&mut alice, &mut bob, &mut evidence, directory.path(), args, &say).await?;
    wait_until("the gateways to let go of the second call", || watch.all_released()).await?;
    evidence.border_refused = ask_as_operator(&watch, &people, addresses, directory.path()).await?;
    evidence.hops = watch.hops();
    (evidence.searched, evidence.text_found) = watch.search(&[FROM_ALICE, FROM_BOB]);

    let mut out = std::io::stdout().lock();
    let shown = if args.json { writeln!(out, "{}", evidence.json()) } else { evidence.print(&mut out) };
    drop(out);
    // A reader that went away is no failure of the proof.
    let _ = shown;
    let (sealed, console) = (evidence.sealed(), addresses.console());
    Ok(Shown { sealed, alice, bob, running, roles, console, directory, _claim: claim })
}

/// A message each way.
async fn messages(
    alice: &mut Subscriber,
    bob: &mut Subscriber,
    evidence: &mut Evidence,
    say: &impl Fn(&str),
) -> Result<(), String> {
    let call = alice.handle.call(BOB).await.map_err(|e| format!("alice cannot call: {e}"))?;
    let (line, random) = sealed(alice).await?;
    let (other, _) = sealed(bob).await?;
    say(&format!("\nalice calls bob: {line}"));
    evidence.client_randoms.push(random);
    (evidence.seal_alice, evidence.seal_bob) = (line, other);

    alice.handle.send_text(call, FROM_ALICE).await.map_err(|e| format!("alice's message: {e}"))?;
    let (theirs, received) = message(bob).await?;
    say(&format!("  alice: {FROM_ALICE}"));
    evidence.messages.push(("alice".into(), FROM_ALICE.into(), Some(received)));
    bob.handle.send_text(theirs, FROM_BOB).await.map_err(|e| format!("bob's message: {e}"))?;
    let (_, received) = message(alice).await?;
    say(&format!("  bob:   {FROM_BOB}"));
    evidence.messages.push(("bob".into(), FROM_BOB.into(), Some(received)));
    alice.handle.hang_up(call).await.map_err(|e| e.to_string())?;
    ended(alice).await?;
    ended(bob).await
}

/// A file from alice to bob, in a call of its own.
async fn transfer(
    alice: &mut Subscriber,
    bob: &mut Subscriber,
    evidence: &mut Evidence,
    directory: &Path,
    args: &DemoArgs,
    say: &impl Fn(&str),
) -> Result<(), String> {
    let path = directory.join("cargo.bin");
    let size = args.file_size << 20;
    let sent = write_cargo(&path, size).map_err(|e| format!("{}: {e}", path.display()))?;
    alice.handle.send_file(BOB, &path).await.map_err(|e| format!("alice cannot send: {e}"))?;
    let (line, random) = sealed(alice).await?;
    say(&format!("\nalice sends bob a file of {} MiB: {line}", args.file_size));
    evidence.client_randoms.push(random);
    let (arrived, took) = loop {
        match next(bob, FILE_PATIENCE).await? {
            UeEvent::FileDone { path: Some(path), elapsed, .. } => break (path, elapsed),
            UeEvent::Ended { failure: Some((_, reason)), .. } => return Err(format!("bob: {reason}")),
            _ => {}
        }
    };
    let rate = size as f64 / 1e6 / took.as_secs_f64().max(1e-6);
    say(&format!("  arrived in {:.2} s, {rate:.0} MB/s", took.as_secs_f64()));
    let received = hash(&arrived).map_err(|e| format!("{}: {e}", arrived.display()))?;
    evidence.file = Transfer { size, sent, received, took };
    ended(alice).await?;
    ended(bob).await
}

/// What the key management service says when the operator, with an account of its own, asks it
/// to open the ticket that passed its border; `None` if it opened it.
async fn ask_as_operator(
    watch: &Watch,
    people: &[Person],
    addresses: Addresses,
    directory: &Path,
) -> Result<Option<String>, String> {
    let value = watch.forwarded_key_mgmt().ok_or("no a=key-mgmt passed interconnect A")?;
    let octets = key_mgmt::parse(&value).map_err(|e| e.to_string())?;
    let profile = carnet_mikey::Profile::default();
    let wall = SystemTime::now();
    let received = Received::parse(&profile, wall, &octets).map_err(|e| e.to_string())?;
    let operator = people.iter().find(|p| p.identity == OPERATOR).ok_or("no operator")?;
    let identity = |uri: &str| Identity::from_uri(uri).map_err(|e| e.to_string());
    let (pending, question) = received.resolve_init(
        wall,
        &mut OsRandom,
        &identity(OPERATOR)?,
        OPERATOR.as_bytes(),
        &operator.psk()?,
        &identity("sip:kms.example")?,
    );
    let trust = kms::client::ServerTrust::File(directory.join("kms.pem"));
    let client = kms::client::KmsClient::new(trust, PATIENCE).map_err(|e| e.to_string())?;
    let url = format!("https://{}/keymanagement?requesttype=ticketresolve", addresses.kms());
    let answer = client.fetch(&url, question).await.map_err(|e| e.to_string())?;
    Ok(match pending.response(&received, &answer, wall, &mut OsRandom) {
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    })
}

// -- people ---------------------------------------------------------------------------------

/// Somebody with an account.
struct Person {
    identity: &'static str,
    password: Zeroizing<String>,
    /// Hexadecimal.
    psk: Zeroizing<String>,
}

impl Person {
    fn user(&self) -> &str {
        self.identity.trim_start_matches("sip:").split('@').next().unwrap_or_default()
    }

    fn psk(&self) -> Result<Psk, String> {
        let octets = Zeroizing::new(hex::decode(self.psk.as_bytes()).map_err(|e| e.to_string())?);
        Psk::new(&octets).map_err(|e| e.to_string())
    }
}

/// Makes passwords, keys and a certificate, and writes the files of the configuration.
fn prepare(directory: &Path, addresses: Addresses) -> Result<Vec<Person>, String> {
    let secret = || Zeroizing::new(hex::encode(&OsRandom.array::<32>()));
    let identities = [ALICE, BOB, "sip:carol@a.example", "sip:dave@b.example", OPERATOR];
    let people: Vec<_> = identities
        .into_iter()
        .map(|identity| Person { identity, password: secret(), psk: secret() })
        .collect();
    let write = |name: &str, octets: &[u8]| {
        std::fs::write(directory.join(name), octets).map_err(|e| format!("{name}: {e}"))
    };
    for domain in ["a.example", "b.example"] {
        let mut users = Zeroizing::new(String::new());
        for person in people.iter().filter(|p| p.identity.ends_with(domain) && p.identity != OPERATOR) {
            users.push_str(&format!("{} = \"{}\"\n", person.user(), person.password.as_str()));
        }
        write(&format!("users-{domain}.toml"), users.as_bytes())?;
    }
    let names = [SubjectName::Ip(addresses.kms().ip()), SubjectName::Dns("kms.example".into())];
    let credential = Credential::self_signed(&names, 2).map_err(|e| e.to_string())?;
    write("kms.pem", &credential.certificate_pem().map_err(|e| e.to_string())?)?;
    write("kms.key", &credential.private_key_pem().map_err(|e| e.to_string())?)?;
    // For whoever joins with `--hold`.
    for name in ["carol", "dave"] {
        let Some(person) = people.iter().find(|p| p.user() == name) else { continue };
        write(&format!("{name}.password"), person.password.as_bytes())?;
        write(&format!("{name}.psk"), person.psk.as_bytes())?;
        let settings = format!(
            "[ue]\nidentity = \"{}\"\npassword-file = \"{name}.password\"\nproxy = \"{}\"\nlisten = \"{}:0\"\n\
             kms = \"https://{}\"\nkms-identity = \"sip:kms.example\"\nkms-key-file = \"{name}.psk\"\nkms-ca-file = \"kms.pem\"\n",
            person.identity,
            addresses.proxy(name == "dave"),
            addresses.at(if name == "dave" { 5 } else { 1 }, 20),
            addresses.kms(),
        );
        write(&format!("{name}.toml"), settings.as_bytes())?;
    }
    Ok(people)
}

/// Gives everybody an account with the key management service.
fn provision(config: &carnet_ops::config::Config, people: &[Person]) -> Result<(), String> {
    let section = config.kms.as_ref().ok_or("no KMS")?.as_ref();
    let users: Vec<_> = people.iter().map(|p| (p.identity, vec![p.identity], p.psk.as_str())).collect();
    kms::provision(section, &users)
}

async fn subscribe(
    name: &'static str,
    people: &[Person],
    addresses: Addresses,
    directory: &Path,
) -> Result<Subscriber, String> {
    let person = people.iter().find(|p| p.user() == name).ok_or("nobody of that name")?;
    let is_bob = name == "bob";
    let inbox = directory.join("inbox");
    std::fs::create_dir_all(&inbox).map_err(|e| e.to_string())?;
    let config = UeConfig {
        identity: person.identity.to_owned(),
        user: name.to_owned(),
        password: person.password.clone(),
        proxy: addresses.proxy(is_bob),
        register: true,
        expires: Duration::from_secs(600),
        listen: (addresses.at(if is_bob { 5 } else { 1 }, 10), 0).into(),
        media: None,
        keep_alive: None,
        behind_nat: false,
        interop: Interop::default(),
        kms: Some(KmsAccount {
            url: format!("https://{}", addresses.kms()),
            identity: "sip:kms.example".into(),
            key_name: person.identity.to_owned(),
            key: person.psk()?,
            trust: kms::client::ServerTrust::File(directory.join("kms.pem")),
        }),
        allow_clear: false,
        ca_file: None,
        answer: true,
        inbox: is_bob.then_some(inbox),
        max_file: 8 << 30,
    };
    let (handle, events) = Ue::start(config).await.map_err(|e| format!("{name}: {e}"))?;
    let mut subscriber = Subscriber { name, handle, events };
    loop {
        match next(&mut subscriber, PATIENCE).await? {
            UeEvent::Registered { .. } => return Ok(subscriber),
            UeEvent::NotRegistered { reason } => return Err(format!("{name} cannot register: {reason}")),
            _ => {}
        }
    }
}

// -- waiting --------------------------------------------------------------------------------

async fn next(who: &mut Subscriber, limit: Duration) -> Result<UeEvent, String> {
    match tokio::time::timeout(limit, who.events.recv()).await {
        Ok(Some(event)) => Ok(event),
        Ok(None) => Err(format!("{}'s client stopped", who.name)),
        Err(_) => Err(format!("nothing happened at {} for {} s", who.name, limit.as_secs())),
    }
}

/// How the next connection is sealed, and its client random.
async fn sealed(who: &mut Subscriber) -> Result<(String, String), String> {
    loop {
        match next(who, PATIENCE).await? {
            UeEvent::Sealed { seal, .. } => return Ok((seal.line(), seal.client_random)),
            UeEvent::Ended { failure, .. } => {
                let reason = failure.map_or_else(|| "it ended".to_owned(), |(_, reason)| reason);
                return Err(format!("{}'s call: {reason}", who.name));
            }
            _ => {}
        }
    }
}

async fn message(who: &mut Subscriber) -> Result<(carnet_client::CallId, String), String> {
    loop {
        match next(who, PATIENCE).await? {
            UeEvent::Message { call, text, .. } => return Ok((call, text)),
            UeEvent::Ended { .. } => return Err(format!("{}'s call ended before the message", who.name)),
            _ => {}
        }
    }
}

async fn ended(who: &mut Subscriber) -> Result<(), String> {
    loop {
        match next(who, PATIENCE).await? {
            UeEvent::Ended { failure: None, .. } => return Ok(()),
            UeEvent::Ended { failure: Some((_, reason)), .. } => {
                return Err(format!("{}: {reason}", who.name));
            }
            _ => {}
        }
    }
}

async fn wait_until(what: &str, done: impl Fn() -> bool) -> Result<(), String> {
    let limit = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() > limit {
            return Err(format!("waited in vain for {what}"));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// Waits for SIGINT or SIGTERM.
async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut int), Ok(mut term)) => tokio::select! { _ = int.recv() => {} _ = term.recv() => {} },
        // Without handlers the default action of a signal ends the process.
        _ => std::future::pending().await,
    }
}

/// Leaves the network running until a signal.
async fn hold(directory: &Path, console: SocketAddr, bob: &mut Subscriber, json: bool) {
    let program = std::env::current_exe().map_or_else(|_| "carnet".into(), |p| p.display().to_string());
    let join =
        [("carol", format!("chat {BOB}")), ("carol", format!("send {BOB} FILE")), ("dave", "listen".into())]
            .map(|(who, action)| format!("{program} ue -c {}/{who}.toml {action}", directory.display()));
    let network = directory.join("network.toml");
    if json {
        let console = format!("http://{console}/");
        let held =
            serde_json::json!({"event": "hold", "join": join, "configuration": network, "console": console});
        say(&held.to_string());
    } else {
        say(&format!(
            "\nThe network keeps running; Ctrl-C ends it. Look at it in a browser: http://{console}/"
        ));
        say("Join in from another terminal:\n");
        join.iter().for_each(|command| say(&format!("  {command}")));
        say(&format!("\nIts configuration is {}. bob reads what he is sent:", network.display()));
    }
    loop {
        tokio::select! {
            () = told_to_stop() => return,
            event = bob.events.recv() => match event {
                Some(event) => say(&format!("{}{}", if json { "" } else { "  " }, event.json())),
                None => return,
            }
        }
    }
}

// -- files ----------------------------------------------------------------------------------

/// A directory that only its owner reads and that goes with the demonstration: it holds keys.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self, String> {
        use std::os::unix::fs::DirBuilderExt as _;
        let name = format!("carnet-demo-{}", hex::encode(&OsRandom.array::<6>()));
        let path = std::env::temp_dir().join(name);
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Writes a file that does not compress and differs each time; its SHA-256.
fn write_cargo(path: &Path, size: u64) -> std::io::Result<String> {
    let mut file = std::fs::File::create(path)?;
    let mut noise = SeededRandom::new(OsRandom.u64());
    let mut digest = Sha256::new();
    let mut block = vec![0; 1 << 20];
    let mut left = size;
    while left > 0 {
        noise.fill(&mut block);
        let now = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.write_all(&block[..now])?;
        digest.update(&block[..now]);
        left -= now as u64;
    }
    Ok(hex::encode(&digest.finalize()))
}

fn hash(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut digest = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hex::encode(&digest.finalize())),
            n => digest.update(&block[..n]),
        }
    }
}
