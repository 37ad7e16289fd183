//! `carnet demo conference`: three operators, a conference server and twenty members in one process. A floor
//! goes round, a file goes to everybody, one member stops reading, one vanishes; with proof that every leg
//! was sealed and nobody lost anything.

mod member;
mod network;
mod proof;
mod watch;

use super::network::Addresses;
use super::{Directory, PATIENCE, hash, say, told_to_stop, wait_until, write_cargo};
use crate::kms;
use crate::roles;
use crate::ue::room::event::Outcome;
use crate::ue::room::{Decision, Wish};
use carnet_net::OsRandom;
use carnet_tls::{Credential, SubjectName};
use carnet_wire::{Random, hex};
use clap::Args;
use member::Member;
use network::{ACCOUNT, FLOOR, MEMBERS, ROOM};
use proof::Evidence;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use watch::Watch;
use zeroize::Zeroizing;

/// Longest time for the file, and for what a member that stalls or vanishes is given.
const LONG: Duration = Duration::from_secs(180);

/// The chair; who sends the file; who stops reading; who vanishes with the floor. By place in the list.
const CHAIR: usize = 0;
const COURIER: usize = 4;
const STALLS: usize = 9;
const VANISHES: usize = 8;

/// Arguments of `carnet demo conference`.
#[derive(Args)]
pub struct ConferenceDemoArgs {
    /// Print the evidence as JSON.
    #[arg(long)]
    json: bool,
    /// Size of the file that is sent to everybody, in MiB.
    #[arg(long, default_value_t = 24, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1024))]
    file_size: u64,
}

/// Exit code 0 only if every check held.
pub fn run(args: &ConferenceDemoArgs) -> ExitCode {
    carnet_ops::log::start("error", carnet_ops::log::Format::Text);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("carnet demo conference: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        // Leaving early still removes the directory, which holds keys.
        tokio::select! {
            shown = demonstrate(args) => shown,
            () = told_to_stop() => Err("stopped".to_owned()),
        }
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            if args.json {
                say(&serde_json::json!({"sealed": false, "error": message}).to_string());
            }
            eprintln!("carnet demo conference: {message}");
            ExitCode::FAILURE
        }
    }
}

/// What a member is started with.
struct Person {
    uri: String,
    password: Zeroizing<String>,
    /// Hexadecimal.
    psk: Zeroizing<String>,
}

async fn demonstrate(args: &ConferenceDemoArgs) -> Result<bool, String> {
    let tell = |text: &str| {
        if !args.json {
            say(text);
        }
    };
    let began = Instant::now();
    let directory = Directory::new()?;
    let (addresses, _claim) = Addresses::free()?;
    let text = network::configuration(addresses);
    let people = prepare(directory.path(), addresses, &text)?;
    let config =
        carnet_ops::config::parse("network.toml", text, directory.path()).map_err(|e| format!("{e:?}"))?;
    let watch = Watch::new();
    let running = roles::start(&config, roles::Watch::new(&config)?, Some(watch.observer()))
        .await
        .map_err(|e| e.to_string())?;
    wait_until("all gateways to register", || watch.gateways_up() == config.gateway.len()).await?;

    let members = enter(&people, addresses, directory.path()).await?;
    let mut evidence = Evidence { started: began.elapsed(), ..Evidence::default() };
    evidence.room_sealed = members.iter().all(|member| member.room_sealed());
    tell(&format!(
        "KMS, 6 borders, 6 gateways, a conference server with its media server, {} members: up in {:.2} s",
        members.len(),
        evidence.started.as_secs_f64()
    ));
    tell(&format!(
        "{ROOM}: {}\n{}",
        network::SUBJECT,
        members[CHAIR].seals().first().cloned().unwrap_or_default()
    ));

    let mut story = Story { members: &members, evidence: &mut evidence, watch: &watch, tell: &tell };
    story.silence(1).await?;
    for speaker in [1, 2, 3] {
        story.turn(speaker).await?;
    }
    story.vanish().await?;
    story.file(directory.path(), args.file_size << 20).await?;

    for (index, member) in members.iter().enumerate() {
        evidence.seats.push(member.seat(&network::uri(index)));
    }
    let stops = members.iter().map(|member| member.stop());
    for stop in stops {
        stop.await;
    }
    // Whoever froze or vanished says no goodbye: its border waits for it no longer than for any other.
    let waited = wait_long("the gateways to let go", || watch.all_released()).await;
    if let Err(why) = waited {
        tell(&why);
    }
    evidence.hops = watch.hops();
    evidence.associations = watch.sealed();
    evidence.held = watch.holders();
    (evidence.searched, evidence.text_found) = watch.search(&evidence.said);
    drop(members);
    running.stop(Duration::from_secs(1)).await;

    let mut out = std::io::stdout().lock();
    // A reader that went away is no failure of the proof.
    let _ = if args.json { writeln!(out, "{}", evidence.json()) } else { evidence.print(&mut out) };
    Ok(evidence.sealed())
}

