//! From any roster to any other: what a partial document says is what differs.

use carnet_roster::{
    Applied, Disconnection, Document, Endpoint, Execution, Host, Joining, Limits, Media, MediaStatus, Roster,
    Seal, Status, UriEntry, User, View,
};
use proptest::prelude::*;

fn text() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(prop_oneof![
        Just(String::new()),
        "[a-z<>&\"' ]{1,6}".prop_map(|t| t.trim().to_owned())
    ])
}

fn execution() -> impl Strategy<Value = Option<Execution>> {
    let one = (text(), text()).prop_map(|(reason, by)| Execution { reason, by, ..Execution::default() });
    proptest::option::of(one)
}

fn media() -> impl Strategy<Value = Vec<Media>> {
    let one = |id: u8| {
        (text(), any::<bool>(), any::<bool>()).prop_map(move |(label, sealed, both)| {
            let status = Some(if both { MediaStatus::SendRecv } else { MediaStatus::Other("odd".into()) });
            let mut media = Media { id: id.to_string(), label, status, ..Media::default() };
            media.extra.set_seal(Some(if sealed { Seal::Sealed } else { Seal::Open }));
            media
        })
    };
    (proptest::option::of(one(1)), proptest::option::of(one(2)))
        .prop_map(|(a, b)| a.into_iter().chain(b).collect())
}

fn endpoint(id: u8) -> BoxedStrategy<Endpoint> {
    (text(), any::<bool>(), execution(), execution(), media())
        .prop_map(move |(display_text, on, joined, left, media)| Endpoint {
            entity: format!("e{id}"),
            display_text,
            status: Some(if on { Status::Connected } else { Status::Disconnected }),
            joining_method: Some(Joining::DialedIn),
            joining_info: joined,
            disconnection_method: left.is_some().then_some(Disconnection::Booted),
            disconnection_info: left,
            media,
            ..Endpoint::default()
        })
        .boxed()
}

fn user(id: u8) -> BoxedStrategy<User> {
    let endpoints = (proptest::option::of(endpoint(1)), proptest::option::of(endpoint(2)));
    (
        text(),
        text(),
        proptest::collection::vec("[a-z]{1,3}", 0..3),
        endpoints,
        proptest::option::of(any::<bool>()),
    )
        .prop_map(move |(nickname, display_text, roles, (one, two), seal)| {
            let mut user = User {
                entity: format!("sip:{id}@example.com"),
                nickname,
                display_text,
                roles,
                endpoints: one.into_iter().chain(two).collect(),
                ..User::default()
            };
            user.extra.set_seal(seal.map(|on| if on { Seal::Sealed } else { Seal::Open }));
            user
        })
        .boxed()
}

fn roster() -> BoxedStrategy<Roster> {
    let users = (
        proptest::option::of(user(1)),
        proptest::option::of(user(2)),
        proptest::option::of(user(3)),
        proptest::option::of(user(4)),
    );
    (users, text(), text(), proptest::option::of(0..9_u32), proptest::option::of(any::<bool>()))
        .prop_map(|((a, b, c, d), subject, host, count, seal)| {
            let mut roster = Roster { entity: "sip:room@example.com".into(), ..Roster::default() };
            roster.users = [a, b, c, d].into_iter().flatten().collect();
            roster.description.subject = subject.clone();
            let uri =
                UriEntry { uri: "sip:room@example.com".into(), purpose: subject, ..UriEntry::default() };
            roster.description.conf_uris = vec![uri];
            roster.host = host.map(|text| Host { display_text: Some(text), ..Host::default() });
            roster.state.user_count = count;
            roster.extra.set_seal(seal.map(|on| if on { Seal::Sealed } else { Seal::Open }));
            roster
        })
        .boxed()
}

/// Order means nothing in a document.
fn ordered(roster: &Roster) -> Roster {
    let mut roster = roster.clone();
    roster.users.sort_by(|a, b| a.entity.cmp(&b.entity));
    for user in &mut roster.users {
        user.endpoints.sort_by(|a, b| a.entity.cmp(&b.entity));
        for endpoint in &mut user.endpoints {
            endpoint.media.sort_by(|a, b| a.id.cmp(&b.id));
        }
    }
    roster
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn whatever_changes(rosters in proptest::collection::vec(roster(), 2..6), octets in 100..3000_usize) {
        let mut view = View::default();
        let mut version = 1;
        let mut known = &rosters[0];
        for part in known.document(version).split(octets) {
            version = part.version();
            prop_assert!(matches!(view.read(part.print().as_bytes()), Ok(Applied::Changed(_))));
        }
        prop_assert_eq!(ordered(view.roster()), ordered(known));
        for next in &rosters[1..] {
            let Some(document) = Roster::diff(known, next, version + 1) else {
                prop_assert_eq!(known, next);
                continue;
            };
            for part in document.split(octets) {
                version = part.version();
                let text = part.print();
                prop_assert!(matches!(view.read(text.as_bytes()), Ok(Applied::Changed(_))), "{}", text);
            }
            prop_assert_eq!(ordered(view.roster()), ordered(next));
            known = next;
        }
    }

    #[test]
    fn whatever_comes(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        // No panic is all that is asked.
        let _ = View::default().read(&octets);
    }

    #[test]
    fn what_almost_is_a_document(cuts in proptest::collection::vec((any::<proptest::sample::Index>(), "[<>/&;\"=a-z ]{0,3}"), 1..4)) {
        let mut text = include_str!("fixtures/rfc4575-7-rich.xml").to_owned();
        for (at, with) in cuts {
            let at = at.index(text.len());
            text.replace_range(at..=at, &with);
        }
        if let Ok(document) = Document::parse(text.as_bytes(), &Limits::default()) {
            // What is taken can be said again.
            prop_assert_eq!(Document::parse(document.print().as_bytes(), &Limits::default()), Ok(document));
        }
    }
}
