//! Records as octets: a version, then fields in order, each with its length in front. A field that
//! an older version did not write is absent at the end.

use crate::{Error, RootKey};
use carnet_keys::{AuditRecord, Deed, Group, Pattern, Rule, TicketKey, User};
use carnet_mikey::{Identity, Psk, Tpk};
use carnet_wire::Cursor;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Version of every record.
const VERSION: u8 = 1;

/// Names of tables: they are part of what seals the keys in them.
pub const USERS: &str = "users";
pub const RECORDS: &str = "records";
pub const GROUPS: &str = "groups";
pub const RULES: &str = "rules";
pub const TICKET_KEYS: &str = "ticket-keys";
pub const REVOKED: &str = "revoked-tickets";
pub const AUDIT: &str = "audit";
pub const META: &str = "meta";

struct Fields(Vec<u8>);

impl Fields {
    fn new() -> Self {
        Self(vec![VERSION])
    }

    fn put(&mut self, octets: &[u8]) {
        let len = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&len.to_be_bytes());
        self.0.extend_from_slice(octets);
    }

    fn text(&mut self, text: impl ToString) {
        self.put(text.to_string().as_bytes());
    }

    fn time(&mut self, time: SystemTime) {
        let nanos = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        self.put(&u64::try_from(nanos).unwrap_or(u64::MAX).to_be_bytes());
    }

    fn many<T>(&mut self, items: impl IntoIterator<Item = T>, put: impl Fn(&mut Self, T)) {
        let mut inner = Self(Vec::new());
        items.into_iter().for_each(|item| put(&mut inner, item));
        self.put(&inner.0);
    }

    fn identity(&mut self, id: &Identity) {
        let mut octets = vec![id.id_type];
        octets.extend_from_slice(&id.data);
        self.put(&octets);
    }
}

struct Reader<'a> {
    table: &'static str,
    c: Cursor<'a>,
}

impl<'a> Reader<'a> {
    fn new(table: &'static str, octets: &'a [u8]) -> Result<Self, Error> {
        let mut c = Cursor::new(octets);
        match c.u8("a version") {
            Ok(VERSION) => Ok(Self { table, c }),
            _ => Err(Error::Record(table)),
        }
    }

    fn bad(&self) -> Error {
        Error::Record(self.table)
    }

    fn field(&mut self) -> Result<&'a [u8], Error> {
        let len = self.c.u32("a length").map_err(|_| Error::Record(self.table))?;
        self.c.take(len as usize, "a field").map_err(|_| Error::Record(self.table))
    }

    fn text(&mut self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.field()?).map_err(|_| self.bad())
    }

    fn time(&mut self) -> Result<SystemTime, Error> {
        let nanos = self.array().map(u64::from_be_bytes)?;
        UNIX_EPOCH.checked_add(Duration::from_nanos(nanos)).ok_or_else(|| self.bad())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.field()?.try_into().map_err(|_| self.bad())
    }

    fn many<T>(&mut self, get: impl Fn(&mut Self) -> Result<T, Error>) -> Result<Vec<T>, Error> {
        let mut inner = Reader { table: self.table, c: Cursor::new(self.field()?) };
        let mut items = Vec::new();
        while !inner.c.is_empty() {
            items.push(get(&mut inner)?);
        }
        Ok(items)
    }

    fn pattern(&mut self) -> Result<Pattern, Error> {
        Pattern::parse(self.text()?).map_err(|_| self.bad())
    }

    fn identity(&mut self) -> Result<Identity, Error> {
        let (id_type, data) = self.field()?.split_first().ok_or_else(|| self.bad())?;
        Ok(Identity { id_type: *id_type, data: data.to_vec() })
    }
}

pub fn user(user: &User, root: &RootKey) -> Result<Vec<u8>, Error> {
    let mut f = Fields::new();
    f.put(&root.seal(USERS, &user.name, user.psk.expose())?);
    f.many(&user.identities, Fields::text);
    f.put(&[u8::from(user.revoked)]);
    f.many(user.tickets_not_before, Fields::time);
    Ok(f.0)
}

