//! Octets of the Basic Encoding Rules (X.690): elements are read and written, not interpreted.
//!
//! Read: definite lengths in both forms, indefinite lengths, strings in segments. Written: the
//! shortest definite length. Left out: tags above 30, which the module of H.248 does not use; such
//! an element can only be an extension and is passed over.

use std::borrow::Cow;

/// Context-specific and primitive.
pub(super) const fn prim(n: u8) -> u8 {
    0x80 | n
}

/// Context-specific and constructed.
pub(super) const fn cons(n: u8) -> u8 {
    0xa0 | n
}

/// SEQUENCE and SEQUENCE OF, as the element of a list.
pub(super) const SEQUENCE: u8 = 0x30;
/// Types that stand inside the OCTET STRING of a package value, and as elements of lists.
pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const UTF8: u8 = 0x0c;
pub(super) const IA5: u8 = 0x16;

/// Levels of indefinite lengths and segments inside each other.
const DEPTH: u8 = 16;

/// An element.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    /// Class, form and number as one octet; the low five bits are all set for numbers above 30.
    pub(super) tag: u8,
    /// Where it starts in the message.
    pub(super) at: usize,
    /// Its contents.
    pub(super) content: &'a [u8],
    /// Where they start in the message.
    pub(super) inside: usize,
}

/// What is wrong with the octets, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) at: usize,
    pub(super) expected: &'static str,
}

/// Elements one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Elements<'a> {
    rest: &'a [u8],
    /// Where `rest` starts in the message.
    pub(super) at: usize,
}

impl<'a> Elements<'a> {
    #[inline]
    pub(super) fn new(octets: &'a [u8], at: usize) -> Self {
        Self { rest: octets, at }
    }

    /// The elements inside an element.
    #[inline]
    pub(super) fn of(element: &Element<'a>) -> Self {
        Self::new(element.content, element.inside)
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Octets that are left.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// The tag of the next element.
    #[inline]
    pub(super) fn tag(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next element.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Element<'a>>, Broken> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (element, length) = element(self.rest, self.at, DEPTH)?;
        self.rest = self.rest.get(length..).unwrap_or_default();
        self.at += length;
        Ok(Some(element))
    }

    /// The next element if it has this tag.
    #[inline]
    pub(super) fn take(&mut self, tag: u8) -> Result<Option<Element<'a>>, Broken> {
        if self.tag() == Some(tag) { self.next() } else { Ok(None) }
    }
}

/// The first element of `octets`, and its whole length.
#[inline]
fn element(octets: &[u8], at: usize, depth: u8) -> Result<(Element<'_>, usize), Broken> {
    // Nearly all are short.
    if let [tag, length @ 0..0x80, rest @ ..] = octets
        && tag & 0x1f != 0x1f
        && let Some(content) = rest.get(..usize::from(*length))
    {
        return Ok((Element { tag: *tag, at, content, inside: at + 2 }, 2 + content.len()));
    }
    any_element(octets, at, depth)
}

fn any_element(octets: &[u8], at: usize, depth: u8) -> Result<(Element<'_>, usize), Broken> {
    let broken = |offset: usize, expected| Broken { at: at + offset, expected };
    let tag = *octets.first().ok_or(broken(0, "a tag"))?;
    let mut head = 1;
    if tag & 0x1f == 0x1f {
        // X.690 §8.1.2.4: further octets while their top bit is set.
        loop {
            let octet = *octets.get(head).ok_or(broken(head, "the rest of a tag"))?;
            head += 1;
            if octet & 0x80 == 0 {
                break;
            }
            if head > 5 {
                return Err(broken(head, "a tag number of at most four octets"));
            }
        }
    }
    let first = *octets.get(head).ok_or(broken(head, "a length"))?;
    let size_at = head;
    head += 1;
    if first == 0x80 {
        // X.690 §8.1.3.6: indefinite, for constructed elements only; two zero octets end it.
        if tag & 0x20 == 0 {
            return Err(broken(size_at, "a definite length"));
        }
        let depth = depth.checked_sub(1).ok_or(broken(size_at, "fewer levels of indefinite length"))?;
        let mut end = head;
        loop {
            let rest = octets.get(end..).unwrap_or_default();
            if rest.starts_with(&[0, 0]) {
                break;
            }
            end += self::element(rest, at + end, depth)?.1;
        }
        let content = octets.get(head..end).unwrap_or_default();
        return Ok((Element { tag, at, content, inside: at + head }, end + 2));
    }
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let count = usize::from(first & 0x7f);
        let digits = octets.get(head..head + count).ok_or(broken(head, "the rest of a length"))?;
        head += count;
        let mut length = 0usize;
        for digit in digits {
            length = length
                .checked_mul(256)
                .and_then(|l| l.checked_add(usize::from(*digit)))
                .ok_or(broken(size_at, "a smaller length"))?;
        }
        length
    };
    let end = head.checked_add(length).ok_or(broken(size_at, "a smaller length"))?;
    let content = octets.get(head..end).ok_or(broken(size_at, "a length within the element around it"))?;
    Ok((Element { tag, at, content, inside: at + head }, end))
}

