//! The arguments of a request, where they came in or on their own.

use std::ops::Index;

use smallvec::SmallVec;

/// A place in the bytes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The bytes from `start` up to `end`. Requests are shorter than 4 GiB.
    pub fn new(start: usize, end: usize) -> Span {
        let bound = |at| u32::try_from(at).expect("a request is shorter than 4 GiB");
        Span { start: bound(start), end: bound(end) }
    }
}

/// The arguments of a request; the first is the command's name.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// Arguments that lie in `bytes`.
    pub fn new(bytes: &'a [u8], spans: &'a [Span]) -> Args<'a> {
        Args { bytes, spans }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// One of them.
    pub fn get(&self, at: usize) -> Option<&'a [u8]> {
        self.spans.get(at).map(|span| &self.bytes[span.start as usize..span.end as usize])
    }

    /// All from one on.
    pub fn from(&self, at: usize) -> Args<'a> {
        Args { bytes: self.bytes, spans: &self.spans[at.min(self.spans.len())..] }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        self.spans.iter().map(move |span| &bytes[span.start as usize..span.end as usize])
    }

    /// Every `step`-th from `first` on: the keys of most commands.
    pub fn every(&self, first: usize, step: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.from(first).iter().step_by(step)
    }

    /// A copy that keeps nothing but the arguments.
    pub fn to_owned(&self) -> OwnedArgs {
        let mut bytes = Vec::with_capacity(self.iter().map(<[u8]>::len).sum());
        let copy = |arg: &[u8]| {
            let start = bytes.len();
            bytes.extend_from_slice(arg);
            Span::new(start, bytes.len())
        };
        let spans = self.iter().map(copy).collect();
        OwnedArgs { bytes, spans }
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    fn index(&self, at: usize) -> &[u8] {
        self.get(at).expect("the count of arguments has been checked")
    }
}

/// Arguments on their own, to be handed to another thread.
#[derive(Debug)]
pub struct OwnedArgs {
    bytes: Vec<u8>,
    spans: SmallVec<[Span; MOSTLY]>,
}

/// So many arguments need no memory of their own.
const MOSTLY: usize = 4;

impl OwnedArgs {
    /// The arguments.
    pub fn args(&self) -> Args<'_> {
        Args { bytes: &self.bytes, spans: &self.spans }
    }

    /// Bytes of memory that they take.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + if self.spans.spilled() { size_of_val(&*self.spans) } else { 0 }
    }
}
