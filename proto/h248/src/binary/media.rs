//! Media and what is in it, Modem and Mux, in binary.

use super::ber::{ENUMERATED, Elements, SEQUENCE, Writer, cons, prim};
use super::value::{write_properties, write_statistics};
use super::{Reader, Result, command, sdp, unsayable};
use crate::Error;
use crate::model::{
    EventBufferControl, LocalControl, Media, Modem, Mux, Name, ServiceState, Stream, StreamMode,
    TerminationState,
};

/// The values of StreamMode in their order; of the rest likewise.
pub(super) const MODES: [StreamMode; 5] = [
    StreamMode::SendOnly,
    StreamMode::ReceiveOnly,
    StreamMode::SendReceive,
    StreamMode::Inactive,
    StreamMode::Loopback,
];
pub(super) const STATES: [ServiceState; 3] =
    [ServiceState::Test, ServiceState::OutOfService, ServiceState::InService];
const BUFFERS: [EventBufferControl; 2] = [EventBufferControl::Off, EventBufferControl::LockStep];
const MODEMS: [&str; 9] = ["V18", "V22", "V22b", "V32", "V32b", "V34", "V90", "V91", "SynchISDN"];
const MUXES: [&str; 5] = ["H221", "H223", "H226", "V76", "Nx64Kservice"];

/// Where a value stands in its list.
pub(super) fn position<T: PartialEq>(list: &[T], value: &T) -> i128 {
    list.iter().position(|v| v == value).unwrap_or(0) as i128
}

fn word(list: &[&str], name: &Name) -> Result<i128> {
    let at = list.iter().position(|word| *name == **word);
    at.map(|n| n as i128).ok_or_else(|| unsayable(format!("{name}: it has no number")))
}

/// MediaDescriptor.
pub(super) fn write(w: &mut Writer, tag: u8, media: &Media) -> Result<()> {
    w.nest(tag, |w| {
        if let Some(state) = &media.termination_state {
            write_state(w, cons(0), state)?;
        }
        match media.streams.as_slice() {
            [] => Ok(()),
            [one] if media.implied_stream => w.nest(cons(1), |w| write_stream(w, cons(0), one)),
            list => w.nest(cons(1), |w| {
                w.nest(cons(1), |w| {
                    list.iter().try_for_each(|stream| {
                        w.nest(SEQUENCE, |w| {
                            w.integer(prim(0), stream.id.into());
                            write_stream(w, cons(1), stream)
                        })
                    })
                })
            }),
        }
    })
}

/// TerminationStateDescriptor.
fn write_state(w: &mut Writer, tag: u8, state: &TerminationState) -> Result<()> {
    w.nest(tag, |w| {
        write_properties(w, cons(0), &state.properties)?;
        if let Some(buffer) = state.event_buffer {
            w.integer(prim(1), position(&BUFFERS, &buffer));
        }
        if let Some(service) = state.service_state {
            w.integer(prim(2), position(&STATES, &service));
        }
        Ok(())
    })
}

/// StreamParms.
fn write_stream(w: &mut Writer, tag: u8, stream: &Stream) -> Result<()> {
    w.nest(tag, |w| {
        if let Some(control) = &stream.local_control {
            w.nest(cons(0), |w| {
                if let Some(mode) = control.mode {
                    w.integer(prim(0), position(&MODES, &mode));
                }
                if let Some(on) = control.reserve_value {
                    w.boolean(prim(1), on);
                }
                if let Some(on) = control.reserve_group {
                    w.boolean(prim(2), on);
                }
                write_properties(w, cons(3), &control.properties)
            })?;
        }
        if let Some(local) = &stream.local {
            sdp::write(w, cons(1), local)?;
        }
        if let Some(remote) = &stream.remote {
            sdp::write(w, cons(2), remote)?;
        }
        stream.statistics.as_ref().map_or(Ok(()), |list| write_statistics(w, cons(3), list))
    })
}

/// ModemDescriptor.
pub(super) fn write_modem(w: &mut Writer, tag: u8, modem: &Modem) -> Result<()> {
    w.nest(tag, |w| {
        w.nest(cons(0), |w| {
            modem.kinds.iter().try_for_each(|kind| {
                w.integer(ENUMERATED, word(&MODEMS, kind)?);
                Ok(())
            })
        })?;
        write_properties(w, cons(1), &modem.properties)
    })
}

/// MuxDescriptor.
pub(super) fn write_mux(w: &mut Writer, tag: u8, mux: &Mux) -> Result<()> {
    w.nest(tag, |w| {
        w.integer(prim(0), word(&MUXES, &mux.kind)?);
        command::write_terminations(w, cons(1), &mux.terminations)
    })
}