/// The octets of a string: as they are, or put together from the segments of a constructed one
/// (X.690 §8.7.3).
#[inline]
pub(super) fn string<'a>(element: &Element<'a>) -> Result<Cow<'a, [u8]>, Broken> {
    if element.tag & 0x20 == 0 {
        return Ok(Cow::Borrowed(element.content));
    }
    let mut whole = Vec::with_capacity(element.content.len());
    segments(element, &mut whole, DEPTH)?;
    Ok(Cow::Owned(whole))
}

fn segments(element: &Element<'_>, into: &mut Vec<u8>, depth: u8) -> Result<(), Broken> {
    let depth =
        depth.checked_sub(1).ok_or(Broken { at: element.at, expected: "fewer levels of segments" })?;
    let mut inside = Elements::of(element);
    while let Some(segment) = inside.next()? {
        if segment.tag & 0x20 == 0 {
            into.extend_from_slice(segment.content);
        } else {
            segments(&segment, into, depth)?;
        }
    }
    Ok(())
}

/// The content of the one element that octets are, with its tag.
#[inline]
pub(super) fn only(octets: &[u8]) -> Option<(u8, &[u8])> {
    match element(octets, 0, DEPTH) {
        Ok((element, length)) if length == octets.len() => Some((element.tag, element.content)),
        _ => None,
    }
}

/// An INTEGER or ENUMERATED of up to 64 bits, unsigned ones included.
#[inline]
pub(super) fn integer(content: &[u8]) -> Option<i128> {
    let negative = content.first()? & 0x80 != 0;
    if content.len() > 9 {
        return None;
    }
    let start = if negative { -1i128 } else { 0 };
    Some(content.iter().fold(start, |n, octet| n << 8 | i128::from(*octet)))
}

/// Octets in the making.
#[derive(Debug, Default)]
pub(super) struct Writer {
    out: Vec<u8>,
    /// The message is of version 1, whose first module asks for more than later ones.
    pub(super) first_version: bool,
}

impl Writer {
    pub(super) fn with_capacity(octets: usize) -> Self {
        Self { out: Vec::with_capacity(octets), first_version: false }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }

    /// An element with these contents.
    #[inline]
    pub(super) fn element(&mut self, tag: u8, content: &[u8]) {
        self.out.push(tag);
        self.length(content.len());
        self.out.extend_from_slice(content);
    }

    #[inline]
    fn length(&mut self, length: usize) {
        if length < 0x80 {
            self.out.push(length as u8);
        } else {
            let digits = length.to_be_bytes();
            let skip = length.leading_zeros() as usize / 8;
            self.out.push(0x80 | (digits.len() - skip) as u8);
            self.out.extend_from_slice(digits.get(skip..).unwrap_or_default());
        }
    }

    /// Octets that are an element, or elements, already.
    #[inline]
    pub(super) fn raw(&mut self, octets: &[u8]) {
        self.out.extend_from_slice(octets);
    }

    /// An element whose contents `write` writes.
    pub(super) fn nest<E>(
        &mut self,
        tag: u8,
        write: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.out.push(tag);
        let size_at = self.out.len();
        self.out.push(0);
        write(self)?;
        let length = self.out.len() - size_at - 1;
        if length < 0x80 {
            if let Some(size) = self.out.get_mut(size_at) {
                *size = length as u8;
            }
        } else {
            // The contents move up to make room for the longer form.
            let digits = length.to_be_bytes();
            let skip = length.leading_zeros() as usize / 8;
            let more = digits.len() - skip;
            let end = self.out.len();
            self.out.resize(end + more, 0);
            self.out.copy_within(size_at + 1..end, size_at + 1 + more);
            if let Some(size) = self.out.get_mut(size_at..=size_at + more) {
                size[0] = 0x80 | more as u8;
                size[1..].copy_from_slice(&digits[skip..]);
            }
        }
        Ok(())
    }

    #[inline]
    pub(super) fn null(&mut self, tag: u8) {
        self.element(tag, &[]);
    }

    #[inline]
    pub(super) fn boolean(&mut self, tag: u8, on: bool) {
        self.element(tag, &[if on { 0xff } else { 0 }]);
    }

    /// INTEGER or ENUMERATED in the fewest octets (X.690 §8.3.2).
    pub(super) fn integer(&mut self, tag: u8, n: i128) {
        let octets = n.to_be_bytes();
        // One bit more than the digits, for the sign.
        let bits = 129 - (if n < 0 { !n } else { n }).leading_zeros() as usize;
        let skip = octets.len() - bits.div_ceil(8).min(octets.len());
        self.element(tag, octets.get(skip..).unwrap_or_default());
    }

