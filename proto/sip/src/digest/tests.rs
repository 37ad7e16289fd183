use super::*;
use crate::{Message, Method};
use carnet_wire::SeededRandom;
use std::time::{Duration, Instant};

fn password(text: &str) -> Password {
    Password::new(text.as_bytes().to_vec())
}

/// RFC 7616 §3.9.1 and RFC 2617 §3.5.
#[test]
fn examples_of_the_rfcs() {
    let proof = |algorithm, nonce, nc, cnonce| Proof {
        algorithm,
        user: "Mufasa",
        realm: if nonce == "dcd98b7102dd2f0e8b11d0f600bfb0c093" {
            "testrealm@host.com"
        } else {
            "http-auth@example.org"
        },
        nonce,
        method: "GET",
        uri: "/dir/index.html",
        counted: Some((nc, cnonce)),
    };
    let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
    let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
    let life = password("Circle of Life");
    assert_eq!(
        *proof(Algorithm::Sha256, nonce, "00000001", cnonce).response(&life),
        "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
    );
    assert_eq!(
        *proof(Algorithm::Md5, nonce, "00000001", cnonce).response(&life),
        "8ca523f5e9506fed4657c9700eebdbec"
    );
    assert_eq!(
        *proof(Algorithm::Md5, "dcd98b7102dd2f0e8b11d0f600bfb0c093", "00000001", "0a4f113b")
            .response(&password("Circle Of Life")),
        "6629fae49393a05397450978507c4ef1"
    );
}

struct Scene {
    server: DigestServer,
    client: DigestClient,
    random: SeededRandom,
    now: Instant,
}

fn scene(given: &str) -> Scene {
    let now = Instant::now();
    let mut random = SeededRandom::new(7);
    let server = DigestServer::new(DigestSettings::new("home.example"), now, &mut random);
    Scene { server, client: DigestClient::new("al\"ice", password(given)).unwrap(), random, now }
}

impl Scene {
    fn request(&mut self) -> Message {
        let mut m = Message::request(Method::Register, "sip:home.example".parse().unwrap());
        self.client.authorize(&mut m, &mut self.random).unwrap();
        m
    }

    fn verify(&mut self, request: &Message) -> Verdict {
        let right = password("right");
        self.server.verify(self.now, request, |user| (user == "al\"ice").then_some(&right))
    }

    fn challenge(&mut self, request: &Message, stale: bool) -> Result<(), crate::Error> {
        let response = self.server.refusal(self.now, request, stale, &mut self.random).unwrap();
        self.client.challenged(&response)
    }
}

#[test]
fn asked_answered_and_not_replayed() {
    let mut s = scene("right");
    let bare = s.request();
    assert_eq!(s.verify(&bare), Verdict::Challenge { stale: false });
    s.challenge(&bare, false).unwrap();
    let first = s.request();
    assert!(first.header("Authorization").unwrap().contains("algorithm=SHA-256"));
    let user = "al\"ice".to_owned();
    assert_eq!(s.verify(&first), Verdict::Accepted { user: user.clone() });
    assert_eq!(s.verify(&first), Verdict::Denied);
    // Counts may overtake each other, but each is good once.
    let (second, third) = (s.request(), s.request());
    assert_eq!(s.verify(&third), Verdict::Accepted { user: user.clone() });
    assert_eq!(s.verify(&second), Verdict::Accepted { user });
    assert_eq!(s.verify(&second), Verdict::Denied);
}

#[test]
fn wrong_password_unknown_user_other_request() {
    let mut s = scene("wrong");
    let bare = s.request();
    s.challenge(&bare, false).unwrap();
    let signed = s.request();
    assert_eq!(s.verify(&signed), Verdict::Denied);
    assert_eq!(s.server.verify(s.now, &signed, |_| None), Verdict::Denied);
    assert_eq!(s.challenge(&signed, false), Err(crate::Error::Denied));

    let mut s = scene("right");
    s.challenge(&bare, false).unwrap();
    let mut moved = s.request();
    moved.set_request_uri("sip:elsewhere.example".parse().unwrap()).unwrap();
    assert_eq!(s.verify(&moved), Verdict::Denied);
    let value = s.request().header("Authorization").unwrap().into_owned();
    for (from, to) in
        [("nc=00000002", "nc=2"), ("qop=auth, ", ""), ("SHA-256", "SHA-512"), ("uri=", "uri=\"\", x=")]
    {
        assert!(value.contains(from), "{from}");
        let mut bad = bare.clone();
        bad.set_header("Authorization", &value.replace(from, to)).unwrap();
        assert_eq!(s.verify(&bad), Verdict::Denied, "{to}");
    }
    let mut twice = bare.clone();
    twice.set_header("Authorization", &format!("{value}, username=\"mallory\"")).unwrap();
    assert_eq!(s.verify(&twice), Verdict::Challenge { stale: false });
}

