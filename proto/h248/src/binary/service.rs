//! ServiceChange, its result, and packages, in binary.

use super::ber::{Elements, SEQUENCE, Writer, cons, prim};
use super::message::write_mid;
use super::value::text;
use super::{Reader, Result, audit, events, names, unsayable};
use crate::Error;
use crate::model::{
    Audit, Method, PackageVersion, ParameterValue, Profile, Property, Reason, ServiceChange,
    ServiceChangeAddress, Value,
};
use carnet_wire::hex;

const METHODS: [Method; 6] = [
    Method::Failover,
    Method::Forced,
    Method::Graceful,
    Method::Restart,
    Method::Disconnected,
    Method::HandOff,
];

/// Begins the name of nonStandardData whose identifier is no text: the identifier follows in hexadecimal.
const OPAQUE: &str = "X-hex_";

/// ServiceChangeParm.
pub(super) fn write_request(w: &mut Writer, tag: u8, s: &ServiceChange) -> Result<()> {
    let method = s.method.as_ref().ok_or_else(|| unsayable("a ServiceChange without a method"))?;
    let method = METHODS.iter().position(|m| m == method);
    let method = method.ok_or_else(|| unsayable("a ServiceChange method without a number"))?;
    let reason = s.reason.as_ref().ok_or_else(|| unsayable("a ServiceChange without a reason"))?;
    w.nest(tag, |w| {
        w.integer(prim(0), method as i128);
        write_address(w, 1, s)?;
        write_version(w, 2, s);
        write_profile(w, 3, s)?;
        // RFC 3525 §A.2, ServiceChangeParm: wrapped twice, as values of packages are.
        w.nest(cons(4), |w| {
            w.nest(super::ber::OCTETS, |w| {
                text(w, reason.0.as_str());
                Ok(())
            })
        })?;
        if let Some(delay) = s.delay {
            w.integer(prim(5), delay.into());
        }
        if let Some(mid) = &s.mgc_id_to_try {
            w.nest(cons(6), |w| write_mid(w, mid, 0))?;
        }
        if let Some(time) = s.timestamp {
            events::write_time(w, cons(7), time);
        }
        match s.extensions.as_slice() {
            [] => {}
            [one] => write_extension(w, cons(8), one)?,
            _ => return Err(unsayable("more than one extension of a ServiceChange")),
        }
        if !s.audit.is_empty() {
            audit::write(w, cons(9), &Audit(s.audit.clone()))?;
        }
        if s.incomplete {
            w.null(prim(10));
        }
        Ok(())
    })
}

/// ServiceChangeResParm.
pub(super) fn write_reply(w: &mut Writer, tag: u8, s: &ServiceChange) -> Result<()> {
    w.nest(tag, |w| {
        if let Some(mid) = &s.mgc_id_to_try {
            w.nest(cons(0), |w| write_mid(w, mid, 0))?;
        }
        write_address(w, 1, s)?;
        write_version(w, 2, s);
        write_profile(w, 3, s)?;
        if let Some(time) = s.timestamp {
            events::write_time(w, cons(4), time);
        }
        Ok(())
    })
}

fn write_address(w: &mut Writer, n: u8, s: &ServiceChange) -> Result<()> {
    match &s.address {
        None => Ok(()),
        Some(ServiceChangeAddress::Port(port)) => w.nest(cons(n), |w| {
            w.integer(prim(0), i128::from(*port));
            Ok(())
        }),
        Some(ServiceChangeAddress::MId(mid)) => w.nest(cons(n), |w| write_mid(w, mid, 1)),
    }
}

fn write_version(w: &mut Writer, n: u8, s: &ServiceChange) {
    if let Some(version) = s.version {
        w.integer(prim(n), version.into());
    }
}

fn write_profile(w: &mut Writer, n: u8, s: &ServiceChange) -> Result<()> {
    s.profile.as_ref().map_or(Ok(()), |profile| {
        w.nest(cons(n), |w| {
            w.element(prim(0), profile.to_string().as_bytes());
            Ok(())
        })
    })
}

