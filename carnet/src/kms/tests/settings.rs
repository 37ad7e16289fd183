//! Every key of `[kms]` has an effect on what is answered over HTTP, bounds included.

use super::*;
use carnet_keys::Identities;
use carnet_mikey::registry::ticket_type;
use carnet_mikey::{Error as Mikey, Message, Suite, Tpk};
use carnet_net::Token;
use carnet_wire::Random;
use std::net::IpAddr;

/// A service as a configuration file has it, with alice and bob.
struct FromFile {
    directory: tempfile::TempDir,
    address: SocketAddr,
    drain: Drain,
    task: JoinHandle<()>,
}

fn section(directory: &std::path::Path, more: &str) -> carnet_ops::config::Config {
    let text = format!("[kms]\nname = \"kms.example\"\nlisten = \"127.0.0.1:0\"\ndata = \"data\"\n{more}\n");
    let path = directory.join("kms.toml");
    std::fs::write(&path, text).unwrap();
    carnet_ops::config::load(&path).unwrap()
}

async fn from_file(more: &str) -> FromFile {
    from_file_in(tempfile::tempdir().unwrap(), more).await
}

async fn from_file_in(directory: tempfile::TempDir, more: &str) -> FromFile {
    let config = section(directory.path(), more);
    let section = config.kms.unwrap();
    let users = vec![user("alice", 1), user("bob", 2)];
    let settings = ServiceSettings::from_section(section.as_ref()).unwrap();
    admin::call(&directory.path().join("data"), settings, &Command::UserAdd { users }).unwrap();
    let (drain, token): (Drain, Token) = drain();
    let started =
        start(section.as_ref(), std::sync::Arc::new(|_| {}), &mut crate::reload::Renewals::default(), token)
            .await
            .unwrap();
    let Started { task, address, .. } = started;
    FromFile { directory, address, drain, task }
}

#[test]
fn a_file_that_says_nothing_has_the_defaults() {
    let directory = tempfile::tempdir().unwrap();
    let config = section(directory.path(), "");
    let from_file = ServiceSettings::from_section(config.kms.unwrap().as_ref()).unwrap().rules;
    let default = carnet_keys::Config::new(from_file.identity.clone());
    assert_eq!(from_file.replay_capacity, default.replay_capacity);
    assert_eq!(from_file.profile.skew, default.profile.skew);
    assert_eq!(from_file.profile.lifetime, default.profile.lifetime);
    assert_eq!((from_file.rotation, from_file.sources), (default.rotation, default.sources));
}

/// The caller's side of a request that can be written in any way.
struct Asker {
    profile: Profile,
    wall: SystemTime,
    me: Identity,
    callee: Identity,
    key: u8,
}

fn written(text: &str) -> Identity {
    Identity { id_type: 1, data: text.as_bytes().to_vec() }
}

impl Default for Asker {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            wall: SystemTime::now(),
            me: written("sip:alice@x.example"),
            callee: written("sip:bob@x.example"),
            key: 1,
        }
    }
}

impl Asker {
    fn request(&self) -> (carnet_mikey::PendingRequest, Vec<u8>) {
        let psk = Psk::new(&[self.key; 32]).unwrap();
        let kms = written("sip:kms.example");
        request_init(&self.profile, self.wall, &mut OsRandom, &self.me, b"alice", &psk, &kms, &self.callee)
    }
}

impl FromFile {
    async fn post(&self, path: &str, octets: &[u8]) -> (u16, Vec<u8>) {
        raw(self.address, &request("POST", path, MIKEY, octets)).await
    }

    /// HTTP status and the number of the MIKEY error, if it is one.
    async fn ask(&self, octets: &[u8]) -> (u16, Option<u8>) {
        let (status, body) = self.post(&HttpSettings::default().request_path, octets).await;
        let message = Message::parse(&body, &carnet_mikey::Limits::default());
        (status, message.ok().and_then(|m| m.error()))
    }

    async fn ticket(&self, asker: &Asker) -> Result<GrantedTicket, Mikey> {
        let (pending, octets) = asker.request();
        let (_, body) = self.post(&HttpSettings::default().request_path, &octets).await;
        pending.response(&body, asker.wall)
    }

    /// Bob opens an offer: the status, and whether it gave a key.
    async fn open(&self, ticket: &GrantedTicket, profile: &Profile) -> (u16, bool) {
        let wall = SystemTime::now();
        let (_, offer) = ticket.offer(profile, wall, &mut OsRandom);
        let received = Received::parse(profile, wall, &offer).unwrap();
        let (bob, kms) = (written("sip:bob@x.example"), written("sip:kms.example"));
        let psk = Psk::new(&[2; 32]).unwrap();
        let (pending, octets) = received.resolve_init(wall, &mut OsRandom, &bob, b"bob", &psk, &kms);
        let (status, body) = self.post(&HttpSettings::default().resolve_path, &octets).await;
        (status, pending.response(&received, &body, wall, &mut OsRandom).is_ok())
    }

