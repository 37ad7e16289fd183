//! Values of properties, parameters and statistics.
//!
//! RFC 3525 §A.2: a value is encoded by its own type, and that encoding is the content of an OCTET
//! STRING. The table of packages says the type. Where it does not know the item, the inner octets
//! travel as `0x` and hexadecimal digits.

use super::ber::{
    self, BOOLEAN, ENUMERATED, Elements, IA5, INTEGER, OCTETS, SEQUENCE, UTF8, Writer, cons, prim,
};
use super::names::{self, Space};
use super::{Reader, Result, Unsayable, unsayable};
use crate::model::{Name, ParameterValue, Property, Statistic, Text, Value};
use crate::package::{Item, ValueType};
use carnet_wire::hex;

/// Writes the OCTET STRING with a value inside.
fn write_value(w: &mut Writer, name: &Name, kind: Option<ValueType>, value: &Value) -> Result<()> {
    let wrong = || unsayable(format!("{name}: its value does not have the type of the package"));
    w.nest(OCTETS, |w| {
        match kind {
            Some(ValueType::Boolean) => w.boolean(BOOLEAN, value.as_bool().ok_or_else(wrong)?),
            Some(ValueType::Integer | ValueType::Double) => {
                w.integer(INTEGER, decimal(value.as_bytes()).ok_or_else(wrong)?);
            }
            Some(ValueType::Octets) => {
                // It may be a key.
                let octets = hex::decode(value.as_str().as_bytes()).map_err(|_| wrong())?;
                w.element(OCTETS, &zeroize::Zeroizing::new(octets));
            }
            Some(ValueType::Word(words)) => {
                let same = |(word, _): &&(&str, u32)| word.as_bytes().eq_ignore_ascii_case(value.as_bytes());
                let number = words.iter().find(same).map(|(_, n)| i128::from(*n));
                let number = number.or_else(|| value.as_u64().map(i128::from));
                w.integer(ENUMERATED, number.ok_or_else(wrong)?);
            }
            Some(ValueType::Text | ValueType::None) => text(w, value.as_str()),
            None => match value.as_str().strip_prefix("0x").and_then(|d| hex::decode(d.as_bytes()).ok()) {
                Some(octets) => w.raw(&octets),
                None => text(w, value.as_str()),
            },
        }
        Ok(())
    })
}

/// A number of 64 bits, signed or not.
fn decimal(digits: &[u8]) -> Option<i128> {
    let (negative, digits) = match digits.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, digits),
    };
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    let add = |n: i128, b: &u8| b.is_ascii_digit().then(|| n * 10 + i128::from(b - b'0'));
    let number = digits.iter().try_fold(0, add)?;
    let number = if negative { -number } else { number };
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&number).then_some(number)
}

/// The same as a value.
fn number(content: &[u8]) -> Option<Value> {
    let n = ber::integer(content)?;
    let digits = u64::try_from(n.unsigned_abs()).ok()?;
    Some(Value::Token(Text::decimal(digits, n < 0)))
}

/// RFC 3525 §A.2, note 4.
pub(super) fn text(w: &mut Writer, text: &str) {
    w.element(if text.is_ascii() { IA5 } else { UTF8 }, text.as_bytes());
}

impl Reader<'_> {
    /// The value in the content of an OCTET STRING.
    ///
    /// What is inside decides, so that a peer with another idea of the type is understood; and a
    /// peer that leaves the inner encoding out, as some do, is read as having sent text.
    fn value(&mut self, octets: &[u8], kind: Option<ValueType>) -> Value {
        let Some(wanted) = kind else { return Value::new(format!("0x{}", hex::encode(octets))) };
        let Some((tag, content)) = ber::only(octets) else { return spelt(bare(octets), kind) };
        // Of the type that the package has, as nearly all are.
        let value = match (wanted, tag) {
            (ValueType::Integer | ValueType::Double, INTEGER) => number(content),
            (ValueType::Word(words), ENUMERATED) => {
                let n = ber::integer(content);
                let word = words.iter().find(|(_, w)| n == Some(i128::from(*w)));
                word.map(|(word, _)| Value::from(*word)).or_else(|| number(content))
            }
            (ValueType::Text, IA5 | UTF8) => {
                std::str::from_utf8(content).ok().map(|text| Value::new(Text::copied(text)))
            }
            _ => None,
        };
        if let Some(value) = value {
            return value;
        }
        let value = match (tag, content) {
            (BOOLEAN, [on]) => Value::from(*on != 0),
            (INTEGER | ENUMERATED, _) => number(content).unwrap_or_else(|| bare(octets)),
            (OCTETS, _) => Value::new(hex::encode(content)),
            // Any of the string types; the text encoding has one.
            (UTF8 | 0x12..=0x1e, _) => match std::str::from_utf8(content) {
                Ok(text) => Value::new(text.to_owned()),
                Err(_) => Value::new(hex::encode(content)),
            },
            _ => bare(octets),
        };
        spelt(value, kind)
    }
}

