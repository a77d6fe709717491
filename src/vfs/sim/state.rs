//! What a simulated disk holds: of each file and directory what the page cache has, what is durable, and the changes in
//! between, of which a crash lets any part happen.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Range;

use super::random::Random;

pub const SECTOR: usize = 512;

#[derive(Clone, Default)]
pub struct FileData {
    pub cached: Vec<u8>,
    pub durable: Vec<u8>,
    pub pending: Vec<FileChange>,
    pub is_locked: bool,
    /// How many syncs have failed.
    pub failed_syncs: u64,
    /// The name by which it was created.
    pub made_as: OsString,
}

#[derive(Clone)]
pub enum FileChange {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    File(usize),
    Dir(usize),
}

pub type Names = BTreeMap<OsString, Node>;

#[derive(Clone, Default)]
pub struct DirData {
    pub cached: Names,
    pub durable: Names,
    pub pending: Vec<NameChange>,
}

#[derive(Clone)]
pub enum NameChange {
    Add(OsString, Node),
    Remove(OsString),
    Rename(OsString, OsString, Node),
}

impl FileChange {
    /// How many bytes it writes.
    pub fn written(&self) -> usize {
        match self {
            FileChange::Write { bytes, .. } => bytes.len(),
            FileChange::SetLen(_) => 0,
        }
    }

    /// Leaves the first `len` bytes of a write.
    pub fn shorten(&mut self, len: usize) {
        if let FileChange::Write { bytes, .. } = self {
            bytes.truncate(len);
        }
    }

