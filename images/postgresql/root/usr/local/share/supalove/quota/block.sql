-- SPDX-License-Identifier: GPL-3.0-or-later
-- Stops what makes the database that it is run in larger. It may be repeated, and a kill anywhere in it is made up for.
--
-- Who owns a table can give itself any right on it and disable its triggers. So
-- 1. an event trigger, which no tenant can touch, refuses every command but DROP;
-- 2. the sessions that began before it end, as they may just be making something;
-- 3. nobody may create in any schema, as EXPLAIN ANALYZE CREATE TABLE AS makes a table and asks no event trigger; the
--    sessions that began before that end, too;
-- 4. every table gets a trigger that refuses rows. Rights on tables stay: a DELETE asks for UPDATE on what refers to it.
-- Its functions are in pg_catalog: in any other schema of its database a tenant may have put its own before.
BEGIN;

CREATE OR REPLACE FUNCTION pg_catalog.supalove_quota_command() RETURNS event_trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- DROP TRIGGER would let rows in again; what else is dropped takes up room.
  IF (starts_with(tg_tag, 'DROP ') AND tg_tag <> 'DROP TRIGGER')
    OR (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = session_user)
  THEN
    RETURN;
  END IF;
  RAISE disk_full USING
    MESSAGE = format('the storage of this project is used up: %s is refused', tg_tag),
    HINT = 'Delete, truncate, drop, then VACUUM FULL; or ask for more. All goes on below 90 % of supalove.storage_limit.';
END $$;

CREATE OR REPLACE FUNCTION pg_catalog.supalove_quota_write() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = session_user) THEN
    RETURN NULL;
  END IF;
  RAISE disk_full USING
    MESSAGE = format('the storage of this project is used up: %s is refused', tg_op),
    HINT = 'Delete, truncate, drop, then VACUUM FULL; or ask for more. All goes on below 90 % of supalove.storage_limit.';
END $$;

REVOKE EXECUTE ON FUNCTION supalove_quota_command(), supalove_quota_write() FROM PUBLIC;

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_event_trigger WHERE evtname = 'supalove_quota') THEN
    CREATE EVENT TRIGGER supalove_quota ON ddl_command_start EXECUTE FUNCTION pg_catalog.supalove_quota_command();
  END IF;
END $$;

-- Temporary tables count, too.
SELECT format('REVOKE TEMPORARY ON DATABASE %I FROM %s CASCADE', datname,
  CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
FROM pg_database, aclexplode(COALESCE(datacl, acldefault('d', datdba)))
WHERE datname = current_database() AND privilege_type = 'TEMPORARY' AND grantee <> datdba
\gexec

-- Of large objects all that writes.
REVOKE EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea), lo_put(oid, bigint, bytea),
  lowrite(integer, bytea), lo_truncate(integer, integer), lo_truncate64(integer, bigint) FROM PUBLIC;

COMMIT;

-- Without waiting for their end; whether there were any.
CREATE FUNCTION pg_temp.end_sessions(began_before timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_stat_clear_snapshot();
  PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE datname = current_database() AND starts_with(usename, datname || '_') AND backend_start < began_before;
  RETURN FOUND;
END $$;

CREATE FUNCTION pg_temp.end_sessions_that_began() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  began_before CONSTANT timestamptz := clock_timestamp();
BEGIN
  WHILE pg_temp.end_sessions(began_before) LOOP
    IF clock_timestamp() > began_before + interval '10 seconds' THEN
      RAISE object_in_use USING MESSAGE = 'a session does not end';
    END IF;
    PERFORM pg_sleep(0.02);
  END LOOP;
END $$;

-- Runs a statement although tenants hold the lock that it needs; whether they did, this time or before.
CREATE FUNCTION pg_temp.insist(statement text, is_hindered boolean) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  FOR attempt IN 1..5 LOOP
    BEGIN
      -- Who comes back needs longer for that than the statement does to be the first in the queue.
      IF is_hindered THEN
        PERFORM pg_temp.end_sessions(clock_timestamp());
      END IF;
      EXECUTE statement;
      EXIT;
    EXCEPTION
      -- Dropped meanwhile.
      WHEN undefined_table OR invalid_schema_name THEN
        EXIT;
      WHEN lock_not_available THEN
        IF attempt = 5 THEN
          RAISE;
        END IF;
        is_hindered := true;
    END;
  END LOOP;
  RETURN is_hindered;
END $$;

-- The schemas in which somebody may create. A list without any rights may have no dimension: an error to aclexplode.
CREATE TEMPORARY VIEW open_schemas AS
SELECT oid, nspacl FROM pg_namespace
WHERE NOT starts_with(nspname, 'pg_') AND nspname <> 'information_schema' AND EXISTS (
  SELECT FROM aclexplode(CASE cardinality(nspacl) WHEN 0 THEN NULL ELSE COALESCE(nspacl, acldefault('n', nspowner)) END)
  WHERE privilege_type = 'CREATE'
);

SELECT pg_temp.end_sessions_that_began();

-- Their lists of rights as they are: lift.sql puts back exactly them, whoever gave what. From here on nobody changes them.
DO $$
DECLARE
  kept jsonb;
BEGIN
  IF (SELECT obj_description(oid, 'pg_event_trigger') FROM pg_event_trigger WHERE evtname = 'supalove_quota') IS NULL THEN
    SELECT COALESCE(jsonb_object_agg(oid, nspacl::text), '{}') INTO kept FROM pg_temp.open_schemas;
    EXECUTE format('COMMENT ON EVENT TRIGGER supalove_quota IS %L', kept);
  END IF;
END $$;

-- What is left always has an item, one that gives nothing: such a list has a dimension.
DO $$
DECLARE
  schema_id oid;
  is_hindered boolean := false;
BEGIN
  FOR schema_id IN SELECT oid FROM pg_temp.open_schemas LOOP
    is_hindered := pg_temp.insist(format(
      'UPDATE pg_namespace SET nspacl = array_append('
      ' ARRAY(SELECT makeaclitem(grantee, grantor, privilege_type, is_grantable)'
      '  FROM aclexplode(COALESCE(nspacl, acldefault(''n'', nspowner))) WHERE privilege_type <> ''CREATE''),'
      ' format(''%%I=/%%1$I'', pg_get_userbyid(nspowner))::aclitem)'
      'WHERE oid = %s', schema_id), is_hindered);
    COMMIT;
  END LOOP;
END $$;

-- Again: who came back in time may have made a table that others do not see yet.
SELECT pg_temp.end_sessions_that_began();

-- One after the other: the locks of all tables at once would be too many for a table of locks that all tenants share.
DO $$
DECLARE
  one record;
  is_hindered boolean := false;
BEGIN
  FOR one IN
    SELECT nspname, relname
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'p', 'f') AND relpersistence <> 't'
      AND NOT starts_with(nspname, 'pg_') AND nspname <> 'information_schema'
      AND NOT EXISTS (
        SELECT FROM pg_trigger
        WHERE tgrelid = pg_class.oid AND tgfoid = 'pg_catalog.supalove_quota_write'::regproc
      )
  LOOP
    -- The name of no trigger that is there.
    is_hindered := pg_temp.insist(format(
      'CREATE TRIGGER %I BEFORE INSERT OR UPDATE ON %I.%I EXECUTE FUNCTION pg_catalog.supalove_quota_write()',
      'supalove_quota_' || left(md5(gen_random_uuid()::text), 8), one.nspname, one.relname), is_hindered);
    COMMIT;
  END LOOP;
END $$;
