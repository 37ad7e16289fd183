//! Which media a terminal and its border agree to protect between them: `mediasec`.
//!
//! RFC 3329 with the `mediasec` parameter of TS 24.229 §7.2A.7 and §5.2.2: the terminal says in REGISTER
//! what it can do (Security-Client), the border what it does (Security-Server in 401 and 200), and the
//! terminal repeats that (Security-Verify). These headers are between the two: what bears `mediasec` goes
//! no further. Mechanisms without that parameter (`ipsec-3gpp`) are none of ours and stay.
//!
//! Left out: 494 to a terminal whose Security-Verify repeats something else. What is agreed here decides
//! no security of the signalling, and the media line itself says once more what is asked for.

use carnet_plan::Registered;
use carnet_sip::{Error, Message};

/// The tag of the extension in Require and Proxy-Require, and the parameter of a mechanism.
pub(crate) const TAG: &str = "mediasec";

/// What this border does.
const OURS: &str = "msrp-tls;mediasec, bfcp-tls;mediasec";

/// Whether a mechanism of these headers is one for media.
fn is_for_media(mechanism: &str) -> bool {
    mechanism.split(';').skip(1).any(|parameter| parameter.trim().eq_ignore_ascii_case(TAG))
}

/// What one of the headers names, `None` if nothing in it is for media.
fn named(message: &Message, header: &str) -> Option<Registered> {
    // One that cannot be read names nothing.
    let values = message.values(header).unwrap_or_default();
    let mut mechanisms = values.iter().filter(|value| is_for_media(value)).peekable();
    mechanisms.peek()?;
    let mut found = Registered::default();
    for mechanism in mechanisms {
        let name = mechanism.split(';').next().unwrap_or_default().trim();
        found.msrp |= name.eq_ignore_ascii_case("msrp-tls");
        found.bfcp |= name.eq_ignore_ascii_case("bfcp-tls");
    }
    Some(found)
}

/// What a terminal says in its REGISTER; `None` if it says nothing about media.
pub(crate) fn wanted(register: &Message) -> Option<Registered> {
    named(register, "Security-Client").or_else(|| named(register, "Security-Verify"))
}

/// Tells a terminal that asked what is done here. For 401 and 200 (TS 24.229 §5.2.2).
pub(crate) fn tell(response: &mut Message, register: &Message) -> Result<(), Error> {
    let told = matches!(response.status(), Some(200 | 401));
    match told && named(register, "Security-Client").is_some() {
        true => response.push_back("Security-Server", OURS),
        false => Ok(()),
    }
}

/// Takes out what is between a terminal and its border.
pub(crate) fn take_out(message: &mut Message) -> Result<(), Error> {
    for header in ["Security-Client", "Security-Verify", "Security-Server"] {
        without(message, header, is_for_media)?;
    }
    for header in ["Require", "Proxy-Require"] {
        without(message, header, |tag| tag.eq_ignore_ascii_case(TAG))?;
    }
    Ok(())
}

/// Takes the values out of a list header for which `drop` holds. Where there is none, nothing changes.
fn without(message: &mut Message, header: &str, drop: impl Fn(&str) -> bool) -> Result<(), Error> {
    let Ok(values) = message.values(header) else { return Ok(()) };
    if !values.iter().any(|value| drop(value)) {
        return Ok(());
    }
    message.remove_all(header);
    for value in values.iter().filter(|value| !drop(value)) {
        message.push_back(header, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn register(headers: &str) -> Message {
        let text = format!(
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.20;branch=z9hG4bK1\r\n\
             From: <sip:alice@example.com>;tag=1\r\nTo: <sip:alice@example.com>\r\nCall-ID: 1\r\n\
             CSeq: 1 REGISTER\r\nMax-Forwards: 70\r\n{headers}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text), &carnet_sip::Limits::default()).unwrap()
    }

    #[test]
    fn mechanisms_for_media_are_read() {
        let both = Some(Registered { msrp: true, bfcp: true });
        let none = Some(Registered::default());
        for (headers, expected) in [
            ("", None),
            ("Security-Client: ipsec-3gpp; alg=hmac-sha-1-96; spi-c=1\r\n", None),
            ("Security-Client: msrp-tls\r\n", None),
            ("Security-Client: msrp-tls;mediasec\r\n", Some(Registered { msrp: true, bfcp: false })),
            ("Security-Client: MSRP-TLS ; q=0.1; MediaSec, bfcp-tls;mediasec\r\n", both),
            ("Security-Client: msrp-tls;mediasec\r\nSecurity-Client: bfcp-tls;mediasec\r\n", both),
            ("Security-Verify: msrp-tls;mediasec, bfcp-tls;mediasec\r\n", both),
            ("Security-Client: sdes-srtp;mediasec\r\n", none),
            // What it says it can do counts, not what it repeats.
            ("Security-Client: sdes-srtp;mediasec\r\nSecurity-Verify: msrp-tls;mediasec\r\n", none),
            ("Security-Client: ,;,\r\n", None),
        ] {
            assert_eq!(wanted(&register(headers)), expected, "{headers}");
        }
    }

    #[test]
    fn what_is_between_two_goes_no_further() {
        let mut message = register(
            "Require: path, mediasec\r\nProxy-Require: mediasec\r\n\
             Security-Client: ipsec-3gpp; alg=x, msrp-tls;mediasec\r\nSecurity-Verify: msrp-tls;mediasec\r\n",
        );
        take_out(&mut message).unwrap();
        assert_eq!(message.values("Require").unwrap(), ["path"]);
        assert!(!message.has("Proxy-Require") && !message.has("Security-Verify"));
        assert_eq!(message.values("Security-Client").unwrap(), ["ipsec-3gpp; alg=x"]);
        // What has nothing of it stays octet by octet.
        let other = register("Require:  path ,100rel\r\nSecurity-Client:ipsec-3gpp ;a=b\r\n");
        let mut same = other.clone();
        take_out(&mut same).unwrap();
        assert_eq!(same.to_bytes(), other.to_bytes());
    }

    #[test]
    fn the_border_says_what_it_does() {
        let asked = register("Security-Client: msrp-tls;mediasec\r\n");
        for (status, told) in [(200, true), (401, true), (403, false), (100, false)] {
            let mut response = Message::response(&asked, status, "").unwrap();
            tell(&mut response, &asked).unwrap();
            assert_eq!(response.has("Security-Server"), told, "{status}");
        }
        let silent = register("");
        let mut response = Message::response(&silent, 200, "").unwrap();
        tell(&mut response, &silent).unwrap();
        assert!(!response.has("Security-Server"));
    }
}
