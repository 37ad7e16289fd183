//! Files in offer and answer (RFC 5547 §8), with peers that do it otherwise.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod net;

use carnet_client::{Ending, Event, FileOffer, Purpose, Refusal};
use net::{Net, media_address, replacing, without};

fn file() -> FileOffer {
    FileOffer {
        name: "holiday.jpg".into(),
        content_type: "image/jpeg".into(),
        size: Some(1000),
        sha1: Some([7; 20]),
        transfer_id: "abc".into(),
        ..FileOffer::default()
    }
}

fn send(net: &mut Net) {
    net.call_for(0, "sip:bob@example.com", Purpose::SendFile(file()));
}

/// The file that Bob is asked to take.
fn offered(net: &mut Net) -> (carnet_client::CallId, FileOffer) {
    let incoming = net.event(1, |event| matches!(event, Event::Incoming { .. }));
    let Event::Incoming { call, purpose: Purpose::SendFile(file), .. } = incoming else {
        panic!("{incoming:?}")
    };
    (call, file)
}

/// The last session description that `at` got.
fn last(net: &Net, at: usize) -> String {
    let texts = net.nodes[at].received.iter().map(|data| String::from_utf8(data.to_vec()).unwrap());
    texts.filter(|text| text.contains("\r\n\r\nv=0")).last().unwrap()
}

#[test]
fn the_attributes_of_a_push() {
    let mut net = Net::pair();
    send(&mut net);
    let offer = last(&net, 1);
    for line in [
        "a=sendonly",
        "a=file-transfer-id:abc",
        "a=file-disposition:attachment",
        "a=file-selector:name:\"holiday.jpg\" type:image/jpeg size:1000 \
         hash:sha-1:07:07:07:07:07:07:07:07:07:07:07:07:07:07:07:07:07:07:07:07",
    ] {
        assert!(offer.split("\r\n").any(|other| other == line), "{line} is not in {offer}");
    }
    assert!(!offer.contains("file-range"), "the whole needs no range: {offer}");
    let (call, _) = offered(&mut net);
    net.nodes[1].client.accept(net.now, call, media_address(1, 0), 0);
    net.settle();
    let answer = last(&net, 0);
    assert!(answer.contains("a=recvonly") && answer.contains("a=file-transfer-id:abc"), "{answer}");
    // §8.3.1: not in the answer of a receiver.
    assert!(!answer.contains("file-disposition") && !answer.contains("file-range"), "{answer}");
}

#[test]
fn a_push_without_a_name_and_with_the_direction_of_the_session() {
    let mut net = Net::pair();
    net.tap = Some(replacing("INVITE", |text| {
        without(&text.replace("name:\"holiday.jpg\" ", ""), "a=sendonly")
            .replace("t=0 0\r\n", "t=0 0\r\na=sendonly\r\n")
    }));
    send(&mut net);
    assert_eq!(offered(&mut net).1, FileOffer { name: String::new(), ..file() });
}

// §8.3.1: the range of the offer is that of the answer, or the file is refused.
#[test]
fn a_range_that_is_offered_stands() {
    let ranged = |text: &str| text.replace("a=sendonly\r\n", "a=sendonly\r\na=file-range:401-1000\r\n");
    for (have, taken) in [(400, true), (900, true), (0, false), (399, false)] {
        let mut net = Net::pair();
        net.tap = Some(replacing("INVITE", ranged));
        send(&mut net);
        let (call, file) = offered(&mut net);
        assert_eq!((file.start, file.ranged), (400, true));
        net.nodes[1].client.accept(net.now, call, media_address(1, 0), have);
        net.settle();
        if taken {
            assert!(last(&net, 0).contains("a=file-range:401-1000"), "{have}");
            assert_eq!(net.media(1).file.unwrap().start, 400, "{have}");
        } else {
            assert_eq!(net.ending(1), Ending::Refused(Refusal::NoMedia), "{have}");
            assert!(matches!(net.ending(0), Ending::Refused(Refusal::Rejected { status: 488, .. })));
        }
    }
}

#[test]
fn what_is_not_a_push_is_not_taken_for_a_chat() {
    let cases: [(&str, &str, u16); 4] = [
        // §8.3.2: a pull, and we give nothing away.
        ("a=sendonly", "a=recvonly", 488),
        ("a=sendonly", "a=sendrecv", 488),
        // A part that ends before the end of the file.
        ("a=sendonly", "a=sendonly\r\na=file-range:1-500", 488),
        ("size:1000", "size:many", 400),
    ];
    for (from, to, status) in cases {
        let mut net = Net::pair();
        net.tap = Some(replacing("INVITE", move |text| text.replace(from, to)));
        send(&mut net);
        assert_eq!(net.refused(1).sip().0, status, "{to}");
        assert!(net.try_event(1, |event| matches!(event, Event::Incoming { .. })).is_none(), "{to}");
    }
}

#[test]
fn an_answer_that_is_not_about_the_file_ends_the_call() {
    for (from, to) in [
        ("a=file-transfer-id:abc", "a=file-transfer-id:xyz"),
        ("a=recvonly", "a=sendrecv"),
        ("a=recvonly", "a=recvonly\r\na=file-range:1001-*\r\na=x"),
        ("a=recvonly", "a=recvonly\r\na=file-range:1-500"),
        ("a=recvonly", "a=recvonly\r\na=file-range:1002-1000"),
    ] {
        let mut net = Net::pair();
        send(&mut net);
        net.tap = Some(replacing("SIP/2.0 200", move |text| text.replace(from, to)));
        let (call, _) = offered(&mut net);
        net.nodes[1].client.accept(net.now, call, media_address(1, 0), 0);
        net.settle();
        // Nothing left to send is the end of the file, which is an end.
        if to.contains("1001-*") {
            assert_eq!(net.media(0).file.unwrap().start, 1000);
            continue;
        }
        assert!(matches!(net.ending(0), Ending::Refused(_)), "{to}");
        assert!(net.try_event(0, |event| matches!(event, Event::Media { .. })).is_none(), "{to}");
    }
}

// §8.1: an identifier that has changed asks for another file.
#[test]
fn another_file_needs_a_call_of_its_own() {
    let mut net = Net::pair();
    net.tap = Some(Box::new(|_, to, data| {
        // Nobody knows UPDATE here, so a refresh is a re-INVITE.
        let text = String::from_utf8(data.to_vec()).unwrap();
        vec![(to, text.replace("BYE, PRACK, UPDATE, OPTIONS", "BYE, PRACK, OPTIONS").into())]
    }));
    let call = net.call_for(0, "sip:bob@example.com", Purpose::SendFile(file()));
    let (incoming, _) = offered(&mut net);
    net.nodes[1].client.accept(net.now, incoming, media_address(1, 0), 0);
    net.settle();
    net.nodes[0].client.refresh(net.now, call);
    net.settle();
    let last = |net: &Net| String::from_utf8(net.nodes[0].received.last().unwrap().to_vec()).unwrap();
    assert!(last(&net).starts_with("SIP/2.0 200"), "{}", last(&net));
    net.tap = Some(replacing("INVITE", |text| text.replace("file-transfer-id:abc", "file-transfer-id:xyz")));
    net.nodes[0].client.refresh(net.now, call);
    net.settle();
    assert!(last(&net).starts_with("SIP/2.0 488"), "{}", last(&net));
    assert!(net.try_event(1, |event| matches!(event, Event::Ended { .. })).is_none(), "the first goes on");
}
