//! Properties in LocalControl whose value is left to the gateway (RFC 3525 §7.1.1, §7.1.5): `$`, a list of
//! alternatives, a range, a bound. Leaves out: `$` for numbers, where any choice would be arbitrary.

use carnet_h248::{LocalControl, Name, ParameterValue, Value};

use crate::error::Fault;
use crate::package::{Kind, Possible, Supported, check};
use crate::plan::Here;

/// The same with one value for each property, if there was something to choose.
pub(crate) fn chosen(control: &LocalControl, here: &Here) -> Result<Option<LocalControl>, Fault> {
    let mut out = control.clone();
    let mut changed = false;
    for property in &mut out.properties {
        // What is not known is refused where it is read.
        let Ok(item) = check(here.function, Kind::Property, &property.name) else { continue };
        // A range or a list of ports is a value.
        if item.possible == Possible::Ports {
            continue;
        }
        if let Some(value) = choose(item, &property.name, &property.value, here.realms)? {
            property.value = ParameterValue::Equal(value);
            changed = true;
        }
    }
    Ok(changed.then_some(out))
}

fn choose(
    item: &Supported,
    name: &Name,
    value: &ParameterValue,
    realms: &[(String, bool)],
) -> Result<Option<Value>, Fault> {
    let is_realm = *name == "ipdc/realm";
    let usable = |value: &Value| {
        let there = |(realm, up): &(String, bool)| realm == value.as_str() && *up;
        item.possible.allows(value) && (!is_realm || realms.is_empty() || realms.iter().any(there))
    };
    let number = |value: &Value| value.as_u64();
    let candidates: Vec<Value> = match value {
        ParameterValue::Equal(value) if value.is_choose() => match item.possible {
            Possible::Flag => vec![false.into()],
            Possible::Hexadecimal(_) => vec!["0".into()],
            _ if is_realm => realms.iter().map(|(realm, _)| Value::Quoted(realm.clone().into())).collect(),
            _ => Vec::new(),
        },
        ParameterValue::Equal(_) | ParameterValue::AllOf(_) => return Ok(None),
        ParameterValue::AnyOf(list) => list.clone(),
        ParameterValue::Range(low, high) => vec![high.clone(), low.clone()],
        ParameterValue::Less(bound) => {
            number(bound).and_then(|n| n.checked_sub(1)).map(Value::from).into_iter().collect()
        }
        ParameterValue::Greater(bound) => {
            number(bound).and_then(|n| n.checked_add(1)).map(Value::from).into_iter().collect()
        }
        ParameterValue::NotEqual(not) => not.as_bool().map(|on| Value::from(!on)).into_iter().collect(),
    };
    match candidates.into_iter().find(usable) {
        Some(value) => Ok(Some(value)),
        None => Err(Fault::request(449, format!("Unsupported value of {name}: nothing to choose from"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Function;
    use carnet_h248::Stream;

    fn choice(name: &'static str, value: impl Into<ParameterValue>) -> Result<Option<String>, u16> {
        let control = Stream::new(1).property(name, value).local_control.unwrap();
        let realms = [("default".to_owned(), true), ("down".to_owned(), false), ("core".to_owned(), true)];
        let here = Here { function: Function::Relay, protected: false, most_streams: 1, realms: &realms };
        let chosen = chosen(&control, &here).map_err(|fault| fault.code())?;
        Ok(chosen.map(|control| control.value(name).unwrap().as_str().to_owned()))
    }

    fn any(values: &[&'static str]) -> ParameterValue {
        ParameterValue::AnyOf(values.iter().map(|value| Value::from(*value)).collect())
    }

    #[test]
    fn the_first_value_that_can_be_had_is_taken() {
        let some = |value: &str| Ok(Some(value.to_owned()));
        assert_eq!(choice("ipdc/realm", any(&["moon", "down", "core", "default"])), some("core"));
        assert_eq!(choice("ipdc/realm", "$"), some("default"));
        assert_eq!(choice("ipdc/realm", any(&["moon", "down"])), Err(449));
        assert_eq!(choice("ds/dscp", any(&["7F", "2E"])), some("2E"));
        assert_eq!(choice("ds/dscp", "$"), some("0"));
        assert_eq!(choice("gm/saf", ParameterValue::NotEqual(true.into())), some("OFF"));
        assert_eq!(choice("tman/sdr", ParameterValue::Range(1u8.into(), 900u16.into())), some("900"));
        assert_eq!(choice("tman/sdr", ParameterValue::Less(900u16.into())), some("899"));
        assert_eq!(choice("tman/sdr", "$"), Err(449));
    }

    #[test]
    fn what_is_settled_stays() {
        assert_eq!(choice("ipdc/realm", "moon"), Ok(None));
        assert_eq!(choice("gm/spr", ParameterValue::Range(1u8.into(), 9u8.into())), Ok(None));
        assert_eq!(choice("gm/unheard", "$"), Ok(None));
    }
}