/// Makes passwords, keys and a certificate, writes the files of the configuration, and gives everybody an
/// account with the key management service.
fn prepare(directory: &Path, addresses: Addresses, configuration: &str) -> Result<Vec<Person>, String> {
    let secret = || Zeroizing::new(hex::encode(&OsRandom.array::<32>()));
    let write = |name: &str, octets: &[u8]| {
        std::fs::write(directory.join(name), octets).map_err(|e| format!("{name}: {e}"))
    };
    let people: Vec<_> = (0..MEMBERS.len())
        .map(|n| Person { uri: network::uri(n), password: secret(), psk: secret() })
        .collect();
    for operator in &network::OPERATORS {
        let mut users = Zeroizing::new(String::new());
        for (index, person) in people.iter().enumerate() {
            if network::operator(index).name == operator.name {
                users.push_str(&format!("{} = \"{}\"\n", MEMBERS[index], person.password.as_str()));
            }
        }
        write(&format!("users-{}.toml", operator.name), users.as_bytes())?;
    }
    let names = [SubjectName::Ip(addresses.kms().ip()), SubjectName::Dns("kms.example".into())];
    let credential = Credential::self_signed(&names, 2).map_err(|e| e.to_string())?;
    write("kms.pem", &credential.certificate_pem().map_err(|e| e.to_string())?)?;
    write("kms.key", &credential.private_key_pem().map_err(|e| e.to_string())?)?;
    let server = secret();
    write("mrfc.psk", server.as_bytes())?;
    let config = carnet_ops::config::parse("network.toml", configuration.to_owned(), directory);
    let config = config.map_err(|e| format!("{e:?}"))?;
    let section = config.kms.as_ref().ok_or("no KMS")?.as_ref();
    let mut users: Vec<_> =
        people.iter().map(|p| (p.uri.as_str(), vec![p.uri.as_str()], p.psk.as_str())).collect();
    users.push((ACCOUNT, vec![ACCOUNT, "sip:*@conf.example"], server.as_str()));
    kms::provision(section, &users)?;
    Ok(people)
}

/// Everybody registers and enters; when all see all, sealed.
async fn enter(people: &[Person], addresses: Addresses, directory: &Path) -> Result<Vec<Member>, String> {
    let mut starting = Vec::new();
    for (index, person) in people.iter().enumerate() {
        // These two come with a thread of their own, to be stopped or ended like a program.
        let alone = index == STALLS || index == VANISHES;
        let config = member::config(index, person, addresses, directory)?;
        starting.push(tokio::spawn(Member::start(index, config, alone)));
    }
    let mut members = Vec::new();
    for start in starting {
        members.push(start.await.map_err(|e| e.to_string())??);
    }
    for member in &members {
        member.wait("both its lines to be sealed", PATIENCE, |seen| seen.seals.len() == 2).await?;
    }
    for member in &members {
        member.wait("everybody in the roster", PATIENCE, |seen| seen.roster_sealed == MEMBERS.len()).await?;
    }
    Ok(members)
}

/// What happens in the room, with what it needs.
struct Story<'a> {
    members: &'a [Member],
    evidence: &'a mut Evidence,
    watch: &'a Watch,
    tell: &'a dyn Fn(&str),
}