    async fn stop(self) {
        self.drain.start(PATIENCE);
        self.task.await.unwrap();
    }
}

/// Asks once with the setting as it is by default and once as `line` has it.
async fn both(line: &str, asker: impl Fn() -> Asker, refused: (u16, Option<u8>)) {
    for (more, wanted) in [("", refused), (line, (200, None))] {
        let kms = from_file(more).await;
        assert_eq!(kms.ask(&asker().request().1).await, wanted, "with `{more}`");
        kms.stop().await;
    }
}

#[tokio::test]
async fn what_may_be_asked_for() {
    let stranger = || Asker { callee: written("sip:zoe@elsewhere.example"), ..Asker::default() };
    both("issue-to-strangers = true", stranger, (403, Some(7))).await;
    let shouting = || Asker { me: written("sip:alice@X.EXAMPLE:5060"), ..Asker::default() };
    both("identities = \"canonical\"", shouting, (403, Some(7))).await;
    let of_3gpp = || Asker {
        profile: Profile { ticket_type: ticket_type::BASE_3GPP, ..Profile::default() },
        ..Asker::default()
    };
    both("accept-3gpp-tickets = true", of_3gpp, (200, Some(14))).await;
    let small =
        || Asker { profile: Profile { suite: Suite::Bits128, ..Profile::interop_128() }, ..Asker::default() };
    both("accept-128-bit = true", small, (200, Some(2))).await;
    let early = || Asker { wall: SystemTime::now() + Duration::from_secs(400), ..Asker::default() };
    both("skew = 3600", early, (200, Some(1))).await;
}

#[tokio::test]
async fn a_ticket_that_its_owner_made() {
    for (more, wanted) in [("", (200, false)), ("accept-self-issued = true", (200, true))] {
        let kms = from_file(more).await;
        let profile = Profile::default();
        let tpk = Tpk::new(&[1; 32]).unwrap();
        let (alice, bob, name) =
            (written("sip:alice@x.example"), written("sip:bob@x.example"), written("sip:kms.example"));
        let now = SystemTime::now();
        let ticket = GrantedTicket::make(&profile, now, &mut OsRandom, &alice, b"alice", &tpk, &name, &bob);
        assert_eq!(kms.open(&ticket.unwrap(), &profile).await, wanted, "with `{more}`");
        kms.stop().await;
    }
}

#[tokio::test]
async fn how_long_a_ticket_lives() {
    let kms = from_file("ticket-lifetime = 60\nkey-rotation = 60").await;
    let asker = Asker::default();
    let ticket = kms.ticket(&asker).await.unwrap();
    let end = ticket.ticket().policy.valid_to().unwrap().to_wall().unwrap();
    assert!(end < asker.wall + Duration::from_secs(70), "{end:?}");
    assert_eq!(kms.open(&ticket, &asker.profile).await, (200, true));
    // What no answer shows at once.
    let config = section(kms.directory.path(), "key-rotation = 60\nlogged-refusals = 3\nskew = 9");
    let rules = ServiceSettings::from_section(config.kms.unwrap().as_ref()).unwrap().rules;
    assert_eq!((rules.rotation, rules.profile.skew), (Duration::from_secs(60), Duration::from_secs(9)));
    assert_eq!((rules.log_lines.burst, rules.identities), (3, Identities::Exact));
    kms.stop().await;
    // A request that waited longer than the skew.
    let kms = from_file("skew = 1").await;
    let octets = Asker { wall: SystemTime::now() + Duration::from_secs(3), ..Asker::default() }.request().1;
    assert_eq!(kms.ask(&octets).await, (200, Some(1)));
    kms.stop().await;
}

#[tokio::test]
async fn a_full_replay_cache_refuses_and_says_so() {
    let kms = from_file("replay-capacity = 2").await;
    let first = Asker::default().request().1;
    assert_eq!(kms.ask(&first).await, (200, None));
    assert_eq!(kms.ask(&first).await, (200, Some(1)), "a replay");
    assert_eq!(kms.ask(&Asker::default().request().1).await, (200, None));
    assert_eq!(kms.ask(&Asker::default().request().1).await, (503, Some(12)));
    // What is not proven takes no room and is told why it fails.
    assert_eq!(kms.ask(&first).await, (200, Some(1)));
    kms.stop().await;
}

