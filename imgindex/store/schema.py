"""The tables of ``library.sqlite`` and the numbered steps that lead to them.

A step that has been released is never edited; the next one is added below it.
"""

from __future__ import annotations

APPLICATION_ID = 0x696D6778  # "imgx"

MIGRATIONS = (
    """
    CREATE TABLE setting (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL          -- JSON
    ) WITHOUT ROWID;

    CREATE TABLE picture (           -- by content
        row INTEGER PRIMARY KEY,     -- its row in vectors.f32, from 0
        id TEXT NOT NULL UNIQUE,     -- BLAKE2b-128 of the bytes, hex
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        format TEXT NOT NULL,
        taken TEXT                   -- ISO 8601
    );

    CREATE TABLE file (              -- by path
        path BLOB PRIMARY KEY,       -- bytes of the name, as the file system has them
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        picture INTEGER REFERENCES picture (row),
        reason TEXT,                 -- why it cannot be read
        missing INTEGER NOT NULL DEFAULT 0,
        CHECK ((picture IS NULL) <> (reason IS NULL))
    ) WITHOUT ROWID;
    CREATE INDEX file_of_picture ON file (picture);

    CREATE TABLE grouping (
        number INTEGER PRIMARY KEY,
        created TEXT NOT NULL,       -- ISO 8601, UTC
        settings TEXT NOT NULL       -- JSON
    );
    CREATE TABLE grouped (           -- a group of a grouping
        grouping INTEGER NOT NULL REFERENCES grouping (number) ON DELETE CASCADE,
        label INTEGER NOT NULL,
        medoid TEXT NOT NULL,
        PRIMARY KEY (grouping, label)
    ) WITHOUT ROWID;
    CREATE TABLE member (            -- a picture in a grouping
        grouping INTEGER NOT NULL REFERENCES grouping (number) ON DELETE CASCADE,
        id TEXT NOT NULL,
        label INTEGER NOT NULL,      -- -1 is noise
        strength REAL NOT NULL,
        outlier REAL NOT NULL,
        exemplar INTEGER NOT NULL,
        PRIMARY KEY (grouping, id)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE member ADD COLUMN joined INTEGER NOT NULL DEFAULT 0;  -- after the run
    ALTER TABLE member ADD COLUMN place BLOB NOT NULL DEFAULT x'';    -- float32, little-endian
    CREATE TABLE change (            -- what became of groups in a run
        number INTEGER PRIMARY KEY,
        created TEXT NOT NULL,       -- the run
        kind TEXT NOT NULL,
        before TEXT NOT NULL,        -- JSON, pairs of id and size
        after TEXT NOT NULL
    );
    CREATE TABLE decision (          -- what users said of groups and pictures
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        label INTEGER,               -- a group
        name BLOB,
        pictures TEXT NOT NULL       -- JSON, ids
    );
    """,
    """
    ALTER TABLE grouping ADD COLUMN next_label INTEGER NOT NULL DEFAULT 0;  -- never used yet
    ALTER TABLE grouped ADD COLUMN parent INTEGER;                    -- the group that it is in
    ALTER TABLE member ADD COLUMN part INTEGER;                       -- its smallest group
    """,
    """
    CREATE TABLE sketch (            -- a picture small and grey
        picture INTEGER PRIMARY KEY REFERENCES picture (row) ON DELETE CASCADE,
        pixels BLOB NOT NULL         -- 32 x 32 bytes
    );
    CREATE TABLE examined (          -- its copies were looked for
        picture INTEGER PRIMARY KEY REFERENCES picture (row) ON DELETE CASCADE
    );
    CREATE TABLE twin (              -- verified copies of each other
        a INTEGER NOT NULL REFERENCES picture (row) ON DELETE CASCADE,
        b INTEGER NOT NULL REFERENCES picture (row) ON DELETE CASCADE,
        kind TEXT NOT NULL,
        score REAL NOT NULL,
        part TEXT,                   -- id of the one that shows less
        share REAL NOT NULL,         -- of the other one's area
        PRIMARY KEY (a, b)
    ) WITHOUT ROWID;
    CREATE INDEX twin_of ON twin (b);
    """,
    """
    ALTER TABLE picture ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;  -- CRC-32 of its row
    CREATE TABLE seal (name TEXT PRIMARY KEY, total INTEGER NOT NULL) WITHOUT ROWID;
    """,
)
