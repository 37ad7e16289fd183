//! The service behind real sockets: HTTPS, its client, what does not belong, administration.

mod settings;

use super::admin::{self, Command, NewUser};
use super::client::{FetchError, KmsClient, ServerTrust};
use super::server::MIKEY;
use super::*;
use carnet_mikey::{GrantedTicket, Profile, Psk, Received, request_init};
use carnet_net::{Drain, OsRandom, drain};
use carnet_tls::SubjectName;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(5);

struct Served {
    data: tempfile::TempDir,
    address: SocketAddr,
    credential: Option<Credential>,
    drain: Drain,
    task: JoinHandle<()>,
}

fn settings() -> ServiceSettings {
    ServiceSettings::new(identity("kms.example").unwrap())
}

fn user(name: &str, key: u8) -> NewUser {
    NewUser {
        name: name.into(),
        identities: vec![format!("sip:{name}@x.example")],
        psk: carnet_wire::hex::encode(&[key; 32]),
    }
}

async fn serve_with(tls: bool, http: HttpSettings) -> Served {
    let data = tempfile::tempdir().unwrap();
    let users = vec![user("alice", 1), user("bob", 2)];
    admin::call(data.path(), settings(), &Command::UserAdd { users }).unwrap();
    let service = Arc::new(Service::open(data.path(), settings()).unwrap());
    let credential = tls.then(|| {
        let names = [SubjectName::Dns("localhost".into()), SubjectName::Ip(Ipv4Addr::LOCALHOST.into())];
        Credential::self_signed(&names, 1).unwrap()
    });
    let context = credential.clone().map(|credential| {
        let settings = CertificateSettings { credential: Some(credential), ..CertificateSettings::default() };
        CertificateContext::new(&settings).unwrap()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (drain, token) = drain();
    let task = tokio::spawn(super::serve(service, http, context, listener, token).unwrap());
    Served { data, address, credential, drain, task }
}

impl Served {
    fn url(&self, path: &str) -> String {
        let scheme = if self.credential.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    async fn admin(&self, command: Command) -> Result<serde_json::Value, String> {
        let path = self.data.path().to_path_buf();
        tokio::task::spawn_blocking(move || admin::call(&path, settings(), &command)).await.unwrap()
    }

    /// Alice's ticket to bob.
    async fn ticket(&self, client: &KmsClient) -> Result<GrantedTicket, carnet_mikey::Error> {
        let id = |s| Identity::from_uri(s).unwrap();
        let (kms, alice, bob) = (id("sip:kms.example"), id("sip:alice@x.example"), id("sip:bob@x.example"));
        let psk = Psk::new(&[1; 32]).unwrap();
        let (pending, octets) = request_init(
            &Profile::default(),
            SystemTime::now(),
            &mut OsRandom,
            &alice,
            b"alice",
            &psk,
            &kms,
            &bob,
        );
        let url = self.url(&HttpSettings::default().request_path);
        let answer = client.fetch(&url, octets).await.unwrap();
        pending.response(&answer, SystemTime::now())
    }

    async fn stop(self) {
        self.drain.start(PATIENCE);
        self.task.await.unwrap();
    }
}

#[tokio::test]
async fn a_call_is_keyed_over_https_and_leaves_a_trail() {
    let served = serve_with(true, HttpSettings::default()).await;
    let pin = served.credential.as_ref().unwrap().fingerprint().unwrap();
    let client = KmsClient::new(ServerTrust::Pinned(pin), PATIENCE).unwrap();
    let ticket = served.ticket(&client).await.unwrap();
    let (profile, wall) = (Profile::default(), SystemTime::now());
    let (offered, offer) = ticket.offer(&profile, wall, &mut OsRandom);
    let received = Received::parse(&profile, wall, &offer).unwrap();
    let id = |s| Identity::from_uri(s).unwrap();
    let (pending, octets) = received.resolve_init(
        wall,
        &mut OsRandom,
        &id("sip:bob@x.example"),
        b"bob",
        &Psk::new(&[2; 32]).unwrap(),
        &id("sip:kms.example"),
    );
    let url = served.url(&HttpSettings::default().resolve_path);
    let answer = client.fetch(&url, octets).await.unwrap();
    let (bob, answer) = pending.response(&received, &answer, wall, &mut OsRandom).unwrap();
    assert!(offered.answer(&answer, wall).unwrap().tek == bob.tek);

    let mut trail = served.admin(Command::Audit { from: Some(1), most: 10 }).await.unwrap();
    let trail = trail["records"].take();
    let deeds: Vec<_> = trail.as_array().unwrap().iter().map(|r| r["deed"].as_str().unwrap()).collect();
    assert_eq!(deeds, ["issued", "resolved"]);
    assert_eq!(trail[0]["ticket"], trail[1]["ticket"]);
    assert_eq!(trail[1]["user"], "bob");
    served.stop().await;
}

#[tokio::test]
async fn a_server_that_cannot_prove_itself_gets_no_request() {
    let served = serve_with(true, HttpSettings::default()).await;
    let other = Credential::self_signed(&[SubjectName::Dns("localhost".into())], 1).unwrap();
    let wrong = ServerTrust::Pinned(other.fingerprint().unwrap());
    let url = served.url(&HttpSettings::default().request_path);
    for trust in [wrong, ServerTrust::System] {
        let client = KmsClient::new(trust, PATIENCE).unwrap();
        let got = client.fetch(&url, vec![1, 11]).await;
        assert!(matches!(got, Err(FetchError::Unreachable(_))), "{got:?}");
    }
    // With its certificate as authority it can, by name and by address.
    let pem = served.data.path().join("ca.pem");
    std::fs::write(&pem, served.credential.as_ref().unwrap().certificate_pem().unwrap()).unwrap();
    let client = KmsClient::new(ServerTrust::File(pem), PATIENCE).unwrap();
    assert!(served.ticket(&client).await.is_ok());
    for bad in ["ftp://x/", "https:///x", "no url"] {
        assert!(matches!(client.fetch(bad, vec![1]).await, Err(FetchError::Url(_))), "{bad}");
    }
    served.stop().await;
}

/// Sends `request` as it is and gives the status line's number and the body.
async fn raw(address: SocketAddr, request: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let body =
        answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(Vec::new(), |i| answer[i + 4..].to_vec());
    (status, body)
}

fn request(method: &str, path: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}

#[tokio::test]
async fn what_does_not_belong_is_told_so() {
    let served = serve_with(false, HttpSettings { max_body: 2000, ..HttpSettings::default() }).await;
    let path = HttpSettings::default().request_path;
    let at = served.address;
    let ask = async |r: Vec<u8>| raw(at, &r).await.0;
    assert_eq!(ask(request("GET", &path, MIKEY, b"")).await, 405);
    assert_eq!(ask(request("POST", "/", MIKEY, b"\x01")).await, 404);
    assert_eq!(ask(request("POST", &path, "text/plain", b"\x01")).await, 415);
    assert_eq!(ask(request("POST", &path, MIKEY, b"not base64!")).await, 400);
    assert_eq!(ask(request("POST", &path, MIKEY, b"\x01\x0b\x00")).await, 400);
    assert_eq!(ask(request("POST", &path, MIKEY, &[1; 2001])).await, 413);
    assert_eq!(ask(b"\x16\x03\x01\x02\x00 not HTTP\r\n\r\n".to_vec()).await, 400);

    // A stranger's request: refused in HTTP and in MIKEY, raw or in base64.
    let id = |s| Identity::from_uri(s).unwrap();
    let stranger = || {
        let (zoe, kms, bob) = (id("sip:zoe@x.example"), id("sip:kms.example"), id("sip:bob@x.example"));
        let psk = Psk::new(&[9; 32]).unwrap();
        let (profile, now) = (Profile::default(), SystemTime::now());
        request_init(&profile, now, &mut OsRandom, &zoe, b"zoe", &psk, &kms, &bob).1
    };
    for body in [stranger(), carnet_wire::base64::encode(&stranger()).into_bytes()] {
        let kind = format!("{MIKEY}; version=1");
        let (status, answer) = raw(at, &request("POST", &path, &kind, &body)).await;
        assert_eq!((status, answer.get(..2)), (401, Some(&[1, 6][..])));
    }
    served.stop().await;
}

#[tokio::test]
async fn slow_and_silent_peers_do_not_keep_it_from_stopping() {
    let served = serve_with(true, HttpSettings::default()).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(served.address).await.unwrap());
    }
    silent[0].write_all(b"\x16\x03\x01").await.unwrap();
    let pin = served.credential.as_ref().unwrap().fingerprint().unwrap();
    let client = KmsClient::new(ServerTrust::Pinned(pin), PATIENCE).unwrap();
    assert!(served.ticket(&client).await.is_ok());
    tokio::time::timeout(PATIENCE, served.stop()).await.unwrap();
}

#[tokio::test]
async fn http_in_public_must_be_asked_for() {
    let data = tempfile::tempdir().unwrap();
    let service = Arc::new(Service::open(data.path(), settings()).unwrap());
    for (insecure_http, works) in [(false, false), (true, true)] {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let http = HttpSettings { insecure_http, ..HttpSettings::default() };
        let (_drain, token) = drain();
        assert_eq!(super::serve(service.clone(), http, None, listener, token).is_ok(), works);
    }
}

#[tokio::test]
async fn administration_takes_effect_at_once_and_lasts() {
    let served = serve_with(false, HttpSettings::default()).await;
    let client = KmsClient::new(ServerTrust::System, PATIENCE).unwrap();
    let names = |v: serde_json::Value| {
        v.as_array().unwrap().iter().map(|u| u["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(served.ticket(&client).await.is_ok());
    served.admin(Command::UserRevoke { name: "alice".into(), revoked: true }).await.unwrap();
    let refused = served.ticket(&client).await.err().unwrap();
    assert_eq!(refused, carnet_mikey::Error::Refused { number: 0, authenticated: true });
    served.admin(Command::UserRevoke { name: "alice".into(), revoked: false }).await.unwrap();
    assert!(served.ticket(&client).await.is_ok());

    // All or none.
    let clash = vec![user("carol", 3), user("bob", 4)];
    assert!(served.admin(Command::UserAdd { users: clash }).await.unwrap_err().contains("`bob`"));
    let mut dave = user("dave", 7);
    dave.identities = user("carol", 3).identities.clone();
    let twice = vec![user("carol", 3), dave];
    assert!(served.admin(Command::UserAdd { users: twice }).await.is_err());
    assert_eq!(names(served.admin(Command::UserList).await.unwrap()), ["alice", "bob"]);
    served.admin(Command::UserAdd { users: vec![user("carol", 3)] }).await.unwrap();
    assert!(served.admin(Command::UserRemove { names: vec!["zoe".into()] }).await.is_err());

    let key = |v: serde_json::Value| v["key"].as_str().unwrap().to_owned();
    let rotated = key(served.admin(Command::Rotate).await.unwrap());
    assert!(served.ticket(&client).await.is_ok());
    let trail = served.admin(Command::Audit { from: None, most: 1 }).await.unwrap();
    assert_eq!(trail["last"], trail["records"][0]["number"]);
    assert_eq!(trail["records"].as_array().unwrap().last().unwrap()["key"], rotated);

    let members = vec!["sip:bob@x.example".to_owned()];
    let group = Command::GroupPut { identity: "sip:desk@x.example".into(), members };
    served.admin(group).await.unwrap();
    let taken = Command::GroupPut { identity: "sip:bob@x.example".into(), members: Vec::new() };
    assert!(served.admin(taken).await.is_err());
    served.admin(Command::PolicyPut { rules: Vec::new(), otherwise: false }).await.unwrap();
    assert!(served.ticket(&client).await.is_err());

    // Garbage on the socket is an error and not the end.
    let socket = served.data.path().join("admin.sock");
    for (garbage, status) in [
        ("explode\n\n", "400"),
        ("GET /api/v1/kms/explode HTTP/1.1\r\nHost: k\r\nConnection: close\r\n\r\n", "404"),
    ] {
        let mut stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
        stream.write_all(garbage.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }

    // After it has stopped the same commands work on its data.
    let Served { data, drain, task, .. } = served;
    drain.start(PATIENCE);
    task.await.unwrap();
    assert!(!socket.exists());
    let call = |command| admin::call(data.path(), settings(), &command).unwrap();
    assert_eq!(names(call(Command::UserList)), ["alice", "bob", "carol"]);
    assert_eq!(call(Command::PolicyShow)["otherwise"], false);
    assert_eq!(call(Command::GroupList)[0]["members"][0], "sip:bob@x.example");
}

#[test]
fn reading_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    // A ticket key is due whenever somebody looks.
    let mut settings = settings();
    settings.rules.rotation = Duration::ZERO;
    let call = |command: &Command| admin::call(&data, settings.clone(), command);
    assert!(call(&Command::UserList).unwrap_err().contains("no key management service"));
    assert!(!data.exists());
    call(&Command::UserAdd { users: vec![user("alice", 1)] }).unwrap();
    for _ in 0..3 {
        call(&Command::UserList).unwrap();
        call(&Command::Audit { from: None, most: 10 }).unwrap();
    }
    assert_eq!(call(&Command::Rotate).unwrap()["older"], 1);
}

#[test]
fn a_lost_root_key_is_not_replaced() {
    let data = tempfile::tempdir().unwrap();
    drop(Service::open(data.path(), settings()).unwrap());
    std::fs::remove_file(data.path().join("root.key")).unwrap();
    assert!(matches!(Service::open(data.path(), settings()), Err(OpenError::NoRootKey(_))));
    assert!(!data.path().join("root.key").exists());
}