impl Story<'_> {
    /// Somebody without the floor speaks, and is not heard.
    async fn silence(&mut self, who: usize) -> Result<(), String> {
        let member = &self.members[who];
        let text = format!("{}: may I?", MEMBERS[who]);
        match member.wish(Wish::Say { to: None, text }).await {
            Ok(()) => (self.tell)(&format!("  {} spoke without the floor, AND WAS HEARD", MEMBERS[who])),
            Err(why) => {
                (self.tell)(&format!("  {} speaks without the floor: {why}", MEMBERS[who]));
                self.evidence.silenced = Some(why);
            }
        }
        Ok(())
    }

    /// Asks for the floor, and is given it by the chair.
    async fn floor(&mut self, who: usize) -> Result<(), String> {
        let (member, chair) = (&self.members[who], &self.members[CHAIR]);
        let user = member.user().ok_or("no floors")?;
        member.wish(Wish::Request { floor: Some(FLOOR), priority: None, why: None }).await?;
        chair.wait("the request", PATIENCE, |seen| seen.wants.contains(&user)).await?;
        let grant = Wish::Decide { floor: Some(FLOOR), who: user.to_string(), decision: Decision::Grant };
        chair.wish(grant).await?;
        member.wait("the floor", PATIENCE, |seen| seen.outcome == Some(Outcome::Granted)).await?;
        self.evidence.granted.push(network::uri(who));
        (self.tell)(&format!("  {} gives the floor to {}", MEMBERS[CHAIR], MEMBERS[who]));
        Ok(())
    }

    async fn say(&mut self, who: usize, words: &str) -> Result<(), String> {
        let text = format!("{}: {words}", MEMBERS[who]);
        self.members[who].wish(Wish::Say { to: None, text: text.clone() }).await?;
        (self.tell)(&format!("    {text}"));
        self.evidence.said.push(text);
        Ok(())
    }

    /// Has the floor, speaks, gives it back.
    async fn turn(&mut self, who: usize) -> Result<(), String> {
        self.floor(who).await?;
        self.say(who, "our ship has waited longest.").await?;
        self.say(who, "the crane is free at noon.").await?;
        self.members[who].wish(Wish::Release { floor: Some(FLOOR) }).await?;
        self.free().await
    }

    async fn free(&self) -> Result<(), String> {
        self.members[CHAIR].wait("the floor to be free", LONG, |seen| !seen.held).await
    }

    /// One who has the floor is gone from one moment to the next.
    async fn vanish(&mut self) -> Result<(), String> {
        self.floor(VANISHES).await?;
        self.say(VANISHES, "and I think that").await?;
        let uri = network::uri(VANISHES);
        self.members[VANISHES].vanish();
        (self.tell)(&format!("  {} vanishes with the floor", MEMBERS[VANISHES]));
        self.free().await?;
        let gone =
            wait_long("the member that vanished to be missed", || self.watch.left(&uri).is_some()).await;
        gone?;
        self.evidence.vanished = (MEMBERS[VANISHES].into(), self.watch.left(&uri));
        (self.tell)(&format!("    {}", self.evidence.vanished.1.clone().unwrap_or_default()));
        Ok(())
    }

    /// A file to everybody, of whom one reads nothing any more.
    async fn file(&mut self, directory: &Path, size: u64) -> Result<(), String> {
        let path = directory.join("manifest.bin");
        let sent = write_cargo(&path, size).map_err(|e| format!("{}: {e}", path.display()))?;
        self.evidence.file = (sent, size);
        self.floor(COURIER).await?;
        let uri = network::uri(STALLS);
        self.members[STALLS].freeze();
        (self.tell)(&format!("  {} stops reading", MEMBERS[STALLS]));
        let began = Instant::now();
        self.members[COURIER].wish(Wish::File { to: None, path }).await?;
        let stay = |index: &usize| ![COURIER, STALLS, VANISHES].contains(index);
        for index in (0..MEMBERS.len()).filter(stay) {
            self.members[index].wait("the file", LONG, |seen| seen.file.is_some()).await?;
        }
        let took = began.elapsed().as_secs_f64();
        let octets = size as f64 * (MEMBERS.len() - 3) as f64 / 1e6;
        (self.tell)(&format!(
            "  {} sends {} MiB to everybody: there in {took:.2} s, {:.0} MB/s in all",
            MEMBERS[COURIER],
            size >> 20,
            octets / took.max(1e-6)
        ));
        self.say(COURIER, "that is all there is to unload.").await?;
        wait_long("the member that stalls to be released", || self.watch.left(&uri).is_some()).await?;
        self.evidence.stalled = (MEMBERS[STALLS].into(), self.watch.left(&uri));
        (self.tell)(&format!(
            "    {}: {}",
            MEMBERS[STALLS],
            self.evidence.stalled.1.clone().unwrap_or_default()
        ));
        self.members[COURIER].wish(Wish::Release { floor: Some(FLOOR) }).await?;
        self.free().await?;
        for index in (0..MEMBERS.len()).filter(|i| ![STALLS, VANISHES].contains(i)) {
            let others = self.evidence.said.iter().filter(|text| !text.starts_with(MEMBERS[index])).count();
            self.members[index].wait("all that was said", LONG, |seen| seen.heard.len() >= others).await?;
            self.members[index].judge_file(hash);
        }
        Ok(())
    }
}

async fn wait_long(what: &str, done: impl Fn() -> bool) -> Result<(), String> {
    let limit = Instant::now() + LONG;
    while !done() {
        if Instant::now() > limit {
            return Err(format!("waited in vain for {what}"));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
