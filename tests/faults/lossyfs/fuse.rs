//! Serves the tree to the kernel, and makes faults where asked.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fuser::{
    FileAttr, FileType, Filesystem, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
};
use libc::{EIO, ENOENT, ENOSPC, ENOTEMPTY, EROFS};

use super::tree::{Body, Tree};

/// The kernel must ask again each time: the tree changes under it.
const NO_CACHE: Duration = Duration::ZERO;
/// Every read and write comes here as the program made it, neither split nor merged by the page cache.
const DIRECT_IO: u32 = fuser::consts::FOPEN_DIRECT_IO;
/// The size of the disk unless it was limited.
const DISK_BYTES: u64 = 64 << 30;
const BLOCK: u64 = 4096;
/// The kernel cuts a write into pieces of 32 pages of the program's memory, so all but the last are longer than this. An
/// error on a later piece would be no error to the program: it sees a short write, and tries the rest again.
const PIECE_BYTES_MIN: usize = 31 * 4096;

/// Which faults are on.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Faults below hit only files of this name; `None` means every file.
    pub only: Option<String>,
    /// The Nth fsync from now fails with EIO, and what it should have synced is gone for good.
    pub fail_fsync: Option<u64>,
    /// The Nth write from now fails with EIO.
    pub fail_write: Option<u64>,
    /// The disk's size in bytes.
    pub limit: Option<u64>,
    /// Each fsync takes this much longer.
    pub fsync_delay: Duration,
    /// Whatever would change it fails with EROFS, as on a disk that the kernel has set to read-only.
    pub read_only: bool,
    /// Fsync answers ok and makes nothing durable, but for one in each such interval.
    pub deaf: Option<Duration>,
}

/// What has been asked of it so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Calls of fsync and fdatasync on files.
    pub fsyncs: u64,
    /// Of these, those that failed by order.
    pub failed_fsyncs: u64,
    /// Fsyncs of a file after one of it had failed: a retry that would seem to work.
    pub fsyncs_after_failure: u64,
    /// Writes.
    pub writes: u64,
    /// Of these, those that failed by order.
    pub failed_writes: u64,
    /// Writes refused for want of space.
    pub no_space: u64,
}

#[derive(Debug)]
pub struct State {
    pub tree: Tree,
    pub faults: Faults,
    pub counters: Counters,
    /// When an fsync was last honoured by a deaf file system.
    pub honoured: Option<Instant>,
    /// The last write: which file, where it ended, how long it was.
    pub last_write: (u64, usize, usize),
}

#[derive(Clone)]
pub struct Server(pub Arc<Mutex<State>>);

/// Counts down; true when the fault is due.
fn due(countdown: &mut Option<u64>) -> bool {
    let Some(left) = countdown else { return false };
    *left = left.saturating_sub(1);
    let now = *left == 0;
    if now {
        *countdown = None;
    }
    now
}

impl State {
    fn concerns(&self, ino: u64) -> bool {
        let name = self.tree.node(ino).map(|node| node.name.as_os_str());
        self.faults.only.as_ref().is_none_or(|only| name == Some(OsStr::new(only)))
    }

    fn fsync(&mut self, ino: u64) -> Result<(), i32> {
        self.counters.fsyncs += 1;
        if !self.concerns(ino) {
            self.tree.sync(ino);
            return Ok(());
        }
        if self.counters.failed_fsyncs > 0 {
            self.counters.fsyncs_after_failure += 1;
        }
        if due(&mut self.faults.fail_fsync) {
            self.counters.failed_fsyncs += 1;
            self.tree.forget_pending(ino);
            return Err(EIO);
        }
        match self.faults.deaf {
            Some(interval) if self.honoured.is_some_and(|at| at.elapsed() < interval) => return Ok(()),
            Some(_) => self.honoured = Some(Instant::now()),
            None => {}
        }
        self.tree.sync(ino);
        Ok(())
    }

    fn writable(&self) -> Result<(), i32> {
        if self.faults.read_only { Err(EROFS) } else { Ok(()) }
    }

    fn room_for(&mut self, growth: u64) -> Result<(), i32> {
        match self.faults.limit {
            Some(limit) if growth > 0 && self.tree.used() + growth > limit => {
                self.counters.no_space += 1;
                Err(ENOSPC)
            }
            _ => Ok(()),
        }
    }

