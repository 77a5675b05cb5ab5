//! The file: who may open it, its pragmas, its tables and their version.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::agents;
use super::peers;
use super::tally::{self, Standing, Tally};
use super::wan;
use super::{Durability, EmbeddedSettings};

const DATABASE_FILE: &str = "archipel.db";
const LOCK_FILE: &str = "archipel.lock";
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_DIRECTORY: u32 = 0o700;

/// SQLite's default, stated because `max_bytes` is counted in pages.
const PAGE_BYTES: u64 = 4096;

/// Bytes of log that are kept for the next writes after it was copied back.
const LOG_KEPT: i64 = 64 * 1024 * 1024;

/// `MIGRATIONS[n]` leads from version n to n + 1; released ones never change.
const MIGRATIONS: &[&str] = &[
    TABLES,
    LISTS_AND_WEBHOOKS,
    agents::TABLE,
    peers::TABLE,
    wan::TABLES,
];

/// `number` ascends with creation, and so does `id` (UUID v7): new rows go to the right edge of every tree. An event row
/// holds all events of one change; `place` is made of the task's number and the last sequence number in the row, so one
/// tree serves both "append" and "after seq" (see `rows::place`). Rowid tables, because bodies are large; indexes only for
/// what is asked: finding a task, recovery, retention, expiry.
pub(super) const TABLES: &str = "
    CREATE TABLE task (
        number       INTEGER PRIMARY KEY,
        id           BLOB    NOT NULL UNIQUE,
        owner        TEXT    NOT NULL,
        agent        TEXT    NOT NULL,
        context_id   TEXT    NOT NULL,
        state        INTEGER NOT NULL,
        terminal     INTEGER NOT NULL,
        updated_ms   INTEGER NOT NULL,
        snapshot_seq INTEGER NOT NULL,
        snapshot     BLOB    NOT NULL
    ) STRICT;
    CREATE INDEX task_unfinished ON task (id) WHERE terminal = 0;
    CREATE INDEX task_finished ON task (updated_ms) WHERE terminal = 1;
    CREATE TABLE event (
        place  INTEGER PRIMARY KEY,
        bodies BLOB NOT NULL
    ) STRICT;
    CREATE TABLE claim (
        key           TEXT    PRIMARY KEY,
        expires_at_ms INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX claim_expiry ON claim (expires_at_ms);
    CREATE TABLE audit (
        seq   INTEGER PRIMARY KEY,
        at_ms INTEGER NOT NULL,
        body  BLOB    NOT NULL,
        hash  BLOB    NOT NULL
    ) STRICT;
";

/// A snapshot is kept in two columns, so that a list does not read the large one, which stands last in its row. One index
/// serves the lists of a caller in all states and in one, the other one those of a conversation; both end with the row's
/// number, which tells tasks of one millisecond apart. The task that opened a conversation, which is called like it then,
/// has '' for its context and needs no entry among contexts: most have no other.
const LISTS_AND_WEBHOOKS: &str = "
    ALTER TABLE task RENAME COLUMN snapshot TO head;
    ALTER TABLE task ADD COLUMN rest BLOB NOT NULL DEFAULT x'';
    CREATE INDEX task_of_caller ON task (owner, agent, state, updated_ms);
    CREATE INDEX task_of_context ON task (context_id, owner, agent, state, updated_ms) WHERE context_id <> '';
    CREATE INDEX task_waiting ON task (updated_ms) WHERE state IN (6, 8);
    CREATE TABLE webhook (
        made      INTEGER PRIMARY KEY,
        task      BLOB    NOT NULL,
        id        TEXT    NOT NULL,
        config    BLOB    NOT NULL,
        delivered INTEGER NOT NULL,
        done      INTEGER NOT NULL,
        UNIQUE (task, id)
    ) STRICT;
    CREATE INDEX webhook_due ON webhook (task) WHERE done = 0;
";

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the data directory {0} is in use by another process")]
    InUse(PathBuf),
    #[error("{path} was written by a newer release (schema {found}, this one knows {known})")]
    Newer {
        path: PathBuf,
        found: usize,
        known: usize,
    },
    #[error("cannot use the data directory {path}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot open the database")]
    Database(#[from] rusqlite::Error),
    #[error("cannot start a thread of the store")]
    Thread(#[from] io::Error),
}

/// What the writer needs to begin.
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    pub(super) tally: Tally,
    pub(super) standing: Standing,
    /// The lock lives as long as this handle, and ends with the process whatever happens to it.
    pub(super) lock: File,
}

pub(super) fn open(settings: &EmbeddedSettings) -> Result<Opened, OpenError> {
    let lock = occupy(&settings.directory)?;
    let path = settings.directory.join(DATABASE_FILE);
    private_file(&path).map_err(|source| OpenError::Directory {
        path: path.clone(),
        source,
    })?;
    let mut connection = Connection::open(&path)?;
    configure(&connection, settings)?;
    migrate(&mut connection, &path)?;
    let (tally, standing) = tally::count(&connection)?;
    Ok(Opened {
        path,
        connection,
        tally,
        standing,
        lock,
    })
}

pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
}

/// A second process would not corrupt the file, but it would answer for tasks it does not run.
fn occupy(directory: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Directory {
        path: directory.to_owned(),
        source,
    };
    if !directory.is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE_DIRECTORY)
            .create(directory)
            .map_err(failed)?;
    }
    let lock = private_file(&directory.join(LOCK_FILE)).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(directory.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// SQLite gives its side files the mode of the database, so it must be right before SQLite sees it.
fn private_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(PRIVATE_FILE)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(PRIVATE_FILE))?;
    Ok(file)
}

fn configure(connection: &Connection, settings: &EmbeddedSettings) -> rusqlite::Result<()> {
    let synchronous = match settings.durability {
        Durability::Process => "NORMAL",
        Durability::Full => "FULL",
    };
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    // `checkpoint` does it, off the writer.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // A burst may make the log large; once it is copied back, the disk gets the rest of it again.
    connection.pragma_update(None, "journal_size_limit", LOG_KEPT)?;
    // In KiB when negative: enough to keep the inner pages of every tree.
    connection.pragma_update(None, "cache_size", -16_384)?;
    if let Some(max_bytes) = settings.max_bytes {
        let pages = i64::try_from(max_bytes / PAGE_BYTES).unwrap_or(i64::MAX);
        connection.pragma_update(None, "max_page_count", pages)?;
    }
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    let Some(missing) = MIGRATIONS.get(found..) else {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known: MIGRATIONS.len(),
        });
    };
    let transaction = connection.transaction()?;
    for migration in missing {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(
        None,
        "user_version",
        i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX),
    )?;
    transaction.commit()?;
    Ok(())
}
