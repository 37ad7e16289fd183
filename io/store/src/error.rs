//! What can go wrong with durable state.

/// Errors of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No room on the disk.
    #[error("the disk is full")]
    Full,
    /// Another process has the database open.
    #[error(
        "another process has the database open: stop that one (`fuser -v` says which), or name another place"
    )]
    Busy,
    /// The disk failed, or what is on it is not a database.
    #[error("database: {0}")]
    Database(Box<redb::Error>),
    /// A file could not be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// A record cannot be read: written by a later version, or damaged.
    #[error("a record of `{0}` cannot be read")]
    Record(&'static str),
    /// The root key is not the one that the database was made with.
    #[error("the root key does not fit this database")]
    WrongRootKey,
    /// The root key file has the wrong form.
    #[error("root key: {0}")]
    RootKey(&'static str),
    /// A key that cannot be sealed.
    #[error("a key must have a multiple of eight octets, at least 16")]
    KeyLength,
    /// What is stored contradicts itself.
    #[error(transparent)]
    Directory(#[from] carnet_keys::Error),
}

impl Error {
    /// Whether trying again later may help, once there is room or the disk is back.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Full | Self::Busy | Self::Database(_) | Self::File { .. })
    }
}

fn from_redb(error: redb::Error) -> Error {
    use std::io::ErrorKind as Kind;
    match error {
        redb::Error::Io(e)
            if matches!(e.kind(), Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge) =>
        {
            Error::Full
        }
        redb::Error::DatabaseAlreadyOpen => Error::Busy,
        other => Error::Database(Box::new(other)),
    }
}

macro_rules! from_redb {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for Error {
            fn from(error: redb::$error) -> Self {
                from_redb(error.into())
            }
        })*
    };
}

from_redb!(DatabaseError, TransactionError, TableError, CommitError, StorageError);
