//! TEMPORARY
use kvwal::{Result, Store};
use std::collections::HashMap;
pub struct Entry<'a> {
    pub value: &'a [u8],
    pub expires_at: u64,
    pub version: u64,
}
pub struct Transaction<'a> {
    store: &'a Store,
    changes: HashMap<Vec<u8>, Option<(Vec<u8>, u64)>>,
    now: u64,
}
static EXP: kvwal_std::Map = kvwal_std::Map::new();
mod kvwal_std {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    pub type M = BTreeMap<Vec<u8>, (u64, u64)>;
    pub struct Map(pub Mutex<M>);
    impl Map {
        pub const fn new() -> Map {
            Map(Mutex::new(BTreeMap::new()))
        }
    }
}
static VERSION: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
impl Transaction<'_> {
    pub fn now_ms(&self) -> u64 {
        self.now
    }
    pub fn get_with<R>(&self, key: &[u8], found: impl FnOnce(Entry<'_>) -> R) -> Result<Option<R>> {
        match self.changes.get(key) {
            Some(None) => Ok(None),
            Some(Some((value, expires_at))) => {
                Ok(Some(found(Entry { value, expires_at: *expires_at, version: u64::MAX })))
            }
            None => self.store.entry_with(key, found),
        }
    }
    pub fn set_until(&mut self, key: &[u8], value: &[u8], expires_at: u64) -> Result<()> {
        if expires_at != 0 && expires_at <= self.now {
            self.changes.insert(key.to_vec(), None);
            return Ok(());
        }
        self.changes.insert(key.to_vec(), Some((value.to_vec(), expires_at)));
        Ok(())
    }
    pub fn del(&mut self, key: &[u8]) -> Result<bool> {
        let there = self.get_with(key, |_| ())?.is_some();
        if there {
            self.changes.insert(key.to_vec(), None);
        }
        Ok(there)
    }
    pub fn keys(&self, mut visit: impl FnMut(&[u8])) -> Result<()> {
        self.store.keys_from(0, usize::MAX, |k| {
            if !self.changes.contains_key(k) {
                visit(k)
            }
        })?;
        for (k, v) in &self.changes {
            if v.is_some() {
                visit(k)
            }
        }
        Ok(())
    }
    pub fn undo(&mut self) {
        self.changes.clear()
    }
}
pub trait Work {
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Result<()>;
}
pub trait Shim {
    fn transact_all<W: Work + Send>(&self, works: &mut [W]) -> Vec<Result<()>>;
    fn entry_with<R>(&self, key: &[u8], found: impl FnOnce(Entry<'_>) -> R) -> Result<Option<R>>;
}
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}
static COMMIT: std::sync::Mutex<()> = std::sync::Mutex::new(());
impl Shim for Store {
    fn transact_all<W: Work + Send>(&self, works: &mut [W]) -> Vec<Result<()>> {
        let _guard = COMMIT.lock().unwrap();
        let mut batch = kvwal::Batch::new();
        let out = works
            .iter_mut()
            .map(|w| {
                let mut t = Transaction { store: self, changes: HashMap::new(), now: now() };
                w.run(&mut t)?;
                for (k, v) in t.changes {
                    match v {
                        Some((v, e)) => {
                            EXP.0
                                .lock()
                                .unwrap()
                                .insert(k.clone(), (e, VERSION.fetch_add(1, std::sync::atomic::Ordering::SeqCst)));
                            if works_is_one() { self.set(&k, &v)? } else { batch.set(&k, &v)? }
                        }
                        None => {
                            self.del(&k)?;
                        }
                    }
                }
                Ok(())
            })
            .collect();
        self.write(&batch).unwrap();
        out
    }
    fn entry_with<R>(&self, key: &[u8], found: impl FnOnce(Entry<'_>) -> R) -> Result<Option<R>> {
        let (expires_at, version) = EXP.0.lock().unwrap().get(key).copied().unwrap_or((0, 1));
        if expires_at != 0 && expires_at <= now() {
            return Ok(None);
        }
        self.get_with(key, |value| found(Entry { value, expires_at, version }))
    }
}
fn works_is_one() -> bool {
    false
}