pub fn read_user(name: &str, octets: &[u8], root: &RootKey) -> Result<User, Error> {
    let mut r = Reader::new(USERS, octets)?;
    let key = root.open(USERS, name, r.field()?)?;
    Ok(User {
        name: name.into(),
        psk: Psk::new(&key).map_err(|_| Error::Record(USERS))?,
        identities: r.many(Reader::pattern)?,
        revoked: r.array()? == [1],
        tickets_not_before: r.many(Reader::time)?.first().copied(),
    })
}

pub fn group(group: &Group) -> Vec<u8> {
    let mut f = Fields::new();
    f.identity(&group.identity);
    f.many(&group.members, Fields::text);
    f.0
}

pub fn read_group(octets: &[u8]) -> Result<Group, Error> {
    let mut r = Reader::new(GROUPS, octets)?;
    Ok(Group { identity: r.identity()?, members: r.many(Reader::pattern)? })
}

pub fn rule(rule: &Rule) -> Vec<u8> {
    let mut f = Fields::new();
    f.text(&rule.from);
    f.text(&rule.to);
    f.put(&[u8::from(rule.allow)]);
    f.0
}

pub fn read_rule(octets: &[u8]) -> Result<Rule, Error> {
    let mut r = Reader::new(RULES, octets)?;
    Ok(Rule { from: r.pattern()?, to: r.pattern()?, allow: r.array()? == [1] })
}

pub fn ticket_key(key: &TicketKey, root: &RootKey) -> Result<Vec<u8>, Error> {
    let mut f = Fields::new();
    f.put(&root.seal(TICKET_KEYS, &key.id, key.tpk.expose())?);
    f.time(key.made);
    Ok(f.0)
}

pub fn read_ticket_key(id: &str, octets: &[u8], root: &RootKey) -> Result<TicketKey, Error> {
    let mut r = Reader::new(TICKET_KEYS, octets)?;
    let key = root.open(TICKET_KEYS, id, r.field()?)?;
    let tpk = Tpk::new(&key).map_err(|_| Error::Record(TICKET_KEYS))?;
    Ok(TicketKey { id: id.into(), tpk, made: r.time()? })
}

pub fn audit(record: &AuditRecord) -> Vec<u8> {
    let mut f = Fields::new();
    f.time(record.wall);
    f.put(match record.deed {
        Deed::Issued => &[1],
        Deed::Resolved => &[2],
        Deed::Revoked => &[3],
    });
    let source = match record.source {
        IpAddr::V4(a) => a.to_ipv6_mapped(),
        IpAddr::V6(a) => a,
    };
    f.put(&source.octets());
    f.text(&record.user);
    f.identity(&record.initiator);
    f.many(&record.responders, Fields::identity);
    f.put(&record.ticket);
    f.text(&record.key);
    if let Some(expires) = record.expires {
        f.time(expires);
    }
    f.0
}

pub fn read_audit(octets: &[u8]) -> Result<AuditRecord, Error> {
    let mut r = Reader::new(AUDIT, octets)?;
    Ok(AuditRecord {
        wall: r.time()?,
        deed: match r.array()? {
            [1] => Deed::Issued,
            [2] => Deed::Resolved,
            [3] => Deed::Revoked,
            _ => return Err(r.bad()),
        },
        source: IpAddr::V6(Ipv6Addr::from(r.array::<16>()?)).to_canonical(),
        user: r.text()?.into(),
        initiator: r.identity()?,
        responders: r.many(Reader::identity)?,
        ticket: r.array()?,
        key: r.text()?.into(),
        expires: if r.c.is_empty() { None } else { Some(r.time()?) },
    })
}

pub fn time(time: SystemTime) -> Vec<u8> {
    let mut f = Fields::new();
    f.time(time);
    f.0
}

pub fn read_time(octets: &[u8]) -> Result<SystemTime, Error> {
    Reader::new(META, octets)?.time()
}
