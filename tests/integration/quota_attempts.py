# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tenant whose database is full tries, and what the server is to say: an SQLSTATE."""

from __future__ import annotations

FULL = "53100"
DENIED = "42501"
TOO_LARGE = "54000"

# What a project has: other roles with rights, columns, options, schemas of its own, and names that want quoting.
SCHEMA = """
CREATE TABLE filler (id int, text text);
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int REFERENCES parent, note text);
CREATE TABLE parted (id int) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE VIEW seen AS SELECT * FROM parent;
CREATE MATERIALIZED VIEW kept AS SELECT * FROM parent;
CREATE SEQUENCE numbers;
CREATE SCHEMA "odd "" '; DROP ";
CREATE TABLE "odd "" '; DROP "."t "" '; DROP TABLE x; --" (id int);
CREATE SCHEMA supalove_quota;
CREATE TABLE supalove_quota.storage (mine int);
CREATE FUNCTION supalove_quota.supalove_quota_write() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER supalove_quota BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION mine();
CREATE FUNCTION writes() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO parent VALUES (1000)';
GRANT INSERT, UPDATE (note) ON child TO {probe};
GRANT SELECT, UPDATE ON parent TO {probe} WITH GRANT OPTION;
GRANT CREATE, USAGE ON SCHEMA "odd "" '; DROP " TO {probe} WITH GRANT OPTION;
GRANT CREATE ON SCHEMA supalove_quota TO PUBLIC;
CREATE SCHEMA nobody;
CREATE TABLE nobody.rows (id int);
REVOKE ALL ON SCHEMA nobody FROM CURRENT_USER;
CREATE SCHEMA only_create;
CREATE TABLE only_create.rows (id int);
REVOKE USAGE ON SCHEMA only_create FROM CURRENT_USER;
ALTER DEFAULT PRIVILEGES GRANT INSERT ON TABLES TO {probe};
INSERT INTO parent SELECT generate_series(1, 50);
INSERT INTO child SELECT 1, 'one';
"""

