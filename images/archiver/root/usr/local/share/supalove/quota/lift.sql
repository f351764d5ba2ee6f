-- SPDX-License-Identifier: GPL-3.0-or-later
-- Takes away what block.sql has put up, in the opposite order. It may be repeated. What was dropped meanwhile stays so.
DO $$
DECLARE
  one record;
BEGIN
  FOR one IN
    SELECT tgname, nspname, relname
    FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE tgfoid = to_regproc('pg_catalog.supalove_quota_write')
  LOOP
    EXECUTE format('DROP TRIGGER IF EXISTS %I ON %I.%I', one.tgname, one.nspname, one.relname);
    COMMIT;
  END LOOP;
END $$;

BEGIN;

UPDATE pg_namespace SET nspacl = (kept ->> pg_namespace.oid::text)::aclitem[]
FROM pg_event_trigger AS held, CAST(obj_description(held.oid, 'pg_event_trigger') AS jsonb) AS kept
WHERE held.evtname = 'supalove_quota' AND kept ? pg_namespace.oid::text;

DROP EVENT TRIGGER IF EXISTS supalove_quota;
DROP FUNCTION IF EXISTS pg_catalog.supalove_quota_command(), pg_catalog.supalove_quota_write();

SELECT format('GRANT TEMPORARY ON DATABASE %I TO %I', current_database(), rolname)
FROM pg_roles WHERE rolname = current_database() || '_owner'
\gexec

GRANT EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea), lo_put(oid, bigint, bytea),
  lowrite(integer, bytea), lo_truncate(integer, integer), lo_truncate64(integer, bigint) TO PUBLIC;

COMMIT;