/// The one spelling of a value of a type.
fn spelt(value: Value, kind: Option<ValueType>) -> Value {
    match kind {
        Some(ValueType::Boolean) => value.as_bool().map_or(value, Value::from),
        Some(ValueType::Word(words)) => {
            let number = value.as_u64();
            let same = |(word, n): &&(&'static str, u32)| {
                number == Some(u64::from(*n)) || word.eq_ignore_ascii_case(value.as_str())
            };
            words.iter().find(same).map_or(value.clone(), |(word, _)| Value::new(*word))
        }
        Some(ValueType::Integer | ValueType::Double) => {
            value.as_str().parse::<i64>().map_or(value, |n| Value::new(n.to_string()))
        }
        Some(ValueType::Octets) => Value::new(value.as_str().to_ascii_lowercase()),
        Some(ValueType::Text | ValueType::None) | None => value,
    }
}

/// Octets that are no element: text if they can be, else hexadecimal.
fn bare(octets: &[u8]) -> Value {
    match std::str::from_utf8(octets) {
        Ok(text) if !text.chars().any(char::is_control) => Value::new(text.to_owned()),
        _ => Value::new(format!("0x{}", hex::encode(octets))),
    }
}

/// Value and extraInfo, which stand side by side in properties and in parameters.
fn write_values(w: &mut Writer, name: &Name, kind: Option<ValueType>, value: &ParameterValue) -> Result<()> {
    let (list, extra): (&[Value], _) = match value {
        // RFC 3525 §A.2, PropertyParm: no value means CHOOSE.
        ParameterValue::Equal(v) if v.is_choose() => (&[], None),
        ParameterValue::Equal(v) => (std::slice::from_ref(v), None),
        ParameterValue::Greater(v) => (std::slice::from_ref(v), Some((prim(0), 0))),
        ParameterValue::Less(v) => (std::slice::from_ref(v), Some((prim(0), 1))),
        ParameterValue::NotEqual(v) => (std::slice::from_ref(v), Some((prim(0), 2))),
        ParameterValue::Range(a, b) => {
            w.nest(cons(1), |w| [a, b].into_iter().try_for_each(|v| write_value(w, name, kind, v)))?;
            (&[], Some((prim(1), 0xff)))
        }
        ParameterValue::AllOf(list) => (list, Some((prim(2), 0xff))),
        // One alternative is told from one value by saying that it is no sublist.
        ParameterValue::AnyOf(list) => (list, (list.len() == 1).then_some((prim(2), 0))),
    };
    if !matches!(value, ParameterValue::Range(..)) {
        w.nest(cons(1), |w| list.iter().try_for_each(|v| write_value(w, name, kind, v)))?;
    }
    if let Some((tag, octet)) = extra {
        w.nest::<Unsayable>(cons(2), |w| {
            w.element(tag, &[octet]);
            Ok(())
        })?;
    }
    Ok(())
}

impl<'a> Reader<'a> {
    /// The other way round.
    fn values(
        &mut self,
        fields: &mut Elements<'a>,
        kind: Option<ValueType>,
    ) -> Result<ParameterValue, crate::Error> {
        let mut list = Vec::new();
        let mut inside = self.required(fields, cons(1), "a value")?;
        // One value and nothing about it, as mostly.
        if let Some(element) = self.next(&mut inside)? {
            self.count(0, element.at)?;
            let octets = self.octets(&element)?;
            let value = self.value(&octets, kind);
            if inside.is_empty() && fields.tag() != Some(cons(2)) {
                return Ok(ParameterValue::Equal(value));
            }
            list.push(value);
        }
        while let Some(element) = self.next(&mut inside)? {
            self.count(list.len(), element.at)?;
            let octets = self.octets(&element)?;
            list.push(self.value(&octets, kind));
        }
        let extra = match self.take(fields, cons(2))? {
            Some(mut choice) => self.next(&mut choice)?,
            None => None,
        };
        let at = fields.at;
        let octet = extra.and_then(|e| e.content.first().copied()).unwrap_or(0);
        let mut values = list.into_iter();
        let value = match (extra.map(|e| e.tag & 0x1f), octet, values.len()) {
            (Some(0), relation, 1) => {
                let value = values.next().unwrap_or_else(|| Value::from(""));
                match relation {
                    0 => ParameterValue::Greater(value),
                    1 => ParameterValue::Less(value),
                    _ => ParameterValue::NotEqual(value),
                }
            }
            (Some(1), on, 2) if on != 0 => {
                let mut next = || values.next().unwrap_or_else(|| Value::from(""));
                ParameterValue::Range(next(), next())
            }
            (Some(0 | 1), _, _) => return self.expected(at, "one value for a relation, two for a range"),
            (Some(2), on, _) if on != 0 => ParameterValue::AllOf(values.collect()),
            (_, _, 0) => ParameterValue::Equal(Value::from("$")),
            (None, _, 1) => ParameterValue::Equal(values.next().unwrap_or_else(|| Value::from(""))),
            _ => ParameterValue::AnyOf(values.collect()),
        };
        Ok(value)
    }