impl<'a> Reader<'a> {
    /// An ENUMERATED field, by its place in a list.
    pub(super) fn one_of<T: Copy>(
        &mut self,
        fields: &mut Elements<'a>,
        n: u8,
        list: &[T],
        what: &'static str,
    ) -> Result<Option<T>, Error> {
        let at = fields.at;
        match self.unsigned(fields, n, 0xff, what)? {
            None => Ok(None),
            Some(value) => match list.get(value as usize) {
                Some(known) => Ok(Some(*known)),
                None => self.expected(at, what),
            },
        }
    }

    /// MediaDescriptor after its tag.
    pub(super) fn media(&mut self, mut fields: Elements<'a>) -> Result<Media, Error> {
        let mut media = Media::default();
        if let Some(state) = self.take(&mut fields, cons(0))? {
            media.termination_state = Some(self.termination_state(state)?);
        }
        let Some(streams) = self.take(&mut fields, cons(1))? else { return Ok(media) };
        let choice = self.choice(streams, "a stream or streams")?;
        let mut list = Elements::of(&choice);
        match choice.tag {
            0xa0 => {
                media.implied_stream = true;
                media.streams.push(self.stream(1, list)?);
            }
            0xa1 => {
                while let Some(element) = self.next(&mut list)? {
                    self.count(media.streams.len(), element.at)?;
                    let mut fields = Elements::of(&element);
                    let Some(id) = self.unsigned16(&mut fields, 0, "a stream number")? else {
                        return self.expected(element.at, "a stream number");
                    };
                    let parameters = self.required(&mut fields, cons(1), "stream parameters")?;
                    if media.stream(id).is_some() {
                        return self.rule(element.at, 448, format!("Stream {id} twice"));
                    }
                    media.streams.push(self.stream(id, parameters)?);
                }
            }
            _ => return self.expected(choice.at, "a stream or streams"),
        }
        Ok(media)
    }

    fn termination_state(&mut self, mut fields: Elements<'a>) -> Result<TerminationState, Error> {
        let properties = self.required(&mut fields, cons(0), "properties")?;
        Ok(TerminationState {
            properties: self.properties(properties)?,
            event_buffer: self.one_of(&mut fields, 1, &BUFFERS, "off or lockStep")?,
            service_state: self.one_of(&mut fields, 2, &STATES, "a service state")?,
        })
    }

    fn stream(&mut self, id: u16, mut fields: Elements<'a>) -> Result<Stream, Error> {
        let mut stream = Stream::new(id);
        if let Some(mut control) = self.take(&mut fields, cons(0))? {
            let mode = self.one_of(&mut control, 0, &MODES, "a mode")?;
            let reserve_value = self.boolean(&mut control, 1)?;
            let reserve_group = self.boolean(&mut control, 2)?;
            let properties = self.required(&mut control, cons(3), "properties")?;
            let properties = self.properties(properties)?;
            stream.local_control = Some(LocalControl { mode, reserve_group, reserve_value, properties });
        }
        if let Some(local) = self.take(&mut fields, cons(1))? {
            stream.local = Some(self.session_description(local)?);
        }
        if let Some(remote) = self.take(&mut fields, cons(2))? {
            stream.remote = Some(self.session_description(remote)?);
        }
        if let Some(list) = self.take(&mut fields, cons(3))? {
            stream.statistics = Some(self.statistics(list)?);
        }
        Ok(stream)
    }

    /// ModemDescriptor after its tag.
    pub(super) fn modem(&mut self, mut fields: Elements<'a>) -> Result<Modem, Error> {
        let mut kinds = Vec::new();
        let mut list = self.required(&mut fields, cons(0), "modem types")?;
        while let Some(element) = self.next(&mut list)? {
            self.count(kinds.len(), element.at)?;
            match MODEMS.get(self.number(&element, 0xff)? as usize) {
                Some(kind) => kinds.push(Name::from(*kind)),
                None => return self.expected(element.at, "a modem type"),
            }
        }
        let properties = self.required(&mut fields, cons(1), "properties")?;
        Ok(Modem { kinds, properties: self.properties(properties)? })
    }

    /// MuxDescriptor after its tag.
    pub(super) fn mux(&mut self, mut fields: Elements<'a>) -> Result<Mux, Error> {
        let at = fields.at;
        let Some(kind) = self.one_of(&mut fields, 0, &MUXES, "a multiplex type")? else {
            return self.expected(at, "a multiplex type");
        };
        let list = self.required(&mut fields, cons(1), "terminations")?;
        Ok(Mux { kind: Name::from(kind), terminations: self.terminations(list)? })
    }
}