STILL_WORKS = [
    "SELECT count(*) FROM filler",
    "BEGIN; SELECT FROM parent WHERE id = 2 FOR UPDATE; COMMIT",
    "DELETE FROM filler WHERE id = 0",
    # Asks for the right to UPDATE the table that refers to it.
    "DELETE FROM parent WHERE id = 50",
    "TRUNCATE parted",
    "VACUUM parent",
    "VACUUM FULL child",
    "ANALYZE parent",
    "SELECT nextval('numbers')",
    "COPY parent TO STDOUT",
    "DROP SEQUENCE numbers",
    "DROP TABLE parted_1",
    "DROP VIEW seen",
    "SELECT lo_unlink(oid) FROM pg_largeobject_metadata",
    "SHOW supalove.storage_limit",
    # Reads every list of rights.
    "SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace",
]
ATTEMPTS = [
    # To write.
    ("INSERT INTO parent VALUES (99)", FULL),
    ("UPDATE child SET note = repeat(note, 10)", FULL),
    ("INSERT INTO parent VALUES (1) ON CONFLICT DO NOTHING", FULL),
    ("MERGE INTO parent USING (VALUES (1)) AS v (i) ON id = i + 100 WHEN NOT MATCHED THEN INSERT VALUES (i)", FULL),
    ("WITH new AS (INSERT INTO parent VALUES (98) RETURNING id) SELECT * FROM new", FULL),
    ("COPY filler FROM STDIN", FULL),
    ("INSERT INTO seen VALUES (97)", FULL),
    ("INSERT INTO parted VALUES (1)", FULL),
    ("INSERT INTO parted_1 VALUES (1)", FULL),
    ('INSERT INTO "odd "" \'; DROP "."t "" \'; DROP TABLE x; --" VALUES (1)', FULL),
    ("INSERT INTO supalove_quota.storage VALUES (1)", FULL),
    ("SELECT writes()", FULL),
    ("DO $$ BEGIN INSERT INTO parent VALUES (99); END $$", FULL),
    ("EXPLAIN ANALYZE INSERT INTO parent VALUES (99)", FULL),
    ("PREPARE p AS INSERT INTO parent VALUES (99); EXECUTE p", FULL),
    # To make.
    ("CREATE TABLE new (id int)", FULL),
    ("CREATE TABLE new AS SELECT 1", FULL),
    ("SELECT 1 AS one INTO new", FULL),
    ("CREATE TEMP TABLE new (id int)", FULL),
    ("EXPLAIN ANALYZE CREATE TABLE new AS SELECT 1", DENIED),
    ("EXPLAIN ANALYZE CREATE TABLE supalove_quota.new AS SELECT 1", DENIED),
    ("EXPLAIN ANALYZE CREATE MATERIALIZED VIEW new AS SELECT 1", DENIED),
    ("EXPLAIN ANALYZE CREATE TEMP TABLE new AS SELECT 1", DENIED),
    ("PREPARE q AS SELECT 1; EXPLAIN ANALYZE CREATE TABLE new AS EXECUTE q", DENIED),
    ("CREATE INDEX ON filler (text)", FULL),
    ("REINDEX TABLE filler", FULL),
    ("REINDEX TABLE CONCURRENTLY filler", FULL),
    ("REFRESH MATERIALIZED VIEW kept", FULL),
    ("CREATE SCHEMA new", FULL),
    ("CREATE EXTENSION hstore", FULL),
    ("CREATE FUNCTION new() RETURNS int LANGUAGE sql AS 'SELECT 1'", FULL),
    ("COMMENT ON TABLE filler IS 'long'", FULL),
    ("SELECT lo_from_bytea(0, '\\x00')", DENIED),
    ("SELECT lo_create(0)", DENIED),
    ("SELECT lo_put(oid, 0, '\\x00') FROM pg_largeobject_metadata", DENIED),
    ("BEGIN; SELECT lo_truncate(lo_open(max(oid), 393216), 1000000) FROM pg_largeobject_metadata", DENIED),
    # To lift it.
    ("GRANT ALL ON parent TO {self}_owner", FULL),
    ("GRANT CREATE ON SCHEMA supalove_quota TO {self}_owner", FULL),
    ("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC", FULL),
    ("ALTER TABLE parent OWNER TO supalove_tenant", FULL),
    ("ALTER TABLE parent DISABLE TRIGGER ALL", FULL),
    ("ALTER TABLE parent DISABLE TRIGGER USER", FULL),
    ("ALTER TABLE parent ADD COLUMN text text DEFAULT repeat('x', 1000)", FULL),
    ("DROP TRIGGER {trigger} ON parent", FULL),
    ("ALTER TRIGGER {trigger} ON parent RENAME TO mine", FULL),
    ("CREATE OR REPLACE TRIGGER {trigger} BEFORE INSERT ON parent EXECUTE FUNCTION mine()", FULL),
    ("DROP FUNCTION pg_catalog.supalove_quota_write CASCADE", DENIED),
    ("DROP FUNCTION pg_catalog.supalove_quota_command CASCADE", DENIED),
    ("DROP EVENT TRIGGER supalove_quota", DENIED),
    ("ALTER EVENT TRIGGER supalove_quota DISABLE", DENIED),
    ("ALTER EVENT TRIGGER supalove_quota OWNER TO {self}_owner", DENIED),
    ("COMMENT ON EVENT TRIGGER supalove_quota IS ''", DENIED),
    ("SET event_triggers = off", DENIED),
    ("SET session_replication_role = replica", DENIED),
    ("SET LOCAL session_replication_role = replica", DENIED),
    ("ALTER DATABASE {self} SET supalove.storage_limit = '1000000000000'", DENIED),
    ("ALTER DATABASE {self} RESET supalove.storage_limit", DENIED),
    ("ALTER ROLE {self}_owner SET supalove.storage_limit = '1000000000000'", DENIED),
    ("ALTER ROLE {self}_owner IN DATABASE {self} SET supalove.storage_limit = '1000000000000'", DENIED),
    ("ALTER SYSTEM SET supalove.storage_limit = '1'", DENIED),
    ("UPDATE pg_namespace SET nspacl = NULL", DENIED),
    ("UPDATE pg_trigger SET tgenabled = 'D'", DENIED),
]
# What is allowed and must have no effect.
FUTILE = [
    "SET supalove.storage_limit = '1000000000000'",
    "SET check_function_bodies = off; SET row_security = off",
    "GRANT TEMPORARY ON DATABASE {self} TO {self}_owner",
    "DROP SCHEMA supalove_quota CASCADE",
    "DROP FUNCTION mine CASCADE",
    "REASSIGN OWNED BY supalove_tenant TO {self}_owner",
    "DROP OWNED BY supalove_tenant CASCADE",
    "SELECT pg_terminate_backend(pg_backend_pid())",
]

# What holds a lock that the program needs.
OBSTACLES = [
    "LOCK TABLE parent, child, filler IN ROW EXCLUSIVE MODE",
    # Each changes the row that the program wants to change.
    'GRANT USAGE ON SCHEMA "odd "" \'; DROP " TO PUBLIC',
    "DROP SCHEMA supalove_quota CASCADE",
]