    fn write(&mut self, ino: u64, at: i64, bytes: &[u8]) -> Result<u32, i32> {
        self.writable()?;
        self.counters.writes += 1;
        let (last, end, length) = self.last_write;
        let goes_on = last == ino && i64::try_from(end) == Ok(at) && length > PIECE_BYTES_MIN;
        if !goes_on && self.concerns(ino) && due(&mut self.faults.fail_write) {
            self.counters.failed_writes += 1;
            return Err(EIO);
        }
        let at = usize::try_from(at).map_err(|_| libc::EINVAL)?;
        self.last_write = (ino, at + bytes.len(), bytes.len());
        self.room_for(((at + bytes.len()) as u64).saturating_sub(self.tree.file_len(ino)))?;
        self.tree.write(ino, at, bytes);
        u32::try_from(bytes.len()).map_err(|_| libc::EINVAL)
    }

    fn resize(&mut self, ino: u64, size: u64) -> Result<(), i32> {
        self.writable()?;
        self.room_for(size.saturating_sub(self.tree.file_len(ino)))?;
        self.tree.resize(ino, usize::try_from(size).map_err(|_| libc::EINVAL)?);
        Ok(())
    }

    fn attr(&self, ino: u64) -> Option<FileAttr> {
        let node = self.tree.node(ino)?;
        let size = self.tree.file_len(ino);
        let kind = match node.body {
            Body::File(_) => FileType::RegularFile,
            Body::Dir(_) => FileType::Directory,
        };
        let perm = u16::try_from(node.mode & 0o7777).unwrap_or(0);
        Some(FileAttr {
            ino,
            size,
            kind,
            perm,
            blocks: size.div_ceil(512),
            blksize: 4096,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
        })
    }
}

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn create_node(&self, parent: u64, name: &OsStr, mode: u32, is_dir: bool) -> Result<FileAttr, i32> {
        let mut state = self.state();
        state.writable()?;
        let ino = state.tree.create(parent, name, mode, is_dir);
        state.attr(ino).ok_or(ENOENT)
    }

    fn remove(&self, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.state();
        let full = state
            .tree
            .child(parent, name)
            .and_then(|ino| state.tree.node(ino))
            .is_some_and(|node| matches!(&node.body, Body::Dir(dir) if !dir.live.is_empty()));
        if let Err(errno) = state.writable() {
            reply.error(errno);
        } else if full {
            reply.error(ENOTEMPTY);
        } else {
            done(reply, state.tree.unlink(parent, name).then_some(()).ok_or(ENOENT));
        }
    }
}