/// Asks from another address of this host.
async fn from(source: IpAddr, kms: SocketAddr, octets: &[u8]) -> u16 {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source, 0)).unwrap();
    let mut stream = socket.connect(kms).await.unwrap();
    stream.write_all(&request("POST", &HttpSettings::default().request_path, MIKEY, octets)).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let text = String::from_utf8_lossy(&answer).into_owned();
    assert_eq!(text.contains("retry-after"), text.contains(" 429 "), "{text}");
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_source_that_asks_too_often_waits_and_others_do_not() {
    let kms = from_file("rate = 1").await;
    let source = |n: u8| IpAddr::from([127, 0, 0, n]);
    let ask = async |n| from(source(n), kms.address, &Asker::default().request().1).await;
    assert_eq!((ask(1).await, ask(1).await), (200, 200));
    // A busy machine may take a second to ask, in which one more is allowed.
    let refused = async |n| {
        for _ in 0..20 {
            if ask(n).await == 429 {
                return true;
            }
        }
        false
    };
    assert!(refused(1).await);
    assert_eq!(ask(2).await, 200);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(ask(1).await, 200);
    kms.stop().await;
    // More sources than are told apart share one rate; the known one keeps its own.
    let kms = from_file("rate = 1\nsources = 1").await;
    let ask = async |n| from(source(n), kms.address, &Asker::default().request().1).await;
    assert_eq!((ask(1).await, ask(2).await, ask(3).await), (200, 200, 200));
    let mut shared = Vec::new();
    for n in 4..24 {
        shared.push(ask(n).await);
    }
    assert!(shared.contains(&429), "{shared:?}");
    assert_eq!(ask(1).await, 200);
    kms.stop().await;
}

#[tokio::test]
async fn paths_and_connections() {
    let kms = from_file("request-path = \"/a?b\"\nresolve-path = \"/c\"\nconnections = 1").await;
    let octets = Asker::default().request().1;
    assert_eq!(kms.ask(&octets).await.0, 404);
    // One connection is served. Who says nothing has to go for who comes, though not at once.
    let mut first = TcpStream::connect(kms.address).await.unwrap();
    let asked = request("POST", "/a?b", MIKEY, &octets);
    let second = raw(kms.address, &asked);
    tokio::pin!(second);
    assert!(tokio::time::timeout(Duration::from_millis(300), second.as_mut()).await.is_err());
    assert_eq!(tokio::time::timeout(PATIENCE, second).await.unwrap().0, 200);
    assert_eq!(first.read(&mut [0]).await.unwrap(), 0, "it was closed");
    kms.stop().await;
}

#[tokio::test]
async fn wrong_keys_and_unknown_names_look_the_same() {
    let kms = from_file("").await;
    let wrong = Asker { key: 9, ..Asker::default() };
    assert_eq!(kms.ask(&wrong.request().1).await, (401, Some(0)));
    let psk = Psk::new(&[1; 32]).unwrap();
    let (zoe, name) = (written("sip:zoe@x.example"), written("sip:kms.example"));
    let now = SystemTime::now();
    let (_, octets) =
        request_init(&Profile::default(), now, &mut OsRandom, &zoe, b"zoe", &psk, &name, &wrong.callee);
    assert_eq!(kms.ask(&octets).await, (401, Some(0)));
    let mut noise = OsRandom.array::<64>();
    noise[0] = 1;
    assert!(matches!(kms.ask(&noise).await, (400, None) | (200, _)));
    kms.stop().await;
}

/// Certificates made with the openssl program: an authority, the service, alice.
fn certificates(directory: &std::path::Path) {
    let script = r#"
set -e
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -days 2 2>/dev/null
for who in kms alice@x; do
  openssl req -newkey rsa:2048 -nodes -keyout ${who%@x}.key -out r.csr -subj /CN=$who 2>/dev/null
  printf 'subjectAltName=URI:sip:%s.example' $who > ext
  openssl x509 -req -in r.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out ${who%@x}.pem 2>/dev/null
done"#;
    let status = std::process::Command::new("sh").args(["-c", script]).current_dir(directory).status();
    assert!(status.unwrap().success());
}

#[tokio::test]
async fn a_signature_instead_of_a_key() {
    use carnet_certs::{EnvelopeFor, Signature};
    use carnet_mikey::exchange::public_key::{Credentials, request_init_signed};
    let there = std::process::Command::new("openssl").arg("version").output().is_ok();
    if !there {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "openssl is required here");
        eprintln!("skipped: openssl is not installed");
        return;
    }
    let signed = "signed = { certificate = \"kms.pem\", key = \"kms.key\", ca = \"ca.pem\" }";
    for (more, wanted) in [("", (200, Some(13))), (signed, (200, None))] {
        let directory = tempfile::tempdir().unwrap();
        certificates(directory.path());
        let read = |name: &str| std::fs::read(directory.path().join(name)).unwrap();
        let signer = Signature::from_pem(&read("alice.pem"), &read("alice.key"), true).unwrap();
        let envelope = EnvelopeFor::from_pem(&read("kms.pem")).unwrap();
        let credentials = Credentials { signer: &signer, envelope: &envelope };
        let asker = Asker::default();
        let (_, octets) = request_init_signed(
            &asker.profile,
            asker.wall + Duration::from_secs(5),
            &mut OsRandom,
            &asker.me,
            credentials,
            &written("sip:kms.example"),
            &asker.callee,
        )
        .unwrap();
        let kms = from_file_in(directory, more).await;
        assert_eq!(kms.ask(&octets).await, wanted, "with `{more}`");
        kms.stop().await;
    }
}