#[test]
fn old_foreign_and_forgotten_nonces_are_stale() {
    let mut s = scene("right");
    let bare = s.request();
    s.challenge(&bare, false).unwrap();
    let request = s.request();
    s.now += Duration::from_secs(301);
    assert_eq!(s.verify(&request), Verdict::Challenge { stale: true });
    s.challenge(&request, true).expect("a stale nonce is no refusal");
    let request = s.request();
    assert!(matches!(s.verify(&request), Verdict::Accepted { .. }));

    let mut other = scene("right");
    other.server =
        DigestServer::new(DigestSettings::new("home.example"), other.now, &mut SeededRandom::new(8));
    assert_eq!(other.verify(&request), Verdict::Challenge { stale: true });
    let zeros = request.header("Authorization").unwrap().replace("nonce=\"0", "nonce=\"1");
    let mut forged = bare.clone();
    forged.set_header("Authorization", &zeros).unwrap();
    assert_eq!(s.verify(&forged), Verdict::Challenge { stale: true });

    // Only so many nonces are remembered; a forgotten one cannot be replayed.
    let mut s = scene("right");
    s.server.settings.nonces = 2;
    let mut all = Vec::new();
    for _ in 0..4 {
        s.now += Duration::from_secs(1);
        s.challenge(&bare, true).unwrap();
        let request = s.request();
        assert!(matches!(s.verify(&request), Verdict::Accepted { .. }));
        all.push(request);
    }
    assert_eq!(s.verify(&all[0]), Verdict::Challenge { stale: true });
    assert_eq!(s.verify(&all[3]), Verdict::Denied);
}

#[test]
fn challenges_of_other_servers() {
    let c = Challenge::parse("Digest realm=\"a\", nonce=\"n,1\", opaque=\"o\", stale=TRUE").unwrap();
    assert!(
        c.stale
            && !c.qop
            && c.algorithm == Algorithm::Md5
            && c.nonce == "n,1"
            && c.opaque.as_deref() == Some("o")
    );
    for bad in [
        "Basic realm=\"a\"",
        "Digest realm=\"a\"",
        "Digest realm=\"a\", nonce=\"n\", algorithm=AKAv1-MD5",
        "Digest realm=\"a\", nonce=\"n\", qop=\"auth-int\"",
        "Digest realm=\"a\", realm=\"b\", nonce=\"n\"",
        "Digest ,",
        "Digest",
    ] {
        assert!(Challenge::parse(bad).is_err(), "{bad}");
    }
    // Of two algorithms the stronger is answered, whatever the order.
    let mut client = DigestClient::new("bob", password("x")).unwrap();
    let mut request = Message::request(Method::Register, "sip:a".parse().unwrap());
    let mut response = Message::response(&request, 401, "").unwrap();
    response.push_back("WWW-Authenticate", "Digest realm=\"a\", nonce=\"1\", qop=\"auth,auth-int\"").unwrap();
    response
        .push_back("WWW-Authenticate", "Digest realm=\"a\", nonce=\"1\", qop=\"auth\", algorithm=SHA-256")
        .unwrap();
    client.challenged(&response).unwrap();
    client.authorize(&mut request, &mut SeededRandom::new(1)).unwrap();
    assert_eq!(request.values("Authorization").unwrap().len(), 9);
    assert!(request.header("Authorization").unwrap().contains("SHA-256"));
    // Once accepted, a challenge without `stale` is a question again.
    assert!(client.challenged(&response).is_err());
    client.accepted();
    assert!(client.challenged(&response).is_ok());
}

/// A registrar and a proxy of one realm: each is answered where it has asked. The callee of a request that the
/// proxy passes on learns nothing of the registration.
#[test]
fn registrar_and_proxy_are_answered_apart() {
    let request = |method: Method| {
        let mut m = Message::request(method.clone(), "sip:home.example".parse().unwrap());
        m.push_back("CSeq", &format!("1 {method}")).unwrap();
        m
    };
    let mut client = DigestClient::new("bob", password("x")).unwrap();
    let ask = |client: &mut DigestClient, of: Method, status: u16, header: &str| {
        let mut response = Message::response(&request(of), status, "").unwrap();
        response.push_back(header, "Digest realm=\"home\", nonce=\"1\"").unwrap();
        client.challenged(&response)
    };
    let signed = |client: &mut DigestClient, method: Method| {
        let mut m = request(method);
        client.authorize(&mut m, &mut SeededRandom::new(1)).unwrap();
        (m.header("Authorization").is_some(), m.header("Proxy-Authorization").is_some())
    };
    ask(&mut client, Method::Register, 401, "WWW-Authenticate").unwrap();
    assert_eq!(signed(&mut client, Method::Register), (true, false));
    assert_eq!(signed(&mut client, Method::Invite), (false, false));
    ask(&mut client, Method::Invite, 407, "Proxy-Authenticate").unwrap();
    assert_eq!(signed(&mut client, Method::Invite), (false, true));
    assert_eq!(signed(&mut client, Method::Bye), (false, true));
    assert_eq!(signed(&mut client, Method::Register), (true, false));
    // Asked again without a success between: the password is wrong, each for itself.
    assert!(ask(&mut client, Method::Register, 401, "WWW-Authenticate").is_err());
}

/// A server that was started anew does not know its own nonce, and asks without `stale`. The password that was
/// good is said once more, and not a third time.
#[test]
fn a_nonce_that_was_forgotten_is_no_wrong_password() {
    let mut scene = scene("right");
    let request = scene.request();
    scene.challenge(&request, false).unwrap();
    let request = scene.request();
    assert!(matches!(scene.verify(&request), Verdict::Accepted { .. }));
    scene.client.accepted();
    scene.request();
    scene.server = DigestServer::new(DigestSettings::new("home.example"), scene.now, &mut scene.random);
    let request = scene.request();
    scene.challenge(&request, false).unwrap();
    let request = scene.request();
    assert!(matches!(scene.verify(&request), Verdict::Accepted { .. }));
    // It does not say so, and asks again: that is a no.
    assert!(scene.challenge(&request, false).is_err());
}
