# SPDX-License-Identifier: GPL-3.0-or-later
"""All SQL of the archiver, and how it is run: by psql, over the server's socket, as the superuser.

A name gets into a statement as a variable of psql (:"name", :'name') or through format(%I), never by pasting. No
statement calls what a tenant has written: the path is pinned before a session begins, and what is restored is not
restored by the superuser.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from .config import SOCKETS
from .programs import Done, run

# Of projects; of what is kept of one after a swap. The engine has the same in project/names.py.
UID = "[a-z2-7]{12}"
DATABASE = re.compile(f"p_{UID}")
KEPT = re.compile(f"p_{UID}_[0-9]{{8}}t[0-9]{{6}}z")
OWNER = re.compile(f"p_{UID}_owner")
NEW_SUFFIX = "_new"
DROPPED = re.compile(f"{KEPT.pattern}|{DATABASE.pattern}{NEW_SUFFIX}")
LOADER_PREFIX = "supalove_load_"
READER_PREFIX = "supalove_read_"
# Variables that every statement has.
PATTERNS = {
    "databases": f"^{DATABASE.pattern}$",
    "kept_databases": f"^{KEPT.pattern}$",
    "new_databases": f"^{DATABASE.pattern}{NEW_SUFFIX}$",
    "loaders": f"^{LOADER_PREFIX}{UID}$",
    "readers": f"^{READER_PREFIX}{UID}$",
}
# Extensions that only a superuser makes: what they show is the platform's to look at.
SUPERUSERS_EXTENSIONS = ("amcheck", "pg_buffercache", "pg_stat_statements", "pgstattuple")

SESSION = "-c search_path=pg_catalog -c statement_timeout=0 -c client_min_messages=warning -c transaction_timeout=0"
SECONDS = 30.0

# Not while tenants are stopped because WAL fills the volume (supalove-quota): each beat would cost a segment, and the
# next one after that lets the moments in between be restored, too.
HEARTBEAT = """
UPDATE supalove_archive.heartbeat SET at = pg_catalog.clock_timestamp()
WHERE NOT (SELECT stopped FROM supalove_quota.volume) RETURNING pg_postmaster_start_time()
"""

# A checkpointer that began while the server recovered, if only from a clean end, sleeps for checkpoint_timeout. Until
# then it ends no segment at archive_timeout (CheckpointerMain in checkpointer.c). Any signal wakes it.
WAKE = "SELECT pg_reload_conf()"

IDENTITY = """
SELECT system_identifier || ' ' || current_setting('server_version_num')::int / 10000 || ' '
  || to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
FROM pg_control_system(), supalove_archive.heartbeat WHERE NOT pg_is_in_recovery();
"""

# Of a scratch copy, once it has recovered: the heartbeat, then the databases of projects.
COPY = """
SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM supalove_archive.heartbeat
WHERE NOT pg_is_in_recovery();
SELECT datname FROM pg_database WHERE datname ~ :'databases' AND NOT pg_is_in_recovery() ORDER BY datname;
"""

# Who reads databases out and checks them. No superuser, as what tenants have written must never run as one. Large
# objects are in no predefined role's reach before PostgreSQL 18. Databases of projects may be closed to all; in a copy
# nobody comes but us.
DUMPER = "supalove_dump"
MAKE_DUMPER = """
SELECT 'CREATE ROLE supalove_dump' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'supalove_dump') \\gexec
ALTER ROLE supalove_dump WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS INHERIT
  CONNECTION LIMIT 4;