    /// PropertyParm after its tag.
    pub(super) fn property(&mut self, mut fields: Elements<'a>) -> Result<Property, crate::Error> {
        let number = self.number4(&mut fields, prim(0), "the name of a property")?;
        let (name, item) = names::name_of(Space::Property, number);
        let value = self.values(&mut fields, item.map(|i| i.value))?;
        Ok(Property::new(name, value))
    }

    /// A list of PropertyParm; a second of the same name is refused (456).
    pub(super) fn properties(&mut self, mut list: Elements<'a>) -> Result<Vec<Property>, crate::Error> {
        // A property takes some 16 octets.
        let mut out: Vec<Property> =
            Vec::with_capacity(if list.len() > 64 { 8 } else { list.len().div_ceil(16) });
        while let Some(element) = self.next(&mut list)? {
            self.count(out.len(), element.at)?;
            let property = self.property(Elements::of(&element))?;
            if out.iter().any(|p| p.name == property.name) {
                return self.rule(element.at, 456, format!("{} twice", property.name));
            }
            out.push(property);
        }
        Ok(out)
    }

    /// A list of EventParameter or SigParameter.
    pub(super) fn parameters(
        &mut self,
        mut list: Elements<'a>,
        item: Option<&'static Item>,
    ) -> Result<Vec<Property>, crate::Error> {
        let mut out: Vec<Property> = Vec::new();
        while let Some(element) = self.next(&mut list)? {
            self.count(out.len(), element.at)?;
            let mut fields = Elements::of(&element);
            let number = self.number2(&mut fields, prim(0), "the name of a parameter")?;
            let (name, kind) = names::parameter_name(item, u16::from_be_bytes(number));
            let value = self.values(&mut fields, kind)?;
            if out.iter().any(|p| p.name == name) {
                return self.rule(element.at, 456, format!("{name} twice"));
            }
            out.push(Property::new(name, value));
        }
        Ok(out)
    }

    /// StatisticsDescriptor.
    pub(super) fn statistics(&mut self, mut list: Elements<'a>) -> Result<Vec<Statistic>, crate::Error> {
        let mut out = Vec::new();
        while let Some(element) = self.next(&mut list)? {
            self.count(out.len(), element.at)?;
            let mut fields = Elements::of(&element);
            let number = self.number4(&mut fields, prim(0), "the name of a statistic")?;
            let (name, item) = names::name_of(Space::Statistic, number);
            let mut values = Vec::new();
            if let Some(mut inside) = self.take(&mut fields, cons(1))? {
                while let Some(element) = self.next(&mut inside)? {
                    self.count(values.len(), element.at)?;
                    let octets = self.octets(&element)?;
                    values.push(self.value(&octets, item.map(|i| i.value)));
                }
            }
            out.push(Statistic { name, values });
        }
        Ok(out)
    }
}

/// A PropertyParm as an element of a list.
pub(super) fn write_property(w: &mut Writer, tag: u8, property: &Property) -> Result<()> {
    let (number, item) = names::number_of(Space::Property, &property.name)?;
    w.nest(tag, |w| {
        w.element(prim(0), &number);
        write_values(w, &property.name, item.map(|i| i.value), &property.value)
    })
}

pub(super) fn write_properties(w: &mut Writer, tag: u8, list: &[Property]) -> Result<()> {
    w.nest(tag, |w| list.iter().try_for_each(|p| write_property(w, SEQUENCE, p)))
}

pub(super) fn write_parameters(
    w: &mut Writer,
    tag: u8,
    item: Option<&'static Item>,
    list: &[Property],
) -> Result<()> {
    w.nest(tag, |w| {
        list.iter().try_for_each(|p| {
            let (number, kind) = names::parameter_number(item, &p.name)?;
            w.nest(SEQUENCE, |w| {
                w.element(prim(0), &number.to_be_bytes());
                write_values(w, &p.name, kind, &p.value)
            })
        })
    })
}

pub(super) fn write_statistics(w: &mut Writer, tag: u8, list: &[Statistic]) -> Result<()> {
    w.nest(tag, |w| {
        list.iter().try_for_each(|s| {
            let (number, item) = names::number_of(Space::Statistic, &s.name)?;
            w.nest(SEQUENCE, |w| {
                w.element(prim(0), &number);
                if s.values.is_empty() {
                    return Ok(());
                }
                let kind = item.map(|i| i.value);
                w.nest(cons(1), |w| s.values.iter().try_for_each(|v| write_value(w, &s.name, kind, v)))
            })
        })
    })
}
