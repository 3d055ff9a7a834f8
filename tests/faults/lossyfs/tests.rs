//! The file system itself: first its rules as values, then mounted, with a writer that syncs (nothing acknowledged may be
//! lost) and one that does not (something must be: otherwise no test built on this rig proves anything).

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::tree::{ROOT, SECTOR, Tree};
use super::{CrashState, Faults, LossyFs};

fn file_in(state: &CrashState, path: &str) -> Option<Vec<u8>> {
    state.entries.iter().find(|entry| entry.0 == Path::new(path)).and_then(|entry| entry.2.clone())
}

fn tree_with_file(name: &str) -> (Tree, u64) {
    let mut tree = Tree::new();
    let ino = tree.create(ROOT, OsStr::new(name), 0o600, false);
    (tree, ino)
}

#[test]
fn what_was_not_synced_is_gone() {
    let (mut tree, ino) = tree_with_file("a");
    tree.write(ino, 0, b"one");
    assert!(tree.after_cut(1, 0.0).entries.is_empty(), "not even the name survives");
    tree.sync(ino);
    tree.write(ino, 3, b"two");
    assert_eq!(file_in(&tree.after_cut(1, 0.0), "a").unwrap(), b"one");
    assert_eq!(file_in(&tree.after_cut(1, 1.0), "a").unwrap(), b"onetwo");
}

#[test]
fn the_first_fsync_of_a_file_brings_its_name_and_its_directories() {
    let mut tree = Tree::new();
    let dir = tree.create(ROOT, OsStr::new("d"), 0o755, true);
    let ino = tree.create(dir, OsStr::new("a"), 0o600, false);
    tree.sync(ino);
    assert!(file_in(&tree.after_cut(1, 0.0), "d/a").is_some());
}

#[test]
fn a_rename_needs_the_directory_synced() {
    let (mut tree, ino) = tree_with_file("a.tmp");
    tree.write(ino, 0, b"x");
    tree.sync(ino);
    assert!(tree.rename(ROOT, OsStr::new("a.tmp"), ROOT, OsStr::new("a")));
    let before = tree.after_cut(1, 0.0);
    assert!(file_in(&before, "a.tmp").is_some() && file_in(&before, "a").is_none());
    tree.sync(ROOT);
    let after = tree.after_cut(1, 0.0);
    assert!(file_in(&after, "a.tmp").is_none() && file_in(&after, "a").is_some());
}

#[test]
fn an_unlink_needs_the_directory_synced_and_never_takes_a_later_file_of_that_name() {
    let (mut tree, old) = tree_with_file("a");
    tree.write(old, 0, b"old");
    tree.sync(old);
    tree.unlink(ROOT, OsStr::new("a"));
    assert_eq!(file_in(&tree.after_cut(1, 0.0), "a").unwrap(), b"old");
    let new = tree.create(ROOT, OsStr::new("a"), 0o600, false);
    tree.write(new, 0, b"new");
    tree.sync(new);
    for seed in 0..20 {
        assert_eq!(file_in(&tree.after_cut(seed, 0.5), "a").unwrap(), b"new");
    }
}

#[test]
fn writes_tear_at_sectors_and_a_sector_never_runs_ahead_of_itself() {
    let (mut tree, ino) = tree_with_file("a");
    tree.write(ino, 0, &[0; 4 * SECTOR]);
    tree.sync(ino);
    tree.write(ino, 100, &[1; 3 * SECTOR]);
    tree.write(ino, 100, &[2; 3 * SECTOR]);
    let mut torn = 0;
    for seed in 0..200 {
        let bytes = file_in(&tree.after_cut(seed, 0.5), "a").unwrap();
        let sectors: Vec<_> = bytes.chunks(SECTOR).map(<[u8]>::to_vec).collect();
        for sector in &sectors {
            let written: Vec<u8> = sector.iter().copied().filter(|byte| *byte != 0).collect();
            assert!(written.windows(2).all(|pair| pair[0] == pair[1]), "a sector is written whole");
        }
        let values: Vec<u8> = sectors.iter().map(|sector| sector.iter().copied().max().unwrap()).collect();
        torn += u32::from(values.windows(2).any(|pair| pair[0] != pair[1]));
    }
    assert!(torn > 100, "only {torn} of 200 states were torn");
}

#[test]
fn what_was_written_beyond_a_lost_change_of_size_is_lost() {
    let (mut tree, ino) = tree_with_file("a");
    tree.write(ino, 0, &[1; 2 * SECTOR]);
    tree.sync(ino);
    tree.resize(ino, 0);
    tree.write(ino, 0, &[2; SECTOR]);
    for seed in 0..50 {
        let bytes = file_in(&tree.after_cut(seed, 0.5), "a").unwrap();
        let legal = bytes.is_empty() || bytes == [2; SECTOR] || bytes == [1; 2 * SECTOR];
        assert!(legal, "{} bytes starting {:?}", bytes.len(), &bytes[..4]);
    }
}