ALTER ROLE supalove_dump SET lo_compat_privileges = on;
ALTER ROLE supalove_dump SET statement_timeout = 0;
ALTER ROLE supalove_dump SET transaction_timeout = 0;
ALTER ROLE supalove_dump SET idle_in_transaction_session_timeout = 0;
ALTER ROLE supalove_dump SET temp_file_limit = -1;
GRANT pg_read_all_data TO supalove_dump WITH ADMIN FALSE, INHERIT TRUE, SET FALSE;
GRANT CONNECT ON DATABASE postgres TO supalove_dump;
SELECT format('ALTER DATABASE %I WITH ALLOW_CONNECTIONS true CONNECTION LIMIT -1', datname) FROM pg_database
WHERE datname ~ :'databases' AND (:'database' = '' OR datname = :'database') \\gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO supalove_dump', datname) FROM pg_database
WHERE datname ~ :'databases' AND (:'database' = '' OR datname = :'database') \\gexec
"""

# In each database that is checked: an index on an expression is checked by calling what a tenant has written.
LET_CHECK = """
CREATE EXTENSION IF NOT EXISTS amcheck WITH SCHEMA pg_catalog;
SELECT format('GRANT EXECUTE ON FUNCTION %s TO supalove_dump', objid::regprocedure)
FROM pg_depend JOIN pg_extension ON pg_extension.oid = refobjid
WHERE refclassid = 'pg_extension'::regclass AND extname = 'amcheck' AND classid = 'pg_proc'::regclass AND deptype = 'e'
\\gexec
"""

# The database beside the live one, whose owner it gets, and who loads it. PUBLIC may do nothing in it. The loader is no
# superuser and becomes the project's user before anything is restored; whatever it did to itself before is undone.
MAKE_NEW = """
DROP DATABASE IF EXISTS :"new" WITH (FORCE);
SELECT format('CREATE DATABASE %I WITH OWNER %I TEMPLATE %I', :'new', pg_get_userbyid(datdba), (
  SELECT COALESCE(max(datname), 'template1') FROM pg_database WHERE datname = 'supalove_template'))
FROM pg_database WHERE datname = :'live' \\gexec
REVOKE ALL ON DATABASE :"new" FROM PUBLIC;
SELECT format('CREATE ROLE %I', :'loader')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'loader') \\gexec
ALTER ROLE :"loader" WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT
  CONNECTION LIMIT 2 PASSWORD NULL;
ALTER ROLE :"loader" RESET ALL;
ALTER ROLE :"loader" SET statement_timeout = 0;
ALTER ROLE :"loader" SET transaction_timeout = 0;
ALTER ROLE :"loader" SET idle_in_transaction_session_timeout = 0;
ALTER ROLE :"loader" SET temp_file_limit = -1;
GRANT :"owner" TO :"loader" WITH ADMIN FALSE, INHERIT FALSE, SET TRUE;
GRANT pg_use_reserved_connections TO :"loader" WITH ADMIN FALSE, INHERIT TRUE, SET FALSE;
GRANT CONNECT ON DATABASE :"new" TO :"loader";
GRANT CREATE, TEMPORARY ON DATABASE :"new" TO :"owner";
"""

# What a copy of our template has; a PostgreSQL of a project's own does it at each start (render/bootstrap.py).
IS_FROM_TEMPLATE = "SELECT count(*) FROM pg_catalog.pg_database WHERE datname = 'supalove_template'"
SETTINGS = (
    "UPDATE pg_catalog.pg_attribute SET attstorage = 'p' WHERE attname = 'setconfig' AND attstorage <> 'p'"
    " AND attrelid = 'pg_catalog.pg_db_role_setting'::pg_catalog.regclass;"
)
SHAPE_NEW = f"""
{SETTINGS}
ALTER SCHEMA public OWNER TO :"owner";
"""

ANALYZE = """
SET client_min_messages = error;
SET ROLE :"owner";
ANALYZE;
"""

# Groups without login that mean the same in all projects, if the server has them (the engine's databases.py).
GROUPS = "SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role')"

# What a dump says of rights, as rights.py has let it through.
GIVE_RIGHTS = """
SET ROLE :"owner";
\\i :given
"""

# In another project's database nothing may hang on roles but its own: they could never be dropped.
STRANGERS = """
SELECT DISTINCT pg_get_userbyid(refobjid) FROM pg_shdepend JOIN pg_database ON pg_database.oid = dbid
WHERE datname = :'new' AND refclassid = 'pg_authid'::regclass
  AND pg_get_userbyid(refobjid) NOT IN (:'owner', pg_get_userbyid(datdba), 'supalove_tenant',
    'anon', 'authenticated', 'service_role')