/// NonStandardData: `X-` and up to six more characters fit its experimental identifier.
fn write_extension(w: &mut Writer, tag: u8, extension: &Property) -> Result<()> {
    let name = extension.name.as_str();
    let value = match &extension.value {
        ParameterValue::Equal(value) => value.as_str(),
        _ => return Err(unsayable(format!("{name}: a value that is not plain"))),
    };
    w.nest(tag, |w| {
        match name.strip_prefix(OPAQUE).and_then(|digits| hex::decode(digits.as_bytes()).ok()) {
            Some(identifier) => w.nest(cons(0), |w| {
                w.raw(&identifier);
                Ok(())
            })?,
            None => {
                let fits = name.len() <= 8 && (name.starts_with("X-") || name.starts_with("X+"));
                if !fits {
                    return Err(unsayable(format!("{name}: an extension's name is X- and six characters")));
                }
                w.nest(cons(0), |w| {
                    w.element(prim(2), format!("{name:8}").as_bytes());
                    Ok(())
                })?;
            }
        }
        match value.strip_prefix("0x").and_then(|d| hex::decode(d.as_bytes()).ok()) {
            Some(octets) => w.element(prim(1), &octets),
            None => w.element(prim(1), value.as_bytes()),
        }
        Ok(())
    })
}

/// PackagesDescriptor.
pub(super) fn write_packages(w: &mut Writer, tag: u8, list: &[PackageVersion]) -> Result<()> {
    w.nest(tag, |w| {
        list.iter().try_for_each(|package| {
            let number = names::package_number(package.name.as_str());
            let number = number
                .ok_or_else(|| unsayable(format!("package {}: its number is not known", package.name)))?;
            w.nest(SEQUENCE, |w| {
                w.element(prim(0), &number.to_be_bytes());
                w.integer(prim(1), package.version.into());
                Ok(())
            })
        })
    })
}

impl<'a> Reader<'a> {
    /// ServiceChangeParm after its tag.
    pub(super) fn service_change(&mut self, mut fields: Elements<'a>) -> Result<ServiceChange, Error> {
        let at = fields.at;
        let method = match self.unsigned(&mut fields, 0, 0xff, "a method")? {
            Some(n) => METHODS.get(n as usize).cloned(),
            None => None,
        };
        let Some(method) = method else { return self.expected(at, "a method") };
        let mut out = ServiceChange { method: Some(method), ..ServiceChange::default() };
        out.address = self.service_address(&mut fields, 1)?;
        out.version = self.service_version(&mut fields, 2)?;
        out.profile = self.service_profile(&mut fields, 3)?;
        let mut reason = self.required(&mut fields, cons(4), "a reason")?;
        let at = reason.at;
        let Some(element) = self.next(&mut reason)? else { return self.expected(at, "a reason") };
        out.reason = Some(Reason(self.reason(&element)?));
        out.delay = self.unsigned(&mut fields, 5, u32::MAX, "seconds")?;
        if let Some(mid) = self.take(&mut fields, cons(6))? {
            out.mgc_id_to_try = Some(self.mid(mid)?);
        }
        out.timestamp = self.time(&mut fields, 7)?;
        if let Some(extension) = self.take(&mut fields, cons(8))? {
            out.extensions.push(self.extension(extension)?);
        }
        if let Some(audit) = self.take(&mut fields, cons(9))? {
            out.audit = self.audit(audit)?.0;
        }
        out.incomplete = self.null(&mut fields, 10)?;
        if out.address.is_some() && out.mgc_id_to_try.is_some() {
            return self.rule(at, 442, "ServiceChangeAddress and MgcIdToTry exclude each other");
        }
        Ok(out)
    }

    /// The text of a reason; a peer that leaves the inner encoding out is understood too.
    fn reason(&mut self, element: &super::ber::Element<'a>) -> Result<Value, Error> {
        let octets = self.octets(element)?;
        let mut inside = Elements::new(&octets, 0);
        let text = match inside.next() {
            Ok(Some(inner)) if inside.is_empty() => inner.content,
            _ => &octets,
        };
        match std::str::from_utf8(text) {
            Ok(text) if !text.chars().any(char::is_control) => Ok(Value::Quoted(text.to_owned().into())),
            _ => self.expected(element.at, "a reason in text"),
        }
    }