#[test]
fn the_same_seed_gives_the_same_state() {
    let (mut tree, ino) = tree_with_file("a");
    tree.sync(ino);
    tree.write(ino, 0, &vec![7; 40 * SECTOR]);
    let content = |seed| file_in(&tree.after_cut(seed, 0.5), "a");
    assert_eq!(content(3), content(3));
    assert_ne!(content(3), content(4));
}

/// One record a sector, its number in every byte group; synced (or not) before it counts as acknowledged.
fn append_records(fs: &LossyFs, acknowledged: &AtomicU64, records: u64, sync: bool) {
    let log = File::create(fs.path().join("log")).unwrap();
    File::open(fs.path()).unwrap().sync_all().unwrap();
    for number in 1..=records {
        let record = number.to_le_bytes().repeat(SECTOR / 8);
        log.write_all_at(&record, (number - 1) * SECTOR as u64).unwrap();
        if sync {
            log.sync_data().unwrap();
        }
        acknowledged.store(number, Ordering::SeqCst);
    }
}

/// How many records from the first on are whole.
fn whole_records(state: &CrashState) -> u64 {
    let log = file_in(state, "log").unwrap_or_default();
    let whole = |(number, record): &(u64, &[u8])| *record == number.to_le_bytes().repeat(SECTOR / 8);
    (1..).zip(log.chunks(SECTOR)).take_while(whole).count() as u64
}

/// Cuts the power again and again while a writer runs; answers how many states lost an acknowledged record.
fn losing_states(sync: bool, states: u64) -> u64 {
    let fs = LossyFs::mount();
    let acknowledged = AtomicU64::new(0);
    let (mut losing, mut seed, mut last) = (0, 0, 0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| append_records(&fs, &acknowledged, 5_000, sync));
        while !writer.is_finished() && seed < states {
            let promised = acknowledged.load(Ordering::SeqCst);
            if promised == last {
                std::thread::yield_now();
                continue;
            }
            last = promised;
            let state = fs.after_cut(seed, [0.0, 0.5, 0.9][(seed % 3) as usize]);
            losing += u64::from(whole_records(&state) < promised);
            seed += 1;
        }
    });
    assert!(seed > 20, "only {seed} states were seen while the writer ran");
    losing
}

#[test]
fn a_writer_that_syncs_loses_nothing() {
    assert_eq!(losing_states(true, 300), 0);
}

#[test]
fn a_writer_that_does_not_sync_loses_records() {
    assert!(losing_states(false, 300) > 10);
}

#[test]
fn faults_come_when_asked_for_and_go() {
    let fs = LossyFs::mount();
    let file = File::create(fs.path().join("db")).unwrap();
    assert_eq!((fs.counters().fsyncs, fs.counters().failed_fsyncs), (0, 0));
    fs.set_faults(Faults { fail_fsync: Some(2), ..Faults::default() });
    file.write_all_at(b"a", 0).unwrap();
    file.sync_all().unwrap();
    file.write_all_at(b"b", 1).unwrap();
    assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(libc::EIO));
    file.sync_all().expect("the next fsync succeeds, as on Linux");
    assert_eq!(
        file_in(&fs.after_cut(1, 1.0), "db").unwrap(),
        b"a",
        "and what the failed one lost stays lost"
    );

    fs.set_faults(Faults { fail_write: Some(1), only: Some("db".into()), ..Faults::default() });
    File::create(fs.path().join("other")).unwrap().write_all_at(b"x", 0).unwrap();
    assert_eq!(file.write_all_at(b"x", 0).unwrap_err().raw_os_error(), Some(libc::EIO));
    file.write_all_at(b"x", 0).unwrap();

    fs.set_faults(Faults { limit: Some(fs.used() + 10), ..Faults::default() });
    assert_eq!(file.write_all_at(&[0; 11], fs.used()).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    assert!(rustix::fs::statvfs(fs.path()).unwrap().f_bavail < 2);
    fs.set_faults(Faults::default());
    file.write_all_at(&[0; 11], fs.used()).unwrap();
}

#[test]
fn a_copy_of_a_directory_comes_back_as_it_went_in() {
    let fs = LossyFs::mount();
    std::fs::create_dir(fs.path().join("store")).unwrap();
    let file = File::create(fs.path().join("store/db")).unwrap();
    file.write_all_at(b"end", 100_000).unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs.after_cut(1, 1.0).write_to(dir.path()).unwrap();
    let copy = LossyFs::mount_copy_of(dir.path());
    let state = copy.after_cut(1, 0.0);
    let bytes = file_in(&state, "store/db").unwrap();
    assert_eq!((bytes.len(), &bytes[100_000..]), (100_003, &b"end"[..]));
}