    fn apply(&self, contents: &mut Vec<u8>) {
        let len = self.len_after(contents.len());
        contents.resize(len, 0);
        if let FileChange::Write { offset, bytes } = self
            && !bytes.is_empty()
        {
            contents[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// The file's length after the change, if it was `len` before.
    fn len_after(&self, len: usize) -> usize {
        match self {
            FileChange::Write { bytes, .. } if bytes.is_empty() => len,
            FileChange::Write { offset, bytes } => len.max(offset + bytes.len()),
            FileChange::SetLen(len) => *len,
        }
    }

    /// Applies it to the part of the file that begins at `start`. What is beyond the file's end is zeros there.
    fn apply_to_part(&self, start: usize, part: &mut [u8]) {
        let end = start + part.len();
        match self {
            FileChange::Write { offset, bytes } => {
                let (from, to) = (start.max(*offset), end.min(offset + bytes.len()));
                if from < to {
                    part[from - start..to - start].copy_from_slice(&bytes[from - offset..to - offset]);
                }
            }
            FileChange::SetLen(len) => part[(*len).clamp(start, end) - start..].fill(0),
        }
    }

    /// The bytes of a file no longer than `longest` that it may change.
    fn range(&self, longest: usize) -> Range<usize> {
        match self {
            FileChange::Write { offset, bytes } => *offset..offset + bytes.len(),
            FileChange::SetLen(len) => *len..longest.max(*len),
        }
    }
}

impl FileData {
    pub fn change(&mut self, change: FileChange) {
        change.apply(&mut self.cached);
        self.pending.push(change);
    }

    /// Writes what is pending, and only that: what an earlier sync failed to write counts as clean.
    pub fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// The power fails: of what is pending the disk has an arbitrary part, and the page cache is gone.
    pub fn lose_power(&mut self, random: &mut Random) {
        self.tear(random);
        self.cached.clone_from(&self.durable);
        self.is_locked = false;
    }

    /// A sync fails: the disk has got an arbitrary part, and the page cache calls all of it clean.
    pub fn fail_sync(&mut self, random: &mut Random) {
        self.tear(random);
        self.failed_syncs += 1;
    }

    /// Memory is short: what counts as clean is read from the disk again. The length stays, for that is in the inode.
    pub fn evict(&mut self) {
        let len = self.cached.len();
        self.cached.clone_from(&self.durable);
        for change in &self.pending {
            change.apply(&mut self.cached);
        }
        self.cached.resize(len, 0);
    }

    /// Has an arbitrary part of what is pending reach the disk, and forgets the rest: each sector, and the length, is as it
    /// was after some prefix of the changes. A write that makes the file longer may do so by fewer sectors.
    fn tear(&mut self, random: &mut Random) {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return;
        }
        let mut lens = vec![self.durable.len()];
        for change in &pending {
            lens.push(change.len_after(lens[lens.len() - 1]));
        }
        let longest = lens.iter().copied().max().unwrap_or_default();
        let at = random.below(lens.len());
        let (before, len) = (lens[at.saturating_sub(1)], lens[at]);
        let len = match len > before && random.below(2) == 0 {
            true => (before + random.below(len - before + 1)).next_multiple_of(SECTOR).min(len),
            false => len,
        };

        let mut is_touched = vec![false; longest.div_ceil(SECTOR)];
        for range in pending.iter().map(|change| change.range(longest)).filter(|range| !range.is_empty()) {
            is_touched[range.start / SECTOR..range.end.div_ceil(SECTOR)].fill(true);
        }
        self.durable.resize(longest, 0);
        for number in (0..is_touched.len()).filter(|&number| is_touched[number]) {
            let start = number * SECTOR;
            let end = (start + SECTOR).min(longest);
            for change in &pending[..random.below(pending.len() + 1)] {
                change.apply_to_part(start, &mut self.durable[start..end]);
            }
        }
        self.durable.truncate(len);
    }
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            NameChange::Add(name, node) => {
                names.insert(name.clone(), *node);
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
            NameChange::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

impl DirData {
    pub fn change(&mut self, change: NameChange) {
        change.apply(&mut self.cached);
        self.pending.push(change);
    }

    /// What has a name in it, or may have one after a crash.
    pub fn nodes(&self) -> impl Iterator<Item = Node> {
        let pending = self.pending.iter().filter_map(|change| match change {
            NameChange::Add(_, node) | NameChange::Rename(_, _, node) => Some(*node),
            NameChange::Remove(_) => None,
        });
        self.cached.values().chain(self.durable.values()).copied().chain(pending)
    }

    pub fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// Has any of the pending changes reach the disk, and forgets the others.
    pub fn lose_some(&mut self, random: &mut Random) {
        for change in std::mem::take(&mut self.pending) {
            if random.below(2) == 0 {
                change.apply(&mut self.durable);
            }
        }
    }

    pub fn lose_power(&mut self, random: &mut Random) {
        self.lose_some(random);
        self.cached.clone_from(&self.durable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(offset: usize, len: usize, byte: u8) -> FileChange {
        FileChange::Write { offset, bytes: vec![byte; len] }
    }

    /// All states that a power cut may leave, as far as `seeds` many of them show.
    fn torn(durable: &[u8], pending: &[FileChange], seeds: u64) -> std::collections::BTreeSet<Vec<u8>> {
        let file = FileData { durable: durable.to_vec(), pending: pending.to_vec(), ..FileData::default() };
        let states = (0..seeds).map(|seed| {
            let mut file = file.clone();
            file.lose_power(&mut Random::new(seed));
            file.durable
        });
        states.collect()
    }

    #[test]
    fn sectors_and_length_land_or_vanish_each_for_itself() {
        // A write over three sectors, which makes the file longer by one and a half.
        let states = torn(&[1; 600], &[write(500, 1000, 2)], 400);
        // The old length with 2 sectors to decide, as also if only the second became whole, the new one with 3.
        assert_eq!(states.len(), 4 + 4 + 8);
        for state in &states {
            assert!(matches!(state.len(), 600 | 1024 | 1500));
            assert!(state[..500].iter().all(|&byte| byte == 1), "what is not written stays");
            for sector in state.chunks(SECTOR) {
                let changes = sector.windows(2).filter(|pair| pair[0] != pair[1]).count();
                assert!(changes <= 1, "no sector is torn: {sector:?}");
            }
        }
    }

    #[test]
    fn a_sector_is_as_after_some_prefix_of_the_changes() {
        let changes = [write(0, 100, 1), write(50, 100, 2), FileChange::SetLen(70), write(60, 100, 3)];
        let mut prefixes = Vec::new();
        let mut contents = vec![0; 512];
        for change in &changes {
            change.apply(&mut contents);
            let mut padded = contents.clone();
            padded.resize(512, 0);
            prefixes.push(padded);
        }
        let states = torn(&[0; 512], &changes, 400);
        let lens: std::collections::BTreeSet<usize> = states.iter().map(Vec::len).collect();
        assert!(lens.iter().copied().eq([70, 160, 512]), "{lens:?}");
        for mut state in states {
            state.resize(512, 0);
            let is_prefix = |version: &Vec<u8>| (0..=512).any(|len| version[..len] == state[..len] && len >= 70);
            assert!(prefixes.iter().any(is_prefix) || state.iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn any_of_the_changes_of_a_directory_may_happen() {
        let mut dir = DirData::default();
        for name in ["a", "b"] {
            dir.change(NameChange::Add(name.into(), Node::File(0)));
        }
        let states: std::collections::BTreeSet<Vec<OsString>> = (0..100)
            .map(|seed| {
                let mut dir = dir.clone();
                dir.lose_power(&mut Random::new(seed));
                dir.cached.keys().cloned().collect()
            })
            .collect();
        assert_eq!(states.len(), 4);
    }
}