    /// ServiceChangeResParm after its tag.
    pub(super) fn service_change_result(&mut self, mut fields: Elements<'a>) -> Result<ServiceChange, Error> {
        let mut out = ServiceChange::default();
        if let Some(mid) = self.take(&mut fields, cons(0))? {
            out.mgc_id_to_try = Some(self.mid(mid)?);
        }
        out.address = self.service_address(&mut fields, 1)?;
        out.version = self.service_version(&mut fields, 2)?;
        out.profile = self.service_profile(&mut fields, 3)?;
        out.timestamp = self.time(&mut fields, 4)?;
        Ok(out)
    }

    fn service_address(
        &mut self,
        fields: &mut Elements<'a>,
        n: u8,
    ) -> Result<Option<ServiceChangeAddress>, Error> {
        let Some(inside) = self.take(fields, cons(n))? else { return Ok(None) };
        let choice = self.choice(inside, "an address")?;
        if choice.tag == prim(0) {
            return Ok(Some(ServiceChangeAddress::Port(self.number(&choice, 0xffff)? as u16)));
        }
        Ok(Some(ServiceChangeAddress::MId(self.mid_choice(&choice, 1)?)))
    }

    fn service_version(&mut self, fields: &mut Elements<'a>, n: u8) -> Result<Option<u8>, Error> {
        Ok(self.unsigned(fields, n, 99, "a version up to 99")?.map(|v| v as u8))
    }

    fn service_profile(&mut self, fields: &mut Elements<'a>, n: u8) -> Result<Option<Profile>, Error> {
        let at = fields.at;
        let Some(mut inside) = self.take(fields, cons(n))? else { return Ok(None) };
        let text = self.text(&mut inside, 0)?.unwrap_or_default();
        let parts = text.rsplit_once('/').and_then(|(name, v)| Some((name, v.parse::<u8>().ok()?)));
        match parts {
            Some((name, version))
                if version <= 99 && name.bytes().all(crate::model::value::is_safe) && !name.is_empty() =>
            {
                Ok(Some(Profile::new(name.to_owned(), version)))
            }
            _ => self.expected(at, "a profile's name, `/` and its version"),
        }
    }

    fn extension(&mut self, mut fields: Elements<'a>) -> Result<Property, Error> {
        let identifier = self.required(&mut fields, cons(0), "an identifier")?;
        let (mut whole, choice) = (Writer::default(), self.choice(identifier, "an identifier")?);
        let content = self.octets(&choice)?;
        let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'_' | b' ');
        let name = match std::str::from_utf8(&content) {
            Ok(text)
                if choice.tag == prim(2)
                    && text.len() == 8
                    && content.iter().all(plain)
                    && (text.starts_with("X-") || text.starts_with("X+"))
                    && !text.trim_end().contains(' ') =>
            {
                text.trim_end().to_owned()
            }
            _ => {
                whole.element(choice.tag, choice.content);
                format!("{OPAQUE}{}", hex::encode(&whole.finish()))
            }
        };
        let data = self.string(&mut fields, 1)?.unwrap_or_default();
        let value = match std::str::from_utf8(&data) {
            Ok(text) if !text.starts_with("0x") && !text.chars().any(|c| c.is_control() || c == '"') => {
                Value::new(text.to_owned())
            }
            _ => Value::new(format!("0x{}", hex::encode(&data))),
        };
        Ok(Property { name: name.into(), value: ParameterValue::Equal(value) })
    }

    /// PackagesDescriptor after its tag.
    pub(super) fn packages(&mut self, mut list: Elements<'a>) -> Result<Vec<PackageVersion>, Error> {
        let mut out = Vec::new();
        while let Some(element) = self.next(&mut list)? {
            self.count(out.len(), element.at)?;
            let mut fields = Elements::of(&element);
            let number = self.number2(&mut fields, prim(0), "the name of a package")?;
            let Some(version) = self.unsigned16(&mut fields, 1, "a version")? else {
                return self.expected(element.at, "a version");
            };
            let name = names::package_name(u16::from_be_bytes(number));
            out.push(PackageVersion { name: name.into(), version });
        }
        Ok(out)
    }
}
