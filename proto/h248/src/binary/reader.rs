//! Where a message is being read: limits, and what an error must say.

use super::ber::{self, Broken, Element, Elements};
use crate::Error;
use crate::model::TransactionId;
use crate::text::Limits;
use std::borrow::Cow;
use std::marker::PhantomData;

type Result<T> = std::result::Result<T, Error>;

/// Reads elements and knows which request they are of.
pub(super) struct Reader<'a> {
    limits: &'a Limits,
    items: usize,
    /// The H.248.8 code of the level that is being read.
    pub(super) level: u16,
    /// The transaction that is being read.
    pub(super) transaction: Option<TransactionId>,
    /// Where session descriptions are put together.
    pub(super) lines: Vec<u8>,
    message: PhantomData<&'a [u8]>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(limits: &'a Limits) -> Self {
        Self { limits, items: 0, level: 400, transaction: None, lines: Vec::new(), message: PhantomData }
    }

    #[cold]
    pub(super) fn expected<T>(&self, at: usize, expected: impl Into<Cow<'static, str>>) -> Result<T> {
        Err(Error::Syntax { at, code: self.level, transaction: self.transaction, expected: expected.into() })
    }

    #[cold]
    pub(super) fn rule<T>(&self, at: usize, code: u16, what: impl Into<Cow<'static, str>>) -> Result<T> {
        Err(Error::Rule { at, code, transaction: self.transaction, what: what.into() })
    }

    #[cold]
    pub(super) fn limit<T>(&self, at: usize, code: u16, what: &'static str, limit: usize) -> Result<T> {
        Err(Error::Limit { at, code, transaction: self.transaction, what, limit })
    }

    #[inline]
    fn unbroken<T>(&self, result: std::result::Result<T, Broken>) -> Result<T> {
        result.or_else(|broken| self.expected(broken.at, broken.expected))
    }

    /// Counts one more item of a list that has `length`.
    #[inline]
    pub(super) fn count(&mut self, length: usize, at: usize) -> Result<()> {
        if length >= self.limits.list {
            return self.limit(at, self.level, "items in a list", self.limits.list);
        }
        self.items += 1;
        if self.items > self.limits.items {
            return self.limit(at, self.level, "items in a message", self.limits.items);
        }
        Ok(())
    }

    #[inline]
    pub(super) fn next(&mut self, fields: &mut Elements<'a>) -> Result<Option<Element<'a>>> {
        let next = fields.next();
        self.unbroken(next)
    }

    /// What is inside the next element, if it has this tag.
    #[inline]
    pub(super) fn take(&mut self, fields: &mut Elements<'a>, tag: u8) -> Result<Option<Elements<'a>>> {
        let taken = fields.take(tag);
        Ok(self.unbroken(taken)?.map(|e| Elements::of(&e)))
    }

    /// What is inside the next element, which must have this tag.
    #[inline]
    pub(super) fn required(
        &mut self,
        fields: &mut Elements<'a>,
        tag: u8,
        what: &'static str,
    ) -> Result<Elements<'a>> {
        let at = fields.at;
        match self.take(fields, tag)? {
            Some(inside) => Ok(inside),
            None => self.expected(at, what),
        }
    }

    /// The one element inside, of a CHOICE that has a tag around it.
    #[inline]
    pub(super) fn choice(&mut self, mut inside: Elements<'a>, what: &'static str) -> Result<Element<'a>> {
        let at = inside.at;
        match self.next(&mut inside)? {
            Some(element) if inside.is_empty() => Ok(element),
            _ => self.expected(at, what),
        }
    }

    /// A string, whole also if it came in segments.
    #[inline]
    pub(super) fn octets(&mut self, element: &Element<'a>) -> Result<Cow<'a, [u8]>> {
        let string = ber::string(element);
        self.unbroken(string)
    }

    /// A string field, in either form.
    #[inline]
    pub(super) fn string(&mut self, fields: &mut Elements<'a>, n: u8) -> Result<Option<Cow<'a, [u8]>>> {
        if fields.tag().map(|t| t & !0x20) != Some(ber::prim(n)) {
            return Ok(None);
        }
        match self.next(fields)? {
            Some(element) => self.octets(&element).map(Some),
            None => Ok(None),
        }
    }

    /// A text field.
    pub(super) fn text(&mut self, fields: &mut Elements<'a>, n: u8) -> Result<Option<String>> {
        let at = fields.at;
        let Some(octets) = self.string(fields, n)? else { return Ok(None) };
        if octets.len() > self.limits.text {
            return self.limit(at, self.level, "octets in a text", self.limits.text);
        }
        match std::str::from_utf8(&octets) {
            // NUL and the rest would not survive the text encoding.
            Ok(text) if !text.contains(['\0', '\r', '\n']) => Ok(Some(text.to_owned())),
            _ => self.expected(at, "text"),
        }
    }

    /// An INTEGER or ENUMERATED field from 0 to `most`.
    #[inline]
    pub(super) fn unsigned(
        &mut self,
        fields: &mut Elements<'a>,
        n: u8,
        most: u32,
        what: &'static str,
    ) -> Result<Option<u32>> {
        let at = fields.at;
        let taken = fields.take(ber::prim(n));
        let Some(element) = self.unbroken(taken)? else { return Ok(None) };
        self.number(&element, most).or_else(|_| self.expected(at, what)).map(Some)
    }

    /// The number in an element.
    #[inline]
    pub(super) fn number(&self, element: &Element<'a>, most: u32) -> Result<u32> {
        match ber::integer(element.content).and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= most) {
            Some(n) => Ok(n),
            None => self.expected(element.at, "a number in its range"),
        }
    }

    /// As [`unsigned`](Self::unsigned), of 16 bits.
    #[inline]
    pub(super) fn unsigned16(
        &mut self,
        fields: &mut Elements<'a>,
        n: u8,
        what: &'static str,
    ) -> Result<Option<u16>> {
        Ok(self.unsigned(fields, n, 0xffff, what)?.map(|n| n as u16))
    }

    #[inline]
    pub(super) fn boolean(&mut self, fields: &mut Elements<'a>, n: u8) -> Result<Option<bool>> {
        let at = fields.at;
        let taken = fields.take(ber::prim(n));
        match self.unbroken(taken)?.map(|e| e.content) {
            None => Ok(None),
            Some([on]) => Ok(Some(*on != 0)),
            Some(_) => self.expected(at, "a boolean"),
        }
    }

    /// Whether a NULL field is there.
    #[inline]
    pub(super) fn null(&mut self, fields: &mut Elements<'a>, n: u8) -> Result<bool> {
        let taken = fields.take(ber::prim(n));
        Ok(self.unbroken(taken)?.is_some())
    }

    #[inline]
    pub(super) fn number4(
        &mut self,
        fields: &mut Elements<'a>,
        tag: u8,
        what: &'static str,
    ) -> Result<[u8; 4]> {
        let at = fields.at;
        if fields.tag() == Some(tag) {
            let element = self.next(fields)?;
            return match element.and_then(|e| e.content.try_into().ok()) {
                Some(octets) => Ok(octets),
                None => self.expected(at, what),
            };
        }
        let string = self.string(fields, tag & 0x1f)?;
        string.and_then(|s| s.as_ref().try_into().ok()).map_or_else(|| self.expected(at, what), Ok)
    }

    #[inline]
    pub(super) fn number2(
        &mut self,
        fields: &mut Elements<'a>,
        tag: u8,
        what: &'static str,
    ) -> Result<[u8; 2]> {
        let at = fields.at;
        if fields.tag() == Some(tag) {
            let element = self.next(fields)?;
            return match element.and_then(|e| e.content.try_into().ok()) {
                Some(octets) => Ok(octets),
                None => self.expected(at, what),
            };
        }
        let string = self.string(fields, tag & 0x1f)?;
        string.and_then(|s| s.as_ref().try_into().ok()).map_or_else(|| self.expected(at, what), Ok)
    }
}