    /// A BIT STRING with these bits set, bit 0 first, without trailing zero bits (X.690 §11.2.2).
    pub(super) fn bits(&mut self, tag: u8, set: impl Iterator<Item = u8>) {
        let mask = set.fold(0u16, |mask, bit| mask | 0x8000u16.checked_shr(u32::from(bit)).unwrap_or(0));
        let octets = mask.to_be_bytes();
        let used = (16 - mask.trailing_zeros().min(16)) as usize;
        let count = used.div_ceil(8);
        self.out.push(tag);
        self.out.push(1 + count as u8);
        self.out.push((count * 8 - used) as u8);
        self.out.extend_from_slice(octets.get(..count).unwrap_or_default());
    }
}

/// The numbers of the bits set in a BIT STRING's contents.
pub(super) fn bits(content: &[u8]) -> Option<impl Iterator<Item = u8> + '_> {
    let (unused, octets) = content.split_first()?;
    if *unused > 7 || (octets.is_empty() && *unused != 0) || octets.len() > 8 {
        return None;
    }
    let count = octets.len() * 8 - usize::from(*unused);
    Some((0..count).filter_map(move |n| {
        let octet = octets.get(n / 8)?;
        (octet >> (7 - n % 8) & 1 == 1).then_some(n as u8)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn first(octets: &[u8]) -> Result<Element<'_>, Broken> {
        Elements::new(octets, 0).next().map(|e| e.unwrap())
    }

    /// X.690 §8.1.3: the same contents under each form of length.
    #[test]
    fn lengths_come_in_three_forms() {
        for octets in [
            &[0x30, 3, 0x02, 1, 5][..],
            &[0x30, 0x81, 3, 0x02, 1, 5],
            &[0x30, 0x83, 0, 0, 3, 0x02, 1, 5],
            &[0x30, 0x80, 0x02, 1, 5, 0, 0],
        ] {
            assert_eq!(first(octets).unwrap().content, [0x02, 1, 5], "{octets:02x?}");
        }
        assert!(first(&[0x30, 0x80, 0x02, 1, 5]).is_err(), "never ended");
        assert!(first(&[0x04, 0x80, 0, 0]).is_err(), "only constructed ones may be indefinite");
        assert!(first(&[0x30, 4, 0, 0, 0]).is_err());
        assert!(first(&[0x30, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(first(&[0x30, 0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn nesting_has_an_end() {
        let deep: Vec<u8> = [0x30, 0x80].repeat(5_000);
        assert!(first(&deep).is_err());
        let segments: Vec<u8> = [0x24, 0x80].repeat(8).into_iter().chain([4, 1, 7]).chain([0; 16]).collect();
        assert_eq!(string(&first(&segments).unwrap()).unwrap().as_ref(), [7]);
    }

    #[test]
    fn tags_above_thirty_are_passed_over() {
        let mut elements = Elements::new(&[0xbf, 0x81, 0x01, 1, 9, 0x02, 1, 5], 0);
        assert_eq!(elements.next().unwrap().unwrap().content, [9]);
        assert_eq!(elements.next().unwrap().unwrap().content, [5]);
        assert!(elements.is_empty());
    }

    #[test]
    fn numbers_take_the_fewest_octets() {
        for (n, octets) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0, 0x80]),
            (-1, &[0xff]),
            (-129, &[0xff, 0x7f]),
            (0xffff_ffff, &[0, 0xff, 0xff, 0xff, 0xff]),
            (i128::from(u64::MAX), &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ] {
            let mut w = Writer::default();
            w.integer(INTEGER, n);
            assert_eq!(w.out.get(2..).unwrap(), octets);
            assert_eq!(integer(octets), Some(n));
        }
        assert_eq!(integer(&[]), None);
        assert_eq!(integer(&[0; 10]), None);
    }

    #[test]
    fn a_nested_element_gets_its_length_afterwards() {
        for length in [0, 127, 128, 255, 256, 70_000] {
            let mut w = Writer::default();
            w.nest::<Infallible>(SEQUENCE, |w| {
                w.out.resize(w.out.len() + length, 0xab);
                Ok(())
            })
            .unwrap();
            let octets = w.finish();
            let element = first(&octets).unwrap();
            assert_eq!(element.content.len(), length);
            assert!(element.content.iter().all(|b| *b == 0xab));
        }
    }

    #[test]
    fn bits_are_counted_from_the_left() {
        for (set, octets) in [
            (&[][..], &[0x03, 1, 0][..]),
            (&[0], &[0x03, 2, 7, 0x80]),
            (&[6], &[0x03, 2, 1, 0x02]),
            (&[2, 8], &[0x03, 3, 7, 0x20, 0x80]),
        ] {
            let mut w = Writer::default();
            w.bits(0x03, set.iter().copied());
            assert_eq!(w.out, octets);
            assert_eq!(bits(&octets[2..]).unwrap().collect::<Vec<_>>(), set);
        }
        assert!(bits(&[]).is_none() && bits(&[8, 0]).is_none() && bits(&[1]).is_none());
    }
}