LIMIT 1;
"""

# As the live one is: rights, settings, limit. Settings are copied as they lie in the catalog, as no statement gives all
# of them back as they were. The owner of a database that is at its limit has lost TEMPORARY; the new one is not
# blocked. The mark is last: what does not have it was not loaded to its end.
FINISH_NEW = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = :'loader';
REVOKE ALL ON DATABASE :"new" FROM :"loader", :"owner";
SELECT format('GRANT %s ON DATABASE %I TO %s %s', privilege_type, :'new',
  CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
  CASE WHEN is_grantable THEN 'WITH GRANT OPTION' END)
FROM pg_database, aclexplode(COALESCE(datacl, acldefault('d', datdba)))
WHERE datname = :'live' AND grantee <> datdba \\gexec
GRANT TEMPORARY ON DATABASE :"new" TO :"owner";
BEGIN;
DELETE FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = :'new');
INSERT INTO pg_db_role_setting (setdatabase, setrole, setconfig)
SELECT made.oid, setrole, setconfig FROM pg_database AS made, pg_db_role_setting
JOIN pg_database AS live ON live.oid = setdatabase WHERE live.datname = :'live' AND made.datname = :'new';
COMMIT;
SELECT format('ALTER DATABASE %I WITH CONNECTION LIMIT %s', :'new', datconnlimit)
FROM pg_database WHERE datname = :'live' \\gexec
DROP ROLE :"loader";
COMMENT ON DATABASE :"new" IS 'loaded';
"""

CLEAN_UP = """
DROP DATABASE IF EXISTS :"new" WITH (FORCE);
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = :'loader';
DROP ROLE IF EXISTS :"loader";
"""

UNFINISHED = """
SELECT datname FROM pg_database WHERE datname ~ :'new_databases'
  AND shobj_description(oid, 'pg_database') IS DISTINCT FROM 'loaded'
UNION SELECT 'p_' || right(rolname, 12) || '_new' FROM pg_roles WHERE rolname ~ :'loaders';
"""

# Which of three there are. Of the live one, whether anybody may enter it, and its oid.
BEFORE_SWAP = """
SELECT concat_ws(' ',
  COALESCE((SELECT CASE WHEN datallowconn THEN 'open' ELSE 'closed' END FROM pg_database WHERE datname = :'live'), '-'),
  COALESCE((SELECT 'new' FROM pg_database WHERE datname = :'new'
    AND shobj_description(oid, 'pg_database') = 'loaded'), '-'),
  COALESCE((SELECT 'kept' FROM pg_database WHERE datname = :'kept'), '-'),
  (SELECT oid FROM pg_database WHERE datname = :'live'));
"""

# One transaction: a kill anywhere in it changes nothing. The first renaming takes the lock for which all wait who want
# to enter; those who are in are ended meanwhile by another session (EVICT). It goes by the oid, which a database keeps
# when it gets another name: nobody is ended who has just come to the new one.
SWAP = """
SET lock_timeout = '5s';
SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE datname = :'new';
SET transaction_timeout = '7s';
BEGIN;
ALTER DATABASE :"live" RENAME TO :"kept";
ALTER DATABASE :"kept" WITH ALLOW_CONNECTIONS false;
ALTER DATABASE :"new" RENAME TO :"live";
ALTER DATABASE :"live" WITH ALLOW_CONNECTIONS :allowed;
COMMENT ON DATABASE :"live" IS NULL;
COMMIT;
"""
EVICT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datid = :oid;
\\watch interval=0.1 count=80
"""

# Of a live database: its bytes, and whose roles but the project's own and the platform's something in it hangs on.
LOOK = """
SELECT pg_database_size(oid) FROM pg_database WHERE datname = :'live';
SELECT DISTINCT pg_get_userbyid(refobjid) FROM pg_shdepend JOIN pg_database ON pg_database.oid = dbid
WHERE datname = :'live' AND refclassid = 'pg_authid'::regclass
  AND pg_get_userbyid(refobjid) NOT IN (:'owner', :'probe', :'rest', :'auth', pg_get_userbyid(datdba),
    'supalove_tenant', 'anon', 'authenticated', 'service_role');
"""

# A database that is about to go elsewhere: its user and its services, if it has any, are out and come in no more. The
# mark tells a new archiver of it.
CLOSE = """
BEGIN;
COMMENT ON DATABASE :"live" IS 'closed';
SELECT format('REVOKE CONNECT ON DATABASE %I FROM %I', :'live', rolname)
FROM pg_roles WHERE rolname IN (:'owner', :'rest', :'auth') \\gexec
ALTER DATABASE :"live" WITH ALLOW_CONNECTIONS true;
COMMIT;
"""
# Who is in, and who was let in before and is not yet seen to be: until a session has begun, it holds a lock of its
# database (InitPostgres in postinit.c).
EMPTY = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = :'live' AND usename IN (:'owner', :'rest', :'auth');
SELECT (
    SELECT count(*) FROM pg_stat_activity WHERE datname = :'live' AND usename IN (:'owner', :'rest', :'auth'))
  + (SELECT count(*) FROM pg_locks JOIN pg_database ON objid = pg_database.oid
    WHERE locktype = 'object' AND classid = 'pg_database'::regclass AND datname = :'live' AND pid <> pg_backend_pid());
"""
OPEN = """
BEGIN;
SELECT format('GRANT CONNECT ON DATABASE %I TO %I', :'live', rolname)
FROM pg_roles WHERE rolname IN (:'owner', :'rest', :'auth') \\gexec
COMMENT ON DATABASE :"live" IS NULL;
COMMIT;
"""
CLOSED_ONES = """
SELECT datname FROM pg_database
WHERE datname ~ :'databases' AND shobj_description(oid, 'pg_database') = 'closed' ORDER BY datname;
"""

