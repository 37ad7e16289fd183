//! What is typed into a conference: words, or a command that begins with a slash.

use super::model::Model;
use super::{Decision, Wish};

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ue) enum Typed {
    /// Something of the conference.
    Wish(Wish),
    /// Who is here?
    Who,
    /// Who has which floor?
    Floors,
    /// What can be typed?
    Help,
    /// Out.
    Leave,
    /// Nothing.
    Nothing,
}

/// All commands, one a line.
pub(in crate::ue) const HELP: &str = "\
/msg NAME TEXT       say something to one only
/nick [NAME]         go by another name, or by none
/send FILE           send a file to all
/sendto NAME FILE    send a file to one only
/floor [N] [WHY]     ask for a floor
/urgent [N] [WHY]    ask for it before others
/release [N]         give it back, or wait no more
/grant NAME [N]      as the chair: give NAME the floor
/deny NAME [N]       as the chair: do not
/revoke NAME [N]     as the chair: take it away
/invite ADDRESS      call somebody in
/kick NAME           put somebody out
/who  /floors        who is here, who has which floor
/bye                 leave
//TEXT               say /TEXT";

/// Reads a line.
///
/// # Errors
/// One sentence that says what is wrong with it.
pub(in crate::ue) fn read(line: &str, model: &Model) -> Result<Typed, String> {
    let Some(command) = line.strip_prefix('/') else {
        return Ok(match line {
            "" => Typed::Nothing,
            text => Typed::Wish(Wish::Say { to: None, text: text.to_owned() }),
        });
    };
    if command.starts_with('/') {
        return Ok(Typed::Wish(Wish::Say { to: None, text: command.to_owned() }));
    }
    let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim();
    let needs = |what: &str| match rest {
        "" => Err(format!("/{name} needs {what}")),
        rest => Ok(rest),
    };
    let wish = match name.to_ascii_lowercase().as_str() {
        "msg" | "m" => {
            let (who, text) = who(needs("a name and a text")?, model)?;
            if text.is_empty() {
                return Err("/msg needs a text after the name".into());
            }
            Wish::Say { to: Some(model.resolve(&who)?), text }
        }
        "nick" => Wish::Nickname(rest.to_owned()),
        "send" => Wish::File { to: None, path: needs("a file")?.into() },
        "sendto" => {
            let (who, file) = who(needs("a name and a file")?, model)?;
            if file.is_empty() {
                return Err("/sendto needs a file after the name".into());
            }
            Wish::File { to: Some(model.resolve(&who)?), path: file.into() }
        }
        "floor" | "urgent" => {
            let (floor, why) = number(rest);
            let priority = (name.eq_ignore_ascii_case("urgent")).then_some(4);
            Wish::Request { floor: floor.or_else(|| model.floor()), priority, why: some(why) }
        }
        "release" => match number(rest) {
            (floor, "") => Wish::Release { floor },
            _ => return Err("/release needs no more than the number of a floor".into()),
        },
        "grant" | "deny" | "revoke" => {
            let (who, rest) = who(needs("a name")?, model)?;
            let (floor, rest) = number(&rest);
            if !rest.is_empty() {
                return Err(format!("/{name} needs a name and, if at all, the number of a floor"));
            }
            let decision = match name.to_ascii_lowercase().as_str() {
                "grant" => Decision::Grant,
                "deny" => Decision::Deny,
                _ => Decision::Revoke,
            };
            // Floor control knows people by its own names too.
            let who = model.resolve(&who).unwrap_or(who);
            Wish::Decide { floor, who, decision }
        }
        "invite" => Wish::Invite(needs("an address")?.to_owned()),
        "kick" => Wish::Kick(model.resolve(needs("a name")?)?),
        "who" => return Ok(Typed::Who),
        "floors" => return Ok(Typed::Floors),
        "help" | "?" => return Ok(Typed::Help),
        "bye" | "leave" | "quit" => return Ok(Typed::Leave),
        _ => return Err(format!("there is no /{name}; /help says what there is")),
    };
    Ok(Typed::Wish(wish))
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// A number in front, and the rest.
fn number(text: &str) -> (Option<u16>, &str) {
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    match first.parse() {
        Ok(number) => (Some(number), rest.trim()),
        Err(_) => (None, text),
    }
}

/// A name in front, and the rest. A name of several words is in quotes, or is one of the conference.
fn who(text: &str, model: &Model) -> Result<(String, String), String> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (name, rest) = quoted.split_once('"').ok_or("a name in quotes has no end")?;
        return Ok((name.to_owned(), rest.trim().to_owned()));
    }
    let names = model.members.iter().flat_map(|member| [&member.nickname, &member.display]);
    let begins = |name: &&String| {
        name.contains(' ')
            && text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
            && text.get(name.len()..).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    if let Some(name) = names.filter(begins).max_by_key(|name| name.len()) {
        let rest = text.get(name.len()..).unwrap_or_default();
        return Ok((name.clone(), rest.trim().to_owned()));
    }
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    Ok((name.to_owned(), rest.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::event::Member;
    use super::*;

    fn model() -> Model {
        let mut model = Model::new("sip:alice@a.example".into());
        let member = |uri: &str, nickname: &str| Member {
            uri: uri.into(),
            nickname: nickname.into(),
            ..Member::default()
        };
        model.members = vec![member("sip:bob@b.example", "Bobby Tables"), member("sip:carol@b.example", "")];
        model.floors.insert(7, super::super::model::Floor::default());
        model
    }

    fn wish(line: &str) -> Wish {
        match read(line, &model()).unwrap() {
            Typed::Wish(wish) => wish,
            other => panic!("{other:?}"),
        }
    }

    fn say(to: Option<&str>, text: &str) -> Wish {
        Wish::Say { to: to.map(str::to_owned), text: text.into() }
    }

    #[test]
    fn words_go_to_all_and_a_slash_can_be_said() {
        assert_eq!(wish("hello /nick"), say(None, "hello /nick"));
        assert_eq!(wish("//nick"), say(None, "/nick"));
        assert_eq!(read("", &model()), Ok(Typed::Nothing));
    }

    #[test]
    fn a_name_may_have_several_words() {
        let (bob, carol) = (Some("sip:bob@b.example"), Some("sip:carol@b.example"));
        assert_eq!(wish("/msg bobby tables hi there"), say(bob, "hi there"));
        assert_eq!(wish("/msg \"Bobby Tables\" hi"), say(bob, "hi"));
        assert_eq!(wish("/m carol  hi"), say(carol, "hi"));
        assert_eq!(wish("/kick Bobby Tables"), Wish::Kick("sip:bob@b.example".into()));
        for wrong in ["/msg", "/msg carol", "/msg dave hi", "/msg \"carol hi", "/kick", "/sendto carol", "/x"]
        {
            assert!(read(wrong, &model()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn floors_are_asked_for_given_back_and_decided_about() {
        let request = |floor, priority, why: Option<&str>| Wish::Request {
            floor: Some(floor),
            priority,
            why: why.map(str::to_owned),
        };
        assert_eq!(wish("/floor"), request(7, None, None));
        assert_eq!(wish("/floor 2 a question"), request(2, None, Some("a question")));
        assert_eq!(wish("/urgent fire"), request(7, Some(4), Some("fire")));
        assert_eq!(wish("/release"), Wish::Release { floor: None });
        assert_eq!(wish("/release 2"), Wish::Release { floor: Some(2) });
        let decide = |floor, who: &str, decision| Wish::Decide { floor, who: who.into(), decision };
        assert_eq!(wish("/grant carol"), decide(None, "sip:carol@b.example", Decision::Grant));
        assert_eq!(wish("/revoke Bobby Tables 2"), decide(Some(2), "sip:bob@b.example", Decision::Revoke));
        assert_eq!(wish("/deny 12"), decide(None, "12", Decision::Deny));
        assert!(read("/release now", &model()).is_err() && read("/grant carol now", &model()).is_err());
    }
}