fn done(reply: ReplyEmpty, result: Result<(), i32>) {
    match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Server {
    fn lookup(&mut self, _: &Request, parent: u64, name: &OsStr, reply: ReplyEntry) {
        let state = self.state();
        match state.tree.child(parent, name).and_then(|ino| state.attr(ino)) {
            Some(attr) => reply.entry(&NO_CACHE, &attr, 0),
            None => reply.error(ENOENT),
        }
    }

    fn getattr(&mut self, _: &Request, ino: u64, _: Option<u64>, reply: ReplyAttr) {
        match self.state().attr(ino) {
            Some(attr) => reply.attr(&NO_CACHE, &attr),
            None => reply.error(ENOENT),
        }
    }

    fn setattr(
        &mut self,
        _: &Request,
        ino: u64,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<u64>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<u32>,
        reply: ReplyAttr,
    ) {
        let mut state = self.state();
        if let (Some(mode), Some(node)) = (mode, state.tree.node_mut(ino)) {
            node.mode = mode;
        }
        if let Some(Err(errno)) = size.map(|size| state.resize(ino, size)) {
            return reply.error(errno);
        }
        match state.attr(ino) {
            Some(attr) => reply.attr(&NO_CACHE, &attr),
            None => reply.error(ENOENT),
        }
    }

    fn mkdir(&mut self, _: &Request, parent: u64, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        match self.create_node(parent, name, mode & !umask, true) {
            Ok(attr) => reply.entry(&NO_CACHE, &attr, 0),
            Err(errno) => reply.error(errno),
        }
    }

    fn create(
        &mut self,
        _: &Request,
        parent: u64,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        match self.create_node(parent, name, mode & !umask, false) {
            Ok(attr) => reply.created(&NO_CACHE, &attr, 0, 0, DIRECT_IO),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&mut self, _: &Request, _: u64, flags: i32, reply: ReplyOpen) {
        match self.state().writable() {
            Err(errno) if flags & libc::O_ACCMODE != libc::O_RDONLY => reply.error(errno),
            _ => reply.opened(0, DIRECT_IO),
        }
    }

    fn read(
        &mut self,
        _: &Request,
        ino: u64,
        _: u64,
        offset: i64,
        size: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyData,
    ) {
        let state = self.state();
        let Some(Body::File(file)) = state.tree.node(ino).map(|node| &node.body) else {
            return reply.error(ENOENT);
        };
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(file.live.len());
        let to = (from + size as usize).min(file.live.len());
        reply.data(&file.live[from..to]);
    }

    fn write(
        &mut self,
        _: &Request,
        ino: u64,
        _: u64,
        offset: i64,
        data: &[u8],
        _: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyWrite,
    ) {
        match self.state().write(ino, offset, data) {
            Ok(written) => reply.written(written),
            Err(errno) => reply.error(errno),
        }
    }

    fn fsync(&mut self, _: &Request, ino: u64, _: u64, _: bool, reply: ReplyEmpty) {
        let delay = self.state().faults.fsync_delay;
        let server = self.clone();
        let sync = move || done(reply, server.state().fsync(ino));
        if delay.is_zero() {
            sync();
        } else {
            // Elsewhere, so that a slow fsync holds up nobody but who asked for it.
            std::thread::spawn(move || {
                std::thread::sleep(delay);
                sync();
            });
        }
    }

    fn fsyncdir(&mut self, _: &Request, ino: u64, _: u64, _: bool, reply: ReplyEmpty) {
        self.state().tree.sync(ino);
        reply.ok();
    }

    fn flush(&mut self, _: &Request, _: u64, _: u64, _: u64, reply: ReplyEmpty) {
        reply.ok();
    }

    fn unlink(&mut self, _: &Request, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        self.remove(parent, name, reply);
    }

    fn rmdir(&mut self, _: &Request, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        self.remove(parent, name, reply);
    }

    fn rename(
        &mut self,
        _: &Request,
        parent: u64,
        name: &OsStr,
        new_parent: u64,
        new_name: &OsStr,
        _: u32,
        reply: ReplyEmpty,
    ) {
        let mut state = self.state();
        let renamed = match state.writable() {
            Ok(()) => state.tree.rename(parent, name, new_parent, new_name).then_some(()).ok_or(ENOENT),
            readonly => readonly,
        };
        done(reply, renamed);
    }

    fn link(&mut self, _: &Request, ino: u64, parent: u64, name: &OsStr, reply: ReplyEntry) {
        let mut state = self.state();
        state.tree.link(ino, parent, name);
        match state.attr(ino) {
            Some(attr) => reply.entry(&NO_CACHE, &attr, 0),
            None => reply.error(ENOENT),
        }
    }

    fn readdir(&mut self, _: &Request, ino: u64, _: u64, offset: i64, mut reply: ReplyDirectory) {
        let state = self.state();
        if let Some(Body::Dir(dir)) = state.tree.node(ino).map(|node| &node.body) {
            let from = usize::try_from(offset).unwrap_or(0);
            for (position, (name, child)) in (1..).zip(&dir.live).skip(from) {
                let kind = state.attr(*child).map_or(FileType::RegularFile, |attr| attr.kind);
                if reply.add(*child, position, kind, name) {
                    break;
                }
            }
        }
        reply.ok();
    }

    fn statfs(&mut self, _: &Request, _: u64, reply: ReplyStatfs) {
        let state = self.state();
        let total = state.faults.limit.unwrap_or(DISK_BYTES);
        let free = total.saturating_sub(state.tree.used()) / BLOCK;
        reply.statfs(total / BLOCK, free, free, 1 << 20, 1 << 20, 4096, 255, 4096);
    }

    fn fallocate(
        &mut self,
        _: &Request,
        ino: u64,
        _: u64,
        offset: i64,
        length: i64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let end = u64::try_from(offset.saturating_add(length)).unwrap_or(0);
        let mut state = self.state();
        if mode != 0 {
            reply.error(libc::EOPNOTSUPP);
        } else if end <= state.tree.file_len(ino) {
            reply.ok();
        } else {
            done(reply, state.resize(ino, end));
        }
    }
}
