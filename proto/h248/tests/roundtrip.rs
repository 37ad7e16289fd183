//! Printing and parsing are each other's inverse, and nothing that comes in can do harm.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod common;

use carnet_h248::text::{Form, Limits, parse, print};
use carnet_h248::*;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_message_survives_both_forms(message in common::message()) {
        for form in [Form::Long, Form::Short] {
            let printed = print(&message, form);
            let text = String::from_utf8_lossy(&printed).into_owned();
            match parse(&printed, &Limits::default()) {
                Ok(again) => prop_assert_eq!(&again, &message, "{}", text),
                Err(error) => prop_assert!(false, "{}\n{}", error, text),
            }
        }
    }

    /// What text says and binary can say is the same in both.
    #[test]
    fn text_and_binary_are_one(message in common::binary_message()) {
        let text = parse(&print(&message, Form::Long), &Limits::default()).unwrap();
        let octets = binary::print(&text).unwrap();
        let read = binary::parse(&octets, &Limits::default());
        prop_assert_eq!(read.as_ref(), Ok(&message), "{}", String::from_utf8_lossy(&print(&message, Form::Long)));
        let again = parse(&print(&read.unwrap(), Form::Short), &Limits::default());
        prop_assert_eq!(again, Ok(message));
    }

    /// Parsers are total: whatever comes in, an error or a message comes out.
    #[test]
    fn any_octets_are_parsed_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&octets, &Limits::default());
    }

    /// A message with octets changed, cut off or doubled: refused inside its bounds, or a message that
    /// prints and parses like any other.
    #[test]
    fn damaged_messages_do_no_harm(
        message in common::message(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..4),
        short: bool,
    ) {
        let mut octets = print(&message, if short { Form::Short } else { Form::Long });
        for (index, octet, kind) in changes {
            let at = index.index(octets.len());
            match kind {
                0 => octets[at] = octet,
                1 => octets.truncate(at.max(1)),
                _ => octets.insert(at, octet),
            }
        }
        match parse(&octets, &Limits::default()) {
            Err(error) => prop_assert!(error.offset() <= octets.len() && (400..600).contains(&error.code())),
            Ok(message) => {
                let printed = print(&message, Form::Short);
                let again = parse(&printed, &Limits::default());
                prop_assert_eq!(again.as_ref().ok(), Some(&message), "{:?}\n{}", again, String::from_utf8_lossy(&printed));
            }
        }
    }

    /// Text with octets changed that binary can say: once it has been there, nothing changes any more.
    #[test]
    fn damaged_text_settles_in_binary(
        message in prop_oneof![common::binary_message(), common::message()],
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 0..4),
        short: bool,
    ) {
        let mut octets = print(&message, if short { Form::Short } else { Form::Long });
        for (index, octet, kind) in changes {
            let at = index.index(octets.len());
            match kind {
                0 => octets[at] = octet,
                1 => { octets.remove(at); }
                _ => octets.insert(at, octet),
            }
            if octets.is_empty() {
                return Ok(());
            }
        }
        let through = |message: &Message| {
            let octets = binary::print(message).ok()?;
            Some(binary::parse(&octets, &Limits::default()).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&print(message, Form::Short)))))
        };
        let Ok(read) = parse(&octets, &Limits::default()) else { return Ok(()) };
        let Some(once) = through(&read) else { return Ok(()) };
        let printed = print(&once, Form::Long);
        let again = parse(&printed, &Limits::default());
        prop_assert!(again.is_ok(), "{:?}\n{}", again, String::from_utf8_lossy(&printed));
        prop_assert_eq!(through(&again.unwrap()), Some(once), "{}", String::from_utf8_lossy(&printed));
    }

    /// Text from elsewhere that ends up in a message cannot break out of its place.
    #[test]
    fn nothing_can_be_smuggled(text in "[ -~\\r\\n\"{}]{0,40}", sdp in "[ -~\\r\\n{}\\\\]{0,40}") {
        let stream = Stream::new(1).property("ipdc/realm", text.clone()).remote(sdp);
        let message = Message::new(3, MId::domain(text.clone()), vec![Transaction::Request(TransactionRequest {
            id: TransactionId(1),
            actions: vec![ActionRequest::new(ContextId::Choose, vec![
                Command::add(text.clone()).with(Media::with_stream(stream)),
            ])],
        })]);
        for form in [Form::Long, Form::Short] {
            let again = parse(&print(&message, form), &Limits::default()).unwrap();
            let Some(Transaction::Request(request)) = again.transactions().first() else { panic!() };
            prop_assert_eq!(again.transactions().len(), 1);
            prop_assert_eq!(request.actions.len(), 1);
            prop_assert_eq!(request.actions[0].commands.len(), 1);
            let media = request.actions[0].commands[0].media().unwrap();
            let control = media.streams[0].local_control.as_ref().unwrap();
            prop_assert_eq!(control.properties.len(), 1);
        }
    }
}