# Who reads out a live database: all that is in it, and writes nothing. Made anew each time, so that it is nothing else.
DROP_READER = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = :'reader';
SELECT format('REVOKE ALL ON DATABASE %I FROM %I', datname, rolname)
FROM pg_roles JOIN pg_database ON EXISTS (SELECT FROM aclexplode(datacl) WHERE grantee = pg_roles.oid)
WHERE rolname = :'reader' \\gexec
DROP ROLE IF EXISTS :"reader";
"""
MAKE_READER = (
    DROP_READER
    + """
CREATE ROLE :"reader" WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS INHERIT CONNECTION LIMIT 2;
ALTER ROLE :"reader" SET lo_compat_privileges = on;
ALTER ROLE :"reader" SET default_transaction_read_only = on;
ALTER ROLE :"reader" SET statement_timeout = 0;
ALTER ROLE :"reader" SET transaction_timeout = 0;
ALTER ROLE :"reader" SET idle_in_transaction_session_timeout = 0;
ALTER ROLE :"reader" SET temp_file_limit = -1;
GRANT pg_read_all_data, pg_use_reserved_connections TO :"reader" WITH ADMIN FALSE, INHERIT TRUE, SET FALSE;
GRANT CONNECT ON DATABASE :"live" TO :"reader";
"""
)
READERS = "SELECT rolname FROM pg_roles WHERE rolname ~ :'readers' ORDER BY rolname;"

# In one transaction, and only of a database that has been closed all the time: whoever opened it since, a server that
# was started anew or a run of the engine, let somebody write what the dump does not have. The time is that of a moment
# at which it was still there.
RETIRE = """
SET lock_timeout = '5s';
SET transaction_timeout = '7s';
SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"');
BEGIN;
ALTER DATABASE :"live" RENAME TO :"kept";
ALTER DATABASE :"kept" WITH ALLOW_CONNECTIONS false;
COMMENT ON DATABASE :"kept" IS NULL;
SELECT has_database_privilege(:'owner', :'kept', 'CONNECT') AS opened \\gset
\\if :opened
ROLLBACK;
\\echo opened
\\else
COMMIT;
\\endif
"""

KEPT_ONES = """
SELECT datname || ' ' || COALESCE(pg_database_size(oid), 0) FROM pg_database
WHERE datname ~ :'kept_databases' ORDER BY datname;
"""

# The record of a restore point, which is the last in its segment: that one can be archived at once.
MAKE_POINT = """
SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || ' ' || made || ' '
  || pg_walfile_name(made)
FROM pg_create_restore_point(:'record') AS made;
SELECT pg_switch_wal();
"""
EXISTS = "SELECT count(*) FROM pg_database WHERE datname = :'database';"
DROP = """DROP DATABASE IF EXISTS :"database" WITH (FORCE);"""


def ask(
    statements: str,
    *,
    variables: Mapping[str, str] | None = None,
    database: str = "postgres",
    user: str = "postgres",
    seconds: float = SECONDS,
    watch: Callable[[], str] = lambda: "",
) -> Done:
    """Run statements, of which the first that fails is the last. Its output has a row in each line."""
    argv = ["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-h", str(SOCKETS), "-U", user, "-d", database]
    for name, value in {**PATTERNS, **(variables or {})}.items():
        argv += ["-v", f"{name}={value}"]
    environment = {"PGOPTIONS": SESSION, "PGAPPNAME": "supalove-archiver", "PGCONNECT_TIMEOUT": "10"}
    return run(argv, environment=environment, seconds=seconds, told=statements, watch=watch)


def rows(done: Done) -> list[str]:
    """The lines of an answer."""
    return [line for line in done.output.splitlines() if line]
